"""What the database counts at a scrape, and whether it answers and can be written."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from bs_agent.contract.inventory import State, Status
from bs_agent.contract.report import CEPH, IMAGESTORE
from bs_agent.management.operations.turns import Kind
from bs_agent.management.store.figures import Counts
from bs_agent.management.store.jobs import DONE, FAILED, RUNNING

_STATUSES, _STATES = get_args(Status), get_args(State)


class CountsCollector(Collector):
    """Shows what was counted last; without an answer of the database nothing but that.

    `clock_offset` is how many seconds the database's clock is ahead of this machine's.
    """

    def __init__(self) -> None:
        self.counts: Counts | None = None
        self.clock_offset = 0.0
        self.is_writable = False

    def collect(self) -> Iterator[Metric]:
        """Turn the counts into metrics."""
        yield _gauge("bs_management_database_up", "Whether the database answers in time.", self.counts is not None)
        yield _gauge("bs_management_writable", "Whether news of hosts can be written.", self.is_writable)
        counts = self.counts
        if counts is None:
            return
        offset = "How far the database's clock is ahead of this machine's."
        yield _gauge("bs_management_database_clock_offset_seconds", offset, self.clock_offset)
        yield _gauge("bs_management_lease_seconds", "What is left of this node's lease.", counts.lease)
        yield _gauge("bs_management_nodes", "Management nodes that live.", counts.nodes)
        yield _gauge("bs_management_agents_known", "Agents of the whole database.", counts.agents)
        yield _gauge("bs_management_agents_unheld", "Agents that no living node polls.", counts.unheld)
        yield _gauge("bs_management_sessions", "Sessions that have not expired.", counts.sessions)
        every: dict[tuple[str, ...], int] = dict.fromkeys(product((IMAGESTORE, CEPH), _STATES, _STATUSES), 0)
        yield _by(
            "bs_management_storages",
            "Backup storages by kind, wished state and status.",
            ("type", "state", "status"),
            every | counts.storages,
        )
        yield from _work(counts)


class Tally(Collector):
    """Shows what a part that knows nothing of metrics has counted, by outcome."""

    def __init__(self, name: str, meaning: str, counted: Mapping[str, int]) -> None:
        self._name, self._meaning, self._counted = name, meaning, counted

    def collect(self) -> Iterator[Metric]:
        """Turn the counts into a metric."""
        counter = CounterMetricFamily(self._name, self._meaning, labels=["outcome"])
        for outcome, count in self._counted.items():
            counter.add_metric([outcome], count)
        yield counter


def _work(counts: Counts) -> Iterator[Metric]:
    """Turn into metrics what is to be done, and what is being done."""
    debts = {"clean_up": counts.cleanups, "forgetting": counts.forgettings}
    for name, meaning, values in (
        ("debts", "What is owed to agents.", {kind: one.count for kind, one in debts.items()}),
        ("debts_failed", "What is owed and was tried in vain.", {kind: one.failed for kind, one in debts.items()}),
        ("debt_age_seconds", "How long the oldest is owed.", {kind: one.oldest for kind, one in debts.items()}),
    ):
        yield _by(f"bs_management_{name}", meaning, ("kind",), {(kind,): value for kind, value in values.items()})
    kinds = dict.fromkeys(get_args(Kind), 0) | counts.operations
    text = "Operations under way, on all nodes."
    yield _by("bs_management_operations", text, ("kind",), {(kind,): value for kind, value in kinds.items()})
    states = dict.fromkeys((RUNNING, DONE, FAILED), 0) | counts.jobs
    text = "Jobs that are kept, by how they are, of all nodes."
    yield _by("bs_management_jobs", text, ("state",), {(state,): value for state, value in states.items()})
    yield _gauge("bs_management_hooks", "Web hooks that wait, of running jobs too.", counts.hooks)
    yield _gauge("bs_management_hooks_failed", "Web hooks that wait for another try.", counts.hooks_failed)
    yield _gauge("bs_management_hook_lateness_seconds", "How long the oldest web hook is due.", counts.hook_late)


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, value=float(value))


def _by(name: str, meaning: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]) -> Metric:
    gauge = GaugeMetricFamily(name, meaning, labels=labels)
    for labelled, value in values.items():
        gauge.add_metric(labelled, float(value))
    return gauge
