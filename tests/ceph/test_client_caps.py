"""What the client may do that the deployment makes for an agent: all that an agent does, and not all there is."""

import re
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from bs_agent.agent.storages.base import Host
from bs_agent.agent.storages.ceph import Ceph
from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.reasons import Reason, ReasonCode
from bs_agent.contract.report import CephParameters
from tests.beds.ceph import CephCluster
from tests.ceph.watching import UUID, on_host, settings

pytestmark = pytest.mark.asyncio
ROOT = Path(__file__).parents[2]
TASKS = ROOT / "ansible" / "roles" / "bs_agent" / "tasks" / "ceph_client.yml"
DOCS = (ROOT / "docs" / "ceph.md").read_text()


def _of_the_role() -> list[str]:
    words = yaml.safe_load(TASKS.read_text())[0]["ansible.builtin.command"]["argv"]
    return [word.strip() for word in words[words.index("mon") :]]


def _of_the_docs() -> Iterator[list[str]]:
    for line in re.findall(r"^# (ceph auth get-or-create client\.bs-agent .*?[^\\])$", DOCS, re.MULTILINE | re.DOTALL):
        words = shlex.split(line.partition(">")[0].replace("\\\n", ""))
        yield words[words.index("mon") :]


CAPS = _of_the_role()
FULL, NARROW = _of_the_docs()
EACH = [(service, cap) for service, caps in zip(CAPS[::2], CAPS[1::2], strict=True) for cap in caps.split(", ")]


def but(*taken: tuple[str, str]) -> list[str]:
    """Return the capabilities without some of them."""
    left = [each for each in EACH if each not in taken]
    services = dict.fromkeys(service for service, _ in left)
    return [word for each in services for word in (each, ", ".join(cap for service, cap in left if service == each))]


@asynccontextmanager
async def client_with(cluster: CephCluster, caps: Sequence[str], folder: Path) -> AsyncIterator[Host]:
    name = f"client.{folder.name.replace('_', '-')}"
    keyring = folder / "keyring"
    keyring.write_text(f"[{name}]\n\tkey = {cluster.ceph('auth', 'get-or-create', name, *caps)[0]['key']}\n")
    try:
        async with on_host(settings(cluster, client=name, keyring=str(keyring))) as host:
            yield host
    finally:
        cluster.ceph("auth", "rm", name)


