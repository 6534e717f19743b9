"""The agent's budgets, measured: memory, readiness, idle processor time, and the cached report beside a bare handler.

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
from contextlib import contextmanager
from pathlib import Path

import psutil

from bs_agent.daemon.configuration import Address, parse_address
from tests.agent.asking import connect
from tests.agent.conftest import UUID
from tests.beds.agent import ROOT, AgentProcess, client_of

IDLE_SECONDS = 30
STARTS = 5
CONNECTIONS = 16
REQUESTS = 4000
ROUNDS = 5

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


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder, "images")
        directory.mkdir()
        process = AgentProcess(Path(folder, "agent"), {"probe": {"interval": 10.0, "deadline": 10.0}})
        with process:
            token, body = asyncio.run(_connect(process, directory))
            _report_idle(process)
            _report_throughput(process, token, body, Path(folder))
            process.stop()
            _report_readiness(process)


async def _connect(process: AgentProcess, directory: Path) -> tuple[str, bytes]:
    """Serve one ImageStore, touch everything once, and return the token and the report."""
    async with client_of(process.address, process.enroll()) as client:
        await connect(client, directory, UUID)
        await client.ask("GET", "/metrics")
        request = {"Authorization": f"Bearer {client.enrollment.token}"}
        async with client.session.get(f"{client.url}/v1/report", headers=request, ssl=client.pin) as answer:
            return client.enrollment.token, await answer.read()


def _report_idle(process: AgentProcess) -> None:
    agent = psutil.Process(process.pid)
    workers = agent.children()
    before = _processor_seconds([agent, *workers])
    time.sleep(IDLE_SECONDS)
    share = (_processor_seconds([agent, *workers]) - before) / IDLE_SECONDS
    print(f"agent RSS            {agent.memory_info().rss / 2**20:6.1f} MiB   (budget 60)")
    for worker in workers:
        print(f"worker RSS           {worker.memory_info().rss / 2**20:6.1f} MiB   (budget 40)")
    print(f"idle processor time  {share * 100:6.2f} % of a core over {IDLE_SECONDS} s   (budget 0.5)")


def _processor_seconds(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def _report_readiness(process: AgentProcess) -> None:
    took = []
    for _ in range(STARTS):
        began = time.monotonic()
        process.start()
        took.append(time.monotonic() - began)
        process.stop()
    print(f"ready after          {statistics.median(took):6.2f} s, worst of {STARTS} {max(took):.2f}   (budget 1)")


def _report_throughput(process: AgentProcess, token: str, body: bytes, folder: Path) -> None:
    (folder / "body").write_bytes(body)
    with _bare_server(process.state / "tls", folder / "body") as (bare, bare_process):
        agent = psutil.Process(process.pid)
        rates: dict[str, list[float]] = {"agent": [], "bare": []}
        costs: dict[str, list[float]] = {"agent": [], "bare": []}
        for _ in range(ROUNDS):
            for name, address, server in (("agent", process.address, agent), ("bare", bare, bare_process)):
                before = _processor_seconds([server])
                rates[name].append(asyncio.run(_load(address, token)))
                costs[name].append((_processor_seconds([server]) - before) / REQUESTS)
    rate = {name: statistics.median(found) for name, found in rates.items()}
    cost = {name: statistics.median(found) * 1e6 for name, found in costs.items()}
    print(f"cached report        {rate['agent']:6.0f} requests/s, bare handler {rate['bare']:.0f}")
    print(f"  ratio              {rate['agent'] / rate['bare']:6.2f}   (budget 0.8)")
    # What the server's core could do if client and neighbours took none of it.
    print(f"  by processor time  {cost['bare'] / cost['agent']:6.2f}   ({cost['agent']:.0f} us, {cost['bare']:.0f} us)")


@contextmanager
def _bare_server(tls: Path, body: Path) -> Iterator[tuple[Address, psutil.Process]]:
    command = [sys.executable, "-c", BARE, str(tls), str(body)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True) as server:
        if server.stdin is None or server.stdout is None:
            raise RuntimeError("the server was started without pipes")
        yield parse_address(server.stdout.readline().strip()), psutil.Process(server.pid)
        server.stdin.close()


async def _load(address: Address, token: str) -> float:
    """Ask over kept connections, each one request at a time; return the requests per second."""
    head = f"GET /v1/report HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    streams = [await asyncio.open_connection(*address, ssl=context) for _ in range(CONNECTIONS)]

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(REQUESTS // CONNECTIONS):
            writer.write(head)
            answer = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]))

    began = time.monotonic()
    await asyncio.gather(*(ask(*stream) for stream in streams))
    took = time.monotonic() - began
    for _, writer in streams:
        writer.transport.abort()
    return REQUESTS / took


if __name__ == "__main__":
    main()
