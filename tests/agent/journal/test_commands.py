"""The commands on disk against a model: accepted once, answered always, never two at a time for one storage."""

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bs_agent.agent.journal import commands as command_store
from bs_agent.agent.journal import database
from bs_agent.contract.errors import CommandConflict, StorageProblem, TooManyRequests
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import FINAL_STATES, Command, CommandState, Step

STEPS = [Step(action="remove", target="/data/.bs-agent.json"), Step(action="forget", target="backup storage")]
MAX_OPEN = 3

uuids = st.integers(0, 5).map(lambda number: f"{number:032x}")
storages = st.integers(0, 4).map(lambda number: f"{number + 100:032x}")
extents = st.sampled_from([False, False, False, True])
final_states = st.sampled_from(sorted(FINAL_STATES))


class CommandStore(RuleBasedStateMachine):
    """Accepts, runs, finishes and forgets commands, and opens the database anew, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "agent.db"
        database.create(self.path)
        self.connection = database.connect(self.path)
        self.model: dict[str, Command] = {}
        self.now = 1000.0

    def teardown(self) -> None:
        self.connection.close()
        self.folder.cleanup()

    @rule(uuid=uuids, storage=storages, host_only=extents)
    def accept(self, uuid: str, storage: str, host_only: bool) -> None:
        open_commands = [command for command in self.model.values() if command.finishedAt is None]
        stored = self.model.get(uuid)
        if stored and (stored.storageUuid, stored.hostOnly) != (storage, host_only):
            with pytest.raises(CommandConflict):
                self._accept(uuid, storage, host_only=host_only)
        elif stored:
            assert self._accept(uuid, storage, host_only=host_only) == stored
        elif any(command.storageUuid == storage for command in open_commands):
            with pytest.raises(StorageProblem) as caught:
                self._accept(uuid, storage, host_only=host_only)
            assert caught.value.reason.code == ReasonCode.STORAGE_BUSY
        elif len(open_commands) >= MAX_OPEN:
            with pytest.raises(TooManyRequests):
                self._accept(uuid, storage, host_only=host_only)
        else:
            command = self._accept(uuid, storage, host_only=host_only)
            assert (command.uuid, command.storageUuid, command.state) == (uuid, storage, CommandState.ACCEPTED)
            self.model[uuid] = command

    @rule(uuid=uuids)
    def run(self, uuid: str) -> None:
        if uuid in self.model and self.model[uuid].finishedAt is None:
            self._save(self.model[uuid].model_copy(update={"state": CommandState.RUNNING}))

    @rule(uuid=uuids, state=final_states)
    def finish(self, uuid: str, state: CommandState) -> None:
        if uuid in self.model and self.model[uuid].finishedAt is None:
            self._save(self.model[uuid].model_copy(update={"state": state, "finishedAt": self.now}))

    @rule(uuid=uuids)
    def withdraw(self, uuid: str) -> None:
        if uuid in self.model and self.model[uuid].state == CommandState.RUNNING:
            return  # only what was never begun is withdrawn
        with database.transaction(self.connection):
            command_store.withdraw(self.connection, [uuid])
        if uuid in self.model and self.model[uuid].finishedAt is None:
            del self.model[uuid]

    @rule()
    def open_anew(self) -> None:
        self.connection.close()
        self.connection = database.connect(self.path)
        database.verify(self.connection, self.path)

    @precondition(lambda self: self.model)
    @rule(uuid=uuids)
    def lose_a_transaction(self, uuid: str) -> None:
        """What is rolled back never was."""
        with pytest.raises(ZeroDivisionError), database.transaction(self.connection):
            _delete_and_fail(self.connection, uuid)

    @invariant()
    def all_is_as_in_the_model(self) -> None:
        for number in range(6):
            assert command_store.find(self.connection, f"{number:032x}") == self.model.get(f"{number:032x}")
        unfinished = {command.uuid for command in command_store.unfinished(self.connection)}
        assert unfinished == {uuid for uuid, command in self.model.items() if command.finishedAt is None}
        counts = command_store.count_by_state(self.connection)
        states = [command.state for command in self.model.values()]
        assert counts == {state: states.count(state) for state in set(states)}

    def _accept(self, uuid: str, storage: str, *, host_only: bool) -> Command:
        with database.transaction(self.connection):
            return command_store.accept(self.connection, uuid, storage, STEPS, host_only=host_only)

    def _save(self, command: Command) -> None:
        with database.transaction(self.connection):
            command_store.save(self.connection, command)
        self.model[command.uuid] = command


@pytest.fixture(autouse=True)
def _few_open_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_store, "MAX_OPEN", MAX_OPEN)


TestCommandStore = pytest.mark.usefixtures("_few_open_commands")(CommandStore.TestCase)
CommandStore.TestCase.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def test_the_number_of_kept_commands_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_store, "MAX_FINISHED", 3)
    database.create(tmp_path / "agent.db")
    with closing(database.connect(tmp_path / "agent.db")) as connection:
        for number in range(10):
            command = _accept(connection, number)
            if number:  # the first is never done: what is open is kept
                ended = {"state": CommandState.DONE, "finishedAt": 20.0 - number}  # the clock is set back all the time
                command_store.save(connection, command.model_copy(update=ended))
        kept = [number for number in range(10) if command_store.find(connection, f"{number:032x}")]
    assert kept == [0, 6, 7, 8, 9], "three that had come to their end when the last one came, and those that came since"


def test_a_command_of_an_earlier_release_is_read(tmp_path: Path) -> None:
    database.create(tmp_path / "agent.db")
    with closing(database.connect(tmp_path / "agent.db")) as connection:
        command = _accept(connection, 1)
        old = command.model_dump_json(exclude={"hostOnly"})
        connection.execute("UPDATE commands SET content = ?", (old,))
        assert _accept(connection, 1) == command


def _accept(connection: sqlite3.Connection, number: int) -> Command:
    return command_store.accept(connection, f"{number:032x}", f"{number + 100:032x}", STEPS)


def _delete_and_fail(connection: sqlite3.Connection, uuid: str) -> None:
    connection.execute("DELETE FROM commands WHERE uuid <> ?", (uuid,))
    raise ZeroDivisionError
