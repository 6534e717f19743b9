"""Connecting to a live cluster: whose cluster, which pool, which mon, and each mistake its own reason."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bs_agent.agent.storages.base import Host
from bs_agent.agent.storages.ceph import Ceph
from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import CephParameters
from tests.beds.ceph import CephCluster
from tests.ceph.watching import UUID, on_host, settings

pytestmark = [pytest.mark.asyncio, pytest.mark.also_ends]


@pytest.fixture(scope="module", autouse=True)
def pool(cluster: CephCluster) -> str:
    """A pool whose name begins with that of a pool that does not exist."""
    cluster.pool("abc")
    return "abc"


@pytest_asyncio.fixture
async def host(cluster: CephCluster) -> AsyncIterator[Host]:
    async with on_host(settings(cluster)) as made:
        yield made


async def connect(
    host: Host, pool: str = "abc", remembered: dict[str, Any] | None = None, uuid: str = UUID, **parameters: Any
) -> dict[str, Any]:
    storage = Ceph(uuid, CephParameters(poolName=pool, **parameters), remembered, host)
    try:
        return await storage.connect([])
    finally:
        await storage.close()


async def refused(host: Host, **parameters: Any) -> StorageProblem:
    with pytest.raises(StorageProblem) as caught:
        await connect(host, **parameters)
    return caught.value


async def test_what_is_remembered_is_the_identity(host: Host, cluster: CephCluster) -> None:
    number = cluster.pools()["abc"]["pool"]
    remembered = {"fsid": cluster.fsid, "poolName": "abc", "poolId": number, "writeProbe": False}
    assert await connect(host) == remembered
    assert await connect(host, remembered=remembered, fsid=cluster.fsid) == remembered


@pytest.mark.parametrize("name", ["ab", "abcd", "ABC", "abc;touch x", ".*"])
async def test_a_pool_is_found_by_its_exact_name(host: Host, name: str) -> None:
    problem = await refused(host, pool=name)
    assert problem.reason.code == ReasonCode.POOL_MISSING
    assert name in problem.details


async def test_another_fsid_is_refused(host: Host, cluster: CephCluster) -> None:
    other = "00000000-0000-4000-8000-000000000000"
    problem = await refused(host, fsid=other)
    assert problem.reason.code == ReasonCode.FSID_MISMATCH
    assert other in problem.details
    assert cluster.fsid in problem.details
    remembered = {"fsid": other, "poolName": "abc", "poolId": 1, "writeProbe": False}
    assert (await refused(host, remembered=remembered)).reason.code == ReasonCode.FSID_MISMATCH


async def test_a_pool_is_for_one_storage(host: Host, cluster: CephCluster) -> None:
    storage = Ceph(UUID, CephParameters(poolName="abc"), None, host)
    number = cluster.pools()["abc"]["pool"]
    with pytest.raises(StorageProblem) as caught:
        await storage.connect([{"fsid": cluster.fsid, "poolName": "abc", "poolId": number}])
    assert caught.value.reason.code == ReasonCode.POOL_FOREIGN
    with pytest.raises(StorageProblem, match="of another backup storage"):  # it had another name when that one came
        await storage.connect([{"fsid": cluster.fsid, "poolName": "former", "poolId": number}])
    others = [{"fsid": cluster.fsid, "poolName": "ab", "poolId": 0}]
    await storage.connect([*others, {"fsid": "another", "poolName": "abc", "poolId": number}])
    await storage.close()


async def test_a_storage_stays_in_its_pool(host: Host, cluster: CephCluster) -> None:
    remembered = {"fsid": cluster.fsid, "poolName": "before", "poolId": 1, "writeProbe": False}
    assert (await refused(host, remembered=remembered)).reason.code == ReasonCode.POOL_FOREIGN


async def test_the_mon_of_this_host_is_where_it_was(host: Host, cluster: CephCluster) -> None:
    for address in (cluster.mon_address("a", "v1"), cluster.mon_address("a", "v2"), "127.0.0.1"):
        assert await connect(host, monAddress=address)


@pytest.mark.parametrize("address", ["127.0.0.2:{port}", "127.0.0.1:1", "127.0.0.10"])
async def test_a_mon_that_moved_is_named_with_both_addresses(host: Host, cluster: CephCluster, address: str) -> None:
    old = address.format(port=cluster.mon_ports[1][1])
    problem = await refused(host, monAddress=old)
    assert problem.reason.code == ReasonCode.MON_ADDR_CHANGED
    assert old in problem.details
    assert cluster.mon_address("a", "v1") in problem.details
    assert cluster.mon_address("a", "v2") in problem.details


async def test_without_its_socket_the_cluster_describes_the_mon(cluster: CephCluster, tmp_path: Path) -> None:
    async with on_host(settings(cluster, run_dir=tmp_path)) as host:
        storage = Ceph(UUID, CephParameters(poolName="abc", monAddress=cluster.mon_address("b")), None, host)
        mon, reason = await storage._own_mon.look(cluster.fsid)
        assert (mon.name, mon.state in {"leader", "peon"}, reason) == ("b", True, None)
        await storage.close()
        problem = await refused(host, monAddress="127.0.0.10:6789")
        assert problem.reason.code == ReasonCode.MON_ADDR_CHANGED
        assert cluster.mon_address("c") in problem.details


async def test_a_name_that_nobody_knows_says_nothing_about_the_mon(host: Host) -> None:
    assert await connect(host, monAddress="no-such-host.invalid:6789")


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (None, ReasonCode.AUTH_FAILED, "there is no keyring: no {keyring}"),
        ("[client.admin]\n\tkey = AQDhvlZfAAAAABAAFqpBmC7ZbNq0cLz8MnJm7A==\n", ReasonCode.AUTH_FAILED, ""),
        (
            "[client.other]\n\tkey = AQDhvlZfAAAAABAAFqpBmC7ZbNq0cLz8MnJm7A==\n",
            ReasonCode.AUTH_FAILED,
            "{keyring} holds no key of client.admin",
        ),
        ("rubbish\n", ReasonCode.CEPH_CONF_INVALID, "{keyring} is no keyring"),
        ("[client.admin]\n\tkey = AQDhvlZf\n", ReasonCode.CEPH_CONF_INVALID, "client.admin in {keyring} is no key"),
        ("", ReasonCode.CEPH_CONF_INVALID, "{keyring} cannot be read: Is a directory"),
    ],
    ids=["removed", "wrong", "of another client", "no keyring", "no key", "a folder"],
)
async def test_a_keyring_that_does_not_fit(
    cluster: CephCluster, tmp_path: Path, content: str | None, code: ReasonCode, said: str
) -> None:
    """What releases of librados say of these differs: what can be seen of the keyring does not."""
    keyring = tmp_path / "keyring"
    if content:
        keyring.write_text(content)
    elif content == "":
        keyring.mkdir()
    async with on_host(settings(cluster, keyring=str(keyring))) as host:
        problem = await refused(host)
        assert problem.reason.code == code
        assert said.format(keyring=keyring) in problem.details
        assert "AQD" not in problem.details
        if content == "":
            keyring.rmdir()
        keyring.write_bytes(cluster.keyring.read_bytes())
        assert await connect(host), "the right keyring works at once"


async def test_a_key_that_the_configuration_holds_needs_no_keyring(cluster: CephCluster, tmp_path: Path) -> None:
    (key,) = (line for line in cluster.keyring.read_text().splitlines() if "key =" in line)
    for given, right in ((key, True), ("key = AQDhvlZfAAAAABAAFqpBmC7ZbNq0cLz8MnJm7A==", False)):
        conf = tmp_path / f"{right}.conf"
        lines = [line for line in cluster.conf.read_text().partition("[mon]")[0].splitlines() if "keyring" not in line]
        conf.write_text("\n".join([*lines, given, ""]))
        async with on_host(settings(cluster, conf=conf)) as host:
            if right:
                assert await connect(host)
            else:
                problem = await refused(host)
                assert (problem.reason.code, "keyring" in problem.details) == (ReasonCode.AUTH_FAILED, False)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "cannot be read: No such file or directory"),
        ("[global]\n", r"it names no mons \(mon_host\)"),
        ("[global\nfoo=%%%", r"cannot be parsed|it names no mons \(mon_host\)"),  # of which Ceph 14 reads nothing
    ],
    ids=["missing", "empty", "no conf"],
)
async def test_a_configuration_that_does_not_fit(
    cluster: CephCluster, tmp_path: Path, content: str | None, why: str
) -> None:
    conf = tmp_path / "ceph.conf"
    if content:
        conf.write_text(content)
    async with on_host(settings(cluster, conf=conf)) as host:
        problem = await refused(host)
    assert problem.reason.code == ReasonCode.CEPH_CONF_INVALID
    assert str(conf) in problem.details
    assert re.search(why, problem.details)
    assert "object not found" not in problem.details


async def test_a_client_that_may_not_look_is_told(cluster: CephCluster, tmp_path: Path) -> None:
    key = cluster.ceph("auth", "get-or-create", "client.blind", "osd", "allow r")[0]["key"]
    keyring = tmp_path / "keyring"
    keyring.write_text(f"[client.blind]\n\tkey = {key}\n")
    async with on_host(settings(cluster, keyring=str(keyring), client="client.blind")) as host:
        assert (await refused(host)).reason.code == ReasonCode.AUTH_FAILED


async def test_a_python_without_rados_is_named(cluster: CephCluster, tmp_path: Path) -> None:
    wrapper = tmp_path / "python3"
    wrapper.write_text('#!/bin/sh\nexec /usr/bin/python3 -S "$@"\n')  # -S: no site directory, so no rados
    wrapper.chmod(0o755)
    chosen = settings(cluster).model_copy(
        update={"probe": settings(cluster).probe.model_copy(update={"python": wrapper})}
    )
    async with on_host(chosen) as host:
        assert (await refused(host)).reason.code == ReasonCode.LIBRADOS_MISSING
