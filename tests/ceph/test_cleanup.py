"""What an add makes on a live cluster and what a delete leaves: every object of the user, and no trace of ours."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from bs_agent.agent.storages.base import Host
from bs_agent.agent.storages.ceph import Ceph
from bs_agent.agent.storages.ceph_answers import OSD_DUMP, Question
from bs_agent.agent.storages.ceph_link import Answers, CephLink
from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import CephParameters, Step
from tests.beds.ceph import CephCluster
from tests.ceph.watching import UUID, on_host, settings, watching

pytestmark = pytest.mark.asyncio
OTHER = "d" * 32
SECONDS = 30.0


@pytest.fixture(scope="module")
def cluster(breakable: CephCluster) -> CephCluster:
    return breakable


@pytest_asyncio.fixture
async def host(cluster: CephCluster) -> AsyncIterator[Host]:
    async with on_host(settings(cluster)) as made:
        yield made


def pool_of(cluster: CephCluster, name: str) -> dict[str, Any] | None:
    return cluster.pools().get(name)


async def made_whole(cluster: CephCluster, name: str) -> dict[str, Any]:
    """Return a pool once it is no longer being created, which takes a moment after it can be used."""
    async with asyncio.timeout(SECONDS):
        while (pool := pool_of(cluster, name)) is None or "creating" in pool["flags_names"]:  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0.1)
    return pool


async def connected(host: Host, pool: str, **parameters: Any) -> Ceph:
    """Connect a storage; its worker ends with the host."""
    storage = Ceph(UUID, CephParameters(poolName=pool, **parameters), None, host)
    await storage.connect([])
    return storage


async def clean(storage: Ceph) -> list[str]:
    """Run the whole plan, each step twice as after a crash; return what it did."""
    plan = await storage.plan_cleanup()
    for step in plan:
        assert storage.repeatable(step)
        await storage.clean(step)
        await storage.clean(step)
    return [f"{step.action} {step.target}" for step in plan]


async def test_a_pool_of_the_user_keeps_every_object(cluster: CephCluster) -> None:
    cluster.pool("users")
    for name in ("image-1", f"bs-agent.write-probe.{OTHER}", "bs-agent.write-probe"):
        cluster.rados("-p", "users", "put", name, "-", stdin=name)
    cluster.rados("-p", "users", "-N", "elsewhere", "put", f"bs-agent.write-probe.{UUID}", "-", stdin="the user's")
    before, pool_before = cluster.objects("users"), pool_of(cluster, "users")
    async with watching(cluster, "users", writeProbe=True, removePool=True) as watch:
        report = await watch.fresh()
        assert report.writeProbe is not None
        assert report.writeProbe.value is not None
        assert report.writeProbe.reason is None
        await watch.reporter.unwatch(UUID)
        cluster.rados("-p", "users", "put", f"bs-agent.write-probe.{UUID}", "-", stdin="of an interrupted probe")
        assert await clean(watch.storage) == [f"removeObject users/bs-agent.write-probe.{UUID}"]
    assert cluster.objects("users") == before
    assert pool_of(cluster, "users") == pool_before


async def test_a_pool_that_we_make_is_for_rbd_and_autoscaled_and_kept(cluster: CephCluster, host: Host) -> None:
    name = "bak-t-kept"
    await connected(host, name, createPool=True)
    made = await made_whole(cluster, name)
    assert (made["pg_autoscale_mode"], made["application_metadata"]) == ("on", {"rbd": {"bs-agent": UUID}})
    again = await connected(host, name, createPool=True)
    assert pool_of(cluster, name) == made
    assert await clean(again) == [f"removeMark {name}"]
    kept = pool_of(cluster, name)
    assert kept is not None
    assert kept["application_metadata"] == {"rbd": {}}


async def test_a_pool_that_we_made_goes_when_asked_for_and_empty(cluster: CephCluster, host: Host) -> None:
    await connected(host, "empty", createPool=True)
    cluster.rados("-p", "empty", "put", f"bs-agent.write-probe.{UUID}", "-", stdin="ours")
    other_host = await connected(host, "empty", removePool=True)
    assert await clean(other_host) == [f"removeObject empty/bs-agent.write-probe.{UUID}", "removePool empty"]
    assert pool_of(cluster, "empty") is None


@pytest.mark.parametrize("namespace", ["", "hidden"])
async def test_a_pool_with_objects_is_kept_whatever_is_asked(cluster: CephCluster, host: Host, namespace: str) -> None:
    name = f"filled-{namespace}"
    await connected(host, name, createPool=True)
    storage = await connected(host, name, removePool=True)
    plan = await storage.plan_cleanup()
    assert [step.action for step in plan] == ["removePool"]
    cluster.rados("-p", name, "-N", namespace, "put", "image", "-", stdin="data")
    with pytest.raises(StorageProblem, match="holds objects and is kept"):
        await storage.clean(plan[0])
    assert await clean(storage) == [f"removeMark {name}"]
    assert pool_of(cluster, name) is not None
    assert len(cluster.objects(name)) == 1


async def test_a_pool_that_somebody_else_made_is_never_removed(cluster: CephCluster, host: Host) -> None:
    cluster.pool("theirs")
    storage = await connected(host, "theirs", createPool=True, removePool=True)
    assert await clean(storage) == []
    await storage.clean(Step(action="removePool", target="theirs"))
    assert pool_of(cluster, "theirs") is not None


async def test_an_interrupted_making_is_taken_up(cluster: CephCluster, host: Host) -> None:
    cluster.ceph("osd", "pool", "create", "half")
    await connected(host, "half", createPool=True)
    made = pool_of(cluster, "half")
    assert made is not None
    assert made["application_metadata"] == {"rbd": {"bs-agent": UUID}}


async def test_a_failed_first_connect_leaves_nothing(cluster: CephCluster, host: Host) -> None:
    storage = Ceph(UUID, CephParameters(poolName="never", createPool=True, monAddress="127.0.0.9"), None, host)
    with pytest.raises(StorageProblem):
        await storage.connect([])
    assert await clean(storage) == []
    assert pool_of(cluster, "never") is None


async def test_a_first_connect_that_is_undone_takes_its_pool_along(cluster: CephCluster, host: Host) -> None:
    storage = await connected(host, "undone", createPool=True)
    assert await clean(storage) == ["removePool undone"]
    assert pool_of(cluster, "undone") is None


async def test_a_connect_that_is_undone_leaves_the_pool_of_a_live_storage_alone(
    cluster: CephCluster, host: Host
) -> None:
    """The first connect on a second mon host found the mark that the first host had put there."""
    await connected(host, "live", createPool=True)
    cluster.settle()
    before = pool_of(cluster, "live")
    for parameters in ({}, {"createPool": True}, {"removePool": True}):
        second = await connected(host, "live", **parameters)
        await second.undo()
        assert pool_of(cluster, "live") == before


async def test_a_connect_that_is_undone_takes_back_what_it_made(cluster: CephCluster, host: Host) -> None:
    await (await connected(host, "made", createPool=True)).undo()
    assert pool_of(cluster, "made") is None
    cluster.ceph("osd", "pool", "create", "half-made")
    await (await connected(host, "half-made", createPool=True)).undo()
    kept = pool_of(cluster, "half-made")
    assert kept is not None
    assert kept["application_metadata"] == {"rbd": {}}


async def test_a_connect_that_is_undone_keeps_a_pool_that_has_got_objects(cluster: CephCluster, host: Host) -> None:
    storage = await connected(host, "used-at-once", createPool=True)
    cluster.rados("-p", "used-at-once", "put", "image", "-", stdin="data")
    with pytest.raises(StorageProblem, match="holds objects and is kept"):
        await storage.undo()
    assert cluster.objects("used-at-once") == ["\timage"]


@pytest.fixture
def behind(cluster: CephCluster, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let the mon that is asked be behind, at what it tells now, until something is changed through it."""

    def fall_behind() -> None:
        old = Answers({OSD_DUMP: (0, json.dumps(cluster.ceph("osd", "dump")))})
        ask, command = CephLink.ask, CephLink.command

        async def ask_behind(self: CephLink, *questions: Question[Any]) -> Answers:
            answers = await ask(self, *questions)
            return Answers({**answers._said, **(old._said if OSD_DUMP in questions else {})})

        async def change(self: CephLink, **words: str | bool | int) -> None:
            monkeypatch.setattr(CephLink, "ask", ask)
            await command(self, **words)

        monkeypatch.setattr(CephLink, "ask", ask_behind)
        monkeypatch.setattr(CephLink, "command", change)

    return fall_behind