class Life:
    """Goes through all that an agent does with a pool; what it is refused is collected."""

    def __init__(self, host: Host, cluster: CephCluster, pool: str) -> None:
        self.reasons: list[Reason] = []
        self._host, self._cluster, self.pool = host, cluster, pool

    async def lives(self, *, remove_pool: bool, create: bool = True) -> None:
        """Add, probe, delete."""
        made = self._storage(None, createPool=create)
        remembered = await self._try(partial(made.connect, []))
        await made.close()
        if not remembered:
            assert not create or self.pool not in self._cluster.pools(), "an add that fails leaves no pool"
            return
        storage = self._storage(remembered, writeProbe=True, removePool=remove_pool)
        await self._try(partial(storage.connect, []))
        for probe in storage.probes:
            reading = await self._try(probe.read)
            self.reasons += [reading.reason] if reading and reading.reason else []
        for step in await self._try(storage.plan_cleanup) or []:
            await self._try(partial(storage.clean, step))
        await storage.close()

    def _storage(self, remembered: dict[str, Any] | None, **parameters: Any) -> Ceph:
        return Ceph(UUID, CephParameters(poolName=self.pool, **parameters), remembered, self._host)

    async def _try(self, attempt: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await attempt()
        except StorageProblem as error:
            self.reasons.append(error.reason)
            return None


@pytest.mark.parametrize("remove_pool", [True, False])
async def test_it_suffices(cluster: CephCluster, tmp_path: Path, remove_pool: bool) -> None:
    assert FULL == CAPS, "the documents and the role say the same"
    async with client_with(cluster, CAPS, tmp_path) as host:
        life = Life(host, cluster, f"bak-t-caps-{remove_pool}".lower())
        await life.lives(remove_pool=remove_pool)
    assert life.reasons == []
    assert (life.pool in cluster.pools()) is not remove_pool
    if not remove_pool:
        remove(cluster, life.pool)


@pytest.mark.parametrize("taken", EACH, ids=" ".join)
async def test_none_can_be_spared_and_the_one_that_lacks_is_named(
    cluster: CephCluster, tmp_path: Path, taken: tuple[str, str]
) -> None:
    reasons = []
    async with client_with(cluster, but(taken), tmp_path) as host:
        for remove_pool in (True, False):
            life = Life(host, cluster, f"bak-t-lacks-{remove_pool}".lower())
            await life.lives(remove_pool=remove_pool)
            reasons += life.reasons
            remove(cluster, life.pool)
    service, cap = taken
    named = [reason for reason in reasons if f"the client lacks the capability {service} '{cap}'" in reason.details]
    assert named, reasons
    assert {reason.code for reason in named} == {ReasonCode.AUTH_FAILED}


@pytest.mark.parametrize(
    "osd", ["allow rw object_prefix bs-agent.write-probe.", 'allow rw namespace=""', "allow rwx namespace=elsewhere"]
)
async def test_a_pool_of_which_a_client_sees_a_part_is_not_empty(
    cluster: CephCluster, tmp_path: Path, osd: str
) -> None:
    mon = but(("osd", ""))[1]
    pool = "bak-t-half-seen"
    cluster.pool(pool)
    cluster.ceph("osd", "pool", "application", "set", pool, "rbd", "bs-agent", UUID)
    for namespace in ("hidden", "") if "namespace" not in osd else ("hidden",):
        cluster.rados("-p", pool, "-N", namespace, "put", "image", "-", stdin="data")
    async with client_with(cluster, ["mon", mon, "osd", osd], tmp_path) as host:
        life = Life(host, cluster, pool)
        await life.lives(remove_pool=True, create=False)
    assert "image" in "".join(cluster.objects(pool))
    assert ReasonCode.AUTH_FAILED in {reason.code for reason in life.reasons}
    remove(cluster, pool)


async def test_a_pool_that_can_neither_be_finished_nor_removed_is_named(cluster: CephCluster, tmp_path: Path) -> None:
    pool = "bak-t-stuck"
    lacks = [("mon", f'allow command "osd pool {what}"') for what in ("application set", "delete")]
    async with client_with(cluster, but(*lacks), tmp_path) as host:
        storage = Ceph(UUID, CephParameters(poolName=pool, createPool=True), None, host)
        with pytest.raises(StorageProblem, match=f"application set.*; the new pool {pool} stays: `osd pool delete`"):
            await storage.connect([])
        await storage.close()
    assert pool in cluster.pools()
    remove(cluster, pool)


async def test_for_one_pool_less_suffices(cluster: CephCluster, tmp_path: Path) -> None:
    cluster.pool("images")
    cluster.pool("others")
    async with client_with(cluster, NARROW, tmp_path) as host:
        life = Life(host, cluster, "images")
        await life.lives(remove_pool=False, create=False)
        assert life.reasons == []
        foreign = Life(host, cluster, "others")
        await foreign.lives(remove_pool=False, create=False)
        assert {reason.code for reason in foreign.reasons} == {ReasonCode.AUTH_FAILED}
    remove(cluster, "images")


async def test_other_things_are_refused(cluster: CephCluster, tmp_path: Path) -> None:
    cluster.pool("some-images")
    cluster.rados("-p", "some-images", "put", "image", "-", stdin="data")
    async with client_with(cluster, CAPS, tmp_path) as host:
        storage = Ceph(UUID, CephParameters(poolName="some-images"), None, host)
        await storage.connect([])
        with pytest.raises(StorageProblem, match="access denied"):
            await storage._link.command(prefix="osd set", key="noout")
        for operation in ("ceph_write", "ceph_remove"):
            with pytest.raises(StorageProblem) as caught:
                await storage._link.call(operation, pool="some-images", name="image")
            assert caught.value.reason.code == ReasonCode.AUTH_FAILED
        await storage.close()
    assert cluster.objects("some-images") == ["\timage"]
    remove(cluster, "some-images")


def remove(cluster: CephCluster, pool: str) -> None:
    if pool in cluster.pools():
        cluster.ceph("osd", "pool", "delete", pool, pool, "--yes-i-really-really-mean-it")
