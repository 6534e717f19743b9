"""The agent's budgets, measured: memory, idle processor time, and the cached report.

That stands beside a bare handler, and beside node_exporter's `/metrics` where it is installed.
Run it by hand: `python -m tests.bench.agent`.
"""

import asyncio
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from bs_agent.daemon.configuration import Address, parse_address
from tests.agent.asking import connect
from tests.agent.conftest import UUID
from tests.beds.agent import ROOT, AgentProcess, client_of
from tests.beds.node_exporter import PROGRAM, node_exporter
from tests.bench.figures import Beside, Figure, at_least, at_most, tell

QUICK = "--quick" in sys.argv
IDLE_SECONDS = 10 if QUICK else 30
CONNECTIONS = 16
REQUESTS = 4000
# It reads /proc for each of them.
REQUESTS_OF_PEER = 160
ROUNDS = 3 if QUICK else 5
REPORT = "/v1/report"

# The bare handler: the same bytes, the same certificate, the same server around it.
BARE = """
import asyncio, sys
from pathlib import Path
from aiohttp import web
from bs_agent.daemon.certificate import server_context
from bs_agent.daemon.configuration import Address
from bs_agent.daemon.http import serving

async def main(tls, body):
    async def answer(request):
        return web.Response(body=body, content_type="application/json")
    app = web.Application()
    app.router.add_get("/v1/report", answer)
    context = server_context(tls / "present.pem")
    async with serving(app, Address("127.0.0.1", 0), context) as address:
        print(address, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]).read_bytes()))
"""


def main() -> int:
    """Measure and tell."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder, "images")
        directory.mkdir()
        process = AgentProcess(Path(folder, "agent"), {"probe": {"interval": 10.0, "deadline": 10.0}})
        with process:
            token, body = asyncio.run(_connect(process, directory))
            kept = _tell_idle(process)
            kept &= _tell_throughput(process, token, body, Path(folder))
    return 0 if kept else 1


async def _connect(process: AgentProcess, directory: Path) -> tuple[str, bytes]:
    """Serve one ImageStore, touch everything once, and return the token and the report."""
    async with client_of(process.address, process.enroll()) as client:
        await connect(client, directory, UUID)
        await client.ask("GET", "/metrics")
        request = {"Authorization": f"Bearer {client.enrollment.token}"}
        async with client.session.get(f"{client.url}/v1/report", headers=request, ssl=client.pin) as answer:
            return client.enrollment.token, await answer.read()


def _tell_idle(process: AgentProcess) -> bool:
    agent = psutil.Process(process.pid)
    workers = agent.children()
    before = _processor_seconds([agent, *workers])
    time.sleep(IDLE_SECONDS)
    share = (_processor_seconds([agent, *workers]) - before) / IDLE_SECONDS
    resident = max(worker.memory_info().rss for worker in workers) / 2**20
    return tell(
        Figure(name="agent, resident", value=agent.memory_info().rss / 2**20, unit="MiB", budget=at_most(60)),
        Figure(name="worker, resident", value=resident, unit="MiB", budget=at_most(40)),
        Figure(name="agent and worker, idle", value=share * 100, unit="% of a core", budget=at_most(0.5)),
    )


def _processor_seconds(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def _tell_throughput(process: AgentProcess, token: str, body: bytes, folder: Path) -> bool:
    """Load the agent, the bare handler and the peer in turns, so that what else the machine does falls on all."""
    (folder / "body").write_bytes(body)
    pem = process.state / "tls" / "present.pem"
    with ExitStack() as stack:
        bare = stack.enter_context(_bare_server(pem.parent, folder / "body"))
        asked = {"agent": (process.address, psutil.Process(process.pid), REPORT, REQUESTS)}
        asked["bare"] = (*bare, REPORT, REQUESTS)
        if PROGRAM:
            asked["peer"] = (*stack.enter_context(node_exporter(pem, folder)), "/metrics", REQUESTS_OF_PEER)
        rates: dict[str, list[float]] = {name: [] for name in asked}
        costs: dict[str, list[float]] = {name: [] for name in asked}
        for _ in range(ROUNDS):
            for name, (address, server, path, requests) in asked.items():
                before = _processor_seconds([server])
                rates[name].append(asyncio.run(_load(address, path, token, requests)))
                costs[name].append((_processor_seconds([server]) - before) / requests)
    ratios = [ours / bare for ours, bare in zip(rates["agent"], rates["bare"], strict=True)]
    # What the server's core could do if client and neighbours took none of it.
    cheaper = [bare / ours for ours, bare in zip(costs["agent"], costs["bare"], strict=True)]
    rate = {name: statistics.median(found) for name, found in rates.items()}
    cost = {name: statistics.median(found) * 1e6 for name, found in costs.items()}
    peer = "node_exporter's /metrics"
    return tell(
        Figure(
            name=f"cached report over {CONNECTIONS} connections",
            value=rate["agent"],
            unit="/s",
            peer=Beside(name=peer, value=rate["peer"]) if PROGRAM else None,
            limit=Beside(name="bare handler", value=rate["bare"]),
            ratio=statistics.median(ratios),
            spread=(min(ratios), max(ratios)),
            budget=at_least(0.8),
        ),
        Figure(
            name="cached report, processor time",
            value=cost["agent"],
            unit="us",
            peer=Beside(name=peer, value=cost["peer"]) if PROGRAM else None,
            limit=Beside(name="bare handler", value=cost["bare"]),
            ratio=statistics.median(cheaper),
            spread=(min(cheaper), max(cheaper)),
        ),
    )


@contextmanager
def _bare_server(tls: Path, body: Path) -> Iterator[tuple[Address, psutil.Process]]:
    command = [sys.executable, "-c", BARE, str(tls), str(body)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True) as server:
        if server.stdin is None or server.stdout is None:
            raise RuntimeError("the server was started without pipes")
        yield parse_address(server.stdout.readline().strip()), psutil.Process(server.pid)
        server.stdin.close()


async def _load(address: Address, path: str, token: str, requests: int) -> float:
    """Ask over kept connections, each one request at a time; return the requests per second."""
    head = f"GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    streams = [await asyncio.open_connection(*address, ssl=context, limit=2**22) for _ in range(CONNECTIONS)]

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(requests // CONNECTIONS):
            writer.write(head)
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            if not answer.startswith(b"http/1.1 200"):
                raise RuntimeError(f"{path}: {answer.decode()}")
            if b"transfer-encoding: chunked" in answer:
                await reader.readuntil(b"\r\n0\r\n\r\n")
            else:
                await reader.readexactly(int(answer.partition(b"content-length: ")[2].partition(b"\r\n")[0]))

    began = time.monotonic()
    await asyncio.gather(*(ask(*stream) for stream in streams))
    took = time.monotonic() - began
    for _, writer in streams:
        writer.transport.abort()
    return requests / took


if __name__ == "__main__":
    sys.exit(main())
