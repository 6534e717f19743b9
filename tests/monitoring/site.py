"""A site to be watched: a management node over TLS, two real agents of which one goes away, and a played mon host.

Of everything that an alert is about there is something: a storage that is down, one without room for its mons, a debt.
"""

import asyncio
import datetime as dt
import ipaddress
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bs_agent.contract.reasons import Reason, ReasonCode
from bs_agent.contract.report import CephReport, Cluster, LocalMon, Mon, MonAddress, Pool, Section
from tests.beds import warm
from tests.beds.agent import ROOT, AgentProcess
from tests.beds.fleet import until
from tests.beds.node import NodeClient, NodeProcess, client_of
from tests.beds.played import Players, players

MON_HOST = "127.0.0.9"
POLL = {"interval": 0.5, "timeout": 0.5, "max_failures": 2}
FSID = "d53902bc-ff50-4d08-8769-9d83448478d3"


@dataclass(frozen=True)
class Site:
    """What there is; `token` opens the metrics, `ceph`, `here` and `away` are storages."""

    node: NodeProcess
    certificate: Path
    token: str
    ceph: str
    lost: str
    here: str
    away: str


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for this machine as an operator would: it names the address. Returns it, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "management node")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, private = folder / "node.pem", folder / "node.key"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    kept = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, *kept))
    return pem, private


def pool(uuid: str, parameters: dict[str, Any]) -> CephReport:
    """Report a pool of a cluster that has lost one of its mons, and its mgr: its numbers are old."""
    cluster = Cluster(
        fsid=FSID, totalCapacity=9000, availableCapacity=3000, health="HEALTH_WARN", checks=[], mgrActive=False,
        vendor="",
    )  # fmt: skip
    name = parameters["poolName"]
    mine = Pool(
        id=len(name), name=name, securityPolicy="Copy", replicatedSize=3, crushRule="", crushRoot="", failureDomain="",
        relatedOsds=[], usedCapacity=600, availableCapacity=900, totalCapacity=1500, diskUtilization=0.33,
        poolMaxAvail=20, poolStored=600,
    )  # fmt: skip
    mons = [
        Mon(rank=rank, name=f"m{rank}", addresses=[_at(rank)], inQuorum=rank != 2, leader=not rank) for rank in range(3)
    ]
    down = Reason(code=ReasonCode.MGR_DOWN, details="seen")
    seen: dict[str, Any] = {"collectedAt": 1.0, "ageSeconds": 1.0}
    return CephReport(
        uuid=uuid, poolName=name, poolId=mine.id,
        cluster=Section[Cluster](value=cluster, stale=True, reason=down, **seen),
        pools=Section[list[Pool]](value=[mine], stale=True, reason=down, **seen),
        mons=Section[list[Mon]](value=mons, **seen),
        localMon=Section[LocalMon](
            value=LocalMon(name="m0", state="leader", rank=0, addresses=[_at(0)]), **seen
        ),
    )  # fmt: skip


def _at(rank: int) -> MonAddress:
    return MonAddress(type="v2", address=f"127.0.0.{9 + rank}:3300")


@contextmanager
def playing(folder: Path) -> Iterator[tuple[Players, asyncio.AbstractEventLoop]]:
    """Play a mon host in a thread of its own while the context is open."""
    loop, ready = asyncio.new_event_loop(), threading.Event()
    made: list[Players] = []
    end = asyncio.Event()

    async def play() -> None:
        async with players(folder) as some:
            await some.add(MON_HOST, pool)
            made.append(some)
            ready.set()
            await end.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(play()), name="mon host")
    thread.start()
    try:
        assert ready.wait(30)
        yield made[0], loop
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join(30)
        loop.close()


@asynccontextmanager
async def settled(folder: Path, node: NodeProcess, played: Players) -> AsyncIterator[dict[str, str]]:
    """Bring the site into its state; yields the uuids of the storages while the agent that stays runs."""
    async with AsyncExitStack() as stack:
        here, away = (AgentProcess(folder / name) for name in ("here", "away"))
        stack.enter_context(here)
        stack.enter_context(away)
        client = await stack.enter_async_context(client_of(node))
        uuids = {}
        for name, agent in (("kept", here), ("unseen", here), ("lost", away), ("owed", away)):
            (folder / name).mkdir()
            uuids[name] = await client.add(folder / name, agent.enroll(name).code)
        uuids["ceph"] = await _add_pool(client, played, "backups")
        uuids["quorum"] = await _add_pool(client, played, "others")
        lost = Reason(code=ReasonCode.NO_QUORUM, details="seen")
        played.by_host[MON_HOST].change(uuids["quorum"], cluster=Section[Cluster](reason=lost, stale=True))
        await _zone(client, uuids["kept"])
        await client.call("PUT", "/accounts/login", {"logInByAccount": {"accountName": "admin", "password": "wrong"}})
        away.kill()
        assert await client.call("DELETE", f"/backup-storage/{uuids['owed']}?deleteMode=Enforcing") == {}

        async def seen() -> bool:
            found = {name: await client.storage(uuids[name]) for name in ("kept", "lost", "ceph", "quorum")}
            codes = {name: one.get("statusReason", {}).get("code", "") for name, one in found.items()}
            return codes == {"kept": "", "lost": "AgentUnreachable", "ceph": "MgrDown", "quorum": "NoQuorum"}

        await until(seen)
        # As it is when no management node has run for a while; who polls it has no news to write.
        with sqlite3.connect(node.folder / "management.db") as database:
            database.execute("UPDATE backup_storage SET status = 'Connecting' WHERE uuid = ?", [uuids["unseen"]])
        database.close()
        yield uuids


async def _add_pool(client: NodeClient, played: Players, name: str) -> str:
    code = played.by_host[MON_HOST].code
    body = {
        "params": {"name": name, "poolName": name, "monUrls": [f"root:password@{MON_HOST}"]},
        "systemTags": [f"agentEnrollment::{MON_HOST}::{code}"],
    }
    added = await client.call("POST", "/backup-storage/ceph", body)
    assert "error" not in added, added
    return str(added["inventory"]["uuid"])


async def _zone(client: NodeClient, storage: str) -> None:
    made = await client.call("POST", "/zones", {"params": {"name": "east"}})
    uuid = made["inventory"]["uuid"]
    assert "error" not in await client.call("POST", f"/zones/{uuid}/backup-storage/{storage}", {"params": {}})


@contextmanager
def site(folder: Path) -> Iterator[Site]:
    """Run the site while the context is open."""
    folder.mkdir(parents=True, exist_ok=True)
    pem, key = certificate(folder)
    served = {"tls_certificate": str(pem), "tls_key": str(key)}
    node = NodeProcess(folder / "node", {"poll": POLL, "server": served})
    with playing(folder) as (played, _), node:
        command = [sys.executable, "-m", "bs_agent.management.main", "scrape-tokens", "add", "prometheus"]
        done = warm.run([*command, "--config", str(node.config)], cwd=ROOT, timeout=60)
        with _in_loop(settled(folder, node, played)) as uuids:
            yield Site(node, pem, done.stdout.strip(), uuids["ceph"], uuids["quorum"], uuids["kept"], uuids["lost"])


@contextmanager
def _in_loop(context: Any) -> Iterator[dict[str, str]]:
    with asyncio.Runner() as runner:
        uuids: dict[str, str] = runner.run(context.__aenter__())
        try:
            yield uuids
        finally:
            runner.run(context.__aexit__(None, None, None))
