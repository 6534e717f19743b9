"""Faults of a live cluster as the public API shows them: what is said meanwhile, and that it gets well by itself."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.beds.ceph import CephCluster
from tests.beds.ceph_site import CephSite, SiteClient, client_of
from tests.beds.fleet import until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(240)]
POOL = "site-images"
A, B, C = "127.0.0.1", "127.0.0.2", "127.0.0.3"
WELL = {"storage": "Connected", A: "Connected", B: "Connected", C: "Connected"}


@pytest.fixture(scope="module")
def site(breakable: CephCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CephSite]:
    breakable.pool(POOL)
    with CephSite(tmp_path_factory.mktemp("site"), breakable) as made:
        yield made


@pytest_asyncio.fixture
async def client(site: CephSite) -> AsyncIterator[SiteClient]:
    async with client_of(site) as made:
        yield made


@pytest_asyncio.fixture
async def uuid(site: CephSite, client: SiteClient) -> AsyncIterator[str]:
    """A storage that is well before the test, and must be well again after it without anybody's help."""
    shown = (await client.call("GET", "/backup-storage"))["inventories"]
    found: str = (
        shown[0]["uuid"]
        if shown
        else (await client.ok("POST", "/backup-storage/ceph", site.added(poolName=POOL)))["uuid"]
    )
    await client.reaches(found, WELL)
    yield found
    await client.reaches(found, WELL)

    async def is_fresh() -> bool:
        return not (await client.storage(found))["capacityStale"]

    await until(is_fresh, seconds=60)


async def test_mons_die_one_after_the_other_and_come_back(site: CephSite, client: SiteClient, uuid: str) -> None:
    before = await client.storage(uuid)
    async with client.statuses(uuid) as seen:
        with site.cluster.killed("mon.a"):
            await client.reaches(
                uuid,
                {
                    "storage": "Connected MonOutOfQuorum",
                    A: "Disconnected MonOutOfQuorum",
                    B: "Connected",
                    C: "Connected",
                },
            )
            await asyncio.to_thread(site.cluster.wait_for, lambda: site.cluster.quorum() == ["b", "c"])
        await client.reaches(uuid, WELL)
    # Nothing flaps, not even while the others elect another leader.
    well, lost = ["Connected"], ["Connected", "Disconnected", "Connected"]
    assert seen == {"storage": well, A: lost, B: well, C: well}

    with site.cluster.killed("mon.b"):
        # Not in the middle of the election: a reconnect says what it meets.
        site.cluster.wait_for(lambda: site.cluster.quorum() == ["a", "c"])
        assert (await client.reconnect(uuid))["inventory"]["status"] == "Connected"
        with site.cluster.killed("mon.c"):
            shown = await client.reaches(uuid, {"storage": "Disconnected NoQuorum", A: "Disconnected NoQuorum"})
            assert shown["totalCapacity"] == before["totalCapacity"]
            assert shown["poolMaxAvail"] > 0
            # A host without a mon is told by the one that lives.
            shown = await client.reaches(uuid, dict.fromkeys(["storage", A, B, C], "Disconnected NoQuorum"))
            assert shown["capacityStale"]
            error = (await client.reconnect(uuid))["error"]
            assert error["code"] == "BS.NoQuorum"
            refused = await client.refused("DELETE", f"/backup-storage/{uuid}")
            assert refused["code"] == "SYS.1004"
            assert refused["cause"]["code"] == "BS.NoQuorum"


async def test_without_a_mgr_the_numbers_are_old_and_the_storage_is_there(
    site: CephSite, client: SiteClient, uuid: str
) -> None:
    with site.cluster.killed("mgr.x"):
        shown = await client.reaches(uuid, dict.fromkeys(["storage", A, B, C], "Connected MgrDown"))
        assert (shown["capacityStale"], shown["totalCapacity"] > 0) == (True, True)


