"""bs-cli in a terminal: the interactive prompt and its completion, tables, the password, the live view."""

import json
import stat
from pathlib import Path

import pytest

from tests.client.fleet import STORE
from tests.client.node import PASSWORD, SESSION, Node
from tests.client.terminal import BS_CLI, bs_cli, terminal

UUID = str(STORE["uuid"])


@pytest.fixture
def home(node: Node, tmp_path: Path) -> Path:
    """A user who is logged in."""
    state = tmp_path / ".local/state/bs-cli"
    state.mkdir(mode=0o700, parents=True)
    (state / "session").touch(mode=0o600)
    (state / "session").write_text(json.dumps({"url": node.url, "uuid": SESSION, "account": "admin"}))
    return tmp_path


def prompt(node: Node) -> str:
    return f"admin@{node.url.removeprefix('http://')}>"


def test_tab_shows_fields_tables_operators_values_and_names(node: Node, home: Path) -> None:
    with terminal(home, BS_CLI) as screen:
        screen.expect("Tab completes", prompt(node))
        screen.send("querybackup\t\t")
        shown = screen.expect("Across tables:", "Fields:", "Parameters:", "userTags=")
        assert "mons.  zone." in shown
        assert "availableCapacity=" in shown
        screen.send("status\t")
        assert "status!~=" in screen.expect("Operators:", "status!?=")
        screen.send("=Con\t\t")
        screen.expect("Values:", "Connecting  Connected")
        screen.send("ed zone.na\tz1 fields=na\tsta\t\t")
        screen.expect("state,         status,", prompt(node))
        screen.send("e\r")
        screen.expect("0 found", prompt(node))
        assert node.requests[-1][1].endswith("?q=status%3DConnected&q=zone.name%3Dz1&fields=name%2Cstate")
        screen.send("DeleteBackupStorage uuid=\t")
        screen.expect("Values:", f"{UUID}  image-store", "ceph-bs")
        screen.send("1a\t")
        screen.expect(UUID[2:])
        screen.send("deleteMode=e\t\r")
        screen.expect("done", prompt(node))
        assert f"DELETE /backup-storage/{UUID}" in node.effects
        deletes = [path for method, path in node.requests if method == "DELETE"]
        assert deletes[0].startswith(f"/zstack/v1/backup-storage/{UUID}?deleteMode=Enforcing")
        screen.send("\x04")
        assert screen.end() == 0


def test_a_session_from_log_in_to_exit_leaves_no_secret_behind(node: Node, tmp_path: Path) -> None:
    with terminal(tmp_path, [*BS_CLI, "--url", node.url]) as screen:
        screen.expect(">")
        screen.send("QueryBackupStorage\r")
        screen.expect("not logged in to")
        screen.send(f"LogInByAccount accountName=admin password={PASSWORD.replace(' ', '')}\r")
        screen.expect("password is a secret")
        screen.send("LogInByAccount accountName=admin\r")
        screen.expect("password: ")
        screen.send(f"{PASSWORD}\r")
        assert PASSWORD not in screen.expect("logged in as admin", prompt(node))
        screen.send(" QueryBackupStorage status=Connected --json\r")
        assert '"name": "image-store"' in screen.expect('"success": true', prompt(node))
        screen.send(f"ReconnectBackupStorage uuid={UUID}\r")
        screen.expect("9.1 TiB (9992857976832 bytes)", prompt(node))
        screen.send(f"ReconnectBackupStorage uuid={'0' * 32}\r")
        screen.expect("SYS.1003: Unable to find", prompt(node))
        screen.send("Quer 'open\r")
        screen.expect("close the quotation")
        screen.send("help DeleteBackupStorage\r")
        screen.expect("one of Permissive, Enforcing")
        screen.send("LogOut\r")
        screen.expect("done")
        screen.send("exit\r")
        assert screen.end() == 0
    history = tmp_path / ".local/state/bs-cli/history"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    text = history.read_text()
    assert "LogInByAccount accountName=admin\n" in text
    assert "password" not in text
    assert "--json" not in text


def test_ctrl_c_clears_the_line_and_leaves_a_running_job(node: Node, home: Path) -> None:
    node.polls = 10_000
    with terminal(home, BS_CLI) as screen:
        screen.expect(prompt(node))
        screen.send("nonsense\x03")
        screen.expect(prompt(node))
        screen.send(f"ReconnectBackupStorage uuid={UUID}\r")
        screen.expect("Ctrl-C leaves it to the management node")
        screen.send("\x03")
        (job,) = node.jobs
        screen.expect(f"job {job} goes on at the management node", prompt(node))
        screen.send("\x04")
        assert screen.end() == 0


