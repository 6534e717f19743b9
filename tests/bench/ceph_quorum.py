"""How fast an agent says that it lives while its cluster has lost the quorum: beside the same answers before.

Run it by hand: `python -m tests.bench.ceph_quorum`.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

from bs_agent.contract.report import CEPH
from tests.beds.agent import AgentClient, AgentProcess, client_of
from tests.beds.ceph import MISSING, CephCluster
from tests.bench.figures import Beside, Figure, at_most, tell
from tests.ceph.watching import UUID

POOL = "images"
ROUNDS = 400
PAUSE = 0.05
FROZEN = ("mon.b", "mon.c")


def main() -> int:
    """Measure and tell."""
    if MISSING:
        sys.exit(f"not installed: {', '.join(MISSING)}")
    with tempfile.TemporaryDirectory() as folder, CephCluster(Path(folder)) as cluster:
        cluster.pool(POOL)
        well, lost, reasons = asyncio.run(_both(cluster, Path(folder, "agent")))
    print(f"/livez over HTTPS, {ROUNDS} requests {PAUSE * 1000:.0f} ms apart, probes every 4 s with a deadline of 4 s")
    print(f"reasons of the report with two mons frozen: {', '.join(sorted(reasons))}")
    before = Beside(name="median with all mons", value=statistics.median(well) * 1000)
    middle, slowest = (choose(lost) * 1000 for choose in (statistics.median, max))
    kept = tell(
        Figure(name="/livez without a quorum, median", value=middle, unit="ms", limit=before),
        Figure(name="/livez without a quorum, slowest", value=slowest, unit="ms", limit=before, budget=at_most(50)),
    )
    return 0 if kept else 1


async def _both(cluster: CephCluster, folder: Path) -> tuple[list[float], list[float], set[str]]:
    ceph = {"conf": str(cluster.conf), "run_dir": str(cluster.run_dir("a"))}
    with AgentProcess(folder, {"ceph": ceph, "probe": {"interval": 4.0, "deadline": 4.0}}) as agent:
        async with client_of(agent.address, agent.enroll()) as client:
            answer = await client.ask("PUT", f"/v1/storages/{UUID}", {"type": CEPH, "poolName": POOL})
            if answer.status != 200:
                raise RuntimeError(answer.body)
            well = await _alive(client)
            for mon in FROZEN:
                cluster.freeze(mon)
            try:
                lost = await _alive(client)
                report = (await client.ask("GET", "/v1/report")).body["storages"][0]
            finally:
                for mon in FROZEN:
                    cluster.thaw(mon)
            sections = [report[name] for name in ("cluster", "pools", "mons", "localMon")]
            return well, lost, {section["reason"]["code"] for section in sections if section["reason"]}


async def _alive(client: AgentClient) -> list[float]:
    taken = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        answer = await client.ask("GET", "/livez")
        taken.append(time.perf_counter() - began)
        if answer.status != 200:
            raise RuntimeError(answer.body)
        await asyncio.sleep(PAUSE)
    return taken


if __name__ == "__main__":
    sys.exit(main())
