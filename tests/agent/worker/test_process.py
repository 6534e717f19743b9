"""The worker against real processes: what crashes, hangs or talks nonsense is one error, and the next call works."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from bs_agent.agent.worker import child, process
from bs_agent.agent.worker.pool import Workers
from bs_agent.agent.worker.process import Worker, WorkerCounters, WorkerError
from bs_agent.contract.reasons import ReasonCode
from tests.agent.conftest import eventually
from tests.beds import mounts

pytestmark = pytest.mark.asyncio

PYTHON = Path("/usr/bin/python3")
DEADLINE = 30.0

# In place of the probe: does to its process what the tests want to see survived.
MISBEHAVING = """
import json, os, signal, sys, time
for line in sys.stdin:
    request = json.loads(line)
    what = request["operation"]
    if what == "die": os.kill(os.getpid(), request["parameters"]["signal"])
    if what == "leave": sys.exit(3)
    if what == "sleep": open(request["parameters"]["mark"], "w").close(); time.sleep(600)
    if what == "sleep once" and not os.path.exists(request["parameters"]["mark"]):
        open(request["parameters"]["mark"], "w").close(); time.sleep(600)
    if what == "babble": print("no JSON"); sys.stdout.flush(); continue
    if what == "list": print("[]"); sys.stdout.flush(); continue
    if what == "flood": print(" " * request["parameters"]["size"]); sys.stdout.flush(); continue
    if what == "complain": sys.stderr.write("complaint " * 100000 + chr(10) * 100); sys.stderr.flush()
    print(json.dumps({"value": os.getpid()})); sys.stdout.flush()
