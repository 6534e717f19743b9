"""Clusters of one version of the protocol, of IPv6 alone and of both families: found, reported, and added by a node."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bs_agent.agent.storages.ceph_greetings import living
from bs_agent.contract.reasons import ReasonCode
from tests.beds.ceph import CephCluster
from tests.beds.ceph_network import Network, bracketed
from tests.beds.ceph_site import CephSite, client_of
from tests.beds.place import Place
from tests.ceph.watching import watching

pytestmark = pytest.mark.asyncio
POOL = "images"
NETWORKS = {
    "msgr2 only": Network(versions=("v2",)),
    "IPv6 only": Network(families=("ipv6",)),
    "IPv6 and msgr2 only": Network(families=("ipv6",), versions=("v2",)),
    "both, IPv4 first": Network(families=("ipv4", "ipv6")),
    "both, IPv6 first": Network(families=("ipv6", "ipv4")),
}


# Each is a cluster of its own; these have nothing that the others have not.
SELDOM = ("IPv6 only", "both, IPv6 first")


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[pytest.mark.long] if name in SELDOM else []) for name in NETWORKS],
)
def reached(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, place: Place
) -> Iterator[CephCluster]:
    """Three mons, a mgr and an OSD; of IPv6 the loopback has one address, so the mons have different ports there."""
    folder, network = tmp_path_factory.mktemp("ceph"), NETWORKS[request.param]
    with CephCluster(folder, osds=1, objectstore="memstore", network=network, place=place) as made:
        made.pool(POOL)
        made.settle()
        yield made


def addresses(cluster: CephCluster, mon: str) -> list[tuple[str, str]]:
    """Return all that a mon listens on, by hand."""
    number = cluster.mons.index(mon)
    v2, v1 = cluster.mon_ports[number]
    port = {"v2": v2, "v1": v1}
    hosts = cluster.network.hosts(number + 1)
    return [(kind, f"{bracketed(host)}:{port[kind]}") for host in hosts for kind in cluster.network.versions]


@pytest.mark.parametrize("seen", ["by its socket", "by the cluster"])
async def test_each_address_of_a_mon_finds_it(reached: CephCluster, tmp_path: Path, seen: str) -> None:
    run_dir = reached.folder if seen == "by its socket" else tmp_path
    for mon in reached.mons:
        for _, address in addresses(reached, mon):
            async with watching(reached, POOL, run_dir=run_dir, monAddress=address) as watch:
                report = await watch.fresh()
                assert report.reasons() == []
                assert report.localMon.value
                assert report.mons.value
                assert (report.localMon.value.name, len(report.mons.value)) == (mon, 3)
                told = {each.name: [(at.type, at.address) for at in each.addresses] for each in report.mons.value}
                assert told == {name: addresses(reached, name) for name in reached.mons}


async def test_a_mon_that_is_not_at_an_address_is_named_with_all_of_its_own(reached: CephCluster) -> None:
    host = bracketed(reached.mon_hosts[0])
    async with watching(reached, POOL) as watch:
        storage = watch.storage
        storage._own_mon._address = f"{host}:1"
        _, reason = await storage._own_mon.look(reached.fsid)
    assert reason
    assert reason.code == ReasonCode.MON_ADDR_CHANGED
    for kind, address in addresses(reached, "a"):
        assert f"{kind}:{address}" in reason.details


async def test_the_mons_that_live_greet_on_every_network(reached: CephCluster) -> None:
    async with watching(reached, POOL) as watch:
        mons = (await watch.fresh()).mons.value
        assert mons
        assert await living(mons) == ["a", "b", "c"]
        with reached.killed("mon.c"):
            assert await living(mons) == ["a", "b"]
        reached.settle()


@pytest.fixture(scope="module")
def lone(new_cluster: Callable[..., CephCluster]) -> CephCluster:
    """One mon, of IPv6 and the second version of the protocol alone."""
    made = new_cluster(mons=1, osds=1, objectstore="memstore", network=NETWORKS["IPv6 and msgr2 only"])
    made.pool(POOL)
    made.settle()
    return made


async def test_a_node_adds_a_storage_by_an_ipv6_url(lone: CephCluster, tmp_path: Path) -> None:
    port = lone.mon_ports[0][0]
    with CephSite(tmp_path, lone) as site:
        async with client_of(site) as client:
            for url in ("[::1]", f"[::1]/?monPort={port}"):
                body = site.added("::1", poolName=POOL)
                body["params"]["monUrls"] = [url]
                uuid = (await client.ok("POST", "/backup-storage/ceph", body))["uuid"]
                shown = await client.reaches(uuid, {"storage": "Connected", "::1": "Connected"})
                (mon,) = shown["mons"]
                assert (mon["monAddr"], mon["monPort"], shown["fsid"]) == ("::1", port, lone.fsid)
                assert shown["totalCapacity"] == lone.ceph("df")["stats"]["total_bytes"]
                assert (await client.reconnect(uuid))["inventory"]["status"] == "Connected"
                await client.ok("DELETE", f"/backup-storage/{uuid}")
            wrong = site.added("::1", poolName=POOL)
            wrong["params"]["monUrls"] = ["[::1]/?monPort=1"]
            error = await client.refused("POST", "/backup-storage/ceph", wrong)
            assert (error["code"], f"[::1]:{port}" in error["details"]) == ("BS.MonAddrChanged", True)
