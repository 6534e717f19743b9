"""Kills and failing system calls at every write of the journal: a command that was accepted has exactly one effect."""

import asyncio
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from bs_agent.contract.report import Command, CommandState
from tests.agent.asking import MARKER, clean, connect, report
from tests.agent.conftest import UUID, tree
from tests.beds import faults
from tests.beds.agent import AgentClient, AgentProcess, client_of

pytestmark = pytest.mark.asyncio

# A cleanup commits four times: accepted, running, step done, all done. One more must leave it untouched.
COMMITS = 4


@pytest.fixture
def process(tmp_path: Path, tls: Path) -> Iterator[AgentProcess]:
    if why := faults.missing():
        pytest.skip(why)
    process = AgentProcess(tmp_path / "agent", {"probe": {"interval": 60.0, "deadline": 10.0}})
    shutil.copytree(tls, process.state / "tls")
    with process:
        yield process


async def _send_cleanup(client: AgentClient, number: int) -> Command | None:
    """Return the accepted command, or None when it was not accepted or nobody knows."""
    try:
        answer = await client.ask("POST", f"/v1/storages/{UUID}/cleanup", {"commandUuid": f"{number:032x}"})
    except aiohttp.ClientError:
        return None
    return Command.model_validate(answer.body) if answer.status == 202 else None


async def _known(client: AgentClient, number: int) -> bool:
    return (await client.ask("GET", f"/v1/commands/{number:032x}")).status == 200


async def _check_one_effect(client: AgentClient, number: int, accepted: Command | None, directory: Path) -> None:
    """See that an accepted command is known, and that sending it again ends well with nothing left behind."""
    if accepted:
        assert await _known(client, number)
    command = await clean(client, number)
    assert command.state == CommandState.DONE, command
    assert all(step.done for step in command.steps)
    assert MARKER not in tree(directory)
    assert (await report(client)).storages == []


@pytest.mark.parametrize("when", range(1, COMMITS + 2))
async def test_a_kill_at_each_commit(process: AgentProcess, directory: Path, when: int) -> None:
    before = tree(directory)
    enrollment = process.enroll()
    async with client_of(process.address, enrollment) as client:
        await connect(client, directory)
        with faults.injected(process.pid, "fdatasync", f"signal=KILL:when={when}"):
            accepted = await _send_cleanup(client, 1)
            killed = await _died(process)
        assert killed == (when <= COMMITS)
        if killed:
            process.start()
        await _check_one_effect(client, 1, accepted, directory)
        assert tree(directory) == before


async def _died(process: AgentProcess) -> bool:
    """Wait for the kill, or see that there was none."""
    for _ in range(150):
        if process.poll() is not None:
            return process.poll() == -signal.SIGKILL
        await asyncio.sleep(0.02)
    return False


@pytest.mark.parametrize(
    ("calls", "error", "times"), [("fdatasync", "EIO", 6), ("pwrite64", "ENOSPC", 12), ("pwrite64", "EROFS", 12)]
)
async def test_failing_calls_at_each_place(
    process: AgentProcess, directory: Path, calls: str, error: str, times: int
) -> None:
    before = tree(directory)
    enrollment = process.enroll()
    async with client_of(process.address, enrollment) as client:
        for when in range(1, times + 1):
            await connect(client, directory)
            with faults.injected(process.pid, calls, f"error={error}:when={when}"):
                accepted = await _send_cleanup(client, when)
                assert accepted or when < times
                assert not accepted or when > 1
                if accepted:
                    await _check_one_effect(client, when, accepted, directory)
            await _check_one_effect(client, when, accepted, directory)
            assert tree(directory) == before
        assert process.poll() is None


async def test_connect_is_whole_or_not_at_all_when_the_disk_fails(process: AgentProcess, directory: Path) -> None:
    before = tree(directory)
    async with client_of(process.address, process.enroll()) as client:
        for when in range(1, 9):
            with faults.injected(process.pid, "fdatasync,pwrite64", f"error=EIO:when={when}"):
                answer = await connect(client, directory)
            assert when > 1 or answer.status == 503
            served = [storage.uuid for storage in (await report(client)).storages]
            assert served == ([UUID] if answer.status == 200 else [])
            assert (MARKER in tree(directory)) == (answer.status == 200)
            if answer.status == 200:
                await clean(client, when)
            assert tree(directory) == before


async def test_kills_at_any_time(process: AgentProcess, directory: Path) -> None:
    """Connect and clean in a loop while the agent is killed again and again."""
    seed = time.time_ns()
    print("seed", seed)
    chance = random.Random(seed)  # noqa: S311  it is for the tests
    before = tree(directory)
    enrollment = process.enroll()
    for number in range(1, 9):
        async with client_of(process.address, enrollment) as client:
            killing = asyncio.create_task(_kill_after(process, chance.uniform(0.0, 0.06)))
            accepted = await _connect_and_clean(client, directory, number)
            await killing
            process.start()
            if accepted:
                await _check_one_effect(client, number, accepted, directory)
            else:
                # Accepted all the same, perhaps: then only the answer was lost, and the agent goes on by itself.
                if not await _known(client, number):
                    assert (await connect(client, directory)).status == 200
                await _check_one_effect(client, number, None, directory)
            assert tree(directory) == before


async def _kill_after(process: AgentProcess, delay: float) -> None:
    await asyncio.sleep(delay)
    process.kill()


async def _connect_and_clean(client: AgentClient, directory: Path, number: int) -> Command | None:
    try:
        await connect(client, directory)
    except aiohttp.ClientError:
        return None
    return await _send_cleanup(client, number)
