"""How the simulated agents behave: which are slow, dead, flapping or changing, and what those do."""

import asyncio
import random
import re
import time
from collections import Counter
from dataclasses import asdict, dataclass
from enum import StrEnum
from uuid import NAMESPACE_URL, uuid5

from aiohttp import web

from bs_agent.contract.report import DirectoryUsage, ImageStoreReport, Section
from tests.beds.played import Played
from tests.fleet.machines import Machine

URL = "/images"
TIB = 2**40
CAPACITY = 10 * TIB


class Manner(StrEnum):
    """What an agent is like."""

    STEADY = "steady"
    CHANGING = "changing"
    SLOW = "slow"
    FLAPPING = "flapping"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Shares:
    """Which part of the agents, from 0 to 1, is not steady."""

    changing: float = 0.1
    slow: float = 0.05
    flapping: float = 0.02
    dead: float = 0.02

    def __post_init__(self) -> None:
        """Refuse shares that there cannot be.

        Raises:
            ValueError: they are more than all.
        """
        if self.total > 1 + 1e-9:
            raise ValueError(f"the shares come to {self.total:.0%}; all agents are 100 %")

    @property
    def total(self) -> float:
        """All of them."""
        return sum(self.by_manner.values())

    @property
    def by_manner(self) -> dict[Manner, float]:
        """The share of each manner but the steady one."""
        return {Manner(name): share for name, share in asdict(self).items()}

    def manners(self, count: int) -> list[Manner]:
        """Return the manner of each of so many agents: spread evenly over them, and the same in each run."""
        manners: list[Manner] = []
        for manner, share in self.by_manner.items():
            manners += [manner] * round(share * count)
        manners = manners[:count] + [Manner.STEADY] * (count - len(manners))
        random.Random(count).shuffle(manners)  # noqa: S311  nothing secret
        return manners


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things take: in seconds."""

    slow: tuple[float, float] = (2.0, 8.0)
    flap: float = 150.0
    change: float = 60.0


def read_share(text: str) -> float:
    """Read a share such as `5%` or `0.05`.

    Raises:
        ValueError: it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(\s*%)?", text.strip())
    share = float(found[1]) / (100 if found[2] else 1) if found else -1
    if not 0 <= share <= 1:
        raise ValueError(f"{text!r} is no share: 5% or 0.05, from 0 to 100 %")
    return share


class SimulatedAgent(Played):
    """One agent with its ImageStore, whose manner may be changed while it runs."""

    def __init__(self, machine: Machine, manner: Manner, pace: Pace, polls: Counter[str], *, serving: bool) -> None:
        super().__init__(token=machine.token, boot=str(uuid5(NAMESPACE_URL, machine.host)))
        self.machine = machine
        self.manner = manner
        self._pace = pace
        self._polls = polls
        self._random = random.Random(machine.number)  # noqa: S311  nothing secret
        self._offset = self._random.random()
        self.build = self._build
        if serving:
            self.storages[machine.uuid] = self._build(machine.uuid, {"url": URL})

    @property
    def is_away(self) -> bool:
        """Whether it takes no connection now."""
        if self.manner is Manner.FLAPPING:
            return bool(int(time.monotonic() / self._pace.flap + self._offset * 2) % 2)
        return self.manner is Manner.DEAD

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer in its manner."""
        self._polls[self.manner] += 1
        if request.path == "/livez":
            return web.Response(text="ok\n")
        if self.manner is Manner.SLOW:
            await asyncio.sleep(self._random.uniform(*self._pace.slow))
        for uuid, storage in self.storages.items():
            self.storages[uuid] = self._measured(storage)
        return await super().handle(request)

    def _measured(self, storage: object) -> ImageStoreReport:
        assert isinstance(storage, ImageStoreReport)
        return storage.model_copy(update={"usage": self._usage()})

    def _build(self, uuid: str, parameters: dict[str, object]) -> ImageStoreReport:
        return ImageStoreReport(uuid=uuid, url=str(parameters["url"]), usage=self._usage())

    def _usage(self) -> Section[DirectoryUsage]:
        changes = int(time.monotonic() / self._pace.change + self._offset) if self.manner is Manner.CHANGING else 0
        free = int(CAPACITY * (0.1 + 0.8 * self._offset)) - changes % 900 * 2**30
        usage = DirectoryUsage(
            totalCapacity=CAPACITY,
            availableCapacity=free,
            totalInodes=10**7,
            availableInodes=10**6,
            readOnly=False,
        )
        return Section[DirectoryUsage](value=usage, collectedAt=time.time(), ageSeconds=0.1)
