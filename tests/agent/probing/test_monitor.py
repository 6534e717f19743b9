"""One probe on its schedule: ages, staleness, joined readings, one log line for each change."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bs_agent.agent.config import AgentSettings
from bs_agent.agent.probing import monitor as module
from bs_agent.agent.probing.monitor import Monitor, offset
from bs_agent.agent.storages.base import Host, Probe, Reading
from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.reasons import Reason, ReasonCode
from bs_agent.daemon.lifecycle import background
from tests.agent.conftest import eventually

HUNG = Reason(code=ReasonCode.DIRECTORY_HUNG, details="it hangs")


class Source:
    """Something to measure: gives what it is told to give, and counts."""

    def __init__(self) -> None:
        self.readings = 0
        self.changes = 0
        self.outcome: Reading | Exception = Reading(1)
        self.gate = asyncio.Event()
        self.gate.set()

    async def read(self) -> Reading:
        self.readings += 1
        await self.gate.wait()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def changed(self) -> None:
        self.changes += 1


@asynccontextmanager
async def _monitoring(source: Source, interval: float = 3600.0, deadline: float = 10.0) -> AsyncIterator[Monitor]:
    settings = AgentSettings.model_validate({"probe": {"interval": interval, "deadline": deadline}})
    monitor = Monitor("storage", Probe("usage", source.read), Host(settings), source.changed)
    async with background(monitor.run(), "monitor"):
        yield monitor


@pytest.mark.asyncio
async def test_it_reads_at_once_and_begins_unknown() -> None:
    source = Source()
    source.gate.clear()
    async with _monitoring(source) as monitor:
        section = monitor.section()
        assert (section.value, section.reason, section.stale, section.ageSeconds) == (None, None, False, None)
        source.gate.set()
        await eventually(lambda: monitor.section().value == 1)
        assert source.changes == 1
        assert monitor.progressing


@pytest.mark.asyncio
async def test_callers_share_a_reading_that_begins_after_they_came() -> None:
    source = Source()
    source.gate.clear()
    async with _monitoring(source) as monitor:
        await eventually(lambda: source.readings == 1)
        callers = [asyncio.create_task(monitor.refresh()) for _ in range(10)]
        await asyncio.sleep(0)
        source.outcome = Reading(2)
        source.gate.set()
        await asyncio.gather(*callers)
        # The running one could have looked too early; one more serves them all.
        assert source.readings == 2
        assert monitor.section().value == 2


@pytest.mark.asyncio
async def test_a_caller_that_goes_away_takes_nothing_with_it() -> None:
    source = Source()
    source.gate.clear()
    async with _monitoring(source) as monitor:
        impatient, patient = (asyncio.create_task(monitor.refresh()) for _ in range(2))
        await asyncio.sleep(0)
        impatient.cancel()
        source.gate.set()
        await patient
        assert monitor.section().value == 1


@pytest.mark.asyncio
async def test_a_failure_keeps_the_last_good_value(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, module.__name__)
    source = Source()
    async with _monitoring(source) as monitor:
        await monitor.refresh()
        good = monitor.section()
        source.outcome = StorageProblem(HUNG)
        for _ in range(3):
            await monitor.refresh()
        section = monitor.section()
        assert (section.value, section.collectedAt, section.stale, section.reason) == (1, good.collectedAt, True, HUNG)
        source.outcome = Reading(2)
        await monitor.refresh()
        section = monitor.section()
        assert (section.value, section.stale, section.reason) == (2, False, None)
    levels = [record.levelname for record in caplog.records]
    assert levels == ["WARNING", "INFO"]
    assert source.changes == 3


@pytest.mark.asyncio
async def test_a_true_value_may_have_a_reason_too() -> None:
    source = Source()
    full = Reason(code=ReasonCode.DIRECTORY_FULL, details="no room")
    source.outcome = Reading(0, full)
    async with _monitoring(source) as monitor:
        await monitor.refresh()
        assert (monitor.section().value, monitor.section().stale, monitor.section().reason) == (0, False, full)
        source.outcome = Reading(0, full, stale=True)
        await monitor.refresh()
        assert monitor.section().stale


@pytest.mark.asyncio
async def test_a_fault_of_ours_ends_neither_the_probe_nor_says_more_than_it_should() -> None:
    source = Source()
    source.outcome = RuntimeError("secret")
    async with _monitoring(source) as monitor:
        await monitor.refresh()
        reason = monitor.section().reason
        assert reason
        assert reason.code == ReasonCode.AGENT_FAULT
        assert "secret" not in reason.details
        source.outcome = Reading(2)
        await monitor.refresh()
        assert monitor.section().reason is None


@pytest.mark.asyncio
async def test_a_reading_that_does_not_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRACE", 0.0)
    source = Source()
    source.gate.clear()
    async with _monitoring(source, deadline=0.05) as monitor:
        await monitor.refresh()
        reason = monitor.section().reason
        assert reason
        assert reason.code == ReasonCode.PROBE_TIMEOUT


@pytest.mark.asyncio
async def test_a_value_is_stale_when_nobody_could_read_it_again() -> None:
    source = Source()
    async with _monitoring(source, interval=0.05, deadline=0.05) as monitor:
        await monitor.refresh()
        source.gate.clear()
        await eventually(lambda: monitor.section().stale)
        assert monitor.section().value == 1


@pytest.mark.asyncio
async def test_it_reads_on_schedule_and_takes_up_another_one_at_once() -> None:
    source = Source()
    async with _monitoring(source) as monitor:
        await eventually(lambda: source.readings == 1)
        host: Host = monitor._host
        host.settings = AgentSettings.model_validate({"probe": {"interval": 0.01, "deadline": 0.01}})
        await asyncio.sleep(0.05)
        assert source.readings == 1
        monitor.reschedule()
        await eventually(lambda: source.readings > 5)


@pytest.mark.asyncio
async def test_who_waits_is_released_at_the_end() -> None:
    source = Source()
    source.gate.clear()
    async with _monitoring(source) as monitor:
        waiting = asyncio.create_task(monitor.refresh())
        await asyncio.sleep(0)
    await asyncio.wait_for(waiting, 5)


@given(st.text(), st.floats(0.001, 3600))
def test_the_offset_is_stable_and_within_the_interval(name: str, interval: float) -> None:
    assert 0 <= offset(name, interval) < interval
    assert offset(name, interval) == offset(name, interval)


def test_offsets_are_spread() -> None:
    slots = [int(offset(str(number), 10.0)) for number in range(1000)]
    assert min(slots.count(slot) for slot in range(10)) > 60
