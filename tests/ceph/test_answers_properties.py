"""Whatever a cluster answers: what is read of it is within the contract, or the reason why there is none."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bs_agent.agent.config import AgentSettings
from bs_agent.agent.probing.monitor import Monitor
from bs_agent.agent.storages import ceph as module
from bs_agent.agent.storages import ceph_answers
from bs_agent.agent.storages.base import Host, Reading
from bs_agent.agent.storages.ceph import Ceph, Memory
from bs_agent.agent.storages.ceph_answers import Question
from bs_agent.agent.worker.probe import parts_of
from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import CephParameters, CephReport
from tests.ceph.captured import FOLDER
from tests.odd_values import JSON, LINES, as_text, spoilt

UUID = "c" * 32
FILES: dict[Question[Any], str] = {
    ceph_answers.STATUS: "status",
    ceph_answers.DF: "df",
    ceph_answers.OSD_DUMP: "osd_dump",
    ceph_answers.CRUSH_RULES: "crush_rules",
    ceph_answers.OSD_TREE: "osd_tree",
    ceph_answers.OSD_DF: "osd_df",
    ceph_answers.QUORUM_STATUS: "quorum_status",
    ceph_answers.MON_METADATA: "mon_metadata",
}


def _in_short(question: Question[Any]) -> Any:
    """What is read of a captured answer, and of each list no more than three entries."""
    found = json.loads((FOLDER / "16.2" / "healthy" / f"{FILES[question]}.json").read_text())

    def cut(value: Any) -> Any:
        if isinstance(value, list):
            return [cut(entry) for entry in value[:3]]
        return {key: cut(part) for key, part in value.items()} if isinstance(value, dict) else value

    return cut(parts_of(found, question.wanted))


WELL = {question.name: _in_short(question) for question in FILES}
QUESTIONS = {question.name: question for question in FILES}
POOL = WELL["osd dump"]["pools"][1]["pool_name"]


@pytest.fixture(autouse=True)
def _nobody_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connect to none of the addresses that a cluster may name."""

    async def living(_: object) -> list[str]:
        return []

    monkeypatch.setattr(module, "living", living)


def _answering(texts: dict[str, str], host: Host, remembered: dict[str, Any] | None = None) -> Ceph:
    """A storage whose worker answers so."""

    async def call(operation: str, _deadline: float, parameters: dict[str, Any]) -> Any:
        assert operation == "ceph_ask"
        return [(0, texts.get(command["prefix"], "")) for command in parameters["commands"]]

    storage = Ceph(UUID, CephParameters(poolName=POOL), remembered, host)
    storage._link._call = call  # type: ignore[method-assign, assignment]
    return storage


async def _see(texts: dict[str, str], agent: AgentSettings) -> None:
    host = Host(agent)
    storage = _answering(texts, host)
    sections: dict[str, Any] = {}
    for probe in storage.probes:
        seen = await _or_reason(probe.read)
        monitor = Monitor("a probe", probe, host, lambda: None)
        monitor._keep(seen if isinstance(seen, Reading) else None, getattr(seen, "reason", None))
        sections[probe.section] = monitor.section()
    report = storage.report(sections)
    assert CephReport.model_validate_json(report.model_dump_json()).uuid == UUID
    for connecting in (storage, _answering(texts, host)):
        remembered = await _or_reason(lambda connecting=connecting: connecting.connect([]))  # type: ignore[misc]
        if isinstance(remembered, dict):
            assert Memory.model_validate_json(json.dumps(remembered)).poolName == POOL


async def _or_reason(work: Callable[[], Awaitable[Any]]) -> Any:
    try:
        return await work()
    except StorageProblem as problem:
        return problem


@pytest.fixture(scope="module")
def check(tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, str]], None]:
    """See what becomes of answers, the others being well."""
    well = {name: as_text(value) for name, value in WELL.items()}
    chosen = {"ceph": {"run_dir": tmp_path_factory.mktemp("run")}, "probe": {"interval": 0.5, "deadline": 0.5}}
    agent = AgentSettings.model_validate(chosen)
    return lambda texts: asyncio.run(_see(well | texts, agent))


def test_what_was_captured_is_well(check: Callable[[dict[str, str]], None]) -> None:
    check({})


@pytest.mark.parametrize("name", list(WELL))
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_an_answer_that_is_spoilt_in_places(
    check: Callable[[dict[str, str]], None], name: str, data: st.DataObject
) -> None:
    check({name: as_text(data.draw(spoilt(WELL[name])))})


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(list(WELL)), LINES.map(lambda line: line.decode(errors="replace")), min_size=1))
def test_an_answer_that_is_no_json(check: Callable[[dict[str, str]], None], texts: dict[str, str]) -> None:
    check(texts)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(list(WELL)), JSON.map(as_text), min_size=1))
def test_an_answer_that_is_any_json(check: Callable[[dict[str, str]], None], texts: dict[str, str]) -> None:
    check(texts)


@pytest.mark.parametrize("said", [[], [(0, "{}")] * 9])
def test_answers_to_other_questions_are_those_of_a_broken_worker(said: list[tuple[int, str]], tmp_path: Path) -> None:
    async def call(*_: object) -> list[tuple[int, str]]:
        return said

    async def asked() -> None:
        storage = Ceph(UUID, CephParameters(poolName=POOL), None, Host(AgentSettings()))
        storage._link._call = call  # type: ignore[method-assign, assignment]
        for work in (storage.probes[0].read(), storage._link.command(prefix="osd pool create")):
            with pytest.raises(StorageProblem, match=f"gave {len(said)} answers to [12] questions") as caught:
                await work
            assert caught.value.reason.code == ReasonCode.WORKER_CRASHED

    asyncio.run(asked())
