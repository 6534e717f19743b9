"""What agents are told for what they are owed: by now, whatever has become of the storage meanwhile."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from bs_agent.contract.calls_ceph import UpdateMonParameters
from bs_agent.contract.enrollment import encode, enrollment_id
from bs_agent.contract.errors import InvalidArgument, StorageProblem
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import CEPH, CephParameters
from bs_agent.management.hosts.agent_client import Agents, Target, Told
from bs_agent.management.hosts.trust import Trust, to_record
from bs_agent.management.model.records import AgentRecord, HostRecord, StorageRecord
from bs_agent.management.operations.debts import cleanup, forgetting
from bs_agent.management.operations.update_mon import UpdatingMon
from bs_agent.management.store.operations import Held, agent_key, storage_key
from tests.beds.fleet import FleetBed, fleet, until
from tests.beds.stores import CAPACITY, host, named, storage
from tests.management.operations.test_debts_against_odds import QUIET, debts_of

pytestmark = pytest.mark.asyncio


def record_of(bed: FleetBed, hostname: str, fingerprint: str = "f", token: str = "") -> AgentRecord:
    """Return an agent that nobody runs."""
    token = token or f"token of {hostname}"
    trust = Trust(hostname, 7765, fingerprint * 64, token, enrollment_id(token))
    return to_record(trust, bed.service.means.keyring, uuid4().hex)


async def meet(bed: FleetBed, *agents: AgentRecord) -> None:
    """Write agents."""
    for one in agents:
        async with meeting(bed, one):
            pass


@asynccontextmanager
async def meeting(bed: FleetBed, one: AgentRecord) -> AsyncIterator[Held]:
    """Write an agent, which nobody takes for one that is not needed while the context is open."""
    means = bed.service.means
    async with means.operations.holding(agent_key(one.uuid), "meet") as held:
        assert await means.agents.put(held, one)
        yield held


async def put(bed: FleetBed, of: StorageRecord, on: Sequence[AgentRecord]) -> list[HostRecord]:
    """Add a storage with a host on each of these agents."""
    means, hosts = bed.service.means, [host(of, one) for one in on]
    async with means.operations.holding(storage_key(of.uuid), "add") as held:
        await means.storages.add(held, of, hosts, on, capacity=CAPACITY, tags={})
    return hosts


class Heard:
    """Agents that nobody runs, and what they are told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told: list[tuple[str, str, bool]] = []
        self.numbers: list[int] = []
        self.refused = ""
        self.forgotten: list[str] = []
        heard = self

        async def connect(_: Agents, at: Target, uuid: str, parameters: CephParameters, number: int) -> None:
            heard.told.append((at.name, f"connect {uuid}", parameters.removePool))
            heard.numbers.append(number)

        async def answer(*_: object, **__: object) -> None:
            return None

        async def report(*_: object) -> Told:
            return Told(None, "", "")

        async def cleanup(
            _: Agents, at: Target, uuid: str, __: str, number: int, *, deadline: float, host_only: bool
        ) -> None:
            heard.told.append((at.name, f"cleanup {uuid}", host_only))
            heard.numbers.append(number)
            if uuid == heard.refused:
                raise InvalidArgument(f"too many commands are kept for {deadline} s")

        async def forget(_: Agents, __: Target, enrollment_id: str) -> None:
            heard.forgotten.append(enrollment_id)

        others = dict.fromkeys(("plan_cleanup", "forget_quietly"), answer)
        instead = {"connect": connect, "cleanup": cleanup, "report": report, "forget": forget, **others}
        for name, work in instead.items():
            monkeypatch.setattr(Agents, name, work)


async def _lose(bed: FleetBed, on: AgentRecord, of: StorageRecord) -> None:
    """Let the add of a pool that is made be lost with its host."""
    making = CephParameters(poolName="pool", fsid="", createPool=True)
    async with meeting(bed, on), bed.service.means.operations.holding(storage_key(of.uuid), "add") as held:
        await debts_of(bed).expect(held, on, of, making, host_only=False)


async def test_a_pool_that_comes_through_other_mons_is_not_removed_for_the_add_that_was_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Heard(monkeypatch)
    async with fleet(tmp_path, poll=QUIET) as bed:
        one, two = record_of(bed, "host-a", "a"), record_of(bed, "host-b", "b")
        new = replace(storage(CEPH), poolCreated=True)
        await _lose(bed, one, new)
        await meet(bed, two)
        await put(bed, new, [two])
        await debts_of(bed).pay(one)
    assert heard.told == [("host-a:7765", f"cleanup {new.uuid}", True)]


