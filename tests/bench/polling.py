"""Polling 10,000 agents from one process beside a bare aiohttp client loop: as often, with the same TLS policy.

The agents are played by one process, each at a loopback address of its own; every tenth poll brings another capacity.
Ours decodes and writes what changes, the peer only reads; both keep all connections. Budgets: at least 0.6 times the
peer's polls per CPU second; at an interval of 60 s at most 10 % of a core and 300 MiB, at one of 15 s at most 25 %.
`--quick` polls 4,000 and leaves the intervals out, `--loop=uvloop` has both sides run on that event loop.
"""

import asyncio
import asyncio.sslproto
import importlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncConnection

from bs_agent.contract.report import IMAGESTORE
from bs_agent.daemon import garbage
from bs_agent.daemon.certificate import fingerprint, server_context
from bs_agent.daemon.descriptors import raise_limit
from bs_agent.management.config import ManagementSettings, PollSettings
from bs_agent.management.fleet import open_fleet
from bs_agent.management.hosts.agent_client import Agents, Target, target
from bs_agent.management.hosts.connections import KEEPALIVE, NEW_A_SECOND
from bs_agent.management.secrets import Keyring
from bs_agent.management.store import tables
from bs_agent.management.store.database import Database
from bs_agent.management.store.leases import Node
from bs_agent.management.store.schema import migrate
from tests.beds.certificate import ensure_certificate
from tests.bench.figures import Beside, Figure, at_least, at_most, tell

AGENTS = 4000 if "--quick" in sys.argv else 10_000
ROUNDS, WINDOW = 1 if "--quick" in sys.argv else 3, 10.0
BUSY = AGENTS / 1000  # seconds: a thousand polls a second, which no machine is too slow for
LEASE = 120.0  # a machine that is kept busy by the agents of this bench must not lose it
BUDGET_RATIO, BUDGET_MIB = 0.6, 300
BUDGET_CORE = {60.0: 0.10, 15.0: 0.25}
LONGEST_WARM_UP = 150.0
TOKEN = "a-token-for-the-benchmark"
COUNT = b"GET /count "


def host_of(number: int) -> str:
    """Return the address of an agent."""
    return f"127.1.{number // 250}.{number % 250 + 1}"


def report_of(host: str, version: int) -> bytes:
    """Return what an agent reports after so many changes."""
    _, _, high, low = host.split(".")
    uuid = f"{int(high) * 250 + int(low) - 1:032x}"
    usage = {
        "totalCapacity": 10**12,
        "availableCapacity": 10**12 - version * 4096,
        "totalInodes": 10,
        "readOnly": False,
    }
    section = {"value": usage | {"availableInodes": 9}, "collectedAt": time.time(), "ageSeconds": 1, "stale": False}
    storage = {"type": IMAGESTORE, "uuid": uuid, "url": "/images", "usage": section}
    report = {"agentVersion": "1", "hostname": host, "startedAt": 1.0, "storages": [storage]}
    return json.dumps(report).encode()


class Player(asyncio.Protocol):
    """One connection to one of the agents; as little work as an answer can be."""

    polls: ClassVar[Counter[str]] = Counter()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.host: str = transport.get_extra_info("sockname")[0]

    def data_received(self, data: bytes) -> None:
        if data.startswith(COUNT):
            self._answer(b"200 OK", b"", b"%d %d" % (self.polls.total(), len(self.polls)))
            return
        self.polls[self.host] += 1
        version = (self.polls[self.host] + hash(self.host) % 10) // 10
        etag = b'"%d"' % version
        if b"If-None-Match: " + etag in data:
            self._answer(b"304 Not Modified", etag, b"")
        else:
            self._answer(b"200 OK", etag, report_of(self.host, version))
        if b"Connection: close" in data:
            self.transport.close()

    def _answer(self, status: bytes, etag: bytes, body: bytes) -> None:
        head = b"HTTP/1.1 %s\r\nETag: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self.transport.write(head % (status, etag, len(body)) + body)


async def play(folder: Path) -> None:
    """Be the agents until standard input ends; print their port."""
    asyncio.sslproto.SSLProtocol.max_size = 16 * 1024
    certificate, key = await ensure_certificate(folder, "agents")
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        Player, "0.0.0.0", 0, ssl=server_context(certificate, key), backlog=4096  # noqa: S104  all of 127.0.0.0/8
    )  # fmt: skip
    async with server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await loop.run_in_executor(None, sys.stdin.read)


