"""How late the polls of healthy agents are among dead, slow and flapping ones, and when all connections are lost.

10,000 agents: 2,000 take a connection and never shake hands, 500 take 3 s to answer, 200 are away every other half
minute. Late is a poll by what has passed since its due time until its answer was there.
"""

import asyncio
import logging
import subprocess
import sys
import tempfile
import time
from asyncio import sslproto
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from bs_agent.contract.errors import StorageProblem
from bs_agent.daemon.certificate import fingerprint, server_context
from bs_agent.management.config import ManagementSettings, PollSettings
from bs_agent.management.fleet import open_fleet
from bs_agent.management.hosts.agent_client import Agents, target
from bs_agent.management.polling.poller import Poller
from bs_agent.management.polling.watches import Watch
from bs_agent.management.secrets import Keyring
from bs_agent.management.store.database import Database
from bs_agent.management.store.leases import Node
from tests.beds.certificate import ensure_certificate
from tests.bench.figures import Figure, at_most, tell
from tests.bench.polling import AGENTS, LEASE, TOKEN, Player, allow_files, fill, host_of

DEAD, SLOW, FLAPPING = 2000, 500, 200
INTERVAL, TIMEOUT, ANSWERS_AFTER, FLAPS = 60.0, 10.0, 3.0, 30.0
CUT = b"POST /cut "
BUDGET_LATE = 3.0


class Unsteady(Player):
    """A connection to an agent that may be slow or flapping, by its number."""

    made: ClassVar[set["Unsteady"]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.made.add(self)
        _, _, high, low = self.host.split(".")
        self.number = int(high) * 250 + int(low) - 1 - DEAD

    def connection_lost(self, _: Exception | None) -> None:
        self.made.discard(self)

    def data_received(self, data: bytes) -> None:
        if data.startswith(CUT):
            for other in list(self.made):
                other.transport.abort()
        elif 0 <= self.number < SLOW:
            asyncio.get_running_loop().call_later(ANSWERS_AFTER, super().data_received, data)
        elif SLOW <= self.number < SLOW + FLAPPING and int(time.monotonic() / FLAPS) % 2:
            self.transport.abort()
        else:
            super().data_received(data)


async def play(folder: Path) -> None:
    """Be the agents until standard input ends; print the ports of the living and of the dead."""
    sslproto.SSLProtocol.max_size = 16 * 1024
    certificate, key = await ensure_certificate(folder, "agents")
    loop, all_of_them = asyncio.get_running_loop(), "0.0.0.0"  # noqa: S104  all of 127.0.0.0/8
    living = await loop.create_server(
        Unsteady, all_of_them, 0, ssl=server_context(certificate, key), backlog=4096
    )  # fmt: skip
    dead = await loop.create_server(asyncio.Protocol, all_of_them, 0, backlog=4096)
    async with living, dead:
        print(*(server.sockets[0].getsockname()[1] for server in (living, dead)), flush=True)
        await loop.run_in_executor(None, sys.stdin.read)


class Lateness:
    """How late the polls of the healthy are; as a poller goes, but with a watch in its hand."""

    def __init__(self) -> None:
        self.late: list[float] = []
        original = Poller._ask

        async def timed(poller: Poller, watch: Watch) -> None:
            due = watch.timer.when() if watch.timer else 0.0
            await original(poller, watch)
            if int(watch.uuid, 16) >= DEAD + SLOW + FLAPPING:
                self.late.append(asyncio.get_running_loop().time() - due)

        Poller._ask = timed  # type: ignore[assignment, method-assign]

    async def minute(self, what: str) -> bool:
        """Print how late they were in the next minute, and tell whether that is within the budget."""
        self.late.clear()
        before = time.process_time()
        await asyncio.sleep(INTERVAL)
        late, core = sorted(self.late), (time.process_time() - before) / INTERVAL
        p99 = late[len(late) * 99 // 100]
        print(f"{what}: {len(late)} polls, {core * 100:.0f} % of a core, the last {late[-1]:.2f} s late", flush=True)
        return tell(
            Figure(name=f"polls late, {what}: median", value=late[len(late) // 2], unit="s"),
            Figure(name=f"polls late, {what}: p99", value=p99, unit="s", budget=at_most(BUDGET_LATE)),
        )


async def measure(folder: Path, port: int) -> int:
    """Poll them all, and print how late the healthy ones are as time goes by."""
    lateness = Lateness()
    settings = ManagementSettings(poll=PollSettings(interval=INTERVAL, timeout=TIMEOUT))
    database = Database.connect(f"sqlite:///{folder}/management.db")
    async with (
        Node.open(database, LEASE) as node,
        open_fleet(database, Keyring.open(folder), settings, node),
        Agents.open(TIMEOUT, 60) as cutter,
    ):
        kept = [await lateness.minute("from the start on")]
        at = target(host_of(AGENTS - 1), port, fingerprint(folder / "certificate.pem"), TOKEN)
        with suppress(StorageProblem):  # the connection that asks for it is cut as well
            await cutter._request(at, "POST", CUT.decode().split()[1])
        kept.append(await lateness.minute("all connections cut"))
    await database.close()
    return 0 if all(kept) else 1


def main() -> int:
    """Play the agents in one process, and poll them in another."""
    print(
        f"{AGENTS} agents, {DEAD} dead, {SLOW} slow, {FLAPPING} flapping, every {INTERVAL:.0f} s; the healthy:",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.bench.stampede"]
        with subprocess.Popen([*command, "play", folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as player:
            assert player.stdout
            living, dead = map(int, player.stdout.readline().split())
            asyncio.run(fill(Path(folder), lambda number: dead if number < DEAD else living))
            done = subprocess.run([*command, "measure", folder, str(living)], check=False, timeout=300)
            player.communicate()
    return done.returncode


if __name__ == "__main__":
    if sys.argv[1:] == []:
        sys.exit(main())
    allow_files()
    part, folder, *port = sys.argv[1:]
    if part == "play":
        asyncio.run(play(Path(folder)))
    else:
        logging.disable(logging.WARNING)
        sys.exit(asyncio.run(measure(Path(folder), int(port[0]))))
