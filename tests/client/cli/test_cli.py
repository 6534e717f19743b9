"""bs-cli as a child process with pipes: words, output, exit codes, the log-in that is kept."""

import json
import shlex
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path

import pytest

from bs_agent import __version__
from bs_agent.client.cli.arguments import parse_words
from bs_agent.client.cli.commands import COMMANDS
from bs_agent.client.cli.manual import command_help
from bs_agent.client.cli.prompt.history import may_be_kept
from bs_agent.client.sdk import ACTIONS
from bs_agent.contract.api import APIS
from bs_agent.contract.declaration import Api
from bs_agent.contract.enrollment import encode
from bs_agent.contract.errors import CannotDelete
from bs_agent.contract.reasons import REASONS, ReasonCode
from tests.beds import mounts
from tests.client.fleet import STORE
from tests.client.node import PASSWORD, SESSION, Node
from tests.client.terminal import BS_CLI, bs_cli, environment

UUID = str(STORE["uuid"])
CODE = encode(7765, "a-token-that-is-a-secret-of-its-agent_43xyz", "ab" * 32)


@pytest.fixture
def home(node: Node, tmp_path: Path) -> Path:
    """A user who is logged in."""
    file = session_file(tmp_path)
    file.parent.mkdir(mode=0o700, parents=True)
    file.touch(mode=0o600)
    file.write_text(json.dumps({"url": node.url, "uuid": SESSION, "account": "admin"}))
    return tmp_path


def session_file(home: Path) -> Path:
    return home / ".local/state/bs-cli/session"


def test_the_help_names_every_command() -> None:
    named = {name: does for commands in COMMANDS.values() for name, does in commands.items()}
    assert named == {api.name: api.summary for api in APIS.values()}


def test_a_query_prints_json_into_a_pipe(node: Node, home: Path) -> None:
    done = bs_cli(home, "QueryBackupStorage", "status=Connected", "name~=store", "fields=name,uuid")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"inventories": [{"name": "image-store", "uuid": UUID}], "success": True}
    assert node.requests == [
        ("GET", "/zstack/v1/backup-storage?q=status%3DConnected&q=name~%3D%25store%25&fields=name%2Cuuid")
    ]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["description=null"], ["ceph-bs"]),
        (["description!=null"], ["image-store"]),
        (["totalCapacity>1000000000000"], ["image-store"]),
        (["uuid?=1ab3b836-a883-42e1-bbc1-b1a17d092f0f," + "0" * 32], []),
        (["name~=%"], ["image-store", "ceph-bs"]),
        (["sortBy=name", "limit=1"], ["ceph-bs"]),
        (["sortBy=name", "sortDirection=desc", "limit=1"], ["image-store"]),
        (["start=1", "fields=name,"], ["ceph-bs"]),
    ],
)
def test_conditions_and_parameters(node: Node, home: Path, words: list[str], found: list[str]) -> None:
    done = bs_cli(home, "QueryBackupStorage", *words)
    assert done.returncode == 0, done.stderr
    assert [one["name"] for one in json.loads(done.stdout)["inventories"]] == found


def test_a_job_is_waited_for_and_tags_come_from_a_file(node: Node, home: Path) -> None:
    tags = home / "tags"
    tags.write_text(f"agentEnrollment::{CODE}\n\nb::c,d\n")
    done = bs_cli(home, "ReconnectBackupStorage", f"uuid={UUID}", f"systemTags=@{tags}", 'userTags=["x,y"]')
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["inventory"]["uuid"] == UUID
    assert node.bodies[0] == {
        "reconnectBackupStorage": {},
        "systemTags": [f"agentEnrollment::{CODE}", "b::c,d"],
        "userTags": ["x,y"],
    }
    assert bs_cli(home, "DeleteBackupStorage", f"uuid={UUID}", "deleteMode=Enforcing").stdout == "{}\n"


def test_an_error_of_the_api_is_code_3_in_words_and_in_json(home: Path) -> None:
    done = bs_cli(home, "ReconnectBackupStorage", f"uuid={'0' * 32}")
    assert done.returncode == 3
    assert json.loads(done.stdout)["error"]["code"] == "SYS.1003"
    assert done.stderr.startswith("SYS.1003: Unable to find the requested resource\n  invalid field[uuid]")


