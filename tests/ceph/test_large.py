"""A cluster of 10,000 OSDs, 200 pools and 10,000 upmap entries: only what is read is sent, and all of it is right."""

import asyncio
import json
from pathlib import Path

import pytest

from bs_agent.agent.config import AgentSettings
from bs_agent.agent.probing.reporter import Reporter
from bs_agent.agent.storages import ceph_answers
from bs_agent.agent.storages.base import Host
from bs_agent.agent.storages.ceph import Ceph
from bs_agent.agent.worker.probe import only_wanted
from bs_agent.contract.report import CephParameters, CephReport
from tests.beds import large_ceph
from tests.ceph.captured import FOLDER, RELEASES
from tests.ceph.captures.make import CLUSTER_QUESTIONS
from tests.ceph.watching import UUID

MIB = 1 << 20
MOST_ACCEPTED = 8 * MIB  # of a management node


@pytest.mark.asyncio
async def test_a_report_of_a_large_cluster_is_right_and_fits(tmp_path: Path) -> None:
    python = await asyncio.to_thread(large_ceph.make, tmp_path / "cluster")
    probe = {"interval": 60.0, "deadline": 60.0, "python": str(python)}
    (tmp_path / "ceph.conf").touch()
    of_ceph = {"run_dir": tmp_path, "conf": tmp_path / "ceph.conf"}
    host = Host(AgentSettings.model_validate({"probe": probe, "ceph": of_ceph}))
    reporter = Reporter(host)
    async with host.workers.running(), reporter.running():
        storage = Ceph(UUID, CephParameters(poolName="pool-7"), None, host)
        await reporter.watch(storage)
        await reporter.refresh([UUID], 120.0)
        report = reporter.storage_report(UUID)
        await reporter.unwatch(UUID)
        await storage.close()
    assert isinstance(report, CephReport)
    assert report.pools.reason is None
    assert report.cluster.reason is None
    assert report.pools.value is not None
    assert len(report.pools.value) == large_ceph.POOLS
    for pool in report.pools.value:
        assert pool.totalCapacity == large_ceph.OSDS * large_ceph.KIB * 1024 // pool.replicatedSize
        assert (pool.relatedOsdCount, pool.relatedOsds) == (large_ceph.OSDS, [*range(1000)])
    assert len(report.model_dump_json()) < MOST_ACCEPTED


@pytest.mark.parametrize("name", CLUSTER_QUESTIONS)
def test_the_worker_sends_what_is_read_and_little_else(tmp_path: Path, name: str) -> None:
    large_ceph.make(tmp_path / "cluster", osds=1000, pools=20, upmaps=1000)
    file = {"crush_rules": "osd_crush_rule_dump"}.get(name, name)
    text, question = (tmp_path / "cluster" / f"{file}.json").read_text(), CLUSTER_QUESTIONS[name]
    sent = only_wanted(text, question.wanted)
    assert question.read(sent) == question.read(text)
    assert len(sent) < len(text)
    if name == "osd_dump":
        assert len(sent) < len(text) / 20, "neither OSDs nor upmap entries are read of it"


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("state", ["healthy", "broken"])
def test_of_every_captured_answer_nothing_that_is_read_is_left_out(release: str, state: str) -> None:
    for name, question in CLUSTER_QUESTIONS.items():
        path = FOLDER / release / state / f"{name}.json"
        if path.exists():
            assert question.read(only_wanted(path.read_text(), question.wanted)) == question.read(path.read_text())


@pytest.mark.parametrize("text", ["", "{", '{"nodes": [{"kb": -nan}]}', "[" * 100_000, "3", "null", '"text"', "[[1]]"])
def test_what_cannot_be_cut_down_is_left_as_it_is(text: str) -> None:
    sent = only_wanted(text, ceph_answers.OSD_DF.wanted)
    try:
        assert json.loads(sent) == json.loads(text)
    except (ValueError, RecursionError):
        assert sent == text
