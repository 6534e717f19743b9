"""The numbers of operations on disk: they never go back, they outlive their storages, and they are bounded."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bs_agent.agent.journal import database, numbers
from bs_agent.contract.errors import CommandOutdated

GREATEST = 2**63 - 1


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    path = tmp_path_factory.mktemp("journal") / "agent.db"
    database.create(path)
    with closing(database.connect(path)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        yield connection


@pytest.fixture
def connection(journal: sqlite3.Connection) -> sqlite3.Connection:
    journal.execute("DELETE FROM numbers")
    return journal


def seen(connection: sqlite3.Connection) -> dict[str, int]:
    return dict(connection.execute("SELECT storage, number FROM numbers"))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3) | st.integers(0, GREATEST), st.booleans())))
def test_only_what_is_older_is_refused(journal: sqlite3.Connection, given: list[tuple[str, int, bool]]) -> None:
    journal.execute("DELETE FROM numbers")
    model: dict[str, int] = {}
    for storage, number, keep in given:
        act = numbers.take if keep else numbers.check
        if number < model.get(storage, 0):
            with pytest.raises(CommandOutdated):
                act(journal, storage, number)
        else:
            act(journal, storage, number)
            if keep and number:
                model[storage] = number
        assert seen(journal) == model


def test_a_refusal_names_both_operations(connection: sqlite3.Connection) -> None:
    numbers.take(connection, "a", 6)
    for number, said in ((5, "operation 5 comes too late: operation 6 on backup storage a"), (0, "without a number")):
        with pytest.raises(CommandOutdated, match=said) as refusal:
            numbers.check(connection, "a", number)
        assert refusal.value.http_status == 409


def test_of_storages_that_are_gone_the_last_used_are_remembered(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numbers, "MAX_GONE", 3)
    connection.execute("INSERT OR IGNORE INTO storages (uuid, parameters) VALUES ('served', '{}')")
    for storage in ("served", "b", "c", "d"):
        numbers.take(connection, storage, 1)
    numbers.take(connection, "b", 2)
    for storage in ("e", "f"):
        numbers.take(connection, storage, 1)
    assert seen(connection) == {"served": 1, "b": 2, "e": 1, "f": 1}
    connection.execute("DELETE FROM storages")
    numbers.take(connection, "g", 1)
    assert seen(connection) == {"e": 1, "f": 1, "g": 1}
