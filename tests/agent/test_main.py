"""The agent's command line as an operator types it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from bs_agent import __version__
from bs_agent.agent.main import enrollments
from bs_agent.agent.main import main as agent
from bs_agent.contract.enrollment import decode
from bs_agent.contract.reasons import REASONS, ReasonCode
from bs_agent.contract.report import HostReport
from bs_agent.daemon.configuration import BAD_CONFIGURATION
from bs_agent.management.main import main as management
from tests.agent.asking import MARKER, connect
from tests.agent.conftest import UUID
from tests.beds.agent import ROOT, AgentProcess, client_of


def _run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    clean = {key: value for key, value in os.environ.items() if not key.startswith("BS_AGENT_")}
    return subprocess.run(
        [sys.executable, "-m", "bs_agent.agent", *arguments],
        capture_output=True,
        check=False,
        cwd=ROOT,
        env=clean | environment,
        text=True,
        timeout=30,
    )


COMMANDS = [
    "", "run", "report", "enroll", "check-config", "doctor", "rotate-certificate",
    "enrollments", "enrollments list", "enrollments remove",
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_each_help_has_an_example(command: str) -> None:
    done = _run(*command.split(), "--help")
    assert done.returncode == 0
    assert "Example:\n    bs-agent" in done.stdout
    assert not command or f"bs-agent {command}" in done.stdout.partition("Example:")[2]


def test_version() -> None:
    assert __version__ in _run("--version").stdout


def test_a_report_needs_no_server(tmp_path: Path, directory: Path) -> None:
    state = f"state.directory={tmp_path / 'state'}"
    done = _run("report", "--set", state, "--directory", str(directory), "--directory", str(tmp_path))
    assert done.returncode == 0, done.stderr
    report = HostReport.model_validate_json(done.stdout)
    truth = os.statvfs(directory)
    assert {storage.url for storage in report.storages if storage.type != "Ceph"} == {str(directory), str(tmp_path)}
    for storage in json.loads(done.stdout)["storages"]:
        assert storage["usage"]["value"]["totalCapacity"] == truth.f_blocks * truth.f_frsize
        assert storage["usage"]["reason"] is None
    assert not (tmp_path / "state").exists()
    assert not (directory / MARKER).exists()


def test_a_report_says_what_is_not_well(tmp_path: Path) -> None:
    done = _run("report", "--set", f"state.directory={tmp_path / 'state'}", "--directory", str(tmp_path / "missing"))
    assert done.returncode == 1
    assert json.loads(done.stdout)["storages"][0]["usage"]["reason"]["code"] == "DirectoryMissing"


@pytest.mark.asyncio
async def test_a_report_shows_the_storages_of_a_running_agent(tmp_path: Path, directory: Path) -> None:
    with AgentProcess(tmp_path / "agent") as process:
        async with client_of(process.address, process.enroll()) as client:
            await connect(client, directory)
        for _ in range(2):
            done = process.run("report")
            assert done.returncode == 0, done.stderr
            assert [storage["uuid"] for storage in json.loads(done.stdout)["storages"]] == [UUID]
            if process.poll() is None:
                process.stop()


def test_a_report_refuses_a_journal_that_it_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "agent.db").write_bytes(b"no journal" * 1000)
    done = _run("report", "--set", f"state.directory={tmp_path}")
    assert done.returncode == 1
    assert "damaged" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_enrolment_is_printed_for_people_and_for_programs(tmp_path: Path) -> None:
    process = AgentProcess(tmp_path / "agent")
    process.configure({"server": {"listen": "127.0.0.1:7765"}})
    first = process.enroll()
    assert decode(first.code) == (7765, first.token, first.fingerprint)
    done = process.run("enroll", "--label", "another")
    code = done.stdout.strip().removeprefix("agentEnrollment::")
    second = decode(code)
    assert second.fingerprint == first.fingerprint
    assert second.token != first.token
    assert second.token not in done.stderr
    for path in process.state.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize("label", ["", "x" * 201, "two\nlines"])
def test_a_label_that_cannot_be_kept_is_refused(tmp_path: Path, label: str) -> None:
    done = _run("enroll", "--label", label, "--set", f"state.directory={tmp_path / 'state'}")
    assert done.returncode == 1
    assert "label" in done.stderr
    assert not (tmp_path / "state").exists()


def test_without_a_port_there_is_nothing_to_enrol_with(tmp_path: Path) -> None:
    done = AgentProcess(tmp_path / "agent").run("enroll", "--label", "x")
    assert done.returncode == 1
    assert "server.listen" in done.stderr


@pytest.mark.parametrize("group", [agent, enrollments, management])
def test_the_list_of_commands_says_whole_sentences(group: click.Group) -> None:
    with group.make_context("program", ["--help"], resilient_parsing=True) as context:
        said = " ".join(group.get_help(context).split())
    for command in group.commands.values():
        first = " ".join((command.help or "").split("\n\n")[0].split()).partition(". ")[0]
        assert first.removesuffix(".") in said, command.name


def test_all_faults_are_named_at_once(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text('[server]\nlisten = "here"\n[probe]\ninterval = 0\n[log]\nlevel = "loud"\n[extra]\nkey = 1\n')
    done = _run("check-config", "--config", str(file))
    assert done.returncode == BAD_CONFIGURATION
    for key in ("line 2: server.listen", "line 4: probe.interval", "line 6: log.level", "line 7: extra"):
        assert f"{file}: {key}:" in done.stderr


def test_the_doctor_says_what_cures_a_configuration_that_does_not_hold(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    done = _run("doctor", "--config", str(file))
    cure = "Create it (an empty one is valid), or name another by --config."
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == f"FAIL  configuration {file}: cannot be read: No such file or directory -> {cure}\n"
    file.write_text("[probe]\ninterval = 0\nintervall = 1\n")
    done = _run("doctor", "--config", str(file), "--json")
    assert done.returncode == 1
    assert [(one["level"], one["subject"]) for one in json.loads(done.stdout)] == [("FAIL", "configuration")] * 2
    assert f"{file}: line 3: probe.intervall: there is no such key; did you mean interval?" in done.stdout
    assert "bs-agent check-config" in json.loads(done.stdout)[0]["cure"]


def test_the_doctor_prints_its_findings_as_json(tmp_path: Path) -> None:
    done = _run("doctor", "--json", "--set", f"state.directory={tmp_path}", "--set", "server.listen=127.0.0.1:0")
    found = json.loads(done.stdout)
    assert {frozenset(one) for one in found} == {frozenset(("level", "subject", "text", "cure"))}
    assert "python" in {one["subject"] for one in found}


def test_a_report_says_the_cure_of_what_is_not_well(tmp_path: Path) -> None:
    done = _run("report", "--set", f"state.directory={tmp_path}", "--directory", str(tmp_path / "gone"))
    assert done.returncode == 1
    assert "DirectoryMissing" in done.stderr
    assert f"-> {REASONS[ReasonCode.DIRECTORY_MISSING].cure}\n" in done.stderr


def test_layers_of_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text("")
    assert _run("check-config", "--config", str(file)).returncode == 0
    assert "cannot be read" in _run("check-config", "--config", str(tmp_path / "missing.toml")).stderr
    done = _run("check-config", "--config", str(file), BS_AGENT_PROBE_INTERVAL="0", BS_AGENT_PROBE_TYPO="1")
    assert "environment: BS_AGENT_PROBE_INTERVAL" in done.stderr
    assert "environment: BS_AGENT_PROBE_TYPO: there is no such setting" in done.stderr
    over = _run("check-config", "--config", str(file), "--set", "probe.interval=20", BS_AGENT_PROBE_INTERVAL="0")
    assert over.returncode == 0, over.stderr
    assert "SECTION.KEY=VALUE" in _run("check-config", "--config", str(file), "--set", "interval").stderr


@pytest.mark.parametrize(
    "assignment",
    [
        "probe.deadline=11",
        "probe.interval=-1",
        "probe.interval=inf",
        "server.listen=127.0.0.1:65536",
        "server.max_connections=0",
        "state.directory=relative",
        "ceph.client=admin",
        "log.format=xml",
    ],
)
def test_a_wrong_value_is_refused(assignment: str) -> None:
    done = _run("check-config", "--set", assignment)
    assert done.returncode == BAD_CONFIGURATION
    assert assignment.partition(".")[0] in done.stderr


def test_root_leaves_no_files_of_its_own_to_the_daemon(tmp_path: Path, tls: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give a directory away")
    process = AgentProcess(tmp_path / "agent", {"server": {"listen": "127.0.0.1:7765"}})
    shutil.copytree(tls, process.state / "tls")
    for path in (process.state, *process.state.rglob("*")):
        os.chown(path, 12345, 12345)
    for parent in process.state.parents:
        if "pytest" in str(parent):
            parent.chmod(0o755)
    process.enroll()
    assert {path.stat().st_uid for path in process.state.rglob("*")} == {12345}
    assert (process.state / "agent.db").exists()
