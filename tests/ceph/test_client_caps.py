"""What the client may do that the deployment makes for an agent: all that an agent does, and not all there is."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import yaml  # type: ignore[import-untyped]

from bs_agent.agent.storages.base import Host
from bs_agent.agent.storages.ceph import Ceph
from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.report import CephParameters
from tests.beds.ceph import CephCluster
from tests.ceph.watching import UUID, on_host, settings

pytestmark = pytest.mark.asyncio
CLIENT = "client.bs-agent"
TASKS = Path(__file__).parents[2] / "ansible" / "roles" / "bs_agent" / "tasks" / "ceph_client.yml"


@pytest_asyncio.fixture
async def host(cluster: CephCluster, tmp_path: Path) -> AsyncIterator[Host]:
    words = yaml.safe_load(TASKS.read_text())[0]["ansible.builtin.command"]["argv"]
    caps = [word.strip() for word in words[words.index("mon") :]]
    keyring = tmp_path / "keyring"
    keyring.write_text(f"[{CLIENT}]\n\tkey = {cluster.ceph('auth', 'get-or-create', CLIENT, *caps)[0]['key']}\n")
    async with on_host(settings(cluster, client=CLIENT, keyring=str(keyring))) as made:
        yield made


@pytest.mark.parametrize("remove_pool", [True, False])
async def test_a_pool_is_made_marked_probed_and_given_back(host: Host, cluster: CephCluster, remove_pool: bool) -> None:
    name = f"bak-t-caps-{remove_pool}".lower()
    cluster.ceph("config", "set", "mon", "mon_allow_pool_delete", "true")
    made = Ceph(UUID, CephParameters(poolName=name, createPool=True), None, host)
    remembered = await made.connect([])
    await made.close()
    storage = Ceph(UUID, CephParameters(poolName=name, writeProbe=True, removePool=remove_pool), remembered, host)
    await storage.connect([])
    for step in await storage.plan_cleanup():
        await storage.clean(step)
    await storage.close()
    assert (name in cluster.pools()) is not remove_pool
    if not remove_pool:
        cluster.ceph("osd", "pool", "delete", name, name, "--yes-i-really-really-mean-it")


async def test_other_things_are_refused(host: Host, cluster: CephCluster) -> None:
    cluster.pool("others")
    storage = Ceph(UUID, CephParameters(poolName="others"), None, host)
    await storage.connect([])
    with pytest.raises(StorageProblem, match="access denied"):
        await storage._link.command(prefix="osd set", key="noout")
    await storage.close()
