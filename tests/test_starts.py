"""What a program loads to do one thing: nothing heavy that this thing does not need, and few looks for garbage."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

MANAGEMENT, AGENT, CLI = "bs_agent.management.main", "bs_agent.agent.main", "bs_agent.client.cli.cli"
# Everything that takes more than some milliseconds to load, and that somebody here does without.
HEAVY = frozenset(
    {
        "aiohttp", "alembic", "argon2", "asyncio", "asyncssh", "cryptography", "prometheus_client", "prompt_toolkit",
        "psutil", "pydantic", "rich", "sqlalchemy",
        "bs_agent.contract.api", "bs_agent.contract.inventory", "bs_agent.management.api.routes",
    }
)  # fmt: skip
RAN = "import atexit, sys; atexit.register(lambda: print(*sys.modules, sep='\\n', file=sys.stderr)); "
SERVER = {"aiohttp", "asyncio", "cryptography", "prometheus_client", "pydantic"}


def loaded(statements: str, said: str = "") -> frozenset[str]:
    """Return what of the heavy a fresh Python has loaded once it has run these statements."""
    done = subprocess.run(
        [sys.executable, "-c", RAN + statements], input=said, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return HEAVY & set(done.stderr.split("\n"))


def running(program: str, *arguments: str) -> str:
    """Return the statements that run a program."""
    return f"from {program} import main; main({list(arguments)!r})"


@pytest.mark.parametrize(
    ("module", "needed"),
    [
        ("bs_agent.client.sdk", {"asyncio", "pydantic", "bs_agent.contract.inventory"}),
        ("bs_agent.agent.app", SERVER - {"cryptography"}),
        ("bs_agent.management.commands", {"argon2", "asyncio", "cryptography", "pydantic", "sqlalchemy"}),
        ("bs_agent.management.serve", HEAVY - {"alembic", "asyncssh", "psutil", "prompt_toolkit", "rich"}),
    ],
)
def test_a_program_loads_only_what_it_needs(module: str, needed: set[str]) -> None:
    assert loaded(f"import {module}") <= needed


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (AGENT, ["--version"]),
        (AGENT, ["--help"]),
        *((AGENT, [name, "--help"]) for name in ("run", "report", "enroll", "rotate-certificate", "doctor")),
        (MANAGEMENT, ["--version"]),
        (MANAGEMENT, ["--help"]),
        *((MANAGEMENT, [name, "--help"]) for name in ("run", "migrate", "set-password", "rotate-key", "move-host")),
        (CLI, ["--help"]),
    ],
)
def test_a_help_loads_nothing_heavy(program: str, words: Sequence[str]) -> None:
    assert loaded(running(program, *words)) <= {"asyncio"}


def test_the_commands_of_a_node_load_no_server_and_no_calls(tmp_path: Path) -> None:
    options = ["--set", f"state.directory={tmp_path}", "--set", f"database.url=sqlite:///{tmp_path}/management.db"]
    loaded(running(MANAGEMENT, "migrate", *options))
    commands = {"set-password": ["admin"], "migrate": [], "scrape-tokens": ["list"]}
    for name, words in commands.items():
        called = ["scrape-tokens", "list", *options] if name == "scrape-tokens" else [name, *options, *words]
        found = loaded(running(MANAGEMENT, *called), "a-long-password\n")
        assert not found & {"aiohttp", "alembic", "asyncssh", "prometheus_client", "bs_agent.contract.inventory"}, name
        assert "sqlalchemy" in found, "the command has done nothing"


def test_the_commands_of_an_agent_load_no_server(tmp_path: Path) -> None:
    options = ["--set", f"state.directory={tmp_path / 'state'}", "--set", "server.listen=127.0.0.1:7765"]
    for words in (["enroll", "--label", "node"], ["enrollments", "list"], ["check-config"]):
        assert not loaded(running(AGENT, *words, *options)) & {"aiohttp", "cryptography", "prometheus_client", "psutil"}
    assert not loaded(running(AGENT, "report", *options)) & {"cryptography", "prometheus_client", "psutil"}


DAEMON = """
import asyncio, gc, os, signal
from bs_agent.daemon import garbage, lifecycle

usual, seen = gc.get_threshold(), []

async def start(stack):
    seen.append(gc.get_threshold())
    os.kill(os.getpid(), signal.SIGTERM)

async def reload(): pass

def status():
    seen.append(gc.get_threshold())
    return ""

garbage.look_seldom()
asyncio.run(lifecycle.run(lifecycle.Daemon(start, reload, lambda: True, status)))
starting, *_, started = seen
assert gc.isenabled() and starting[0] > started[0] > usual[0] and gc.get_freeze_count()
"""


def test_a_daemon_looks_for_garbage_more_often_when_it_has_started() -> None:
    loaded(DAEMON)


@pytest.mark.parametrize("program", [AGENT, MANAGEMENT])
def test_a_command_looks_for_garbage_seldom(program: str) -> None:
    leave = "os._exit(0 if gc.isenabled() and gc.get_threshold()[0] > 100 * usual else 3)"
    begin = f"import atexit, gc, os; usual = gc.get_threshold()[0]; atexit.register(lambda: {leave}); "
    loaded(begin + running(program, "check-config"))
