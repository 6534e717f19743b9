"""Whatever stands in a row of the journal: it is read within the contract, or refused by the error of its reader."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bs_agent.agent.config import AgentSettings
from bs_agent.agent.journal import commands, database, numbers
from bs_agent.agent.push import push
from bs_agent.agent.served import read_rows
from bs_agent.agent.state import StateError
from bs_agent.agent.storages import ceph, imagestore
from bs_agent.agent.trust import enrollment
from bs_agent.agent.trust.commands import list_enrollments
from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.report import CephParameters, Command, ImageStoreParameters
from tests.agent.conftest import UUID
from tests.odd_values import JSON, LINES, as_text, spoilt

PLACE = imagestore.Memory(url="/a", realPath="/a", mount="/ /", fsid=1, device=1, readOnly=False)
POOL = ceph.Memory(fsid="f", poolName="images", poolId=1, writeProbe=True)
COMMAND = Command(
    uuid=UUID, storageUuid=UUID, state="accepted", steps=[{"action": "remove", "target": "/a"}], createdAt=1
)
WELL = {
    "parameters": ImageStoreParameters(url="/a").model_dump(),
    "pool": CephParameters(poolName="images").model_dump(),
    "place": PLACE.model_dump(),
    "remembered": POOL.model_dump(),
    "content": COMMAND.model_dump(mode="json"),
    "report_to": {"url": "https://node", "fingerprint": "0" * 64},
}
# Whatever a column may hold: its type is only what it prefers.
CELLS = (
    st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | LINES
    | LINES.map(lambda line: line.decode(errors="replace"))
)


def _text(*names: str) -> st.SearchStrategy[Any]:
    return CELLS | JSON.map(as_text) | st.sampled_from(names).flatmap(lambda name: spoilt(WELL[name])).map(as_text)


@contextmanager
def _journal(table: str, *row: Any) -> Iterator[sqlite3.Connection]:
    """A journal with one row; none when no journal takes it."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript(database.MIGRATIONS[0])
        with suppress(sqlite3.IntegrityError, UnicodeEncodeError):
            places = ", ".join("?" * len(row))
            connection.execute(f"INSERT INTO {table} VALUES ({places})", row)  # noqa: S608  a name of ours
        yield connection


def _refused_by(read: Callable[[], object], *errors: type[Exception]) -> None:
    with suppress(*errors, sqlite3.Error):
        read()


@settings(max_examples=300)
@given(CELLS | st.just(UUID), _text("parameters", "pool"), _text("place", "remembered"))
@example(UUID, as_text(WELL["pool"]), as_text({**WELL["remembered"], "poolId": -1}))
@example(UUID, as_text(WELL["pool"]), as_text({**WELL["remembered"], "poolId": 2**63}))
def test_a_storage_is_as_it_was_written_or_refused(uuid: Any, parameters: Any, remembered: Any) -> None:
    with _journal("storages", uuid, parameters, remembered) as connection:
        _refused_by(lambda: read_rows(connection), ValueError)


@settings(max_examples=200)
@given(CELLS | st.just(UUID), CELLS, _text("content"))
@example(UUID, None, as_text(WELL["content"]))
@example(UUID, None, as_text({**WELL["content"], "number": 2**63}))
@example(UUID, None, as_text({**WELL["content"], "steps": [{"action": "a", "target": "x" * 5000}]}))
def test_a_command_is_as_it_was_written_or_refused(uuid: Any, finished: Any, content: Any) -> None:
    with _journal("commands", uuid, UUID, finished, content) as connection:
        _refused_by(lambda: commands.find(connection, UUID, UUID), StorageProblem)
        _refused_by(lambda: commands.unfinished(connection), StorageProblem)
        _refused_by(lambda: commands.accept(connection, UUID, UUID, []), StorageProblem)
        _refused_by(lambda: commands.count_by_state(connection))


@settings(max_examples=100)
@given(CELLS)
@example("many")
@example(1.5)
@example(b"1")
def test_a_number_is_one_or_refused(number: Any) -> None:
    with _journal("numbers", 1, UUID, number) as connection:
        _refused_by(lambda: numbers.check(connection, UUID, 5), StorageProblem)
        _refused_by(lambda: numbers.take(connection, UUID, 6), StorageProblem)


@settings(max_examples=200)
@given(CELLS, CELLS, _text("report_to"))
@example("a token", 1.0, as_text(WELL["report_to"]))
@example(b"\0" * 32, 1.0, as_text({"url": "https://node:x", "fingerprint": "0" * 64}))
def test_an_enrolment_that_is_not_as_it_was_written_has_no_pushes(token_hash: Any, created: Any, to: Any) -> None:
    with _journal("enrollments", UUID, "a label", token_hash, created, to, None) as connection:
        _refused_by(lambda: push._read_all(connection))
        _refused_by(lambda: enrollment._read_all(connection))


@settings(max_examples=50, deadline=None)
@given(CELLS, CELLS, CELLS)
@example(UUID, "a label", "yesterday")
@example(UUID, "a label", 1e300)
def test_a_list_of_enrolments_is_shown_or_refused(
    tmp_path_factory: pytest.TempPathFactory, identity: Any, label: Any, created: Any
) -> None:
    settings = AgentSettings.model_validate({"state": {"directory": tmp_path_factory.mktemp("state")}})
    path = settings.state.directory / "agent.db"
    database.create(path)
    with closing(database.connect(path)) as connection, suppress(sqlite3.IntegrityError):
        row = (identity, label, b"\0" * 32, created, None, None)
        connection.execute("INSERT INTO enrollments VALUES (?, ?, ?, ?, ?, ?)", row)
    _refused_by(lambda: [str(enrolled) for enrolled in list_enrollments(settings)], StateError)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_a_file_that_is_damaged_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("state") / "agent.db"
    database.create(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1) | st.integers(0, 120))
        content[at : at + 8] = data.draw(st.binary(max_size=12))
    path.write_bytes(content)
    _refused_by(lambda: _read(path), database.DatabaseRefusedError, ValueError, StorageProblem)


def _read(path: Path) -> None:
    with database.looked_at(path) as connection:
        database.verify(connection, path)
        read_rows(connection)
        commands.unfinished(connection)
