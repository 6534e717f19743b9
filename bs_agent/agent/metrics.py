"""What the agent shows to Prometheus: capacities, ages, probes, workers and commands, as they are at the scrape."""

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from bs_agent import __version__
from bs_agent.agent.journal import commands as command_store
from bs_agent.agent.journal.journal import Journal
from bs_agent.agent.probing.reporter import Reporter
from bs_agent.agent.push.push import Pushing
from bs_agent.agent.worker.pool import Workers
from bs_agent.contract.errors import StorageProblem

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

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

    async def render(self) -> bytes:
        """Return all metrics as Prometheus text."""
        try:
            self._commands = await self._journal.read(command_store.count_by_state)
            self._journal_available = True
        except StorageProblem:
            self._journal_available = False
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Read the parts, as the registry asks for it."""
        yield _gauge("bs_agent_info", "The agent's version.", ["version"], [((__version__,), 1)])
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
        capacities = {"total": "The bytes of the storage.", "available": "The bytes that can still be written."}
        measured = [
            (name.storage, name.kind, section.value)
            for name, section in self._reporter.sections()
            if hasattr(section.value, "totalCapacity")
        ]
        for which, meaning in capacities.items():
            samples = [((uuid, kind), getattr(value, f"{which}Capacity")) for uuid, kind, value in measured]
            yield _gauge(f"bs_agent_storage_{which}_bytes", meaning, ["storage", "type"], samples)

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


def _gauge(name: str, meaning: str, labels: list[str], samples: _Samples) -> Metric:
    gauge = GaugeMetricFamily(name, meaning, labels=labels)
    for values, sample in samples:
        gauge.add_metric(values, float(sample))
    return gauge
