"""What an operator types or a disk gives back that nobody expects: a sentence says it, and who looks writes nothing."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from bs_agent.agent.config import AgentSettings
from bs_agent.agent.journal import database
from bs_agent.agent.local_report import local_report
from bs_agent.agent.state import StateError
from bs_agent.agent.storages.imagestore import Memory
from bs_agent.contract.report import HostReport
from bs_agent.daemon.configuration import BAD_CONFIGURATION, MAX_FILE
from tests.agent.asking import connect, refusal
from tests.agent.conftest import UUID, running_agent
from tests.beds.agent import ROOT, AgentClient, AgentProcess

DIGITS = "9" * 5000
CEPH_ROW = {"type": "Ceph", "poolName": "images", "writeProbe": True}
INSERT_AND_DIE = """
import os, signal, sqlite3, sys
journal = sqlite3.connect(sys.argv[1], isolation_level=None)
journal.execute("INSERT INTO storages (uuid, parameters) VALUES (?, ?)", sys.argv[2:])
os.kill(os.getpid(), signal.SIGKILL)
"""


def _run(*arguments: str | bytes, cwd: Path = ROOT, **environment: str | bytes) -> "subprocess.CompletedProcess[bytes]":
    clean: dict[str, str | bytes] = {key: value for key, value in os.environ.items() if "BS_AGENT" not in key}
    command = [sys.executable, "-m", "bs_agent.agent", *arguments]
    path = {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, capture_output=True, check=False, cwd=cwd, env={**clean, **path, **environment}, timeout=30
    )


def _says_one_sentence(done: "subprocess.CompletedProcess[bytes]", *parts: str, status: int = 1) -> None:
    said = done.stderr.decode(errors="backslashreplace")
    assert done.returncode == status, said
    assert len(said.splitlines()) == 1, said
    assert len(said) < 1000
    for part in parts:
        assert part in said


@pytest.mark.parametrize("name", [b"/tmp/\xff", b"\xff\xfe", b"/tmp/\xed\xa0\x80"])
def test_a_directory_whose_name_is_not_utf_8_is_refused(tmp_path: Path, name: bytes) -> None:
    done = _run("report", "--set", f"state.directory={tmp_path}/state", "--directory", name)
    _says_one_sentence(done, "--directory", "not UTF-8")
    assert done.stdout == b""


def test_a_directory_whose_name_is_too_long_is_refused(tmp_path: Path) -> None:
    done = _run("report", "--set", f"state.directory={tmp_path}/state", "--directory", "/" + "x" * 5000)
    _says_one_sentence(done, "--directory", "5001 characters")


@pytest.mark.parametrize("name", ["ü / ☃ \n", "a" * 300, "x/" * 1000])
def test_a_directory_of_any_other_name_is_reported(tmp_path: Path, name: str) -> None:
    done = _run("report", "--set", f"state.directory={tmp_path}/state", "--directory", str(tmp_path / name))
    (storage,) = HostReport.model_validate_json(done.stdout).storages
    assert [reason.code for reason in storage.reasons()] in (["DirectoryMissing"], ["DirectoryNotAllowed"])


@pytest.mark.parametrize("command", [["report", "--directory", "here"], ["run", "--config", "agent.toml"]])
def test_a_folder_that_is_gone_is_told(tmp_path: Path, command: list[str]) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f'rmdir "{gone}" && exec "$@"'
    program = [sys.executable, "-m", "bs_agent.agent", *command]
    done = subprocess.run(
        ["sh", "-c", script, "sh", *program],
        capture_output=True,
        check=False,
        cwd=gone,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=30,
    )
    _says_one_sentence(done, command[-1], "the current folder cannot be told")


@pytest.mark.parametrize(
    "service", [DIGITS, f"127.0.0.1:{DIGITS}", "000080", "٣", "²", f"{'1' * 5000}:80", "-1", "+80"]
)
@pytest.mark.asyncio
async def test_a_service_that_is_none_is_refused(client: AgentClient, directory: Path, service: str) -> None:
    answer = await connect(client, directory, service=service)
    assert (answer.status, refusal(answer)) == (400, "SYS.1007")
    assert len(answer.body["error"]["details"]) < 300


@pytest.mark.parametrize(
    "assignment",
    [f"server.listen=127.0.0.1:{DIGITS}", f"probe.interval={DIGITS}", f"server.max_requests={DIGITS}", b"\xff.x=1"],
)
def test_a_value_that_is_none_is_refused(assignment: str | bytes) -> None:
    _says_one_sentence(_run("check-config", "--set", assignment), status=BAD_CONFIGURATION)


@pytest.mark.parametrize("key", ["state.directory", "probe.python", "ceph.conf", "ceph.run_dir", "ceph.keyring"])
def test_a_path_with_nul_is_refused(tmp_path: Path, key: str) -> None:
    section, _, name = key.partition(".")
    (tmp_path / "agent.toml").write_text(f'[{section}]\n{name} = "/a\\u0000b"\n')
    done = _run("check-config", "--config", str(tmp_path / "agent.toml"))
    _says_one_sentence(done, key, status=BAD_CONFIGURATION)


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe[\0s\0",
        b"a = " + b"[" * 5000,
        b"x" * (MAX_FILE + 1),
        b"\0",
        b"[server",
        b"a=" + DIGITS.encode(),
        b"[server]\nlisten = 1979-05-27",
        b"server = 3",
        b"[[server]]",
        b"server.listen.port = 1",
    ],
    # They stand in the environment of what is run, which has a bound.
    ids=["encoding", "deep", "large", "nul", "cut", "digits", "date", "number", "list", "nested"],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "agent.toml").write_bytes(content)
    _says_one_sentence(_run("check-config", "--config", str(tmp_path / "agent.toml")), status=BAD_CONFIGURATION)


def test_a_file_that_never_ends_is_refused() -> None:
    _says_one_sentence(_run("check-config", "--config", "/dev/zero"), "larger than", status=BAD_CONFIGURATION)


def _state(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Describe all that is in a folder: modes, times, contents."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mode,
            path.lstat().st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in sorted(folder.rglob("*"))
    }


def _old_journal(folder: Path) -> None:
    """Make the journal of a version whose tables were others."""
    folder.mkdir()
    with closing(sqlite3.connect(folder / "agent.db", isolation_level=None)) as journal:
        journal.execute("PRAGMA journal_mode = WAL")
        journal.execute(f"PRAGMA application_id = {database.APPLICATION_ID}")
        for statement in filter(str.strip, database.MIGRATIONS[0].split(";")):
            journal.execute(statement)
        journal.execute("PRAGMA user_version = 1")


def _killed_journal(folder: Path) -> None:
    """Leave the journal of an agent that was killed: what it wrote last is in the write-ahead log."""
    _old_journal(folder)
    command = [sys.executable, "-c", INSERT_AND_DIE, str(folder / "agent.db"), UUID, json.dumps(CEPH_ROW)]
    subprocess.run(command, check=False, timeout=30)


@pytest.mark.parametrize("made", [_old_journal, _killed_journal])
@pytest.mark.parametrize("command", [["report"], ["enrollments", "list"], ["doctor"]])
def test_who_only_looks_writes_nothing(tmp_path: Path, made: Callable[[Path], None], command: list[str]) -> None:
    made(tmp_path / "state")
    before = _state(tmp_path / "state")
    conf = ["--set", f"ceph.conf={tmp_path}/ceph.conf", "--set", "probe.interval=1", "--set", "probe.deadline=1"]
    done = _run(*command, "--set", f"state.directory={tmp_path}/state", *conf)
    assert b"Traceback" not in done.stderr
    assert _state(tmp_path / "state") == before
    if command == ["report"]:
        found = HostReport.model_validate_json(done.stdout).storages
        assert [storage.uuid for storage in found] == [UUID] * (made is _killed_journal)
        for storage in found:
            assert storage.type == "Ceph"
            assert storage.writeProbe is None


def _journal_with(state: Path, parameters: str | bytes, remembered: str | bytes | None) -> None:
    database.create(state / "agent.db")
    with closing(database.connect(state / "agent.db")) as journal:
        row = (UUID, parameters, remembered)
        journal.execute("INSERT INTO storages VALUES (?, CAST(? AS TEXT), CAST(? AS TEXT))", row)


PLACE = Memory(url="/a", realPath="/a", mount="/ /", fsid=1, device=1, readOnly=False).model_dump()
IMAGESTORE_ROW = json.dumps({"type": "ImageStoreBackupStorage", "url": "/a"})


@pytest.mark.parametrize(
    ("parameters", "remembered"),
    [
        ("", None),
        ("{", None),
        ("[" * 5000, None),
        (b"\xff\xfe", None),
        ('{"type": "Tape"}', None),
        (IMAGESTORE_ROW, '{"url": "/a"}'),
        (IMAGESTORE_ROW, "[]"),
        (IMAGESTORE_ROW, "3"),
        (IMAGESTORE_ROW, "[" * 100_000),
        (IMAGESTORE_ROW, b"\xff"),
        (IMAGESTORE_ROW, json.dumps({**PLACE, "fsid": "one"})),
        (json.dumps(CEPH_ROW), json.dumps(PLACE)),
    ],
)
@pytest.mark.asyncio
async def test_a_journal_that_was_spoilt_is_named(
    settings: AgentSettings, parameters: str | bytes, remembered: str | bytes | None
) -> None:
    _journal_with(settings.state.directory, parameters, remembered)
    for look in (lambda: local_report(settings, []), lambda: _start(settings)):
        with pytest.raises(StateError, match=r"^the journal .*agent\.db cannot be (read|used): .+$"):
            await look()


async def _start(settings: AgentSettings) -> None:
    async with running_agent(settings):
        pass


def test_a_spoilt_journal_is_one_sentence(settings: AgentSettings) -> None:
    _journal_with(settings.state.directory, IMAGESTORE_ROW, "[]")
    _says_one_sentence(_run("report", "--set", f"state.directory={settings.state.directory}"), f"storage {UUID}")


@pytest.mark.asyncio
async def test_a_journal_of_odd_names_is_read(settings: AgentSettings) -> None:
    place = {**PLACE, "realPath": "/\udcff", "mount": "/ /\udcff", "fsid": 2**64 - 1}
    _journal_with(settings.state.directory, IMAGESTORE_ROW, json.dumps(place))
    assert [storage.uuid for storage in (await local_report(settings, [])).storages] == [UUID]


def test_whoever_may_not_read_the_journal_is_told(tmp_path: Path) -> None:
    if os.geteuid() or not shutil.which("setpriv"):
        pytest.skip("only root can be somebody else")
    process = AgentProcess(tmp_path / "agent", {"server": {"listen": "127.0.0.1:7765"}})
    process.enroll()
    for parent in (process.folder, *process.folder.parents):
        if "pytest" in str(parent):
            parent.chmod(0o755)
    program = "import sys; from bs_agent.agent.main import main; main(sys.argv[1:])"
    python = Path(sys.executable).resolve()
    if any(part.stat().st_mode & 0o001 == 0 for part in (*python.parents, *ROOT.parents)):
        pytest.skip(f"other users may not run {python}")
    command = [sys.executable, "-c", program, "report", "--config", str(process.config)]
    done = subprocess.run(
        ["setpriv", "--reuid", "65534", "--clear-groups", *command], capture_output=True, check=False, timeout=30
    )
    _says_one_sentence(done, "the journal", "Permission denied")
