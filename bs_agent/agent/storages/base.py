"""What a kind of backup storage is to the agent: probes that fill its report, a connect, and a cleanup in steps.

A kind never touches disks or clusters itself: it asks its worker, under the configured deadline.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bs_agent.agent.config import AgentSettings
from bs_agent.agent.storages.mounts import Mounts
from bs_agent.agent.worker.pool import Workers
from bs_agent.contract.reasons import Reason
from bs_agent.contract.report import CephParameters, CephReport, ImageStoreParameters, ImageStoreReport, Section, Step
from bs_agent.daemon.names import Names


@dataclass(frozen=True, slots=True)
class Reading:
    """What one run of a probe saw: a true value, and what is not well all the same.

    `stale` says that the source itself was old (Ceph without an active mgr).
    """

    value: Any
    reason: Reason | None = None
    stale: bool = False


@dataclass(frozen=True, slots=True)
class Probe:
    """One measured thing: the report's section that it fills, and how to read it.

    `read` ends within the configured deadline and raises `StorageProblem` when there is no true value.
    It runs on every `every`-th turn of the schedule.
    """

    section: str
    read: Callable[[], Awaitable[Reading]]
    every: int = 1


class Host:
    """The agent as a kind sees it: the settings, which a reload replaces, the probe workers, mounts and names."""

    def __init__(self, settings: AgentSettings) -> None:
        self.settings = settings
        self.workers = Workers(settings.probe.python)
        self.mounts = Mounts()
        self.names = Names()
        # The directories whose mount went with the host's own: once it does not, the host has let go of it.
        self.followed: set[str] = set()

    @property
    def deadline(self) -> float:
        """How long one probe or one step may take, in seconds."""
        return self.settings.probe.deadline


class Storage(Protocol):
    """One backup storage that the agent serves."""

    @property
    def uuid(self) -> str:
        """The uuid that the management node gave it."""
        ...

    @property
    def kind(self) -> str:
        """The public API's name of the kind."""
        ...

    @property
    def probes(self) -> tuple[Probe, ...]:
        """What to measure."""
        ...

    def report(self, sections: Mapping[str, Section[Any]]) -> ImageStoreReport | CephReport:
        """Return the report with these sections, one for each probe."""
        ...

    async def connect(self, others: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Verify that this is the right storage, on fresh handles, and put our mark on it; safe to repeat.

        Returns what to remember for the next time, as JSON; the factory gets it back. `others` is what the agent's
        other storages of this kind remember: none of them may be the same directory or pool.

        Raises:
            StorageProblem: it is not the right one or not well; then nothing was changed.
        """
        ...

    async def undo(self) -> None:
        """Take back what the last `connect` of this object put on the storage, and nothing that was there before.

        Raises:
            StorageProblem: it cannot be done.
        """
        ...

    async def plan_cleanup(self) -> list[Step]:
        """Return the steps that remove what we put on the storage, and nothing else.

        Raises:
            StorageProblem: the storage does not answer.
        """
        ...

    async def clean(self, step: Step) -> None:
        """Do one step of the plan; a step whose effect is there already succeeds.

        Raises:
            StorageProblem: it cannot be done.
        """
        ...

    def repeatable(self, step: Step) -> bool:
        """Tell whether the step may run again when nobody knows if it ran: else the command is interrupted."""
        ...

    async def close(self) -> None:
        """Give back what the storage holds: its worker."""
        ...


# How to make one: its uuid, its parameters, what `connect` returned the last time (None: never connected), the agent.
Parameters = ImageStoreParameters | CephParameters
Factory = Callable[[str, Any, dict[str, Any] | None, Host], Storage]