async def test_what_is_owed_of_a_storage_that_is_just_arriving_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Heard(monkeypatch)
    async with fleet(tmp_path, poll=QUIET) as bed:
        one, new = record_of(bed, "host-a", "a"), storage(CEPH)
        await _lose(bed, one, new)
        async with bed.service.means.operations.holding(storage_key(new.uuid), "add"):
            with pytest.raises(StorageProblem, match="under way: add") as problem:
                await debts_of(bed).pay(one)
            assert problem.value.reason.code == ReasonCode.STORAGE_BUSY
            assert heard.told == []
        await debts_of(bed).pay(one)
    assert len(heard.told) == 2


async def test_a_pool_that_was_made_for_an_add_that_was_lost_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Heard(monkeypatch)
    async with fleet(tmp_path, poll=QUIET) as bed:
        one, new = record_of(bed, "host-a"), storage(CEPH)
        await _lose(bed, one, new)
        await debts_of(bed).pay(one)
        assert await bed.owed() == []
    assert heard.told == [
        ("host-a:7765", f"connect {new.uuid}", True),
        ("host-a:7765", f"cleanup {new.uuid}", False),
    ]
    assert heard.numbers[0] == heard.numbers[1] > 0


async def test_an_enrolment_that_is_in_use_again_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Heard(monkeypatch)
    async with fleet(tmp_path, poll=QUIET) as bed:
        first = record_of(bed, "host-a", token="first")
        second = replace(record_of(bed, "host-a", token="second"), uuid=first.uuid)
        async with meeting(bed, first):
            await put(bed, storage(), [first])
        means = bed.service.means
        for before, now in ((first, second), (second, first)):  # by a code that was used before, as it was not paid yet
            async with means.operations.holding(agent_key(first.uuid), "meet") as held:
                replaced = forgetting(held, first.uuid, before.enrollmentId, before.tokenSecret)
                assert await means.agents.put(held, now, replaced)
        await debts_of(bed).pay(second)  # as it was known until just now
        assert heard.forgotten == [second.enrollmentId]
        assert await bed.owed() == []


async def test_an_agent_leaves_by_the_enrolment_that_it_has_by_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Heard(monkeypatch)
    async with fleet(tmp_path, poll=QUIET) as bed:
        first = record_of(bed, "host-a", token="first")
        second = replace(record_of(bed, "host-a", token="second"), uuid=first.uuid)
        async with meeting(bed, first) as held:
            assert await bed.service.means.agents.put(held, second)
        with suppress(StorageProblem):  # the house is kept just now
            await debts_of(bed).leave(first)
        await until(lambda: has_left(bed, first))
        assert heard.forgotten == [second.enrollmentId]


async def has_left(bed: FleetBed, one: AgentRecord) -> bool:
    return await bed.service.means.agents.find([one.uuid]) == {}


async def test_a_debt_is_not_due_while_its_operation_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Heard(monkeypatch)
    async with fleet(tmp_path, poll=QUIET) as bed:
        one, new, means = record_of(bed, "host-a"), storage(), bed.service.means
        async with meeting(bed, one), means.operations.holding(storage_key(new.uuid), "add") as held:
            await debts_of(bed).expect(held, one, new, new.parameters(host(new, one)), host_only=False)
            await debts_of(bed).pay(one)
            assert heard.told == []
            assert await bed.owed() == [one]
        await debts_of(bed).pay(one)
    assert heard.told == [("host-a:7765", f"cleanup {new.uuid}", False)]


async def test_a_host_that_goes_on_under_another_name_does_not_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Heard(monkeypatch)

    async def settle(_: UpdatingMon, __: object, ___: StorageRecord, host: HostRecord, *____: object) -> HostRecord:
        return host

    monkeypatch.setattr(UpdatingMon, "_settle", settle)
    async with fleet(tmp_path, poll=QUIET) as bed:
        one, pool = record_of(bed, "127.0.0.1", token="A" * 43), storage(CEPH)
        await meet(bed, one)
        (mon,) = await put(bed, pool, [one])
        tags = [f"agentEnrollment::{encode(7765, 'A' * 43, 'f' * 64)}"]
        await bed.service.update_mon(UpdateMonParameters(monUuid=mon.monUuid, hostname="localhost", systemTags=tags))
        (now,) = await bed.service.means.hosts.of(pool.uuid)
        assert (now.hostname, now.agentUuid) == ("localhost", one.uuid)
        assert await bed.owed() == []
    assert heard.told == []


async def test_what_is_refused_does_not_hold_up_what_else_is_owed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Heard(monkeypatch)
    async with fleet(tmp_path, poll=QUIET) as bed:
        one, means = record_of(bed, "host-a"), bed.service.means
        await meet(bed, one)
        for uuid in ("1" * 32, "2" * 32):
            async with means.operations.holding(storage_key(uuid), "delete") as held:
                await means.debts._store.write(held, [cleanup(held, named(uuid), one.uuid)])
        heard.refused = "1" * 32
        with pytest.raises(InvalidArgument):
            await debts_of(bed).pay(one)
        (left,) = await means.debts._store.due(one.uuid)
        assert left.backupStorageUuid == heard.refused
    assert len(heard.told) == 2
