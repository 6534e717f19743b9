"""A Ceph storage over the public API, on a whole site: added, shown, connected afresh, its mons changed, deleted."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio

from tests.beds.arrivals import kill_during_add, owed
from tests.beds.ceph import CephCluster
from tests.beds.ceph_site import CephSite, SiteClient, client_of
from tests.beds.fleet import until

pytestmark = pytest.mark.asyncio
CEPH = "/backup-storage/ceph"
WELL = {"storage": "Connected", "127.0.0.1": "Connected", "127.0.0.2": "Connected", "127.0.0.3": "Connected"}


@pytest.fixture(scope="module")
def site(cluster: CephCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CephSite]:
    with CephSite(tmp_path_factory.mktemp("site"), cluster) as made:
        yield made


@pytest_asyncio.fixture
async def client(site: CephSite) -> AsyncIterator[SiteClient]:
    """A session; whatever storage a test leaves is deleted after it."""
    async with client_of(site) as made:
        yield made
        for shown in (await made.call("GET", "/backup-storage"))["inventories"]:
            await made.call("DELETE", f"/backup-storage/{shown['uuid']}?deleteMode=Enforcing")


def pools(cluster: CephCluster) -> list[str]:
    return sorted(cluster.pools())


def by_hand(cluster: CephCluster, pool: str) -> dict[str, int]:
    """Compute what is shown of a pool of two copies on all OSDs, from what `ceph df` and `ceph osd df` say."""
    raw, osds = cluster.ceph("df")["stats"], cluster.ceph("osd", "df")["nodes"]
    return {
        "totalCapacity": raw["total_bytes"],
        "availableCapacity": raw["total_avail_bytes"],
        "poolAvailableCapacity": sum(osd["kb_avail"] for osd in osds) * 1024 // 2,
        "poolUsedCapacity": sum(osd["kb_used"] for osd in osds) * 1024 // 2,
        "poolMaxAvail": cluster.df(pool)["max_avail"],
    }


def is_about(shown: dict[str, Any], computed: dict[str, int]) -> bool:
    """Compare, as OSDs write a little all the while: what is used may differ by some MiB, and nothing else does."""
    return all(abs(shown[name] - value) < (64 << 20) for name, value in computed.items())


async def plan(site: CephSite, host: str) -> list[str]:
    """Return the uuids of the storages that an agent serves, by its own command."""
    report = site.agents[host].run("report")
    assert report.returncode == 0, report.stderr

    return [storage["uuid"] for storage in json.loads(report.stdout)["storages"]]


@pytest.mark.every_release
async def test_a_pool_of_the_user_is_shown_field_by_field_and_left_as_it_was(
    site: CephSite, client: SiteClient, cluster: CephCluster
) -> None:
    cluster.pool("users-images")
    for number in range(3):
        cluster.rados("-p", "users-images", "put", f"image-{number}", "-", stdin="x" * 1000)
    objects, before = cluster.objects("users-images"), pools(cluster)
    body = site.added(poolName="users-images", description="Test", systemTags=["writeProbe::true"])
    added = await client.ok("POST", CEPH, body)
    uuid = added["uuid"]
    shown = await client.storage(uuid)
    assert shown == await client.reaches(uuid, WELL)
    said = cluster.ceph("df")["stats"]
    assert {name: shown[name] for name in ("name", "description", "url", "type", "state", "status", "fsid")} == {
        "name": "ceph-bs", "description": "Test", "url": "not used", "type": "Ceph", "state": "Enabled",
        "status": "Connected", "fsid": cluster.fsid,
    }  # fmt: skip
    assert (shown["totalCapacity"], shown["poolName"]) == (said["total_bytes"], "users-images")
    assert 0 < shown["availableCapacity"] <= shown["totalCapacity"]
    assert (shown["poolReplicatedSize"], shown["poolSecurityPolicy"], shown["poolDiskUtilization"]) == (2, "Copy", 0.5)
    assert 0 < shown["poolMaxAvail"] < shown["poolAvailableCapacity"] < shown["availableCapacity"]
    assert (shown["poolUsedCapacity"] > 0, shown["attachedZoneUuids"], shown["capacityStale"]) == (True, [], False)
    assert is_about(shown, by_hand(cluster, "users-images"))
    assert {mon["hostname"] for mon in shown["mons"]} == set(site.agents)
    for mon in shown["mons"]:
        name = cluster.mons[cluster.mon_hosts.index(mon["hostname"])]
        assert f"{mon['monAddr']}:{mon['monPort']}" == cluster.mon_address(name)
        assert (mon["backupStorageUuid"], mon["status"], mon["sshPort"]) == (uuid, "Connected", 22)
        assert {"monUuid", "createDate", "lastOpDate"} <= mon.keys()
    await client.ok("DELETE", f"/backup-storage/{uuid}")
    assert (cluster.objects("users-images"), pools(cluster)) == (objects, before)
    assert [await plan(site, host) for host in site.agents] == [[], [], []]


@pytest.mark.every_release
async def test_a_pool_that_we_make_is_kept_unless_a_tag_asks_for_its_removal(
    site: CephSite, client: SiteClient, cluster: CephCluster
) -> None:
    before = pools(cluster)
    uuid = (await client.ok("POST", CEPH, site.added()))["uuid"]
    name = f"bak-t-{uuid}"
    assert (await client.storage(uuid))["poolName"] == name
    made = cluster.pools()[name]
    assert (made["pg_autoscale_mode"], made["application_metadata"]) == ("on", {"rbd": {"bs-agent": uuid}})
    preview = await client.ok("DELETE", f"/backup-storage/{uuid}?dryRun=true")
    assert [host["hostOnly"] for host in preview["hosts"]] == [False, True, True]
    assert [[step["action"] for step in host["steps"]] for host in preview["hosts"]] == [
        ["removeMark", "forget", "forgetEnrollment"], *[["forget", "forgetEnrollment"]] * 2,
    ]  # fmt: skip
    asked = await client.ok("DELETE", f"/backup-storage/{uuid}?dryRun=true&systemTags=removePool::{name}")
    assert asked["hosts"][0]["steps"][0] == {"action": "removePool", "target": name}
    await client.ok("DELETE", f"/backup-storage/{uuid}")
    assert pools(cluster) == sorted([*before, name])

    uuid = (await client.ok("POST", CEPH, site.added(systemTags=["writeProbe::true"])))["uuid"]
    kept = f"bak-t-{uuid}"
    cluster.rados("-p", kept, "put", "image", "-", stdin="data")
    await client.ok("DELETE", f"/backup-storage/{uuid}?systemTags=removePool::{kept}")
    assert cluster.objects(kept) == ["\timage"]

    uuid = (await client.ok("POST", CEPH, site.added()))["uuid"]
    await client.ok("DELETE", f"/backup-storage/{uuid}?systemTags=removePool::bak-t-{uuid}")
    assert pools(cluster) == sorted([*before, name, kept])


async def test_an_add_that_fails_at_the_last_host_leaves_nothing(
    site: CephSite, client: SiteClient, cluster: CephCluster
) -> None:
    before = pools(cluster)
    monitored = ["127.0.0.1", "127.0.0.2", "127.0.0.3/?monPort=1"]
    error = await client.refused("POST", CEPH, site.added(monUrls=monitored))
    assert error["code"] == "BS.MonAddrChanged"
    assert cluster.mon_address("c") in error["details"]
    error = await client.refused("POST", CEPH, site.added(poolName="users-image"))
    assert (error["code"], "127.0.0.1" in error["details"]) == ("BS.PoolMissing", True)
    keyring = site.keyring("127.0.0.2").read_bytes()
    site.keyring("127.0.0.2").unlink()
    error = await client.refused("POST", CEPH, site.added())
    assert (error["code"], error["details"].startswith("127.0.0.2")) == ("BS.AuthFailed", True)
    site.keyring("127.0.0.2").write_bytes(keyring)
    assert pools(cluster) == before
    assert [await plan(site, host) for host in site.agents] == [[], [], []]
    assert (await client.call("GET", "/backup-storage"))["inventories"] == []


@pytest.mark.every_release
async def test_a_pool_that_is_gone_is_named_on_every_host(
    site: CephSite, client: SiteClient, cluster: CephCluster
) -> None:
    cluster.pool("going")
    uuid = (await client.ok("POST", CEPH, site.added(poolName="going")))["uuid"]
    await client.reaches(uuid, WELL)
    cluster.ceph("osd", "pool", "delete", "going", "going", "--yes-i-really-really-mean-it")
    shown = await client.reaches(uuid, dict.fromkeys(WELL, "Disconnected PoolMissing"))
    assert "going" in shown["statusReason"]["details"]
    await client.ok("DELETE", f"/backup-storage/{uuid}")
    assert [await plan(site, host) for host in site.agents] == [[], [], []]


async def test_a_node_that_is_killed_during_an_add_takes_the_pool_back_after_its_next_start(
    site: CephSite, client: SiteClient, cluster: CephCluster
) -> None:
    before = pools(cluster)

    async def is_there() -> bool:
        return pools(cluster) != before

    async def is_gone() -> bool:
        return not owed(site.node.folder) and [await plan(site, host) for host in site.agents] == [[], [], []]

    try:
        await kill_during_add(site.node, client, CEPH, site.added(), on=site.agents["127.0.0.1"], is_there=is_there)
        (made,) = {*pools(cluster)} - {*before}
        assert made.startswith("bak-t-")
        assert len(owed(site.node.folder)) > 0
    finally:
        site.node.start()
    await until(is_gone, seconds=90)
    assert pools(cluster) == before


async def test_one_pool_is_one_storage(site: CephSite, client: SiteClient, cluster: CephCluster) -> None:
    cluster.pool("once")
    uuid = (await client.ok("POST", CEPH, site.added("127.0.0.1", poolName="once")))["uuid"]
    for host in ("127.0.0.1", "127.0.0.2"):
        error = await client.refused("POST", CEPH, site.added(host, poolName="once"))
        assert error["code"] == "SYS.1007"
        assert uuid in error["details"]
    assert await client.picture(uuid) == {"storage": "Connected", "127.0.0.1": "Connected"}
    assert (await client.reconnect(uuid))["inventory"]["status"] == "Connected"


async def test_mons_come_and_go(site: CephSite, client: SiteClient, cluster: CephCluster) -> None:
    cluster.pool("changing")
    uuid = (await client.ok("POST", CEPH, site.added("127.0.0.1", poolName="changing")))["uuid"]
    mons = f"{CEPH}/{uuid}/mons"

    def more(*hosts: str) -> dict[str, Any]:
        return {"params": {"monUrls": list(hosts)}, "systemTags": site.tags(*hosts)}

    assert (await client.refused("POST", mons, more("127.0.0.1")))["code"] == "SYS.1007"
    wrong = {"params": {"monUrls": ["localhost"]}, "systemTags": [site.tags("127.0.0.1")[0].replace("::127.0.0.1", "")]}
    error = await client.refused("POST", mons, wrong)
    assert (error["code"], "one host" in error["details"]) == ("SYS.1007", True)
    assert len((await client.ok("POST", mons, more("127.0.0.2", "127.0.0.3")))["mons"]) == 3
    assert await client.picture(uuid) == WELL

    assert (await client.refused("DELETE", f"{mons}?monHostnames=127.0.0.9"))["code"] == "SYS.1007"
    everyone = "&".join(f"monHostnames={host}" for host in site.agents)
    assert (await client.refused("DELETE", f"{mons}?{everyone}"))["code"] == "SYS.1007"
    assert len((await client.ok("DELETE", f"{mons}?monHostnames=127.0.0.2"))["mons"]) == 2
    assert [await plan(site, host) for host in site.agents] == [[uuid], [], [uuid]]

    site.agents["127.0.0.1"].kill()
    await client.ok("DELETE", f"{mons}?monHostnames=127.0.0.1")
    assert await client.picture(uuid) == {"storage": "Connected", "127.0.0.3": "Connected"}
    site.agents["127.0.0.1"].start()
    await client.ok("POST", mons, more("127.0.0.1"))
    await client.reaches(uuid, {"storage": "Connected", "127.0.0.1": "Connected", "127.0.0.3": "Connected"})


async def test_a_mon_is_updated_and_what_does_not_work_is_not_written(
    site: CephSite, client: SiteClient, cluster: CephCluster
) -> None:
    cluster.pool("updated")
    uuid = (await client.ok("POST", CEPH, site.added("127.0.0.1", poolName="updated")))["uuid"]
    before = await client.storage(uuid)
    (mon,) = before["mons"]
    path = f"{CEPH}/mons/{mon['monUuid']}/actions"

    def change(*tags: str, **parameters: Any) -> dict[str, Any]:
        return {"updateCephBackupStorageMon": parameters, "systemTags": tags}

    error = await client.refused("PUT", path, change(monPort=1))
    assert (error["code"], cluster.mon_address("a") in error["details"]) == ("BS.MonAddrChanged", True)
    assert (await client.refused("PUT", path, change(hostname="127.0.0.9")))["code"] == "BS.AgentUnreachable"
    unknown = f"{CEPH}/mons/{'0' * 32}/actions"
    assert (await client.refused("PUT", unknown, change(monPort=1)))["code"] == "SYS.1003"
    assert (await client.storage(uuid))["mons"] == [mon]
    assert await client.picture(uuid) == {"storage": "Connected", "127.0.0.1": "Connected"}

    v2 = cluster.mon_ports[0][0]
    (changed,) = (await client.ok("PUT", path, change(monPort=v2)))["mons"]
    assert (changed["monUuid"], changed["monAddr"], changed["monPort"]) == (mon["monUuid"], "127.0.0.1", v2)
    # Another machine in the place of this one: the code says whom to trust, and the old one lets go.
    wrong = change(site.tags("127.0.0.2")[0], hostname="127.0.0.2", monPort=1)
    assert (await client.refused("PUT", path, wrong))["code"] == "BS.MonAddrChanged"
    assert [await plan(site, host) for host in site.agents] == [[uuid], [], []], "the machine that was tried let go"
    assert await client.picture(uuid) == {"storage": "Connected", "127.0.0.1": "Connected"}
    tag = site.tags("127.0.0.2")[0]
    (moved,) = (await client.ok("PUT", path, change(tag, hostname="127.0.0.2")))["mons"]
    assert (moved["monUuid"], moved["hostname"]) == (mon["monUuid"], "127.0.0.2")
    assert f"{moved['monAddr']}:{moved['monPort']}" == cluster.mon_address("b")
    assert [await plan(site, host) for host in site.agents] == [[], [uuid], []]
    assert (await client.reconnect(uuid))["inventory"]["status"] == "Connected"
    # A mon host of this storage cannot become another one of it, whatever it is called.
    more = {"params": {"monUrls": ["127.0.0.1"]}, "systemTags": site.tags("127.0.0.1")}
    mons = (await client.ok("POST", f"{CEPH}/{uuid}/mons", more))["mons"]
    tag = f"agentEnrollment::{site.agents['127.0.0.1'].enroll().code}"
    error = await client.refused("PUT", path, change(tag, hostname="localhost"))
    assert (error["code"], "127.0.0.1 and localhost are one host" in error["details"]) == ("SYS.1007", True)
    assert (await client.storage(uuid))["mons"] == mons
    assert [await plan(site, host) for host in site.agents] == [[uuid], [uuid], []]
