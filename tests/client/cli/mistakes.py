"""Mistakes that people make, made: what they did, and what the programs say to it.

`docs/mistakes.md` is written from them; whoever adds a message of a kind that is not here adds the mistake.
"""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from click.testing import CliRunner

from bs_agent.agent.main import main as bs_agent
from bs_agent.client.cli.cli import main as bs_cli
from bs_agent.management.main import main as bs_management
from tests.beds.node import free_port
from tests.client.certificate import make_certificate
from tests.client.cli.conftest import Operator

PROGRAMS: dict[str, click.Command] = {"bs-agent": bs_agent, "bs-management": bs_management}
SUBJECTS = ("Reaching the management node", "Logging in", "Naming things", "Conditions and values", "Adding a storage",
            "Deleting", "On a storage host", "On the management node")  # fmt: skip


@dataclass(frozen=True)
class Bed:
    """Where mistakes are made: a node and an agent that run, and files that are not as they should be."""

    operator: Operator
    folder: Path
    closed: int

    def shown(self, text: str) -> str:
        """Return a text without what is another in each run."""
        node, agent = self.operator.node, self.operator.agent
        for found, put in {
            f"127.0.0.1:{node.port}": "127.0.0.1:8080",
            str(agent.address): "127.0.0.1:7765",
            f"127.0.0.1:{self.closed}": "127.0.0.1:9",
            f"({self.operator.home}/images/": "(/data/",
            f"{self.operator.home}/images": "/data",
            str(self.operator.home): "~",
            str(self.folder): "/tmp",
            str(agent.folder): "/etc/bs-agent",
            sys.executable: "python3",
        }.items():
            text = text.replace(found, put)
        text = text.replace(str(self.closed), "9")
        return re.sub(r"\b[0-9a-f]{32}\b", "1ab3b836a88342e1bbc1b1a17d092f0f", text)


@dataclass(frozen=True)
class Mistake:
    """What somebody did, in words and as a command line; `{...}` in it is filled in by the bed."""

    subject: str
    did: str
    line: str
    code: int
    stdin: str = ""
    around: Callable[[Bed], contextlib.AbstractContextManager[None]] = lambda _: contextlib.nullcontext()


@dataclass(frozen=True)
class Told:
    """What a program says: the message, and what is to be done."""

    code: int
    message: str
    cure: str


def make(mistake: Mistake, bed: Bed) -> Told:
    """Make a mistake and return what is said to it."""
    node, agent = bed.operator.node, bed.operator.agent
    places = {
        "node": f"127.0.0.1:{node.port}", "agent": agent.address, "closed": f"127.0.0.1:{bed.closed}",
        "port": bed.closed, "folder": bed.folder, "data": bed.operator.home / "images", "state": agent.state,
    }  # fmt: skip
    program, *words = (word.format(**places) for word in mistake.line.split(" "))
    with mistake.around(bed):
        code, said = _run(program, words, bed.operator.home, mistake.stdin.format(password=node.password))
    message, cure = _split(bed.shown(said))
    return Told(code, message, cure)


def _run(program: str, words: Sequence[str], home: Path, stdin: str) -> tuple[int, str]:
    """Run a program in this process, as it is much quicker so; a daemon in one of its own."""
    if words[:1] == ["run"]:
        command = [sys.executable, "-m", {"bs-agent": "bs_agent.agent"}.get(program, "bs_agent.management.main")]
        done = subprocess.run([*command, *words], capture_output=True, check=False, text=True, timeout=60)
        return done.returncode, done.stderr
    runner = CliRunner(env={"HOME": str(home), "XDG_STATE_HOME": None, "BS_CLI_URL": None, "BS_CLI_CA_FILE": None})
    if program in PROGRAMS:
        result = runner.invoke(PROGRAMS[program], list(words), input=stdin, prog_name=program)
        return result.exit_code, result.stderr or result.stdout
    with runner.isolation(input=stdin) as (_, err, _both):
        code: object = 0
        try:
            bs_cli(words)
        except SystemExit as left:
            code = left.code
        return int(str(code)), err.getvalue().decode()


def _split(said: str) -> tuple[str, str]:
    """Tell what was seen from what is to be done: behind an arrow, or at the end of the sentence of a wrong usage."""
    lines = [line.strip() for line in said.strip().splitlines() if not line.startswith("Usage:") and line.strip()]
    cures = [line.removeprefix("-> ") for line in lines if line.startswith("-> ")]
    rest = [line for line in lines if not line.startswith("-> ")]
    if cures:
        return " / ".join(rest), " / ".join(cures)
    whole = " ".join(rest)
    for mark in (" -> ", "; ") if len(rest) > 1 else (" -> ", "; ", ": "):  # the API's errors have several lines
        message, found, cure = whole.rpartition(mark)
        if found:
            return message, cure
    return whole, ""


@contextlib.contextmanager
def logged_out(bed: Bed) -> Iterator[None]:
    """Keep no session."""
    file = bed.operator.home / ".local/state/bs-cli/session"
    aside = file.rename(file.with_name("aside"))
    try:
        yield
    finally:
        aside.replace(file)


@contextlib.contextmanager
def expired(bed: Bed) -> Iterator[None]:
    """Keep a session that nobody knows any more."""
    with logged_out(bed):
        file = bed.operator.home / ".local/state/bs-cli/session"
        file.touch(mode=0o600)
        file.write_text(json.dumps({"url": bed.operator.node.url, "uuid": "e" * 32, "account": "admin"}))
        yield


@contextlib.contextmanager
def agent_away(bed: Bed) -> Iterator[None]:
    """Stop the agent."""
    bed.operator.agent.stop()
    try:
        yield
    finally:
        bed.operator.agent.start()


@contextlib.contextmanager
def made(operator: Operator, folder: Path) -> Iterator[Bed]:
    """Lay the bed: two storages of one name, one of another, and files that are wrong."""
    code = operator.agent.enroll().code
    files: Mapping[str, str] = {
        "typo.toml": "[probe]\nintervall = 5\n",
        "torn.toml": "[server\nlisten = 1\n",
        "code": f"agentEnrollment::{code}\n",
        "new": f"agentEnrollment::{operator.agent.enroll().code}\n",
        "cut": f"agentEnrollment::{code[:40]}\n",
        "secret": "wrong password\n",
    }
    for name, text in files.items():
        (folder / name).touch(mode=0o600)
        (folder / name).write_text(text)
    make_certificate(folder)
    uuids = [operator.add(name) for name in ("images", "twin-a", "twin-b")]
    for uuid in uuids[1:]:
        operator.cli("UpdateBackupStorage", f"uuid={uuid}", "name=twin")
    (operator.home / "images" / "twin").mkdir(exist_ok=True)
    try:
        yield Bed(operator, folder, free_port())
    finally:
        for uuid in uuids:
            operator.cli("DeleteBackupStorage", f"uuid={uuid}", "deleteMode=Enforcing")


def other_names_are_unknown() -> bool:
    """Tell whether names that nobody has are said to be unknown here, and not that nobody can be asked."""
    try:
        socket.getaddrinfo("nowhere.invalid", 443)
    except socket.gaierror as error:
        return error.errno == socket.EAI_NONAME
    return False


def page_variable() -> bool:
    """Tell whether the page is to be written, and not compared."""
    return os.environ.get("WRITE_DOCS") == "1"
