"""Releases that meet: the librados of a host may be older or later than the cluster, as in an upgrade."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bs_agent.agent.storages.ceph import Ceph
from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import CephParameters, CephReport
from tests.beds.ceph import CephCluster
from tests.beds.place import Place
from tests.ceph.conftest import LATER_RELEASE, NEWEST_RELEASE, OF_THE_NEWEST, OWN_RELEASE
from tests.ceph.watching import UUID, on_host, settings, watching

pytestmark = [pytest.mark.asyncio, pytest.mark.every_release]


@pytest.fixture
def access(ceph_release: str, cluster: CephCluster, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """What gives the agent a key that every librados knows; the newest clusters must be told to allow such."""
    if ceph_release != NEWEST_RELEASE:
        yield {}
        return
    cluster.ceph("mon", "set", "auth_allowed_ciphers", "aes,aes256k")
    keyring = tmp_path / "keyring"

    def made() -> bool:
        rights = ["mon", "allow r", "osd", "allow *"]
        try:
            key = cluster.ceph("auth", "get-or-create", "client.old", *rights, "--key_type=aes")[0]["key"]
        except RuntimeError:  # the mons are told, and go by it a moment later
            return False
        keyring.write_text(f"[client.old]\n\tkey = {key}\n")
        return True

    cluster.wait_for(made)
    yield {"keyring": str(keyring), "client": "client.old"}
    cluster.ceph("auth", "rm", "client.old")
    cluster.ceph("mon", "set", "auth_allowed_ciphers", "aes256k")
    cluster.wait_for(lambda: not cluster.ceph("status")["health"]["checks"])


async def reported(cluster: CephCluster, pool: str, python: str, access: dict[str, Any]) -> CephReport:
    """Return a fresh report by the librados of this Python, after a write probe."""
    address = cluster.mon_address("a")
    async with watching(cluster, pool, python=python, access=access, writeProbe=True, monAddress=address) as watch:
        report = await watch.fresh()
        assert report.reasons() == []
        for step in await watch.storage.plan_cleanup():
            await watch.storage.clean(step)
        return report


async def test_both_librados_say_the_same_of_a_cluster(
    ceph_release: str, cluster: CephCluster, places: Callable[[str], Place], access: dict[str, Any]
) -> None:
    pool = "of-both"
    cluster.pool(pool)
    cluster.rados("-p", pool, "put", "image", "-", stdin="x" * 4096)
    cluster.settle()
    cluster.wait_for(lambda: cluster.df(pool)["stored"] == 4096)
    own, other = [
        await reported(cluster, pool, places(release).python, access) for release in (OWN_RELEASE, LATER_RELEASE)
    ]
    assert own.cluster.value
    assert other.cluster.value
    assert own.cluster.value.fsid == other.cluster.value.fsid == cluster.fsid
    assert own.cluster.value.totalCapacity == other.cluster.value.totalCapacity
    assert (own.mons.value, own.localMon.value) == (other.mons.value, other.localMon.value)
    assert own.mons.value
    assert {mon.version.partition(".")[0] for mon in own.mons.value} == {ceph_release}
    for name in ("name", "poolStored", "totalCapacity", "relatedOsds", "diskUtilization"):
        assert [getattr(each, name) for each in own.pools.value or ()] == [
            getattr(each, name) for each in other.pools.value or ()
        ]
    assert cluster.objects(pool) == ["\timage"]


@OF_THE_NEWEST
@pytest.mark.parametrize("release", [OWN_RELEASE, LATER_RELEASE])
async def test_a_key_of_a_type_that_librados_does_not_know_is_named(
    cluster: CephCluster, places: Callable[[str], Place], release: str
) -> None:
    """A cluster that was made by 20.2.4 or later gives out no others, until somebody allows them."""
    async with on_host(settings(cluster, python=places(release).python)) as host:
        storage = Ceph(UUID, CephParameters(poolName="any"), None, host)
        with pytest.raises(StorageProblem, match="does not know the type AES256K of the key of") as caught:
            await storage.connect([])
        await storage.close()
    assert caught.value.reason.code == ReasonCode.CEPH_CONF_INVALID