async def test_a_pool_that_this_mon_has_not_heard_of_yet_is_found(
    cluster: CephCluster, host: Host, behind: Callable[[], None]
) -> None:
    behind()
    cluster.pool("new")
    await connected(host, "new")
    with pytest.raises(StorageProblem) as caught:
        await connected(host, "newer")
    assert caught.value.reason.code == ReasonCode.POOL_MISSING


async def test_a_pool_whose_mark_this_mon_has_not_heard_of_yet_is_removed(
    cluster: CephCluster, host: Host, behind: Callable[[], None]
) -> None:
    cluster.ceph("osd", "pool", "create", "unmarked")
    behind()
    cluster.ceph("osd", "pool", "application", "enable", "unmarked", "rbd")
    cluster.ceph("osd", "pool", "application", "set", "unmarked", "rbd", "bs-agent", UUID)
    storage = await connected(host, "unmarked", removePool=True)
    assert await clean(storage) == ["removePool unmarked"]
    assert pool_of(cluster, "unmarked") is None


async def test_another_cluster_is_not_touched(cluster: CephCluster, host: Host) -> None:
    await connected(host, "guarded", createPool=True)
    before = pool_of(cluster, "guarded")
    remembered = {"fsid": "another", "poolName": "guarded", "poolId": 1, "writeProbe": True}
    storage = Ceph(UUID, CephParameters(poolName="guarded", removePool=True), remembered, host)
    for attempt in (storage.plan_cleanup(), storage.clean(Step(action="removePool", target="guarded"))):
        with pytest.raises(StorageProblem) as caught:
            await attempt
        assert caught.value.reason.code == ReasonCode.FSID_MISMATCH
    assert pool_of(cluster, "guarded") == before


