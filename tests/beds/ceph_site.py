"""A whole site: a live Ceph cluster, an agent on the host of each of its mons, and a management node over them."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.beds.agent import AgentProcess
from tests.beds.ceph import CephCluster
from tests.beds.ceph_network import bracketed
from tests.beds.fleet import until
from tests.beds.node import NodeClient, NodeProcess
from tests.beds.node import client_of as node_client_of

POLL = {"interval": 1.0, "timeout": 1.0, "command_timeout": 30.0}
PROBE = {"interval": 4.0, "deadline": 4.0}  # librados gets a second for whatever it does


class CephSite:
    """Agents by the address of their host; each has a keyring and a configuration of its own, as hosts do."""

    def __init__(self, folder: Path, cluster: CephCluster, node: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self.cluster = cluster
        self.node = NodeProcess(folder / "node", {"poll": POLL, **(node or {})})
        self.agents: dict[str, AgentProcess] = {}
        self.folder = folder
        for mon, host in zip(cluster.mons, cluster.mon_hosts, strict=True):
            self.agents[host] = self._agent(mon, host)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for agent in self.agents.values():
                stack.enter_context(agent)
            stack.enter_context(self.node)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def keyring(self, host: str) -> Path:
        """Return the keyring file of a host."""
        return self.folder / host / "keyring"

    def configuration(self, host: str) -> Path:
        """Return the Ceph configuration file of a host."""
        return self.folder / host / "ceph.conf"

    def point(self, host: str, cluster: CephCluster, mon: str = "a") -> None:
        """Give a host the configuration and the keyring of a cluster, for its next connection."""
        keyring = self.keyring(host)
        keyring.write_bytes(cluster.keyring.read_bytes())
        conf = cluster.conf.read_text().replace(f"keyring = {cluster.keyring}", f"keyring = {keyring}", 1)
        self.configuration(host).write_text(conf)
        run_dir = self.folder / host / "run"
        run_dir.unlink(missing_ok=True)
        run_dir.symlink_to(cluster.run_dir(mon))

    def tags(self, *hosts: str) -> list[str]:
        """Enrol with the agents of hosts, by hand; return the tags for the call."""
        return [f"agentEnrollment::{host}::{self.agents[host].enroll().code}" for host in hosts or self.agents]

    def added(self, *hosts: str, **parameters: Any) -> dict[str, Any]:
        """Return the body of the call that adds a pool through hosts, or through all."""
        named = list(hosts or self.agents)
        tags = [*self.tags(*named), *parameters.pop("systemTags", [])]
        return {"params": {"name": "ceph-bs", "monUrls": named, **parameters}, "systemTags": tags}

    def _agent(self, mon: str, host: str) -> AgentProcess:
        (self.folder / host).mkdir(parents=True)
        self.point(host, self.cluster, mon)
        ceph = {"conf": str(self.configuration(host)), "run_dir": str(self.folder / host / "run")}
        probe = {**PROBE, "python": self.cluster.place.python}
        settings: dict[str, dict[str, Any]] = {
            "server": {"listen": f"{bracketed(host)}:0"},
            "ceph": ceph,
            "probe": probe,
        }
        return AgentProcess(self.folder / host / "agent", settings)


class SiteClient(NodeClient):
    """A session on the node of a site."""

    async def ok(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Send a request that must succeed; return the inventory of its answer, if it has one."""
        answer = await self.call(method, path, body)
        assert "error" not in answer, answer
        shown: dict[str, Any] = answer.get("inventory", {})
        return shown

    async def refused(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Send a request that must fail; return its error."""
        answer = await self.call(method, path, body)
        assert "error" in answer, answer
        error: dict[str, Any] = answer["error"]
        return error

    async def reconnect(self, uuid: str) -> dict[str, Any]:
        """Reconnect a storage; return the whole answer."""
        return await self.call("PUT", f"/backup-storage/{uuid}/actions", {"reconnectBackupStorage": {}})

    async def picture(self, uuid: str) -> dict[str, str]:
        """Return status and reason of a storage and of each of its mons, by host name."""
        shown = await self.storage(uuid)
        return {"storage": _health(shown), **{mon["hostname"]: _health(mon) for mon in shown["mons"]}}

    @asynccontextmanager
    async def statuses(self, uuid: str) -> AsyncIterator[dict[str, list[str]]]:
        """Look all the while; yields by name what statuses there have been, each change of them once."""
        seen: dict[str, list[str]] = defaultdict(list)
        enough = asyncio.Event()

        async def look() -> None:
            last = False
            while not last:
                last = enough.is_set()
                for name, health in (await self.picture(uuid)).items():
                    status = health.partition(" ")[0]
                    if seen[name][-1:] != [status]:
                        seen[name].append(status)
                await asyncio.sleep(0.1)

        looking = asyncio.create_task(look())
        try:
            yield seen
        finally:
            enough.set()
            await looking

    async def reaches(self, uuid: str, wanted: Mapping[str, str]) -> dict[str, Any]:
        """Wait until storage and mons are so; return the storage as it is then."""

        async def there() -> bool:
            picture = await self.picture(uuid)
            return all(picture.get(name) == health for name, health in wanted.items())

        await until(there, lambda: self.storage(uuid), seconds=90)
        return await self.storage(uuid)


@asynccontextmanager
async def client_of(site: CephSite) -> AsyncIterator[SiteClient]:
    """Be logged in while the context is open."""
    async with node_client_of(site.node) as made:
        client = SiteClient(made.http, site.node.url)
        await client.log_in(site.node.password)
        yield client


def _health(shown: Mapping[str, Any]) -> str:
    reason = shown.get("statusReason", {}).get("code", "")
    return f"{shown['status']} {reason}".strip()
