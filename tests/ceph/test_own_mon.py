"""Which mon is the one of a host: three mons on one machine, each host known by the address of one of them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bs_agent.agent.storages.base import Host
from bs_agent.agent.storages.ceph import Ceph
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import CephParameters, LocalMon
from tests.beds.ceph import CephCluster
from tests.ceph.watching import UUID, on_host, settings, watching

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(240), pytest.mark.also_ends]
POOL = "mine"


@pytest.fixture(scope="module")
def cluster(breakable: CephCluster) -> CephCluster:
    breakable.pool(POOL)
    return breakable


@pytest_asyncio.fixture(params=["by their sockets", "by the cluster"])
async def machine(cluster: CephCluster, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Host]:
    """The machine that runs all three: an agent there sees all of their admin sockets, or may look at none."""
    run_dir = cluster.folder if request.param == "by their sockets" else tmp_path
    async with on_host(settings(cluster, run_dir=run_dir)) as made:
        yield made


async def own_mon(host: Host, cluster: CephCluster, **parameters: str) -> LocalMon:
    storage = Ceph(UUID, CephParameters(poolName=POOL, **parameters), None, host)
    try:
        mon, reason = await storage._own_mon.look(cluster.fsid)
        assert reason is None
        return mon
    finally:
        await storage.close()


@pytest.mark.parametrize("name", ["a", "b", "c"])
async def test_the_mon_at_the_address_of_the_host_is_its_own(machine: Host, cluster: CephCluster, name: str) -> None:
    address = cluster.mon_hosts[cluster.mons.index(name)]
    for said in (address, cluster.mon_address(name), cluster.mon_address(name, "v2")):
        assert (await own_mon(machine, cluster, hostAddress=said)).name == name
    learnt, other = cluster.mon_address(name), cluster.mon_hosts[cluster.mons.index(name) - 1]
    assert (await own_mon(machine, cluster, monAddress=learnt, hostAddress=other)).name == name, "what is known counts"


@pytest.mark.parametrize("address", ["", "localhost", "127.0.0.10", "127.0.0.2:1", "no-such-host.invalid", "::1"])
async def test_where_none_listens_at_it_the_first_is_taken(machine: Host, cluster: CephCluster, address: str) -> None:
    """A host may be reached by another network than that of the mons."""
    assert (await own_mon(machine, cluster, hostAddress=address)).name == "a"


@pytest.mark.parametrize("known", ["hostAddress", "monAddress"])
async def test_of_several_mons_the_one_that_is_gone_is_named(cluster: CephCluster, known: str) -> None:
    cluster.settle()
    where: dict[str, Any] = {known: cluster.mon_hosts[1]}
    async with watching(cluster, POOL, run_dir=cluster.folder, **where) as watch:
        report = await watch.fresh()
        assert report.localMon.value
        assert (report.localMon.value.name, report.reasons()) == ("b", [])
        with cluster.killed("mon.b"):
            gone = await watch.until(lambda report: report.localMon.reason is not None)
            assert gone.localMon.value
            assert gone.localMon.reason
            assert (gone.localMon.value.name, gone.localMon.reason.code) == ("b", ReasonCode.MON_OUT_OF_QUORUM)