async def test_a_full_pool_is_full(site: CephSite, client: SiteClient, uuid: str) -> None:
    site.cluster.ceph("osd", "pool", "set-quota", POOL, "max_objects", "1")
    try:
        site.cluster.rados("-p", POOL, "put", "object", "-", stdin="x")
        # The reason may come from one host, and newer numbers from another that has not looked at the pools since.
        await client.reaches(uuid, dict.fromkeys(["storage", A, B, C], "Connected PoolFull"))

        async def is_full() -> bool:
            shown = await client.storage(uuid)
            return (shown["poolAvailableCapacity"], shown["poolMaxAvail"]) == (0, 0)

        await until(is_full, lambda: client.storage(uuid))
        assert (await client.storage(uuid))["availableCapacity"] > 0
    finally:
        site.cluster.ceph("osd", "pool", "set-quota", POOL, "max_objects", "0")
        site.cluster.rados("-p", POOL, "rm", "object")


async def test_frozen_osds_fail_the_write_probe_that_a_tag_asks_for(
    site: CephSite, client: SiteClient, uuid: str
) -> None:
    tag = {"resourceType": "BackupStorageVO", "resourceUuid": uuid, "tag": "writeProbe::true"}
    made = await client.ok("POST", "/system-tags", {"params": tag})
    assert (await client.reconnect(uuid))["inventory"]["status"] == "Connected"
    with site.cluster.frozen(*(f"osd.{osd}" for osd in range(site.cluster.osds))):
        shown = await client.reaches(uuid, {"storage": "Connected WriteProbeFailed"})
        assert not shown["capacityStale"]
    await client.reaches(uuid, WELL)
    await client.ok("DELETE", f"/tags/{made['uuid']}")
    assert (await client.reconnect(uuid))["inventory"]["status"] == "Connected"
    site.cluster.settle()
    assert site.cluster.objects(POOL) == []


async def test_a_keyring_that_is_gone_is_the_trouble_of_its_host_alone(
    site: CephSite, client: SiteClient, uuid: str
) -> None:
    keyring = site.keyring(B)
    content = keyring.read_bytes()
    keyring.unlink()
    try:
        assert (await client.reconnect(uuid))["inventory"]["status"] == "Connected"
        await client.reaches(
            uuid, {"storage": "Connected AuthFailed", A: "Connected", B: "Disconnected AuthFailed", C: "Connected"}
        )
    finally:
        keyring.write_bytes(content)


async def test_an_agent_that_dies_takes_its_host_along_and_no_other(
    site: CephSite, client: SiteClient, uuid: str
) -> None:
    site.agents[A].kill()
    try:
        await client.reaches(uuid, {"storage": "Connected AgentUnreachable", A: "Disconnected AgentUnreachable"})
        assert {(await client.picture(uuid))[host] for host in (B, C)} == {"Connected"}
    finally:
        site.agents[A].start()


async def test_a_mon_that_moved_is_named_and_learnt_by_an_update(site: CephSite, client: SiteClient, uuid: str) -> None:
    old = site.cluster.mon_address("c")
    site.cluster.move("c")
    new = site.cluster.mon_address("c")
    await client.reaches(uuid, {"storage": "Connected MonAddrChanged", C: "Disconnected MonAddrChanged"})
    error = (await client.reconnect(uuid))["error"]
    assert (error["code"], old in error["details"], new in error["details"]) == ("BS.MonAddrChanged", True, True)
    mon = next(mon for mon in (await client.storage(uuid))["mons"] if mon["hostname"] == C)
    assert f"{mon['monAddr']}:{mon['monPort']}" == old
    path = f"/backup-storage/ceph/mons/{mon['monUuid']}/actions"
    port = site.cluster.mon_ports[2][1]
    shown = await client.ok("PUT", path, {"updateCephBackupStorageMon": {"monPort": port}})
    assert new in {f"{mon['monAddr']}:{mon['monPort']}" for mon in shown["mons"]}