def test_a_cause_is_shown_below_its_effect(node: Node, home: Path) -> None:
    cause = {"code": "BS.NoRoute", "description": "The host cannot be reached.", "details": "\x1b[31mred"}
    error = {"code": "SYS.1004", "description": "Unable to delete the resource", "cause": cause}
    node.canned = (503, json.dumps({"error": error}))
    done = bs_cli(home, "DeleteBackupStorage", f"uuid={UUID}")
    assert done.stderr.splitlines() == [
        "SYS.1004: Unable to delete the resource",
        f"  -> {CannotDelete.cure}",
        "  BS.NoRoute: The host cannot be reached.",
        "    \N{REPLACEMENT CHARACTER}[31mred",
        f"    -> {REASONS[ReasonCode.NO_ROUTE].cure}",
    ]
    shown = json.loads(done.stdout)["error"]
    assert shown["elaboration"] == CannotDelete.cure
    assert shown["cause"]["elaboration"] == REASONS[ReasonCode.NO_ROUTE].cure


def test_a_node_that_is_not_there_is_code_3(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = str(closed.getsockname()[1])
    done = bs_cli(tmp_path, "--port", port, "LogInByAccount", "accountName=admin", stdin="x\n")
    assert done.returncode == 3
    assert f"http://127.0.0.1:{port} cannot be reached\n  Connection refused" in done.stderr


def test_the_log_in_is_kept_for_its_owner_alone(node: Node, home: Path) -> None:
    session_file(home).unlink()
    done = bs_cli(home, "--url", node.url, "LogInByAccount", "accountName=admin", stdin=f"{PASSWORD}\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "logged in as admin; the session ends on Nov 24, 2036 2:50:54 PM unless it is used\n"
    file = session_file(home)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert PASSWORD not in file.read_text()
    other = bs_cli(home, "--url", "http://localhost:1", "QueryBackupStorage")
    assert other.returncode == 2
    assert f"the log-in that is kept is for {node.url}" in other.stderr
    file.chmod(0o640)
    refused = bs_cli(home, "QueryBackupStorage")
    assert refused.returncode == 2
    assert "others may read or own it; remove it and log in again" in refused.stderr
    file.chmod(0o600)
    file.write_text("nonsense")
    assert "is no log-in of bs-cli" in bs_cli(home, "QueryBackupStorage").stderr


def test_a_session_is_printed_for_whoever_asks_for_it(node: Node, tmp_path: Path) -> None:
    for form, begins in (
        ("json", '{\n    "inventory": {'),
        ("yaml", "inventory:\n  accountUuid: "),
        ("tsv", "accountUuid\t"),
    ):
        words = ("--url", node.url, "LogInByAccount", "accountName=admin", "--output", form)
        done = bs_cli(tmp_path, *words, stdin=f"{PASSWORD}\n")
        assert done.stdout.startswith(begins)
        assert SESSION in done.stdout


def test_the_password_may_come_from_a_file(node: Node, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(f"{PASSWORD}\n")
    words = ("--url", node.url, "LogInByAccount", "accountName=admin", f"password=@{secret}")
    assert bs_cli(tmp_path, *words).returncode == 0
    assert bs_cli(tmp_path, *words[:-1], stdin="wrong\n").returncode == 3
    assert bs_cli(tmp_path, "QueryBackupStorage", "count=true").returncode == 0


def test_log_out_ends_the_session_that_is_kept(node: Node, home: Path) -> None:
    assert bs_cli(home, "LogOut", f"sessionUuid={'1' * 32}").returncode == 0
    assert session_file(home).exists()
    assert bs_cli(home, "LogOut").returncode == 0
    assert node.effects == [f"log out {'1' * 32}", f"log out {SESSION}"]
    assert not session_file(home).exists()
    done = bs_cli(home, "--url", node.url, "QueryBackupStorage")
    assert done.returncode == 2
    assert f"not logged in to {node.url}: `bs-cli LogInByAccount" in done.stderr


def test_an_expired_session_is_forgotten_but_not_its_place(node: Node, home: Path) -> None:
    kept = json.loads(session_file(home).read_text())
    session_file(home).write_text(json.dumps({**kept, "uuid": "e" * 32}))
    done = bs_cli(home, "QueryBackupStorage")
    assert done.returncode == 3
    assert "ID.1001" in done.stderr
    assert "\n  -> Log in again: `bs-cli LogInByAccount accountName=admin`.\n" in done.stderr
    again = bs_cli(home, "QueryBackupStorage")
    assert again.returncode == 2
    assert f"not logged in to {node.url}" in again.stderr
    assert bs_cli(home, "LogInByAccount", "accountName=admin", stdin=f"{PASSWORD}\n").returncode == 0


@pytest.mark.skipif(bool(mounts.missing()), reason=mounts.missing())
def test_an_expired_session_that_cannot_be_forgotten_is_told_all_the_same(node: Node, home: Path) -> None:
    kept = json.loads(session_file(home).read_text())
    session_file(home).write_text(json.dumps({**kept, "uuid": "e" * 32}))
    with mounts.bound(home, home):
        mounts.mount("none", home, "-o", "remount,bind,ro")
        done = bs_cli(home, "QueryBackupStorage")
    assert done.returncode == 3
    assert ("ID.1001" in done.stderr, "the log-in is not kept" in done.stderr) == (True, True)


@pytest.mark.parametrize(
    ("redirection", "code", "said"),
    [
        (">/dev/full", 3, "the output cannot be written: No space left on device; what was asked for may be done"),
        (">&-", 0, ""),
        ("2>&-", 0, ""),
        ("<&-", 0, ""),
    ],
)
def test_closed_and_full_streams(node: Node, home: Path, redirection: str, code: int, said: str) -> None:
    line = f"{shlex.join([*BS_CLI, 'QueryBackupStorage'])} {redirection}"
    done = subprocess.run(
        ["/bin/sh", "-c", line], env=environment(home), capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr.strip()) == (code, said)


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("LogInByAccount accountName=admin password=hunter2", False),
        ("LogInByAcount accountName=admin password=hunter2", False),
        ("loginbyaccount password=hunter2", False),
        ("--json LogInByAccount password=hunter2", False),
        ("bs-cli LogInByAccount password=hunter2", False),
        ("LogInByAccount accountName=admin password=@file", True),
        ("QueryBackupStorage name=password", True),
        (" QueryBackupStorage", False),
    ],
)
def test_lines_with_secrets_are_not_kept(line: str, kept: bool) -> None:
    assert may_be_kept(line) is kept


def test_nothing_secret_shows_among_the_processes(node: Node, tmp_path: Path) -> None:
    node.mute = True
    words = [*BS_CLI, "--url", node.url, "LogInByAccount", "accountName=admin"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, env=environment(tmp_path), text=True) as child:
        assert child.stdin is not None
        child.stdin.write(f"{PASSWORD}\n")
        child.stdin.close()
        deadline = time.monotonic() + 20
        while not node.requests and time.monotonic() < deadline:
            time.sleep(0.02)
        shown = b"".join(Path(f"/proc/{child.pid}/{name}").read_bytes() for name in ("cmdline", "environ"))
        child.send_signal(signal.SIGINT)
        assert child.wait(20) == 130
    assert node.requests
    assert PASSWORD.encode() not in shown
    assert b"accountName=admin" in shown


def test_a_reader_that_leaves_early_is_no_fault(node: Node, home: Path) -> None:
    node.inventories *= 2000
    with subprocess.Popen(
        [*BS_CLI, "QueryBackupStorage"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(home),
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.read(10) == b'{\n    "inv'
        child.stdout.close()
        assert child.wait(30) == 141
        assert child.stderr.read() == b""


def test_help_and_version(tmp_path: Path) -> None:
    assert bs_cli(tmp_path, "--version").stdout == f"bs-cli {__version__}\n"
    general = bs_cli(tmp_path, "--help").stdout
    assert all(name in general for name in APIS)
    assert "Examples:" in general
    one = bs_cli(tmp_path, "DeleteBackupStorage", "--help")
    assert (one.returncode, one.stdout) == (0, command_help(APIS["DeleteBackupStorage"]) + "\n")
    wrong = bs_cli(tmp_path, "DeleteBackup", "--help")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "did you mean DeleteBackupStorage?" in wrong.stderr


@pytest.mark.parametrize("api", APIS.values(), ids=lambda api: api.name)
def test_the_help_of_a_command_has_an_example_that_the_command_line_takes(api: Api) -> None:
    text = command_help(api)
    assert f"  {api.summary}" in text
    _, _, example = text.partition("Example:\n")
    program, name, *words = shlex.split(example)
    assert (program, name) == ("bs-cli", api.name)
    assert ACTIONS[api.name](**parse_words(api, words, lambda _: "x" * 20)).check() is None
