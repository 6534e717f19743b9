"""What the agent shows to Prometheus: capacities, ages, probes, workers and commands, as they are at the scrape."""

import asyncio
import platform
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from bs_agent import __version__
from bs_agent.agent.journal import commands as command_store
from bs_agent.agent.journal.journal import Journal
from bs_agent.agent.probing.reporter import Reporter
from bs_agent.agent.push.push import Pushing
from bs_agent.agent.worker.pool import Workers
from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.report import CephReport, ImageStoreReport, Pool
from bs_agent.daemon.exposition import encoder

JOURNAL_DEADLINE = 3.0
"""Seconds that the journal's disk may take: whoever scrapes waits for ten, and is to see that it hangs."""

_Samples = Sequence[tuple[tuple[str, ...], float]]


class Metrics(Collector):
    """The agent's own registry: each scrape reads what the parts hold."""

    def __init__(self, reporter: Reporter, workers: Workers, journal: Journal, pushing: Pushing) -> None:
        self._reporter = reporter
        self._workers = workers
        self._journal = journal
        self._pushing = pushing
        self._commands: dict[str, int] = {}
        self._journal_available = True
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(self)

    async def render(self, accept: str) -> tuple[bytes, str]:
        """Return all metrics in the best format that `accept` names, and its content type."""
        try:
            async with asyncio.timeout(JOURNAL_DEADLINE):
                self._commands = await self._journal.read(command_store.count_by_state)
            self._journal_available = True
        except (StorageProblem, TimeoutError):
            self._commands, self._journal_available = {}, False
        encode, content_type = encoder(accept)
        return encode(self._registry), content_type

    def collect(self) -> Iterator[Metric]:
        """Read the parts, as the registry asks for it."""
        build = (__version__, platform.python_version())
        yield _gauge("bs_agent_build_info", "The agent's version.", ["version", "python"], [(build, 1)])
        yield _gauge("bs_agent_journal_available", "Whether commands can be kept.", [], [((), self._journal_available)])
        yield _gauge(
            "bs_agent_commands",
            "The commands that are kept, by state.",
            ["state"],
            [((state,), count) for state, count in self._commands.items()],
        )
        pushes = CounterMetricFamily("bs_agent_pushes", "Reports sent to management nodes.", labels=["outcome"])
        for outcome, count in self._pushing.counters.items():
            pushes.add_metric([outcome], count)
        yield pushes
        yield from self._storages()
        yield from self._sections()
        yield from self._worker_counters()

    def _storages(self) -> Iterator[Metric]:
        """Show the last good numbers of each storage."""
        told = [(report, _values(report)) for report in map(self._reporter.storage_report, self._reporter.watched)]
        for name, meaning in _STORAGE.items():
            samples = [((report.uuid, report.type), values[name]) for report, values in told if name in values]
            yield _gauge(f"bs_agent_storage_{name}", meaning, ["storage", "type"], samples)

    def _sections(self) -> Iterator[Metric]:
        labels = ["storage", "type", "section"]
        sections = list(self._reporter.sections())
        ages = [(name, section.ageSeconds) for name, section in sections if section.ageSeconds is not None]
        yield _gauge("bs_agent_section_age_seconds", "The age of the last good value.", labels, ages)
        durations = [(name, section.durationSeconds) for name, section in sections if section.durationSeconds]
        yield _gauge("bs_agent_probe_duration_seconds", "How long the last probe took.", labels, durations)
        stale = [(name, section.stale) for name, section in sections]
        yield _gauge("bs_agent_section_stale", "Whether the value is too old to be trusted.", labels, stale)
        reasons = [((*name, str(section.reason.code)), 1) for name, section in sections if section.reason]
        yield _gauge("bs_agent_section_reason", "Why the section is not well.", [*labels, "reason"], reasons)

    def _worker_counters(self) -> Iterator[Metric]:
        workers = self._workers.all()
        for name, meaning in (
            ("starts", "How often the probe worker was started."),
            ("crashes", "How often the probe worker died."),
            ("timeouts", "How often a call of the probe worker passed its deadline."),
        ):
            counter = CounterMetricFamily(f"bs_agent_worker_{name}", meaning, labels=["worker"])
            for worker in workers:
                counter.add_metric([worker.name], getattr(worker.counters, name))
            yield counter
        stuck = [((worker.name,), worker.stuck) for worker in workers]
        yield _gauge("bs_agent_worker_stuck", "Whether the kernel still holds a killed worker.", ["worker"], stuck)


_STORAGE = {
    "total_bytes": "The bytes of the storage; of a Ceph storage those of its cluster.",
    "available_bytes": "The bytes that can still be written; of a Ceph storage those of its cluster.",
    "total_inodes": "The inodes of the file system.",
    "available_inodes": "The inodes that are free.",
    "read_only": "Whether the file system is mounted read-only.",
    "pool_stored_bytes": "The bytes that the pool holds before they are replicated.",
    "pool_used_bytes": "The bytes that the pool takes of its OSDs, as the public API says it.",
    "pool_available_bytes": "The bytes that the pool's OSDs can still take, as the public API says it.",
    "pool_max_avail_bytes": "The bytes that Ceph itself says can still be written into the pool.",
    "mons": "The mons of the cluster.",
    "mons_in_quorum": "The mons that are in the quorum.",
    "mgr_active": "Whether a ceph-mgr is active; without one the numbers are old.",
}


def _values(report: ImageStoreReport | CephReport) -> dict[str, float]:
    """Return the numbers of a report by the names of `_STORAGE`; what was not measured is left out."""
    if isinstance(report, ImageStoreReport):
        usage = report.usage.value
        if usage is None:
            return {}
        return {
            "total_bytes": usage.totalCapacity,
            "available_bytes": usage.availableCapacity,
            "total_inodes": usage.totalInodes,
            "available_inodes": usage.availableInodes,
            "read_only": usage.readOnly,
        }
    values: dict[str, float] = {}
    if cluster := report.cluster.value:
        values |= {"total_bytes": cluster.totalCapacity, "available_bytes": cluster.availableCapacity}
        values["mgr_active"] = cluster.mgrActive
    if (mons := report.mons.value) is not None:
        values |= {"mons": len(mons), "mons_in_quorum": report.mons_in_quorum() or 0}
    pool = next((pool for pool in report.pools.value or [] if pool.name == report.poolName), None)
    return values | (_of_pool(pool) if pool else {})


def _of_pool(pool: Pool) -> dict[str, float]:
    return {
        "pool_stored_bytes": pool.poolStored,
        "pool_used_bytes": pool.usedCapacity,
        "pool_available_bytes": pool.availableCapacity,
        "pool_max_avail_bytes": pool.poolMaxAvail,
    }


def _gauge(name: str, meaning: str, labels: list[str], samples: _Samples) -> Metric:
    gauge = GaugeMetricFamily(name, meaning, labels=labels)
    for values, sample in samples:
        gauge.add_metric(values, float(sample))
    return gauge
