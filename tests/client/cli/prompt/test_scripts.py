"""The completion scripts in real shells: what Tab makes of a line that is being typed."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.fleet import STORE
from tests.client.node import SESSION, Node
from tests.client.terminal import BS_CLI, ROOT, Terminal, terminal

UUID = str(STORE["uuid"])
SHELLS = {
    "bash": (["bash", "--norc", "--noprofile"], "PS1='$ '; eval \"$(bs-cli completion bash)\"; echo rea''dy\r"),
    "zsh": (
        ["zsh", "-f"],
        "PROMPT='$ '; autoload -U compinit; compinit -u -D; eval \"$(bs-cli completion zsh)\"; echo rea''dy\r",
    ),
    "fish": (["fish", "--no-config"], "bs-cli completion fish | source; echo rea''dy\r"),
}


@pytest.fixture
def home(node: Node, tmp_path: Path) -> Path:
    """A user who is logged in, with bs-cli on the path, and a program that shows its arguments one by one."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "bs-cli"
    program.write_text(f'#!/bin/sh\nexec {" ".join(BS_CLI)} "$@"\n')
    program.chmod(0o755)
    state = tmp_path / ".local/state/bs-cli"
    state.mkdir(mode=0o700, parents=True)
    (state / "session").touch(mode=0o600)
    (state / "session").write_text(json.dumps({"url": node.url, "uuid": SESSION, "account": "admin"}))
    return tmp_path


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest, home: Path) -> Iterator[Terminal]:
    command, script = SHELLS[request.param]
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    with terminal(home, command) as screen:
        screen.send(script)
        screen.expect("ready")
        yield screen


def test_a_line_is_completed_to_its_end(shell: Terminal, node: Node) -> None:
    node.inventories[0]["name"] = "my 'own' store"
    for typed, shown in (
        ("bs-cli QueryBac\t", "kupStorage"),
        ("statu\t", "status"),
        ("Connected name=m\t", "store"),
        ("fiel\t", "fields="),
        ("uui\t", "uuid"),
    ):
        shell.send(typed)
        shell.expect(shown)
    shell.send("\r")
    shell.expect(UUID, "1 found")
    assert node.requests[-1][1].endswith("?q=status%3DConnected&q=name%3Dmy%20%27own%27%20store&fields=uuid")


def test_what_may_come_next_is_listed(shell: Terminal) -> None:
    shell.send("bs-cli DeleteBackupStorage uuid=\t")
    shell.send("\t")
    shell.expect(UUID)


def test_nothing_typed_shows_among_the_processes() -> None:
    scripts = (ROOT / "bs_agent/client/cli/prompt/scripts.py").read_text()
    assert "complete bash" in scripts
    assert sys.executable
