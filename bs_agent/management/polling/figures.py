"""What the polls are like, for who watches them: how they end, how long they take, how late they are."""

import time
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache

from prometheus_client import Counter, Histogram
from prometheus_client.registry import Collector

from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import HostReport
from bs_agent.management.model.figures import Figures, figures_of

OUTCOMES = ("report", "unchanged", "missed", "not_asked")
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_LATE = (0.1, 0.5, 1, 5, 10, 30, 60, 300, 900)


@dataclass(slots=True)
class Shown:
    """What an agent has shown of itself last.

    `answered_at` is of the event loop's clock, `clock_offset` the seconds by which its own clock is ahead of ours, and
    `certificate_end` a Unix time; None is what is not known.
    """

    answered_at: float | None = None
    clock_offset: float | None = None
    certificate_end: int | None = None
    version: str | None = None
    storages: dict[str, Figures] = field(default_factory=dict)

    def take(self, report: HostReport) -> None:
        """Keep what a report says."""
        self.version = report.agentVersion or None
        self.storages = {storage.uuid: figures_of(storage) for storage in report.storages}

    def answered(self, now: float, date: str, certificate_end: int | None) -> None:
        """Keep when an agent has answered, until when its certificate is good, and how its clock goes: in seconds."""
        self.answered_at = now
        self.clock_offset = _ahead(date)
        self.certificate_end = certificate_end or self.certificate_end


class PollFigures:
    """The polls of this node."""

    def __init__(self) -> None:
        self.polls = Counter("bs_management_polls", "Polls of agents, by how they ended.", ["outcome"], registry=None)
        self.missed = Counter("bs_management_polls_missed", "Missed polls, by why.", ["reason"], registry=None)
        self.seconds = Histogram(
            "bs_management_poll_seconds", "How long an agent took to answer a poll.", buckets=_SECONDS, registry=None
        )
        self.lateness = Histogram(
            "bs_management_poll_lateness_seconds", "How long after its time a poll was sent.", buckets=_LATE,
            registry=None,
        )  # fmt: skip
        for outcome in OUTCOMES:
            self.polls.labels(outcome)

    @property
    def collectors(self) -> tuple[Collector, ...]:
        """What a registry takes of it."""
        return self.polls, self.missed, self.seconds, self.lateness

    def not_asked(self) -> None:
        """Count a poll that this machine could not send."""
        self.polls.labels("not_asked").inc()

    def miss(self, reason: ReasonCode) -> None:
        """Count a poll that was not answered as it should be."""
        self.polls.labels("missed").inc()
        self.missed.labels(reason.value).inc()

    def answer(self, seconds: float, *, changed: bool) -> None:
        """Count a poll that was answered."""
        self.polls.labels("report" if changed else "unchanged").inc()
        self.seconds.observe(seconds)


def _ahead(date: str) -> float | None:
    told = _moment(date)
    return told + 0.5 - time.time() if told is not None else None


@lru_cache(maxsize=64)  # agents that answer in the same second name the same
def _moment(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).replace(tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        return None
