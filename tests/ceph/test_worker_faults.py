"""Whatever becomes of the probe worker of a live cluster, the agent goes on; and reconnecting leaves nothing behind."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import psutil
import pytest
import pytest_asyncio

from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import CephReport
from tests.beds.ceph import CephCluster
from tests.ceph.watching import INTERVAL, Watch, on_host, settings, watching

pytestmark = pytest.mark.asyncio
RECONNECTS = 100


@pytest.fixture(scope="module", autouse=True)
def pool(cluster: CephCluster) -> None:
    cluster.pool("worked")


@pytest_asyncio.fixture
async def watch(cluster: CephCluster) -> AsyncIterator[Watch]:
    async with watching(cluster, "worked") as watch:
        await watch.fresh()
        yield watch


def well(report: CephReport) -> bool:
    return report.reasons() == [] and report.cluster.value is not None and not report.cluster.stale


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (signal.SIGKILL, ReasonCode.WORKER_CRASHED),
        (signal.SIGSEGV, ReasonCode.WORKER_CRASHED),
        (signal.SIGSTOP, ReasonCode.PROBE_TIMEOUT),
    ],
)
async def test_a_worker_that_dies_or_hangs_is_replaced(watch: Watch, fault: signal.Signals, code: ReasonCode) -> None:
    before, pid = watch.last(), watch.worker_pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)  # so that the fault comes in the middle of a request
    asked = asyncio.create_task(watch.fresh())
    await asyncio.sleep(0.2)
    os.kill(pid, fault)
    if fault == signal.SIGSEGV:
        os.kill(pid, signal.SIGCONT)  # a stopped process dies of SIGKILL only
    report = await asked
    assert {reason.code for reason in report.reasons()} == {code}
    assert report.cluster.stale
    assert report.cluster.value is not None
    assert before.cluster.value is not None
    assert report.cluster.value.fsid == before.cluster.value.fsid
    await watch.until(well)
    assert watch.worker_pid not in {None, pid}
    assert not psutil.pid_exists(pid)


async def test_a_reconnect_does_not_wait_for_a_hung_worker_for_long(watch: Watch) -> None:
    assert watch.worker_pid is not None
    os.kill(watch.worker_pid, signal.SIGSTOP)
    assert await watch.storage.connect([])
    assert well(await watch.fresh())


async def test_reconnects_under_load_leave_no_thread_descriptor_or_process(watch: Watch) -> None:
    own = psutil.Process()
    before = (own.num_fds(), own.num_threads(), len(own.children()))
    for _ in range(RECONNECTS):
        load = [asyncio.create_task(watch.fresh()) for _ in range(3)]
        assert await watch.storage.connect([])
        await asyncio.gather(*load)
    assert well(await watch.fresh())
    assert (own.num_fds(), own.num_threads(), len(own.children())) <= before


async def test_fresh_handles_in_one_process_leave_no_thread_or_descriptor(cluster: CephCluster) -> None:
    access = {"conf": str(cluster.conf), "client": "client.admin", "keyring": ""}
    commands = [{"prefix": "status", "format": "json"}] * 8
    async with on_host(settings(cluster)) as host:
        worker = host.workers.borrow("one process")

        async def reconnect(number: int) -> None:
            # Other ways of access mean another handle, opened after the shutdown of the one before.
            seconds = str(3 + number % 2)
            answers = await worker.call("ceph_ask", INTERVAL, access={**access, "seconds": seconds}, commands=commands)
            assert [code for code, _ in answers] == [0] * len(commands)
            writing = {"pool": "worked", "name": "bs-agent.write-probe"}
            assert await worker.call("ceph_write", INTERVAL, access={**access, "seconds": seconds}, **writing)

        for number in range(4):
            await reconnect(number)
        assert worker.pid is not None
        process = psutil.Process(worker.pid)
        before = (process.num_fds(), process.num_threads())
        for number in range(RECONNECTS):
            await reconnect(number)
        assert (process.num_fds(), process.num_threads()) == before
        assert worker.counters.starts == 1
        await host.workers.give_back(worker)


async def test_the_worker_ends_with_the_agents_connection(cluster: CephCluster) -> None:
    async with watching(cluster, "worked") as watch:
        await watch.fresh()
        pid = watch.worker_pid
        assert pid is not None
    assert not psutil.pid_exists(pid)
