"""A report of a cluster of 10,000 OSDs, 200 pools and 10,000 upmap entries: how long it takes, and how much memory.

Run it by hand: `python -m tests.bench.ceph_large`. The cluster is a stand-in that says what a real one would.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

from bs_agent.contract.report import CEPH
from tests.beds import large_ceph
from tests.beds.agent import AgentProcess, client_of
from tests.bench.figures import Beside, Figure, at_most, tell
from tests.ceph.watching import UUID

ROUNDS = 5
MIB = 1 << 20


def peak(pid: int) -> float:
    """Return the most memory that a process has had, in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


async def measure(folder: Path) -> bool:
    """Tell what a report costs; tell whether all of it is within its bounds."""
    python = large_ceph.make(folder / "cluster")
    probe = {"interval": 120.0, "deadline": 60.0, "python": str(python)}
    with AgentProcess(folder / "agent", {"probe": probe, "ceph": {"run_dir": str(folder)}}) as process:
        async with client_of(process.address, process.enroll()) as client:
            answer = await client.ask("PUT", f"/v1/storages/{UUID}", {"type": CEPH, "poolName": "pool-7"})
            if answer.status != 200:
                raise SystemExit(f"the storage is refused: {answer.body}")
            taken = []
            for _ in range(ROUNDS):
                began = time.monotonic()
                answer = await client.ask("GET", "/v1/report?fresh=true")
                taken.append(time.monotonic() - began)
            (worker,) = process.children
            agent_peak, worker_peak = peak(process.pid), peak(worker)
    seconds, length = statistics.median(taken), int(answer.headers["Content-Length"]) / MIB
    said = Beside(name="the cluster says", value=large_ceph.size(folder / "cluster") / MIB)
    return tell(
        Figure(name="report of 10,000 OSDs, its size", value=length, unit="MiB", peer=said),
        Figure(
            name="report of 10,000 OSDs, fresh",
            value=seconds,
            unit="s",
            budget=at_most(5),
            spread=(min(taken), max(taken)),
        ),
        Figure(name="its agent, most memory", value=agent_peak, unit="MiB", budget=at_most(160)),
        Figure(name="its worker, most memory", value=worker_peak, unit="MiB", budget=at_most(200)),
    )


def main() -> int:
    """Run the benchmark in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return 0 if asyncio.run(measure(Path(folder))) else 1


if __name__ == "__main__":
    sys.exit(main())
