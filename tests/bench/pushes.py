"""10,000 agents that push within one second, as when a cluster has lost its quorum: when all were taken, at what cost.

Each comes over a connection of its own, and goes by the header Retry-After as an agent does. The node does not poll
meanwhile. Limits: all are taken within the poll's interval and a half, and the node stays within 400 MiB.
"""

import asyncio
import json
import logging
import random
import resource
import ssl
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import aiohttp
from aiohttp import web

from bs_agent.agent.push.channel import LONGEST_PAUSE, SPACING
from bs_agent.contract.enrollment import token_hash
from bs_agent.contract.push import PUSH_PATH, push_token
from bs_agent.daemon.certificate import server_context
from bs_agent.daemon.configuration import Address
from bs_agent.daemon.connection import connector
from bs_agent.daemon.http import render_errors, serving
from bs_agent.management.config import ManagementSettings, PollSettings
from bs_agent.management.fleet import open_fleet
from bs_agent.management.secrets import Keyring
from bs_agent.management.store.database import Database
from bs_agent.management.store.leases import Node
from tests.beds.certificate import ensure_certificate
from tests.bench.figures import Figure, at_most, tell
from tests.bench.polling import AGENTS, LEASE, TOKEN, allow_files, fill, host_of, report_of

WITHIN, MOST_MIB = 90.0, 400


async def take(folder: Path) -> None:
    """Be the node until standard input ends; print the port, then what it has cost."""
    database = Database.connect(f"sqlite:///{folder}/management.db")
    settings = ManagementSettings(poll=PollSettings(interval=86_400))
    app = web.Application(middlewares=[render_errors])
    tls = server_context(folder / "certificate.pem", folder / "key.pem")
    async with (
        Node.open(database, LEASE) as node,
        open_fleet(database, Keyring.open(folder), settings, node) as service,
    ):
        app.add_routes(service.pushes.routes())
        async with serving(app, Address("127.0.0.1", 0), tls) as address:
            while service.poller.watching < AGENTS:  # noqa: ASYNC110  nothing tells of it
                await asyncio.sleep(0.1)
            before = time.process_time()
            print(address.port, flush=True)
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
            mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(json.dumps({"cpu": time.process_time() - before, "mib": mib}), flush=True)
    await database.close()


async def push_all(port: int) -> tuple[Counter[str], float]:
    """Push for each agent until it was taken; return what was answered, and after how many seconds the last was."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    headers = {"Authorization": f"Bearer {push_token(token_hash(TOKEN))}"}
    answers: Counter[str] = Counter()
    started = time.monotonic()

    async def insist(number: int, session: aiohttp.ClientSession) -> None:
        await asyncio.sleep(random.random())  # noqa: S311  spreads load
        url = f"https://127.0.0.1:{port}" + PUSH_PATH.format(id=f"{number:032x}")
        body, failures = report_of(host_of(number), 1), 0
        while True:
            pause = min(LONGEST_PAUSE, SPACING * 2.0**failures)
            try:
                async with asyncio.timeout(10), session.post(url, data=body, headers=headers, ssl=tls) as answer:
                    answers[str(answer.status)] += 1
                    if answer.status == 200:
                        return
                    pause = min(LONGEST_PAUSE, float(answer.headers["Retry-After"]))
            except (aiohttp.ClientError, TimeoutError) as error:
                answers[type(error).__name__] += 1
                failures += 1
            await asyncio.sleep(pause * random.uniform(1.0, 1.5))  # noqa: S311  spreads load

    async with aiohttp.ClientSession(connector=connector(limit=0, force_close=True)) as session:
        await asyncio.gather(*(insist(number, session) for number in range(AGENTS)))
    return answers, time.monotonic() - started


def main() -> int:
    """Be the agents in this process, and the node in another."""
    allow_files()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(ensure_certificate(Path(folder), "node"))
        asyncio.run(fill(Path(folder), lambda _: 1))
        command = [sys.executable, "-m", "tests.bench.pushes", folder]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as node:
            assert node.stdout
            answers, seconds = asyncio.run(push_all(int(node.stdout.readline())))
            told = json.loads(node.communicate()[0])
    print(f"answers: {dict(answers)}; {told['cpu']:.0f} s of a core")
    kept = tell(
        Figure(name=f"{AGENTS:,} pushes within 1 s, taken after", value=seconds, unit="s", budget=at_most(WITHIN)),
        Figure(name=f"{AGENTS:,} pushes, memory", value=told["mib"], unit="MiB", budget=at_most(MOST_MIB)),
    )
    return 0 if kept else 1


if __name__ == "__main__":
    if sys.argv[1:] == []:
        sys.exit(main())
    allow_files()
    logging.disable(logging.WARNING)
    asyncio.run(take(Path(sys.argv[1])))
