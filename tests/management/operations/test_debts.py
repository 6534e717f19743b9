"""What agents are told for what they are owed: by now, whatever has become of the storage meanwhile."""

import asyncio
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from bs_agent.contract.calls_ceph import UpdateMonParameters
from bs_agent.contract.enrollment import encode
from bs_agent.contract.errors import InvalidArgument, StorageProblem
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import CEPH, CephParameters
from bs_agent.management.hosts.agent_client import Agents, Target
from bs_agent.management.hosts.trust import Trust, to_record
from bs_agent.management.model.records import AgentRecord, HostRecord, StorageRecord
from bs_agent.management.operations.update_mon import UpdatingMon
from bs_agent.management.store.debts import Debts
from bs_agent.management.store.fleet import Fleet
from tests.beds.fleet import FleetBed, fleet
from tests.management.operations.test_debts_against_odds import QUIET, agents_owed, owing_of
from tests.management.store.test_storages import CAPACITY, host, storage

pytestmark = pytest.mark.asyncio

FAR = 1 << 40


def record_of(bed: FleetBed, hostname: str, fingerprint: str = "f") -> AgentRecord:
    """Return an agent that nobody runs."""
    trust = Trust(hostname, 7765, fingerprint * 64, f"token of {hostname}", uuid4().hex)
    return to_record(trust, owing_of(bed)._keyring, uuid4().hex)


class Heard:
    """Agents that nobody runs, and what they are told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told: list[tuple[str, str, bool]] = []
        self.refused = ""
        heard = self

        async def connect(_: Agents, at: Target, uuid: str, parameters: CephParameters) -> None:
            heard.told.append((at.name, f"connect {uuid}", parameters.removePool))

        async def answer(*_: object) -> None:
            return None

        async def cleanup(_: Agents, at: Target, uuid: str, *__: object, host_only: bool) -> None:
            heard.told.append((at.name, f"cleanup {uuid}", host_only))
            if uuid == heard.refused:
                raise InvalidArgument("too many commands are kept")

        others = dict.fromkeys(("plan_cleanup", "forget_quietly", "report"), answer)
        instead = {"connect": connect, "cleanup": cleanup, **others}
        for name, work in instead.items():
            monkeypatch.setattr(Agents, name, work)


async def _lose(bed: FleetBed, on: AgentRecord, of: StorageRecord) -> None:
    """Let the add of a pool that is made be lost with its host."""
    making = CephParameters(poolName="pool", fsid="", createPool=True)
    debt = await owing_of(bed).expect(on, of.uuid, making, host_only=False)
    await Debts(bed.database).fall_due(debt.commandUuid)


@pytest.mark.parametrize("is_back", [True, False], ids=["is there", "arrives"])
async def test_a_pool_that_comes_through_other_mons_is_not_removed_for_the_add_that_was_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_back: bool
) -> None:
    heard = Heard(monkeypatch)
    async with fleet(tmp_path, poll=QUIET) as bed:
        one, two = record_of(bed, "host-a", "a"), record_of(bed, "host-b", "b")
        new = replace(storage(CEPH), poolCreated=True)
        await _lose(bed, one, new)
        if is_back:
            await Fleet(bed.database).add(new, [host(new, two)], [two], CAPACITY, {})
        else:
            await owing_of(bed).expect(two, new.uuid, new.parameters(host(new, two)), host_only=False)
        await owing_of(bed).pay(one)
    assert heard.told == [("host-a:7765", f"cleanup {new.uuid}", True)]


async def test_a_pool_that_was_made_for_an_add_that_was_lost_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Heard(monkeypatch)
    async with fleet(tmp_path, poll=QUIET) as bed:
        one, new = record_of(bed, "host-a"), storage(CEPH)
        await _lose(bed, one, new)
        await owing_of(bed).pay(one)
        assert await agents_owed(bed) == []
    assert heard.told == [
        ("host-a:7765", f"connect {new.uuid}", True),
        ("host-a:7765", f"cleanup {new.uuid}", False),
    ]


async def test_a_host_that_goes_on_under_another_name_does_not_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Heard(monkeypatch)

    async def settle(_: UpdatingMon, __: StorageRecord, host: HostRecord, *___: object) -> HostRecord:
        return host

    monkeypatch.setattr(UpdatingMon, "_settle", settle)
    async with fleet(tmp_path, poll=QUIET) as bed:
        one, two = record_of(bed, "127.0.0.1"), record_of(bed, "localhost")
        pool, directory = storage(CEPH), storage()
        mon, known = host(pool, one), Fleet(bed.database)
        await known.add(pool, [mon], [one], CAPACITY, {})
        await known.add(directory, [host(directory, two)], [two], CAPACITY, {})
        tags = [f"agentEnrollment::{encode(7765, 'A' * 43, 'f' * 64)}"]
        await bed.service.update_mon(UpdateMonParameters(monUuid=mon.monUuid, hostname="localhost", systemTags=tags))
        assert [(row.hostname, row.agentUuid) for row in await known.hosts(pool.uuid)] == [("localhost", two.uuid)]
        assert await agents_owed(bed) == []
    assert heard.told == []


async def test_an_update_that_fails_behind_a_delete_lets_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Heard(monkeypatch)
    async with fleet(tmp_path, poll=QUIET) as bed:
        one, pool = record_of(bed, "127.0.0.1"), storage(CEPH)
        mon, known = host(pool, one), Fleet(bed.database)
        await known.add(pool, [mon], [one], CAPACITY, {})

        async def settle(*_: object) -> HostRecord:
            await known.remove(pool.uuid, lambda agent: owing_of(bed).debt(pool.uuid, agent))
            raise StorageProblem.of(ReasonCode.MON_ADDR_CHANGED, "it is not there")

        monkeypatch.setattr(UpdatingMon, "_settle", settle)
        async with asyncio.timeout(60):
            with pytest.raises(StorageProblem, match="it is not there"):
                await bed.service.update_mon(UpdateMonParameters(monUuid=mon.monUuid, monPort=7000))
        assert await agents_owed(bed) == []
    assert heard.told == [("127.0.0.1:7765", f"cleanup {pool.uuid}", False)]


async def test_what_is_refused_does_not_hold_up_what_else_is_owed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Heard(monkeypatch)
    async with fleet(tmp_path, poll=QUIET) as bed:
        owing, one = owing_of(bed), record_of(bed, "host-a")
        for uuid in ("1" * 32, "2" * 32):
            await Debts(bed.database).expect(one, owing.debt(uuid, one.uuid))
        heard.refused = "1" * 32
        with pytest.raises(InvalidArgument):
            await owing.pay(one)
        (left,) = await Debts(bed.database).due(one.uuid, FAR)
        assert left.backupStorageUuid == heard.refused
    assert len(heard.told) == 2
