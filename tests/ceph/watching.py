"""An agent's view of a Ceph storage without the agent around it: the kind, its worker and the reporter."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bs_agent.agent.config import AgentSettings
from bs_agent.agent.probing.reporter import Reporter
from bs_agent.agent.storages.base import Host
from bs_agent.agent.storages.ceph import Ceph
from bs_agent.contract.reasons import REASONS
from bs_agent.contract.report import CephParameters, CephReport
from tests.beds.ceph import CephCluster

UUID = "c" * 32
INTERVAL = 4.0


@dataclass
class Watch:
    """A watched storage."""

    host: Host
    reporter: Reporter
    storage: Ceph
    blocked: set[str] = field(default_factory=set)  # the blocking reasons that anybody came across

    async def fresh(self) -> CephReport:
        """Probe everything now and return the report."""
        await self.reporter.refresh([self.storage.uuid], 2 * self.host.deadline)
        return self.last()

    def last(self) -> CephReport:
        """Return the report as it is."""
        report = self.reporter.storage_report(self.storage.uuid)
        assert isinstance(report, CephReport)
        self.blocked |= {str(reason.code) for reason in report.reasons() if REASONS[reason.code].blocking}
        return report

    async def until(self, condition: Callable[[CephReport], bool], seconds: float = 60.0) -> CephReport:
        """Wait until the report is so, by its schedule alone."""
        deadline = time.monotonic() + seconds
        while True:
            report = self.last()
            if condition(report):
                return report
            assert time.monotonic() < deadline, report.model_dump_json(indent=1)
            await asyncio.sleep(0.05)

    @property
    def worker_pid(self) -> int | None:
        """The process id of the probe worker."""
        return self.storage._link._worker.pid


def settings(cluster: CephCluster, mon: str = "a", *, python: str = "", **ceph: Any) -> AgentSettings:
    """Settings of an agent on the host of a mon; librados, the cluster's own, gets a second for whatever it does."""
    access = {"conf": cluster.conf, "run_dir": cluster.run_dir(mon), **ceph}
    probe = {"interval": INTERVAL, "deadline": INTERVAL, "python": python or cluster.place.python}
    return AgentSettings.model_validate({"ceph": access, "probe": probe})


@asynccontextmanager
async def on_host(chosen: AgentSettings) -> AsyncIterator[Host]:
    """What a storage needs, without an agent around it."""
    host = Host(chosen)
    async with host.workers.running():
        yield host


@asynccontextmanager
async def watching(
    cluster: CephCluster,
    pool: str,
    mon: str = "a",
    *,
    run_dir: Path | None = None,
    python: str = "",
    access: Mapping[str, Any] = MappingProxyType({}),
    **parameters: Any,
) -> AsyncIterator[Watch]:
    """Connect a storage and watch it; `run_dir` is where its host looks for the socket of its mon."""
    ceph = {**access, **({"run_dir": run_dir} if run_dir else {})}
    async with on_host(settings(cluster, mon, python=python, **ceph)) as host:
        reporter = Reporter(host)
        async with reporter.running():
            storage = Ceph(UUID, CephParameters(poolName=pool, **parameters), None, host)
            await storage.connect([])
            await reporter.watch(storage)
            yield Watch(host, reporter, storage)
            await reporter.unwatch(UUID)
            await storage.close()
