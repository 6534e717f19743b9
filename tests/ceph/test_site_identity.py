"""Whose cluster it is, over the public API: mons of two clusters, and a cluster built anew in the place of another."""

from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import pytest_asyncio

from tests.beds.ceph import CephCluster
from tests.beds.ceph_site import CephSite, SiteClient, client_of

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(240)]
POOL = "identified"


@pytest.fixture(scope="module")
def stranger(new_cluster: Callable[..., CephCluster]) -> CephCluster:
    """Another cluster, with a pool of the same name."""
    made = new_cluster(mons=1, osds=1, objectstore="memstore")
    made.pool(POOL)
    return made


@pytest.fixture(scope="module")
def site(cluster: CephCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CephSite]:
    cluster.pool(POOL)
    with CephSite(tmp_path_factory.mktemp("site"), cluster) as made:
        yield made


@pytest_asyncio.fixture
async def client(site: CephSite) -> AsyncIterator[SiteClient]:
    async with client_of(site) as made:
        yield made


async def test_mons_of_two_clusters_are_refused(
    site: CephSite, client: SiteClient, cluster: CephCluster, stranger: CephCluster
) -> None:
    before = [sorted(each.pools()) for each in (cluster, stranger)]
    site.point("127.0.0.2", stranger)
    error = await client.refused("POST", "/backup-storage/ceph", site.added())
    assert error["code"] == "BS.FsidMismatch"
    assert all(word in error["details"] for word in ("127.0.0.2", cluster.fsid, stranger.fsid))
    assert [sorted(each.pools()) for each in (cluster, stranger)] == before
    uuid = (await client.ok("POST", "/backup-storage/ceph", site.added("127.0.0.1", poolName=POOL)))["uuid"]
    more = {"params": {"monUrls": ["127.0.0.2"]}, "systemTags": site.tags("127.0.0.2")}
    error = await client.refused("POST", f"/backup-storage/ceph/{uuid}/mons", more)
    assert error["code"] == "BS.FsidMismatch"
    assert len((await client.storage(uuid))["mons"]) == 1
    site.point("127.0.0.2", cluster, "b")
    await client.ok("DELETE", f"/backup-storage/{uuid}")


async def test_a_cluster_built_anew_is_refused_and_nothing_of_it_is_deleted(
    site: CephSite, client: SiteClient, cluster: CephCluster, stranger: CephCluster
) -> None:
    uuid = (await client.ok("POST", "/backup-storage/ceph", site.added(poolName=POOL)))["uuid"]
    stranger.rados("-p", POOL, "put", f"bs-agent.write-probe.{uuid}", "-", stdin="of another cluster")
    for host in site.agents:
        site.point(host, stranger)
    error = (await client.reconnect(uuid))["error"]
    assert (error["code"], stranger.fsid in error["details"]) == ("BS.FsidMismatch", True)
    lost = await client.reaches(uuid, {"storage": "Disconnected FsidMismatch"})
    assert (lost["fsid"], lost["totalCapacity"] > 0) == (cluster.fsid, True)
    refused = await client.refused("DELETE", f"/backup-storage/{uuid}?systemTags=removePool::{POOL}")
    assert (refused["code"], refused["cause"]["code"]) == ("SYS.1004", "BS.FsidMismatch")
    assert stranger.objects(POOL) == [f"\tbs-agent.write-probe.{uuid}"]
    for mon, host in zip(cluster.mons, site.agents, strict=True):
        site.point(host, cluster, mon)
    await client.reaches(uuid, {"storage": "Connected", **dict.fromkeys(site.agents, "Connected")})
    await client.ok("DELETE", f"/backup-storage/{uuid}")


async def test_a_pool_in_the_place_of_ours_is_refused_on_every_host(
    site: CephSite, client: SiteClient, cluster: CephCluster
) -> None:
    cluster.pool("swapped")
    first, second, third = site.agents
    uuid = (await client.ok("POST", "/backup-storage/ceph", site.added(first, poolName="swapped")))["uuid"]
    cluster.ceph("osd", "pool", "rename", "swapped", "swapped-old")
    await client.reaches(uuid, {"storage": "Disconnected PoolMissing"})
    cluster.pool("swapped")
    lost = await client.reaches(uuid, {"storage": "Disconnected PoolReplaced"})
    assert "is called swapped-old now" in lost["statusReason"]["details"]
    assert (await client.reconnect(uuid))["error"]["code"] == "BS.PoolReplaced"
    more = {"params": {"monUrls": [second]}, "systemTags": site.tags(second)}
    assert (await client.refused("POST", f"/backup-storage/ceph/{uuid}/mons", more))["code"] == "BS.PoolReplaced"
    taken = await client.refused("POST", "/backup-storage/ceph", site.added(third, poolName="swapped-old"))
    assert (taken["code"], uuid in taken["details"]) == ("SYS.1007", True)
    await client.ok("DELETE", f"/backup-storage/{uuid}")
    anew = await client.ok(
        "POST", "/backup-storage/ceph", site.added(first, second, poolName="swapped", resourceUuid=uuid)
    )
    assert anew["status"] == "Connected"
    await client.ok("DELETE", f"/backup-storage/{uuid}")
