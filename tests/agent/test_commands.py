"""Commands over crashes and a slow disk: resumed where that is safe, interrupted where it is not, refused for good."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from typing import Any

import pytest

from bs_agent.agent import commands
from bs_agent.agent.commands import Commands
from bs_agent.agent.config import AgentSettings
from bs_agent.agent.journal import commands as command_store
from bs_agent.agent.journal import database, journal, numbers
from bs_agent.agent.journal.journal import Journal
from bs_agent.agent.probing.reporter import Reporter
from bs_agent.agent.served import Served
from bs_agent.agent.state import prepare
from bs_agent.agent.storages import kinds
from bs_agent.agent.storages.base import Host, Probe
from bs_agent.agent.trust.enrollment import enroll
from bs_agent.contract.errors import CommandConflict, StorageProblem
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import (
    IMAGESTORE,
    CleanupRequest,
    Command,
    CommandState,
    ImageStoreParameters,
    ImageStoreReport,
    Section,
    Step,
)
from tests.agent.conftest import UUID, eventually

pytestmark = pytest.mark.asyncio

COMMAND = "c" * 32
OTHER_COMMAND = "d" * 32
PARAMETERS = ImageStoreParameters(url="/data")


@dataclass
class Shelf:
    """A kind of storage whose cleanup has one step that may run twice and one that may not."""

    uuid: str = UUID
    kind: str = IMAGESTORE
    probes: tuple[Probe, ...] = ()
    cleaned: list[str] = field(default_factory=list)
    problem: Exception | None = None
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def report(self, sections: Mapping[str, Section[Any]]) -> ImageStoreReport:
        return ImageStoreReport(uuid=self.uuid, url="/data", usage=Section())

    async def connect(self, others: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return {}

    async def plan_cleanup(self) -> list[Step]:
        return [Step(action="wipe", target="a"), Step(action="once", target="b")]

    async def clean(self, step: Step) -> None:
        await self.gate.wait()
        if self.problem:
            raise self.problem
        self.cleaned.append(step.target)

    def repeatable(self, step: Step) -> bool:
        return step.action != "once"

    async def close(self) -> None:
        self.cleaned.append("closed")


@dataclass
class Bench:
    """The parts that commands need, over a journal on disk."""

    shelf: Shelf
    journal: Journal
    served: Served
    commands: Commands
    enrollment: str

    async def finished(self, uuid: str = COMMAND) -> Command:
        command = await self.until(lambda found: found is not None and found.finishedAt is not None, uuid)
        assert command
        return command

    async def until(self, so: Callable[[Command | None], bool], uuid: str = COMMAND) -> Command | None:
        for _ in range(3000):
            if so(command := await self.commands.find(uuid)):
                return command
            await asyncio.sleep(0.01)
        raise AssertionError("it did not come to be")

    async def cleanup(self, uuid: str = COMMAND) -> Command:
        return await self.commands.cleanup(UUID, CleanupRequest(commandUuid=uuid), self.enrollment)


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    shelf = Shelf()
    shelf.gate.set()
    monkeypatch.setitem(kinds.KINDS, IMAGESTORE, lambda *_: shelf)
    return shelf


@asynccontextmanager
async def _bench(
    settings: AgentSettings, shelf: Shelf, left: Command | None = None, *, resume: bool = False, seen: int = 0
) -> AsyncIterator[Bench]:
    """Start the parts with a connected storage.

    `left` is a command that a crash has left in the journal, beside the number `seen` of a later operation.
    """
    kept = await prepare(settings.state.directory)
    with closing(database.connect(kept.database)) as connection, database.transaction(connection):
        enrollment, _ = enroll(connection, "test")
        if left:
            connection.execute("INSERT INTO storages VALUES (?, ?, '{}')", (UUID, PARAMETERS.model_dump_json()))
            command_store.accept(connection, COMMAND, UUID, [])
            command_store.save(connection, left)
            numbers.take(connection, UUID, seen)
    host = Host(settings)
    reporter = Reporter(host)
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(journal.opened(kept.database))
        served = Served(host, store, reporter)
        await served.load()
        running = Commands(store, served)
        await stack.enter_async_context(running.running())
        if not left and not resume:
            await served.connect(UUID, PARAMETERS, enrollment)
        yield Bench(shelf, store, served, running, enrollment)


def _left(state: CommandState, done: int) -> Command:
    steps = [Step(action="wipe", target="a"), Step(action="once", target="b"), Step(action="forget", target="c")]
    steps = [step.model_copy(update={"done": number < done}) for number, step in enumerate(steps)]
    return Command(uuid=COMMAND, storageUuid=UUID, state=state, steps=steps, createdAt=1.0)


async def test_a_command_that_is_done_while_its_twin_waits_is_returned(
    settings: AgentSettings, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn, waiting, late = Served.turn, asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def delayed(self: Served, uuid: str) -> AsyncIterator[None]:
        if asyncio.current_task() is twin:
            waiting.set()
            await late.wait()
        async with turn(self, uuid):
            yield

    async with _bench(settings, shelf) as bench:
        monkeypatch.setattr(Served, "turn", delayed)
        twin = asyncio.create_task(bench.cleanup())
        await waiting.wait()
        await bench.cleanup()
        done = await bench.finished()
        await eventually(lambda: not bench.served.uuids)
        late.set()
        assert await twin == done


async def test_a_cleanup_runs_its_steps_in_order(settings: AgentSettings, shelf: Shelf) -> None:
    async with _bench(settings, shelf) as bench:
        assert (await bench.cleanup()).state == CommandState.ACCEPTED
        command = await bench.finished()
        assert (command.state, [step.done for step in command.steps]) == (CommandState.DONE, [True, True, True])
        assert shelf.cleaned == ["a", "b", "closed"]
        assert list(bench.served.uuids) == []


@pytest.mark.parametrize(
    ("state", "done", "cleaned"),
    [
        (CommandState.ACCEPTED, 0, ["a", "b", "closed"]),
        (CommandState.RUNNING, 0, ["a", "b", "closed"]),
        (CommandState.RUNNING, 2, ["closed"]),
    ],
)
async def test_what_is_safe_to_repeat_is_resumed(
    settings: AgentSettings, shelf: Shelf, state: CommandState, done: int, cleaned: list[str]
) -> None:
    async with _bench(settings, shelf, _left(state, done)) as bench:
        assert (await bench.finished()).state == CommandState.DONE
        assert shelf.cleaned == cleaned
        assert list(bench.served.uuids) == []


async def test_what_is_not_safe_to_repeat_is_interrupted(settings: AgentSettings, shelf: Shelf) -> None:
    async with _bench(settings, shelf, _left(CommandState.RUNNING, 1)) as bench:
        command = await bench.finished()
        assert command.state == CommandState.INTERRUPTED
        assert command.error
        assert command.error.code == ReasonCode.COMMAND_INTERRUPTED
        assert "once b" in command.error.details
        assert shelf.cleaned == []
        assert list(bench.served.uuids) == [UUID]


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (StorageProblem.of(ReasonCode.DIRECTORY_HUNG, "it hangs"), ReasonCode.DIRECTORY_HUNG),
        (RuntimeError("secret"), ReasonCode.AGENT_FAULT),
    ],
)
async def test_a_failing_step_ends_the_command(
    settings: AgentSettings, shelf: Shelf, problem: Exception, code: ReasonCode
) -> None:
    async with _bench(settings, shelf) as bench:
        shelf.problem = problem
        await bench.cleanup()
        command = await bench.finished()
        assert command.state == CommandState.FAILED
        assert command.error
        assert command.error.code == code
        assert "secret" not in command.error.details
        assert list(bench.served.uuids) == [UUID]
        # It is only answered again; a new one tries again.
        shelf.problem = None
        assert await bench.cleanup() == command
        await bench.cleanup(OTHER_COMMAND)
        assert (await bench.finished(OTHER_COMMAND)).state == CommandState.DONE


async def test_what_a_locked_journal_refused_does_not_happen_later(
    settings: AgentSettings, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _bench(settings, shelf) as bench:
        await bench.commands._clear()
        with closing(sqlite3.connect(settings.state.directory / "agent.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            monkeypatch.setattr(journal, "DEADLINE", 0.2)
            with pytest.raises(StorageProblem, match="did not answer"):
                await bench.cleanup()
            monkeypatch.setattr(journal, "DEADLINE", 10.0)
            other.execute("ROLLBACK")
        assert await bench.commands.find(COMMAND) is None
        assert shelf.cleaned == []
        await bench.cleanup()
        assert (await bench.finished()).state == CommandState.DONE


@pytest.mark.parametrize("again", [COMMAND, OTHER_COMMAND], ids=["same", "another"])
async def test_what_was_refused_but_is_on_disk_waits_for_its_caller(
    settings: AgentSettings, shelf: Shelf, monkeypatch: pytest.MonkeyPatch, again: str
) -> None:
    """The disk takes the commit, but says so too late."""
    write = Journal.write

    async def write_and_fail(self: Journal, work: Any) -> Any:
        await write(self, work)
        raise journal.unavailable("too late")

    async with _bench(settings, shelf) as bench:
        monkeypatch.setattr(Journal, "write", write_and_fail)
        with pytest.raises(StorageProblem, match="too late"):
            await bench.cleanup()
        monkeypatch.setattr(Journal, "write", write)
        assert await bench.commands.find(COMMAND)
        await asyncio.sleep(0.1)
        assert shelf.cleaned == []
        await bench.cleanup(again)
        assert (await bench.finished(again)).state == CommandState.DONE
        assert shelf.cleaned == ["a", "b", "closed"]
        assert (await bench.commands.find(COMMAND) is None) == (again != COMMAND)


async def test_what_was_refused_is_cleared_in_time(
    settings: AgentSettings, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "KEEPING_INTERVAL", 0.05)
    async with _bench(settings, shelf) as bench:
        await bench.journal.write(lambda connection: command_store.accept(connection, COMMAND, UUID, []))
        bench.commands._refused.add(COMMAND)
        await eventually(lambda: not bench.commands._refused)
        assert await bench.commands.find(COMMAND) is None


async def test_the_same_uuid_with_another_body_is_a_conflict(settings: AgentSettings, shelf: Shelf) -> None:
    async with _bench(settings, shelf) as bench:
        done = CleanupRequest(commandUuid=COMMAND, hostOnly=True)
        await bench.commands.cleanup(UUID, done, bench.enrollment)
        command = await bench.finished()
        assert (command.hostOnly, shelf.cleaned) == (True, ["closed"])
        assert await bench.commands.cleanup(UUID, done, bench.enrollment) == command
        with pytest.raises(CommandConflict):
            await bench.cleanup()


async def test_a_command_goes_on_after_a_stop(settings: AgentSettings, shelf: Shelf) -> None:
    shelf.gate.clear()
    async with _bench(settings, shelf) as bench:
        await bench.cleanup()
        await bench.until(lambda found: found is not None and found.state == CommandState.RUNNING)
    shelf.gate.set()
    async with _bench(settings, shelf, resume=True) as bench:
        assert (await bench.finished()).state == CommandState.DONE
        assert shelf.cleaned == ["a", "b", "closed"]


async def test_a_cleanup_that_comes_with_the_end_of_another_ends_too(
    settings: AgentSettings, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    planning, plan = asyncio.Event(), asyncio.Event()

    async def planned_late() -> list[Step]:
        planning.set()
        await plan.wait()
        return []

    shelf.gate.clear()
    async with _bench(settings, shelf) as bench:
        await bench.cleanup()
        monkeypatch.setattr(shelf, "plan_cleanup", planned_late)
        other = asyncio.create_task(bench.cleanup(OTHER_COMMAND))
        await planning.wait()
        shelf.gate.set()
        assert (await bench.finished()).state == CommandState.DONE
        await eventually(lambda: shelf.cleaned[-1:] == ["closed"])
        plan.set()
        await other
        late = await bench.finished(OTHER_COMMAND)
        assert late.error
        assert (late.state, late.error.code) == (CommandState.FAILED, ReasonCode.STORAGE_UNKNOWN)


async def test_a_cleanup_that_is_overtaken_stops_at_its_next_step(settings: AgentSettings, shelf: Shelf) -> None:
    shelf.gate.clear()
    async with _bench(settings, shelf) as bench:
        await bench.commands.cleanup(UUID, CleanupRequest(commandUuid=COMMAND, number=5), bench.enrollment)
        await bench.until(lambda found: found is not None and found.state == CommandState.RUNNING)
        with pytest.raises(StorageProblem) as busy:
            await bench.served.connect(UUID, PARAMETERS, bench.enrollment, 6)
        assert busy.value.reason.code == ReasonCode.STORAGE_BUSY
        shelf.gate.set()
        command = await bench.finished()
        assert command.error
        assert (command.state, command.error.code) == (CommandState.FAILED, ReasonCode.COMMAND_OUTDATED)
        assert [step.done for step in command.steps] == [True, False, False]
        assert shelf.cleaned == ["a"]
        await eventually(lambda: bench.served.uuids == {UUID})
        await bench.served.connect(UUID, PARAMETERS, bench.enrollment, 6)


async def test_a_cleanup_that_was_overtaken_before_a_restart_does_nothing(
    settings: AgentSettings, shelf: Shelf
) -> None:
    left = _left(CommandState.RUNNING, 0).model_copy(update={"number": 5})
    async with _bench(settings, shelf, left, seen=6) as bench:
        command = await bench.finished()
    assert command.error
    assert (command.state, command.error.code) == (CommandState.FAILED, ReasonCode.COMMAND_OUTDATED)
    assert shelf.cleaned == []