async def test_a_pool_that_is_gone_needs_no_cleanup(cluster: CephCluster, host: Host) -> None:
    storage = await connected(host, "short-lived", createPool=True)
    cluster.ceph("osd", "pool", "rm", "short-lived", "short-lived", "--yes-i-really-really-mean-it")
    assert await clean(storage) == []


async def test_what_a_write_probe_left_goes_when_there_is_no_next_one(cluster: CephCluster, host: Host) -> None:
    cluster.pool("probed")
    cluster.rados("-p", "probed", "put", f"bs-agent.write-probe.{UUID}", "-", stdin="of an interrupted probe")
    number = cluster.pools()["probed"]["pool"]
    remembered = {"fsid": cluster.fsid, "poolName": "probed", "poolId": number, "writeProbe": True}
    storage = Ceph(UUID, CephParameters(poolName="probed"), remembered, host)
    assert (await storage.connect([]))["writeProbe"] is False
    assert cluster.objects("probed") == []


@pytest.mark.every_release
async def test_a_pool_that_cannot_be_listed_to_its_end_is_not_empty(breakable: CephCluster) -> None:
    """The first objects of a listing may come from OSDs that answer, and the user's be on one that stands still."""
    name = "half-seen"
    breakable.pool(name)
    breakable.ceph("osd", "pool", "application", "set", name, "rbd", "bs-agent", UUID)
    breakable.settle()
    async with on_host(settings(breakable)) as host:
        storage = await connected(host, name, removePool=True)
        ours = primary_of(breakable, name, f"bs-agent.write-probe.{UUID}")
        image = next(each for each in map("image-{}".format, range(100)) if primary_of(breakable, name, each) != ours)
        breakable.rados("-p", name, "put", image, "-", stdin="data")
        with breakable.frozen(f"osd.{primary_of(breakable, name, image)}"):
            for attempt in (storage.plan_cleanup, lambda: storage.clean(Step(action="removePool", target=name))):
                with pytest.raises(StorageProblem, match=f"pool {name} cannot be listed"):
                    await attempt()
        breakable.settle()
        assert breakable.objects(name) == [f"\t{image}"]
        await storage.close()


def primary_of(cluster: CephCluster, pool: str, name: str) -> int:
    return int(cluster.ceph("osd", "map", pool, name)["acting_primary"])