"""


@pytest_asyncio.fixture
async def worker() -> AsyncIterator[Worker]:
    worker = Worker("test", PYTHON)
    yield worker
    assert await worker.stop()


@pytest.fixture
def misbehaving(worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Worker:
    program = tmp_path / "program.py"
    program.write_text(MISBEHAVING)
    monkeypatch.setattr(child, "PROGRAM", program)
    return worker


async def _usage(worker: Worker, path: Path, deadline: float = DEADLINE) -> dict[str, int]:
    usage: dict[str, int] = await worker.call("directory_usage", deadline, path=str(path), storage=None)
    return usage


async def _failure(worker: Worker, operation: str, deadline: float = DEADLINE, **parameters: object) -> WorkerError:
    with pytest.raises(WorkerError) as caught:
        await worker.call(operation, deadline, **parameters)
    return caught.value


async def test_calls_share_one_child(worker: Worker, tmp_path: Path) -> None:
    usages = await asyncio.gather(*(_usage(worker, tmp_path) for _ in range(20)))
    truth = os.statvfs(tmp_path)
    assert {usage["totalCapacity"] for usage in usages} == {truth.f_blocks * truth.f_frsize}
    assert worker.counters == WorkerCounters(starts=1)


async def test_what_the_operation_refuses_is_no_crash(worker: Worker, tmp_path: Path) -> None:
    error = await _failure(worker, "directory_usage", path=str(tmp_path / "missing"), storage=None)
    assert error.reason.code == ReasonCode.DIRECTORY_MISSING
    await _usage(worker, tmp_path)
    assert worker.counters == WorkerCounters(starts=1)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
async def test_a_crash_is_one_error(misbehaving: Worker, number: signal.Signals) -> None:
    error = await _failure(misbehaving, "die", signal=int(number))
    assert error.reason.code == ReasonCode.WORKER_CRASHED
    assert number.name in error.details
    assert await misbehaving.call("work", DEADLINE) == misbehaving.pid
    assert misbehaving.counters == WorkerCounters(starts=2, crashes=1)


@pytest.mark.parametrize(
    ("operation", "said"), [("leave", "status 3"), ("babble", "not JSON"), ("list", "no answer"), ("flood", "bytes")]
)
async def test_nonsense_is_a_crash(
    misbehaving: Worker, monkeypatch: pytest.MonkeyPatch, operation: str, said: str
) -> None:
    monkeypatch.setattr(child, "MAX_LINE", 100_000)
    error = await _failure(misbehaving, operation, **({"size": 1_000_000} if operation == "flood" else {}))
    assert error.reason.code == ReasonCode.WORKER_CRASHED
    assert said in error.details
    assert await misbehaving.call("work", DEADLINE) == misbehaving.pid


async def test_a_large_answer_is_read(misbehaving: Worker, tmp_path: Path) -> None:
    error = await _failure(misbehaving, "flood", size=5_000_000)
    assert "not JSON" in error.details  # five million spaces: read to the end, and no answer


async def test_a_call_that_takes_too_long_is_ended_and_so_is_its_child(misbehaving: Worker, tmp_path: Path) -> None:
    first = await misbehaving.call("work", DEADLINE)
    error = await _failure(misbehaving, "sleep", 0.2, mark=str(tmp_path / "mark"))
    assert error.reason.code == ReasonCode.PROBE_TIMEOUT
    assert await misbehaving.call("work", DEADLINE) != first
    assert misbehaving.counters == WorkerCounters(starts=2, timeouts=1)
    assert not _lives(first)


async def test_who_waits_for_its_turn_does_not_end_the_call_before_it(misbehaving: Worker, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    running = asyncio.create_task(_failure(misbehaving, "sleep", 3.0, mark=str(mark)))
    await eventually(mark.exists)
    pid = misbehaving.pid
    error = await _failure(misbehaving, "work", 0.1)
    assert error.reason.code == ReasonCode.PROBE_TIMEOUT
    assert misbehaving.pid == pid
    assert not running.done()
    assert (await running).reason.code == ReasonCode.PROBE_TIMEOUT


async def test_a_cancelled_call_leaves_no_answer_for_the_next(misbehaving: Worker, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    call = asyncio.create_task(misbehaving.call("sleep", DEADLINE, mark=str(mark)))
    await eventually(mark.exists)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await misbehaving.call("work", DEADLINE) == misbehaving.pid


async def test_the_next_start_is_put_off_longer_and_longer(
    misbehaving: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(process, "LONGEST_PAUSE", 3600.0)
    for _ in range(4):
        await _failure(misbehaving, "leave")
    monkeypatch.setattr(process, "FIRST_PAUSE", 100.0)
    await _failure(misbehaving, "leave")
    # Too long for this caller: it is told at once what went wrong the last time, and nothing is started.
    error = await _failure(misbehaving, "work")
    assert "status 3" in error.details
    assert misbehaving.counters.starts == 5
    misbehaving.renew()
    assert await misbehaving.call("work", DEADLINE) == misbehaving.pid


async def test_a_success_ends_the_back_off(misbehaving: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "FIRST_PAUSE", 0.0)
    for _ in range(8):
        await _failure(misbehaving, "leave")
        await misbehaving.call("work", DEADLINE)
    monkeypatch.setattr(process, "LONGEST_PAUSE", 3600.0)
    monkeypatch.setattr(process, "FIRST_PAUSE", 0.1)  # after eight failures in a row 25 seconds
    await _failure(misbehaving, "leave")
    assert await misbehaving.call("work", DEADLINE) == misbehaving.pid


async def test_renew_gives_a_fresh_child(misbehaving: Worker) -> None:
    first = await misbehaving.call("work", DEADLINE)
    misbehaving.renew()
    second = await misbehaving.call("work", DEADLINE)
    assert first != second == await misbehaving.call("work", DEADLINE)
    assert misbehaving.counters.crashes == 0


async def test_renew_at_once_does_not_wait_for_a_call_that_hangs(misbehaving: Worker, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    hanging = asyncio.create_task(misbehaving.call("sleep", 3600, mark=str(mark)))
    await eventually(mark.exists)
    misbehaving.renew(at_once=True)
    assert await misbehaving.call("work", DEADLINE) == misbehaving.pid
    assert not hanging.done()
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging


async def test_an_interrupted_call_goes_again_within_its_own_deadline(misbehaving: Worker, tmp_path: Path) -> None:
    for operation, deadline in (("sleep once", DEADLINE), ("sleep", 3.0)):
        mark = tmp_path / operation
        call = asyncio.create_task(misbehaving.call(operation, deadline, mark=str(mark)))
        await eventually(mark.exists)
        misbehaving.renew(at_once=True)
        await asyncio.wait([call])
        if operation == "sleep once":
            assert await call == misbehaving.pid
    with pytest.raises(WorkerError, match="within 3 s"):
        await call
    assert misbehaving.counters == WorkerCounters(starts=3, timeouts=1)


async def test_a_child_that_does_not_stop_is_killed_although_nobody_waits_for_it_any_more(worker: Worker) -> None:
    await _usage(worker, Path("/tmp"))
    pid = worker.pid
    assert pid
    os.kill(pid, signal.SIGSTOP)  # it does not read that its input has ended
    worker.renew()
    error = await _failure(worker, "directory_usage", 0.3, path="/tmp", storage=None)
    assert error.reason.code == ReasonCode.PROBE_TIMEOUT
    await eventually(lambda: not _lives(pid))
    await _usage(worker, Path("/tmp"))
    assert worker.counters == WorkerCounters(starts=2, timeouts=1)


async def test_what_a_child_says_is_logged_up_to_a_bound(misbehaving: Worker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    await misbehaving.call("complain", DEADLINE)
    await misbehaving.call("complain", DEADLINE)
    await misbehaving.stop()
    said = [record.getMessage() for record in caplog.records]
    assert 1 < len(said) <= 51
    assert max(map(len, said)) < 600
    assert "dropped" in said[-1]


async def test_a_python_that_is_not_there_is_a_reason(tmp_path: Path) -> None:
    worker = Worker("test", tmp_path / "python")
    error = await _failure(worker, "work", 0.1)
    assert error.reason.code == ReasonCode.WORKER_CRASHED
    assert "No such file" in error.details


async def test_few_processes_are_stuck_in_the_kernel(worker: Worker, tmp_path: Path, mountable: None) -> None:
    held: set[int] = set()
    with mounts.hung(tmp_path / "hung", taken=True, held=held) as hung:
        await _leave_hanging(worker, hung, held)
        for _ in range(2):
            error = await _failure(worker, "directory_usage", 0.5, path=str(hung), storage=None)
            assert error.reason.code == ReasonCode.PROBE_TIMEOUT
        assert worker.stuck
        assert worker.counters.starts == 1
        for _ in range(process.MAX_LEFT_BEHIND):
            worker.renew(at_once=True)
            await _leave_hanging(worker, hung, held)
        for _ in range(2):
            worker.renew(at_once=True)
            await _failure(worker, "directory_usage", 0.5, path=str(hung), storage=None)
        assert worker.counters.starts == 1 + process.MAX_LEFT_BEHIND
        assert not await worker.stop()
    await _usage(worker, tmp_path)
    assert worker.counters.starts == 2 + process.MAX_LEFT_BEHIND


async def _leave_hanging(worker: Worker, hung: Path, held: set[int]) -> None:
    """Make a call that is given up once the kernel holds its process."""
    call = asyncio.create_task(worker.call("directory_usage", 3600, path=str(hung), storage=None))
    await eventually(lambda: worker.pid in held)
    call.cancel()
    await asyncio.wait([call])


async def test_a_stuck_worker_stays_known_to_the_pool(tmp_path: Path, mountable: None) -> None:
    pool = Workers(PYTHON)
    held: set[int] = set()
    with mounts.hung(tmp_path / "hung", taken=True, held=held) as hung:
        worker = pool.borrow("directory")
        await _leave_hanging(worker, hung, held)
        await pool.give_back(worker)
        assert pool.borrow("directory") is worker
        await pool.give_back(worker)
    assert pool.borrow("directory") is worker
    await pool.give_back(worker)
    assert pool.all() == []


async def test_users_of_one_name_share_a_worker() -> None:
    pool = Workers(PYTHON)
    first, second, other = pool.borrow("a"), pool.borrow("a"), pool.borrow("b")
    assert first is second is not other
    await pool.give_back(first)
    assert pool.all() == [first, other]
    await pool.give_back(second)
    assert pool.all() == [other]


@pytest.mark.parametrize("operation", ["work", "sleep"])
async def test_a_child_dies_with_its_parent(tmp_path: Path, operation: str) -> None:
    """The parent is killed while its child is idle, or in a call."""
    parent = f"""
import asyncio, os, pathlib
from bs_agent.agent.worker import child, process
async def main():
    worker = process.Worker("test", pathlib.Path("{PYTHON}"))
    await worker.call("directory_usage", 10, path="/tmp", storage=None)
    print(worker.pid, flush=True)
    {"await asyncio.sleep(60)" if operation == "work" else "os.kill(worker.pid, 19); await asyncio.sleep(60)"}
asyncio.run(main())
"""
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-c", parent, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]
    )
    assert running.stdout
    pid = int(await running.stdout.readline())
    running.kill()
    await running.wait()
    await eventually(lambda: not _lives(pid))


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
