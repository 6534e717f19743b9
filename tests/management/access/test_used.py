"""Used signatures: taken for some seconds, remembered here and, for all nodes, in the database; both are bounded."""

import time

import pytest
from sqlalchemy import select, update

from bs_agent.management.access import used as module
from bs_agent.management.access.used import UsedSignatures
from bs_agent.management.store.database import Database, DatabaseUnavailable
from bs_agent.management.store.signatures import SignatureStore
from bs_agent.management.store.tables import used_signature

pytestmark = pytest.mark.asyncio


class Clock:
    """Time that goes forward when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = time.monotonic()
        monkeypatch.setattr(module, "time", self)

    def monotonic(self) -> float:
        return self.now


async def _kept(database: Database) -> int:
    async with database.reading() as connection:
        return len((await connection.execute(select(used_signature))).all())


async def test_a_signature_is_not_taken_long_after_its_first_use(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, used = Clock(monkeypatch), UsedSignatures(SignatureStore(database), 3600)
    taken = []
    for pause in (0, 5, 5, 1, 1500):
        clock.now += pause
        taken.append(await used.take("a"))
    assert taken == [True, True, True, False, False]
    assert await used.take("b")


async def test_the_other_nodes_know_of_it_when_it_is_written(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, store = Clock(monkeypatch), SignatureStore(database)
    here, there = UsedSignatures(store, 3600), UsedSignatures(store, 3600)
    assert await here.take("a")
    clock.now += 11
    await here.write()
    await here.write()
    assert not await there.take("a")
    await there.write()
    assert await _kept(database) == 1


async def test_it_is_written_when_the_database_is_back(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    used = UsedSignatures(SignatureStore(database), 3600)

    async def away(*_: object) -> None:
        raise DatabaseUnavailable("it is away")

    assert await used.take("a")
    with monkeypatch.context() as patch:
        patch.setattr(SignatureStore, "add", away)
        with pytest.raises(DatabaseUnavailable):
            await used.write()
    await used.write()
    assert await _kept(database) == 1


async def test_old_ones_are_forgotten_and_memory_is_bounded(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST", 5)
    used = UsedSignatures(SignatureStore(database), 3600)
    for text in "abcdefg":
        assert await used.take(text)
    assert (len(used._first), len(used._unwritten)) == (5, 5)
    await used.write()
    assert await _kept(database) == 5
    for seconds in (-7200, 14400):  # long ago; and by a clock that was ahead
        async with database.writing() as connection:
            await connection.execute(update(used_signature).values(usedDate=used_signature.c.usedDate + seconds))
        await used.take(f"at {seconds}")
        await used.write()
        assert await _kept(database) == 1
