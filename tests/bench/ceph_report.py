"""A fresh Ceph report beside the same questions sent straight by librados, and by the `ceph` command line.

Run it by hand: `python -m tests.bench.ceph_report`.
"""

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil

from bs_agent.agent.storages import ceph_answers
from bs_agent.contract.report import CEPH
from tests.beds import mgr_metrics
from tests.beds.agent import AgentProcess, client_of
from tests.beds.ceph import MISSING, CephCluster
from tests.bench.figures import Beside, Figure, at_least, at_most, tell
from tests.ceph.watching import UUID, watching

TURNS = 3 if "--quick" in sys.argv else 7
ROUNDS = 100
COMMAND_LINE_ROUNDS = 2 if "--quick" in sys.argv else 3
POOL = "images"
QUESTIONS: list[ceph_answers.Question[Any]] = [
    ceph_answers.STATUS,
    ceph_answers.DF,
    ceph_answers.OSD_DUMP,
    ceph_answers.CRUSH_RULES,
    ceph_answers.OSD_TREE,
    ceph_answers.OSD_DF,
    ceph_answers.QUORUM_STATUS,
    ceph_answers.MON_METADATA,
]
SOCKET_QUESTIONS: list[ceph_answers.Question[Any]] = [ceph_answers.MON_STATUS, ceph_answers.MON_VERSION]

# One process, one handle, one command after the other, the answers as they come; then the admin socket.
STRAIGHT = """
import json, rados, socket, statistics, sys, time

conf, sock, rounds, commands, asked = sys.argv[1], sys.argv[2], int(sys.argv[3]), *map(json.loads, sys.argv[4:])
handle = rados.Rados(conffile=conf, name="client.admin")
handle.connect()

def once():
    for command in commands:
        code, answer, complaint = handle.mon_command(json.dumps(command), b"")
        assert code == 0, complaint
    for command in asked:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(sock)
            connection.sendall(json.dumps(command).encode() + b"\\0")
            while connection.recv(65536):
                pass

taken = []
for number in range(rounds + 10):
    began = time.perf_counter()
    once()
    taken.append(time.perf_counter() - began)
print(statistics.median(taken[10:]))
handle.shutdown()
"""


def main() -> int:
    """Measure and tell."""
    if MISSING:
        sys.exit(f"not installed: {', '.join(MISSING)}")
    with tempfile.TemporaryDirectory() as folder, CephCluster(Path(folder)) as cluster:
        cluster.pool(POOL)
        cluster.pool("coded", "erasure")
        # In turns, so that whatever else the machine does falls on both.
        turns = [(_straight(cluster), asyncio.run(_inside(cluster))) for _ in range(TURNS)]
        straight, inside = (statistics.median(each) for each in zip(*turns, strict=True))
        outside, agent, worker = asyncio.run(_outside(cluster, Path(folder, "agent")))
        command_line = _command_line(cluster)
        mgr = _mgr(cluster)
    print(
        f"{len(QUESTIONS)} mon commands and {len(SOCKET_QUESTIONS)} of the admin socket, medians of {TURNS} x {ROUNDS}"
    )
    limit = Beside(name="straight by librados", value=straight * 1000)
    peer = Beside(name="ceph command", value=command_line * 1000)
    ratios = [ours / theirs for theirs, ours in turns]
    kept = tell(
        Figure(
            name="fresh Ceph report, inside the agent",
            value=inside * 1000,
            unit="ms",
            limit=limit,
            ratio=inside / straight,
            budget=at_most(1.2),
            spread=(min(ratios), max(ratios)),
        ),
        Figure(
            name="fresh Ceph report, over HTTPS",
            value=outside * 1000,
            unit="ms",
            peer=Beside(name="ceph-mgr's /metrics, uncached", value=mgr * 1000) if mgr else None,
            limit=limit,
            ratio=outside / straight,
            budget=at_most(1.5),
        ),
        Figure(
            name="fresh Ceph report, times faster",
            value=inside * 1000,
            unit="ms",
            peer=peer,
            ratio=command_line / inside,
            budget=at_least(400),
        ),
        Figure(name="agent of a Ceph host, resident", value=agent / 2**20, unit="MiB", budget=at_most(60)),
        Figure(name="its worker, resident", value=worker / 2**20, unit="MiB", budget=at_most(40)),
    )
    return 0 if kept else 1


def _straight(cluster: CephCluster) -> float:
    """Return the median of all questions without the agent, on the Python that has rados."""
    words = [json.dumps([question.words for question in asked]) for asked in (QUESTIONS, SOCKET_QUESTIONS)]
    command = [
        "/usr/bin/python3",
        "-c",
        STRAIGHT,
        str(cluster.conf),
        str(cluster.admin_socket("a")),
        str(ROUNDS),
        *words,
    ]
    return float(subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout)


async def _inside(cluster: CephCluster) -> float:
    """Return the median of a fresh report where it is made: probes, worker, parsing, arithmetic, JSON."""
    async with watching(cluster, POOL) as watch:

        async def once() -> None:
            (await watch.fresh()).model_dump_json()

        return await _median(once)


async def _outside(cluster: CephCluster, folder: Path) -> tuple[float, int, int]:
    """Return the median of a fresh report as a client gets it, and the memory of agent and worker."""
    ceph = {"conf": str(cluster.conf), "run_dir": str(cluster.run_dir("a"))}
    with AgentProcess(
        folder, {"ceph": ceph, "probe": {"interval": 10.0, "deadline": 10.0}, "log": {"level": "info"}}
    ) as agent:
        async with client_of(agent.address, agent.enroll()) as client:
            answer = await client.ask("PUT", f"/v1/storages/{UUID}", {"type": CEPH, "poolName": POOL})
            if answer.status != 200:
                raise RuntimeError(answer.body)

            async def once() -> None:
                await client.ask("GET", "/v1/report?fresh=true")

            median = await _median(once)
        process = psutil.Process(agent.pid)
        (worker,) = process.children()
        return median, process.memory_info().rss, worker.memory_info().rss


async def _median(once: Callable[[], Awaitable[None]]) -> float:
    taken = []
    for _ in range(ROUNDS + 10):
        began = time.perf_counter()
        await once()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[10:])


def _command_line(cluster: CephCluster) -> float:
    """Return the median of the same questions, a process for each."""
    taken = []
    for _ in range(COMMAND_LINE_ROUNDS):
        began = time.perf_counter()
        for question in QUESTIONS:
            words = [word for key, value in question.words.items() if key != "format" for word in value.split()]
            command = ["ceph", "-c", str(cluster.conf), *words, "--format", "json"]
            subprocess.run(command, check=True, capture_output=True, timeout=60)
        for question in SOCKET_QUESTIONS:
            command = ["ceph", "--admin-daemon", str(cluster.admin_socket("a")), question.name]
            subprocess.run(command, check=True, capture_output=True, timeout=60)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def _mgr(cluster: CephCluster) -> float | None:
    """Return the median of what the mgr serves to Prometheus, worked out for each request; None where it does not."""
    try:
        port, taken = mgr_metrics.serve(cluster), []
        for _ in range(ROUNDS // 5):
            began = time.perf_counter()
            mgr_metrics.scrape(port)
            taken.append(time.perf_counter() - began)
    except (RuntimeError, OSError) as problem:  # a peer that is not there is no fault of ours
        print(f"ceph-mgr's metrics are left out: {problem}")
        return None
    return statistics.median(taken)


if __name__ == "__main__":
    sys.exit(main())