def test_one_command_in_a_terminal_prints_a_table(node: Node, home: Path) -> None:
    node.inventories[1]["name"] = "\x1b]0;evil\x07[red]"
    with terminal(home, [*BS_CLI, "QueryBackupStorage"], columns=130) as screen:
        assert screen.end() == 0
        shown = screen.shown
    lines = shown.splitlines()
    assert lines[0].split() == ["name", "type", "status", "available", "total", "uuid"]
    assert lines[1].split() == ["image-store", "ImageStoreBackupStorage", "Connected", "4.5", "TiB", "9.1", "TiB", UUID]
    assert "Disconnected" in shown
    assert "(NoQuorum)" in shown
    assert "\N{REPLACEMENT CHARACTER}]0;evil\N{REPLACEMENT CHARACTER}[red]" in shown
    assert lines[-1] == "2 found"


def test_a_narrow_terminal_shows_one_below_the_other(node: Node, home: Path) -> None:
    node.inventories[1]["name"] = "東京"
    with terminal(home, [*BS_CLI, "QueryBackupStorage"], columns=60) as screen:
        assert screen.end() == 0
        lines = screen.shown.splitlines()
    assert f"uuid               {UUID}" in [line.rstrip() for line in lines]
    assert "name               東京" in [line.rstrip() for line in lines]
    assert lines[-1] == "2 found"


def test_the_password_is_asked_without_an_echo(node: Node, tmp_path: Path) -> None:
    with terminal(tmp_path, [*BS_CLI, "--url", node.url, "LogInByAccount", "accountName=admin"]) as screen:
        screen.expect("password: ")
        screen.send(f"{PASSWORD}\r")
        assert screen.end() == 0
        assert "logged in as admin; the session ends on Nov 24, 2036" in screen.shown
        assert PASSWORD not in screen.shown
        assert SESSION not in screen.shown


def test_ctrl_c_while_a_job_runs_is_code_130(node: Node, home: Path) -> None:
    node.polls = 10_000
    with terminal(home, [*BS_CLI, "DeleteBackupStorage", f"uuid={UUID}"]) as screen:
        screen.expect("DeleteBackupStorage: ")
        screen.send("\x03")
        assert screen.end() == 130
        assert "goes on at the management node" in screen.shown


def test_the_live_view_follows_the_fleet(node: Node, home: Path) -> None:
    with terminal(home, [*BS_CLI, "--watch", "--interval", "0.2"]) as screen:
        shown = screen.expect("1 of 2 connected", "image-store", "51%", "━")
        assert shown.index("ceph-bs") < shown.index("image-store")
        node.inventories[1]["status"] = "Connected"
        screen.expect("2 of 2 connected")
        node.canned = (503, '{"error":{"code":"SYS.1000","description":"d","details":"it is broken"}}')
        screen.expect("SYS.1000: it is broken; seen", "image-store")
        node.canned = None
        node.inventories[:] = []
        screen.expect("0 of 0 connected")
        screen.send("\x03")
        assert screen.end() == 0


def test_a_live_view_that_cannot_begin_says_why(node: Node, home: Path) -> None:
    with terminal(home, [*BS_CLI, "--watch", "ReconnectBackupStorage"]) as screen:
        assert screen.end() == 2
        assert "--watch shows what a query finds" in screen.shown
    node.canned = (503, '{"error":{"code":"ID.1001","description":"The session is invalid"}}')
    with terminal(home, [*BS_CLI, "--watch"]) as screen:
        assert screen.end() == 3
        assert "ID.1001: The session is invalid" in screen.shown


def test_the_history_is_bounded(node: Node, home: Path) -> None:
    history = home / ".local/state/bs-cli/history"
    history.write_text("".join(f"\n# 2026-11-24 04:43:45.820762\n+Query {number}\n" for number in range(10_000)))
    with terminal(home, BS_CLI) as screen:
        screen.expect(prompt(node))
        screen.send("\x04")
        assert screen.end() == 0
    assert history.stat().st_size <= 128 * 1024
    assert history.read_text().startswith("# 2026")
    assert history.read_text().endswith("+Query 9999\n")


def test_a_home_that_cannot_be_written_costs_only_what_is_kept(node: Node, tmp_path: Path) -> None:
    (tmp_path / ".local").write_text("a file where a directory should be")
    done = bs_cli(tmp_path, "--url", node.url, "LogInByAccount", "accountName=admin", "--json", stdin=f"{PASSWORD}\n")
    assert done.returncode == 0
    assert "Not a directory; the log-in is not kept" in done.stderr
    assert json.loads(done.stdout)["inventory"]["uuid"] == SESSION
