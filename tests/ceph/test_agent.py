"""A real agent process on a live cluster, asked over its protocol as a management node asks it."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bs_agent.contract.report import CEPH, CephReport, CommandState
from tests.agent.asking import clean, refusal, report
from tests.beds.agent import AgentClient, AgentProcess, Answer, client_of
from tests.beds.ceph import CephCluster
from tests.ceph.watching import INTERVAL, UUID

pytestmark = pytest.mark.asyncio
POOL = "bak-t-lives"


@pytest.fixture
def process(cluster: CephCluster, tmp_path: Path) -> Iterator[AgentProcess]:
    """An agent on the host of mon a, with a keyring file of its own."""
    keyring = tmp_path / "keyring"
    keyring.write_bytes(cluster.keyring.read_bytes())
    ceph = {"conf": str(cluster.conf), "run_dir": str(cluster.run_dir("a")), "keyring": str(keyring)}
    probe = {"interval": INTERVAL, "deadline": INTERVAL}
    with AgentProcess(tmp_path / "agent", {"ceph": ceph, "probe": probe}) as made:
        yield made


@pytest_asyncio.fixture
async def client(process: AgentProcess) -> AsyncIterator[AgentClient]:
    async with client_of(process.address, process.enroll()) as made:
        yield made


async def connect(client: AgentClient, pool: str, **more: Any) -> Answer:
    return await client.ask("PUT", f"/v1/storages/{UUID}", {"type": CEPH, "poolName": pool, **more})


async def seen(client: AgentClient) -> CephReport:
    (storage,) = (await report(client)).storages
    assert isinstance(storage, CephReport)
    return storage


async def test_a_storage_lives_from_add_to_delete(
    process: AgentProcess, client: AgentClient, cluster: CephCluster
) -> None:
    answer = await connect(client, POOL, createPool=True, writeProbe=True)
    assert answer.status == 200, answer.body
    first = CephReport.model_validate(answer.body)
    assert first.cluster.value is not None
    assert first.cluster.value.fsid == cluster.fsid
    assert first.reasons() == []
    process.kill()
    process.start()
    assert (await seen(client)).reasons() == []
    assert (await connect(client, POOL, fsid=cluster.fsid, removePool=True)).status == 200
    plan = await client.ask("POST", f"/v1/storages/{UUID}/cleanup", {"commandUuid": "9" * 32, "dryRun": True})
    assert [step["action"] for step in plan.body["steps"]] == ["removePool", "forget"]
    command = await clean(client, uuid=UUID)
    assert (command.state, [step.done for step in command.steps]) == (CommandState.DONE, [True, True])
    assert (await report(client)).storages == []
    assert POOL not in cluster.pools()


async def test_a_keyring_that_is_gone_shows_at_the_reconnect_and_heals(
    process: AgentProcess, client: AgentClient, cluster: CephCluster
) -> None:
    cluster.pool("guests")
    assert (await connect(client, "guests")).status == 200
    keyring = process.folder.parent / "keyring"
    content = keyring.read_bytes()
    keyring.unlink()
    assert refusal(await connect(client, "guests")) == "BS.AuthFailed"
    assert (await client.ask("GET", "/livez")).status == 200
    reasons = (await seen(client)).reasons()
    assert {reason.code for reason in reasons} == {"AuthFailed"}
    keyring.write_bytes(content)
    assert (await connect(client, "guests")).status == 200
    assert (await seen(client)).reasons() == []
    log = process.log.read_text()
    assert content.decode().split("key = ")[1].split()[0] not in log


async def test_a_refused_add_leaves_nothing(client: AgentClient, cluster: CephCluster) -> None:
    before = cluster.pools().keys()
    assert refusal(await connect(client, "no-such-pool")) == "BS.PoolMissing"
    assert refusal(await connect(client, "fresh", createPool=True, fsid="another")) == "BS.FsidMismatch"
    assert (await report(client)).storages == []
    assert cluster.pools().keys() == before


@pytest.mark.parametrize("create", [False, True], ids=["that is there", "that is made"])
async def test_a_pool_that_many_storages_are_connected_to_at_once_gets_one(
    client: AgentClient, cluster: CephCluster, create: bool
) -> None:
    name = f"wanted-{create}"
    if not create:
        cluster.pool(name)
    body = {"type": CEPH, "poolName": name, "createPool": create}
    uuids = [f"{number:032x}" for number in range(6)]
    answers = await asyncio.gather(*(client.ask("PUT", f"/v1/storages/{uuid}", body) for uuid in uuids))
    assert sorted(answer.status for answer in answers) == [200] + [503] * 5
    # Who has waited for the pool for too long, as on a busy machine, is told so.
    assert {refusal(answer) for answer in answers if answer.status != 200} <= {"BS.PoolForeign", "BS.StorageBusy"}
    winner = uuids[[answer.status for answer in answers].index(200)]
    assert [storage.uuid for storage in (await report(client)).storages] == [winner]
    marks = {"rbd": {"bs-agent": winner}} if create else {"rbd": {}}
    assert cluster.pools()[name]["application_metadata"] == marks


async def test_two_storages_of_one_cluster_share_a_worker_and_no_pool(
    client: AgentClient, cluster: CephCluster
) -> None:
    cluster.pool("left")
    cluster.pool("right")
    assert (await connect(client, "left")).status == 200
    other = f"/v1/storages/{'e' * 32}"
    assert refusal(await client.ask("PUT", other, {"type": CEPH, "poolName": "left"})) == "BS.PoolForeign"
    assert (await client.ask("PUT", other, {"type": CEPH, "poolName": "right"})).status == 200
    assert [storage.reasons() for storage in (await report(client)).storages] == [[], []]
    metrics = (await client.ask("GET", "/metrics")).body.decode()
    assert metrics.count("bs_agent_worker_stuck{") == 1
    for name in ("total_bytes", "available_bytes", "pool_stored_bytes", "pool_used_bytes", "pool_available_bytes"):
        assert metrics.count(f'bs_agent_storage_{name}{{storage="') == 2, name
    for name in ("pool_max_avail_bytes", "mons", "mons_in_quorum", "mgr_active"):
        assert metrics.count(f'bs_agent_storage_{name}{{storage="') == 2, name
    assert set(re.findall(r"(?m)^bs_agent_storage_mons_in_quorum{.*} (.*)$", metrics)) == {"3.0"}
