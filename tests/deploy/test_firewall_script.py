"""The script that lets the management nodes through nftables, with the real one, in a network namespace of its own."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.beds import hosts
from tests.beds.image import base_image
from tests.deploy.releases import ROOT

SCRIPT = ROOT / "ansible/roles/bs_agent/files/bs-agent-firewall"
TABLES = """
table inet filter {
    chain input {
        type filter hook input priority 0; policy drop
        ip saddr 192.0.2.9 accept
    }
    chain other {
        tcp dport 22 accept
    }
}
table ip old {
    chain IN {
        type filter hook input priority 10
    }
}
table ip6 old {
    chain IN {
        type filter hook input priority 10
    }
}
"""
GOOD = "ip saddr 192.0.2.1 tcp dport 7765 accept"
PORT, ADDRESSES = "7765", ("192.0.2.1", "192.0.2.128/25", "fd00::1", "fd00:1::/64")


class Ruleset:
    """The rules of a namespace of one's own, with the distribution's own tools."""

    def __init__(self, root: Path) -> None:
        hold = ["unshare", "--net", "sh", "-c", "echo; exec sleep infinity"]
        self.root = root
        self.holder = subprocess.Popen(hold, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert self.holder.stdout
        self.holder.stdout.readline()

    def run(self, *words: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        inside = ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", "chroot", str(self.root), *words]
        return subprocess.run(inside, input=stdin, check=False, capture_output=True, text=True, timeout=30)

    def nft(self, *words: str, stdin: str = "") -> str:
        done = self.run("nft", *words, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def script(self, verb: str, *words: str) -> int:
        done = self.run("python3", "/run/bs-agent-firewall", verb, *words)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode

    def ours(self) -> list[str]:
        """Return our rules, each as it is listed."""
        return [line.strip() for line in self.nft("list", "ruleset").splitlines() if "bs-agent" in line]

    def close(self) -> None:
        self.holder.kill()
        self.holder.communicate()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if hosts.MISSING:
        pytest.skip(f"the distribution's tools need {', '.join(hosts.MISSING)}")
    root, over = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("over")
    for part in ("upper", "work"):
        (over / part).mkdir()
    layers = f"lowerdir={base_image()},upperdir={over}/upper,workdir={over}/work"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, str(root)], check=True, timeout=30)
    shutil.copy(SCRIPT, root / "run" / "bs-agent-firewall")
    yield root
    subprocess.run(["umount", str(root)], check=True, timeout=30)


@pytest.fixture
def rules(root: Path) -> Iterator[Ruleset]:
    made = Ruleset(root)
    try:
        made.nft("-f", "-", stdin=TABLES)
        yield made
    finally:
        made.close()


def test_the_management_nodes_are_let_through_every_input_chain(rules: Ruleset) -> None:
    before = rules.nft("list", "ruleset")
    assert rules.script("check", PORT, *ADDRESSES) == 1
    for _ in range(2):
        assert rules.script("open", PORT, *ADDRESSES) == 0
        assert rules.script("check", PORT, *ADDRESSES) == 0
    assert sorted(line.partition(" tcp")[0] for line in rules.ours()) == [
        "ip saddr 192.0.2.1",
        "ip saddr 192.0.2.1",
        "ip saddr 192.0.2.128/25",
        "ip saddr 192.0.2.128/25",
        "ip6 saddr fd00:1::/64",
        "ip6 saddr fd00:1::/64",
        "ip6 saddr fd00::1",
        "ip6 saddr fd00::1",
    ]
    assert rules.script("close") == 0
    assert rules.nft("list", "ruleset") == before


@pytest.mark.parametrize(
    "asked",
    [
        (PORT, "192.0.2.2", *ADDRESSES[1:]),
        (PORT, "192.0.2.1/31", *ADDRESSES[1:]),
        (PORT, ADDRESSES[0], "192.0.2.128/26", *ADDRESSES[2:]),
        (PORT, *ADDRESSES[:2], "fd00::2", ADDRESSES[3]),
        (PORT, *ADDRESSES[:3]),
        (PORT, *ADDRESSES, "192.0.2.3"),
        ("7766", *ADDRESSES),
    ],
    ids=str,
)
def test_what_is_let_in_is_compared_and_not_only_where(rules: Ruleset, asked: tuple[str, ...]) -> None:
    """A run that was cut short has laid the files for another address, and not yet the rule."""
    rules.script("open", PORT, *ADDRESSES)
    assert rules.script("check", *asked) == 1
    rules.script("open", *asked)
    assert rules.script("check", *asked) == 0
    assert rules.script("check", PORT, *ADDRESSES) == 1


@pytest.mark.parametrize("order", [ADDRESSES, ADDRESSES[::-1], ("192.0.2.1/32", "192.0.2.200/25", *ADDRESSES[2:])])
def test_the_same_in_other_words_is_the_same(rules: Ruleset, order: tuple[str, ...]) -> None:
    rules.script("open", PORT, *ADDRESSES)
    assert rules.script("check", PORT, *order) == 0


@pytest.mark.parametrize(
    "changed",
    [
        "ip saddr 192.0.2.1 tcp dport 7765 drop",
        "ip saddr 192.0.2.1 tcp dport 7765 counter accept",
        "ip saddr 192.0.2.1 tcp sport 7765 accept",
        "ip saddr != 192.0.2.1 tcp dport 7765 accept",
        "ip daddr 192.0.2.1 tcp dport 7765 accept",
        "ip saddr { 192.0.2.1, 192.0.2.2 } tcp dport 7765 accept",
        "ip saddr 192.0.2.1-192.0.2.3 tcp dport 7765 accept",
        "tcp dport 7765 accept",
        "ip saddr 192.0.2.1 accept",
        "accept",
    ],
)
def test_a_rule_of_ours_that_somebody_has_changed_is_put_right(rules: Ruleset, changed: str) -> None:
    rules.nft("add", "rule", "inet", "filter", "input", *changed.split(), "comment", '"bs-agent"')
    rules.nft("add", "rule", "ip", "old", "IN", *GOOD.split(), "comment", '"bs-agent"')
    assert rules.script("check", PORT, "192.0.2.1") == 1
    rules.script("open", PORT, "192.0.2.1")
    assert rules.script("check", PORT, "192.0.2.1") == 0
    assert rules.ours() == [f'{GOOD} comment "bs-agent"'] * 2


def test_it_is_run_by_the_pythons_of_the_hosts() -> None:
    assert os.access(SCRIPT, os.R_OK)
    compile(SCRIPT.read_text(), str(SCRIPT), "exec")