async def fill(folder: Path, port_of: Callable[[int], int]) -> None:
    """Write the fleet into a new database."""
    database = Database.connect(f"sqlite:///{folder}/management.db")
    await migrate(database)
    secret = Keyring.open(folder).encrypt(TOKEN)
    pin = fingerprint(folder / "certificate.pem")
    dates = {"createDate": 1, "lastOpDate": 1}
    fixed = {"type": IMAGESTORE, "url": "/images", "state": "Enabled", "status": "Connected", "capacityStale": False}
    fixed |= {"totalCapacity": 0, "availableCapacity": 0, **dates}
    agent = {"fingerprint": pin, "tokenSecret": secret, "leaving": False, "createDate": 1}
    numbers = range(AGENTS)
    ids = [f"{number:032x}" for number in numbers]
    rows: list[tuple[Any, list[dict[str, Any]]]] = [
        (
            tables.agent,
            [
                agent | {"port": port_of(n), "uuid": ids[n], "hostname": host_of(n), "enrollmentId": ids[n]}
                for n in numbers
            ],
        ),
        (tables.resource, [{"uuid": ids[n], "type": "BackupStorageVO"} for n in numbers]),
        (tables.agent_address, [{"hostname": host_of(n), "port": port_of(n), "agentUuid": ids[n]} for n in numbers]),
        (tables.backup_storage, [fixed | {"uuid": ids[n], "name": f"s{n}", "hostname": host_of(n)} for n in numbers]),
        (
            tables.host,
            [
                {"monUuid": ids[n], "backupStorageUuid": ids[n], "agentUuid": ids[n], "hostname": host_of(n)}
                | {"sshPort": 22, "status": "Connected", "capacityFresh": True, **dates}
                for n in numbers
            ],
        ),
    ]
    async with database.writing() as connection:
        await _allow_equal_certificates(connection)
        for table, content in rows:
            for start in range(0, len(content), 1000):
                await connection.execute(insert(table), content[start : start + 1000])
    await database.close()


async def _allow_equal_certificates(connection: AsyncConnection) -> None:
    """Let many agents show one certificate, as those that one process plays do; the table would have each its own."""
    query = text("SELECT sql FROM sqlite_master WHERE tbl_name = 'agent' AND sql IS NOT NULL ORDER BY type DESC")
    made = [
        sql.replace("CONSTRAINT uq_agent_fingerprint UNIQUE (fingerprint),", "")
        for (sql,) in await connection.execute(query)
    ]
    for statement in ("DROP TABLE agent", *made):
        await connection.execute(text(statement))


async def measure(folder: Path, port: int, window: float) -> dict[str, float]:
    """Count the polls that the agents have seen during a window, and what they cost this process.

    The window begins when each agent has been polled, so that all connections are there.
    """
    at = target(host_of(0), port, fingerprint(folder / "certificate.pem"), TOKEN)
    async with Agents.open(30, 60) as agents:

        async def polls() -> list[int]:
            return [int(count) for count in (await agents._request(at, "GET", "/count")).body.split()]

        (first, _), began = await polls(), time.monotonic()
        await asyncio.sleep(AGENTS / NEW_A_SECOND * 1.2)
        until = began + LONGEST_WARM_UP
        while (await polls())[0] < first + AGENTS * 1.1 and time.monotonic() < until:  # noqa: ASYNC110  another process
            await asyncio.sleep(1)
        (before, _), cpu, started = await polls(), time.process_time(), time.monotonic()
        await asyncio.sleep(window)
        seconds = time.monotonic() - started
        return {
            "polls": ((await polls())[0] - before) / seconds,
            "core": (time.process_time() - cpu) / seconds,
            "mib": int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20,  # noqa: ASYNC240  no disk
        }


async def ours(folder: Path, port: int, interval: float, window: float) -> dict[str, float]:
    """Poll as the management node does."""
    database = Database.connect(f"sqlite:///{folder}/management.db")
    settings = ManagementSettings(poll=PollSettings(interval=interval, timeout=min(10.0, interval)))
    async with (
        Node.open(database, LEASE) as node,
        open_fleet(database, Keyring.open(folder), settings, node) as service,
    ):
        measured = await measure(folder, port, window)
        measured["away"] = service.poller.away
    await database.close()
    return measured


