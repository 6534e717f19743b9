"""The map of OSDs and pools is read anew when the cluster has another one, and only then."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from bs_agent.agent.config import AgentSettings
from bs_agent.agent.storages.base import Host
from bs_agent.agent.storages.ceph import Ceph
from bs_agent.agent.storages.ceph_answers import STATUS, Status
from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.report import CephParameters, CephReport, Pool
from tests.beds.ceph import CephCluster
from tests.ceph.captured import FOLDER, RELEASES, answer
from tests.ceph.watching import UUID, watching

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAP = {"osd dump", "osd crush rule dump", "osd tree"}
FILES = {"osd crush rule dump": "crush_rules"}


class Cluster:
    """Answers as a captured one did, and keeps what it was asked in each request."""

    def __init__(self, release: str) -> None:
        self.release = release
        self.asked: list[set[str]] = []
        self.changed: dict[str, Callable[[Any], None]] = {}
        self.refused: set[str] = set()

    async def call(self, _operation: str, _deadline: float, /, **parameters: Any) -> list[tuple[int, str]]:
        names = [command["prefix"] for command in parameters["commands"]]
        self.asked.append(set(names))
        return [self._answer(name) for name in names]

    def renew(self) -> None:
        pass

    def _answer(self, name: str) -> tuple[int, str]:
        if name in self.refused:
            return 22, "refused"
        file = FOLDER / self.release / "healthy" / f"{FILES.get(name, name.replace(' ', '_'))}.json"
        said = json.loads(file.read_text())
        self.changed.get(name, lambda _: None)(said)
        return 0, json.dumps(said)


@pytest.fixture(params=RELEASES)
def cluster_said(request: pytest.FixtureRequest) -> Cluster:
    return Cluster(request.param)


@pytest.fixture
def storage(cluster_said: Cluster, monkeypatch: pytest.MonkeyPatch) -> Ceph:
    host = Host(AgentSettings())
    monkeypatch.setattr(host.workers, "borrow", lambda _name: cluster_said)
    name = json.loads((FOLDER / cluster_said.release / "healthy" / "osd_dump.json").read_text())["pools"][0]
    return Ceph(UUID, CephParameters(poolName=name["pool_name"]), None, host)


async def pools(storage: Ceph) -> list[Pool]:
    (probe,) = [probe for probe in storage.probes if probe.section == "pools"]
    found: list[Pool] = (await probe.read()).value
    return found


@pytest.mark.parametrize("release", RELEASES)
async def test_each_release_tells_the_epoch(release: str) -> None:
    assert answer(release, "healthy", "status", STATUS).epoch


async def test_an_old_release_tells_it_one_level_deeper() -> None:
    health = {"status": "HEALTH_OK"}
    said = {"fsid": "f", "health": health, "osdmap": {"osdmap": {"epoch": 7, "num_osds": 3}}}
    assert Status.model_validate(said).epoch == 7
    assert Status.model_validate({"fsid": "f", "health": health}).epoch is None


async def test_a_map_that_is_known_is_not_asked_for_again(storage: Ceph, cluster_said: Cluster) -> None:
    first = await pools(storage)
    status, read = cluster_said.asked
    assert "status" in status
    assert not status & MAP, "asked with the status it may be older than the epoch"
    assert read == MAP
    cluster_said.asked.clear()
    assert await pools(storage) == first
    assert not set().union(*cluster_said.asked) & MAP


def _epoch(number: int) -> Callable[[Any], None]:
    return lambda said: _counts(said).update(epoch=number)


def _counts(status: Any) -> Any:
    """Return what a status tells of the OSDs, one level deeper in 14."""
    return status["osdmap"].get("osdmap", status["osdmap"])


async def test_an_older_map_than_the_status_tells_of_is_not_kept(storage: Ceph, cluster_said: Cluster) -> None:
    cluster_said.changed["status"] = _epoch(9_000)
    for _ in range(2):
        await pools(storage)
    assert cluster_said.asked.count(MAP) == 2
    cluster_said.changed["osd dump"] = lambda said: said.update(epoch=9_000)
    for _ in range(3):
        await pools(storage)
    assert cluster_said.asked.count(MAP) == 3


async def test_another_epoch_is_another_map_also_an_earlier_one(storage: Ceph, cluster_said: Cluster) -> None:
    before = {pool.name for pool in await pools(storage)}
    for number in (9_000, 8_999):
        cluster_said.changed = {"status": _epoch(number), "osd dump": _with_pool(number)}
        for _ in range(2):
            assert {pool.name for pool in await pools(storage)} == before | {f"new-{number}"}
    assert cluster_said.asked.count(MAP) == 3


def _with_pool(epoch: int) -> Callable[[Any], None]:
    def change(said: Any) -> None:
        said["epoch"] = epoch
        said["pools"].append(said["pools"][0] | {"pool": 9_999, "pool_name": f"new-{epoch}"})

    return change


async def test_without_an_epoch_the_map_is_asked_for_each_time(storage: Ceph, cluster_said: Cluster) -> None:
    cluster_said.changed["status"] = lambda said: _counts(said).pop("epoch")
    await pools(storage)
    cluster_said.asked.clear()
    await pools(storage)
    assert set().union(*cluster_said.asked) >= MAP


async def test_a_map_that_could_not_be_read_is_asked_for_again(storage: Ceph, cluster_said: Cluster) -> None:
    await pools(storage)
    cluster_said.changed["status"] = _epoch(9_000)
    cluster_said.refused = {"osd tree"}
    for _ in range(2):
        with pytest.raises(StorageProblem):
            await pools(storage)
    cluster_said.refused = set()
    cluster_said.changed["status"] = lambda _: None
    cluster_said.asked.clear()
    assert await pools(storage)
    assert set().union(*cluster_said.asked) >= MAP, "what failed has left nothing of the map before"


async def test_each_change_of_the_map_is_in_the_next_report(cluster: CephCluster) -> None:
    def pool_of(report: CephReport, name: str) -> Pool | None:
        return next((pool for pool in report.pools.value or [] if pool.name == name), None)

    def has(name: str, check: Callable[[Pool], bool]) -> Callable[[CephReport], bool]:
        return lambda report: (pool := pool_of(report, name)) is not None and check(pool)

    cluster.pool("mapped")
    async with watching(cluster, "mapped") as watch:
        await watch.until(has("mapped", lambda _: True))
        ask = cluster.ceph
        await asyncio.to_thread(ask, "osd", "pool", "set", "mapped", "size", "3")
        await watch.until(has("mapped", lambda pool: pool.replicatedSize == 3))
        await asyncio.to_thread(ask, "osd", "pool", "set-quota", "mapped", "max_bytes", str(1 << 20))
        await watch.until(has("mapped", lambda pool: pool.poolMaxAvail <= 1 << 20))
        await asyncio.to_thread(ask, "osd", "crush", "rule", "create-replicated", "mapped-too", "default", "osd")
        await asyncio.to_thread(ask, "osd", "pool", "set", "mapped", "crush_rule", "mapped-too")
        await watch.until(has("mapped", lambda pool: pool.crushRule == "mapped-too"))
        await asyncio.to_thread(ask, "osd", "pool", "rename", "mapped", "mapped-2")
        await watch.until(has("mapped-2", lambda _: True))
