"""Questions that are under way when their storage is connected anew; a slow worker stands in for Ceph."""

import asyncio
from typing import Any

import pytest

from bs_agent.agent.config import AgentSettings
from bs_agent.agent.probing.reporter import Reporter
from bs_agent.agent.storages.base import Host
from bs_agent.agent.storages.ceph import Ceph
from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import CephParameters
from tests.agent.conftest import UUID, eventually

pytestmark = pytest.mark.asyncio


class SlowWorker:
    """Answers when it is let, and always with the same fault."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.calls = 0

    async def call(self, _operation: str, _deadline: float, /, **_parameters: Any) -> Any:
        self.calls += 1
        await self.gate.wait()
        raise StorageProblem.of(ReasonCode.CEPH_FAULT, "the answer of the new storage")

    def renew(self) -> None:
        pass


@pytest.fixture
def worker() -> SlowWorker:
    return SlowWorker()


@pytest.fixture
def host(worker: SlowWorker, monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host(AgentSettings())

    async def give_back(_worker: object) -> None:
        pass

    monkeypatch.setattr(made.workers, "borrow", lambda _name: worker)
    monkeypatch.setattr(made.workers, "give_back", give_back)
    return made


def _storage(host: Host) -> Ceph:
    return Ceph(UUID, CephParameters(poolName="images"), None, host)


async def test_the_probes_of_a_storage_that_is_connected_anew_go_on(host: Host, worker: SlowWorker) -> None:
    reporter = Reporter(host)
    async with reporter.running():
        old = _storage(host)
        await reporter.watch(old)
        await eventually(lambda: worker.calls > 0)
        await reporter.watch(_storage(host))
        await old.close()
        worker.gate.set()
        await reporter.refresh([UUID], 10.0)
        reasons = {name.section: section.reason for name, section in reporter.sections()}
        for section in ("cluster", "pools", "mons"):
            reason = reasons[section]
            assert reason is not None
            assert reason.details == "the answer of the new storage"


async def test_who_is_cancelled_while_it_asks_is_cancelled(host: Host, worker: SlowWorker) -> None:
    storage = _storage(host)
    reading = asyncio.ensure_future(storage.probes[0].read())
    await eventually(lambda: worker.calls > 0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await storage.close()