async def peer(folder: Path, port: int, interval: float, window: float) -> dict[str, float]:
    """Poll with aiohttp and nothing else: as often, because a poll alone costs the loop more than one among many."""
    asyncio.sslproto.SSLProtocol.max_size = 16 * 1024
    pin = fingerprint(folder / "certificate.pem")
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE)
    async with aiohttp.ClientSession(connector=connector) as session:
        targets = [target(host_of(n), port, pin, TOKEN, keep=True) for n in range(AGENTS)]
        polls = [asyncio.create_task(poll(session, at, n / NEW_A_SECOND, interval)) for n, at in enumerate(targets)]
        try:
            return await measure(folder, port, window)
        finally:
            for one in polls:
                one.cancel()
            await asyncio.gather(*polls, return_exceptions=True)


async def poll(session: aiohttp.ClientSession, at: Target, first: float, interval: float) -> None:
    """Ask one agent again and again, from the first time on: both in seconds."""
    loop = asyncio.get_running_loop()
    due, url, etag = loop.time() + first, at.url.with_path("/v1/report", encoded=True), ""
    while True:
        await asyncio.sleep(due - loop.time())
        async with session.get(url, headers=at.headers | {"If-None-Match": etag}, ssl=at.pin) as response:
            await response.read()
            etag = response.headers["ETag"]
        due = max(due + interval, loop.time())


def run(*arguments: str) -> dict[str, float]:
    """Run one part in a process of its own."""
    passed = [argument for argument in sys.argv if argument.startswith(("--loop=", "--quick"))]
    command = [sys.executable, "-m", "tests.bench.polling", *arguments, *passed]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=600)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def compare(folder: str, port: str) -> bool:
    """Print ours beside the peer, a thousand polls a second each, in turns.

    Judged by the CPU second: the agents need as much of the machine as the one that polls them.
    """
    rates: dict[str, list[float]] = {"ours": [], "peer": []}
    for _ in range(ROUNDS):
        for name in ("ours", "peer"):
            measured = run(name, folder, port, str(BUSY), str(WINDOW))
            rates[name].append(measured["polls"] / measured["core"])
            shown = f"{measured['polls']:6.0f} polls/s with {measured['core'] * 100:3.0f} % of a core"
            print(f"{name:5} {shown}: {rates[name][-1]:5.0f} per CPU second  {measured['mib']:4.0f} MiB", flush=True)
    mine, theirs = (statistics.median(rates[name]) for name in ("ours", "peer"))
    return tell(
        Figure(
            name="polls a second of processor time",
            value=mine,
            unit="/s",
            limit=Beside(name="bare loop", value=theirs),
            ratio=mine / theirs,
            budget=at_least(BUDGET_RATIO),
        )
    )


def at_interval(folder: str, port: str, interval: float) -> bool:
    """Print what polling at an interval costs, once every agent has been polled."""
    measured = run("ours", folder, port, str(interval), str(max(30.0, interval)))
    what = f"{AGENTS:,} agents every {interval:.0f} s"
    core = at_most(BUDGET_CORE[interval] * 100)
    return tell(
        Figure(name=what, value=measured["core"] * 100, unit="% of a core", budget=core),
        Figure(name=f"{what}, a poll", value=measured["core"] / measured["polls"] * 1000, unit="ms"),
        Figure(name=f"{what}, memory", value=measured["mib"], unit="MiB", budget=at_most(BUDGET_MIB)),
        Figure(name=f"{what}, away", value=measured["away"], unit="", budget=at_most(0)),
    )


def main() -> int:
    """Play the agents in one process, and measure in others."""
    with tempfile.TemporaryDirectory() as folder:
        playing = [sys.executable, "-m", "tests.bench.polling", "play", folder]
        with subprocess.Popen(playing, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as player:
            assert player.stdout
            port = player.stdout.readline().strip()
            asyncio.run(fill(Path(folder), lambda _: int(port)))
            kept = [compare(folder, port)]
            if "--quick" not in sys.argv:
                kept += [at_interval(folder, port, interval) for interval in BUDGET_CORE]
            player.communicate()
    return 0 if all(kept) else 1


def allow_files() -> None:
    """Do in a process of the bench what the node does when it starts."""
    raise_limit()
    garbage.look_as_a_daemon()


def part(name: str, folder: str, *arguments: str) -> None:
    """Be one of the processes."""
    allow_files()
    if name == "play":
        asyncio.run(play(Path(folder)))
        return
    port, *times = [argument for argument in arguments if not argument.startswith("--")]
    measuring = ours if name == "ours" else peer
    run_loop = importlib.import_module("uvloop").run if "--loop=uvloop" in arguments else asyncio.run
    print(json.dumps(run_loop(measuring(Path(folder), int(port), *map(float, times)))))


if __name__ == "__main__":
    if sys.argv[1:] and not sys.argv[1].startswith("-"):
        part(*sys.argv[1:])
    else:
        sys.exit(main())
