"""Plays the agents of a large site and starts a management node that polls them, until Ctrl-C.

  python -m tests.fleet 10000
  python -m tests.fleet 10000 --slow 5% --dead 20% --flapping 2% --changing 10% --interval 15
  python -m tests.fleet 200 --by-api

Each agent has an address within 127.0.0.0/8, a certificate and a token of its own, and serves one ImageStore. What is
not steady has its share: a slow one answers after 2 to 8 seconds, a dead one not at all, a flapping one is away for
two and a half minutes and there for as long, and of a changing one the capacity is another each minute. All is kept in
one directory; the next run has the same agents, and adds what is missing.
"""

import argparse
import asyncio
import json
import secrets
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

from bs_agent.client.cli.quickstart import QuickstartError, command, daemon, log_in, program
from bs_agent.client.wire.failures import CallFailed
from bs_agent.client.wire.transport import Client
from bs_agent.management.secrets import Keyring
from tests.fleet import adding
from tests.fleet.behaviour import Pace, Shares, read_share
from tests.fleet.machines import MOST, Machine, machines
from tests.fleet.site import Site, TooFewDescriptors, allow_descriptors

SAID_EVERY = 30.0


class Place:
    """The files of a simulated site."""

    def __init__(self, asked: argparse.Namespace) -> None:
        directory: Path = asked.directory.resolve()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.machines = directory / "machines"
        self.state = directory / "management"
        self.state.mkdir(mode=0o700, exist_ok=True)
        self.config = directory / "management.toml"
        self.log = directory / "management.log"
        self.password_file = directory / "admin-password"
        self.url = f"http://127.0.0.1:{asked.port}"
        self.database = asked.database or f"sqlite:///{self.state}/management.db"
        sections = {
            "server": {"listen": f"127.0.0.1:{asked.port}"},
            "state": {"directory": str(self.state)},
            "database": {"url": self.database},
            "poll": {"interval": asked.interval, "timeout": min(10.0, asked.interval)},
        }
        lines = [
            f"[{section}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
            for section, keys in sections.items()
        ]
        self.config.write_text("".join(lines))

    def password(self) -> str:
        """Return the password of `admin`, made on the first run."""
        if not self.password_file.exists():
            self.password_file.touch(mode=0o600)
            self.password_file.write_text(secrets.token_urlsafe(12) + "\n")
        return self.password_file.read_text().strip()


async def run(asked: argparse.Namespace) -> int:
    """Start everything, say where to look, and wait for Ctrl-C or for the end of the management node."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    allow_descriptors(asked.agents)
    shares = Shares(asked.changing, asked.slow, asked.flapping, asked.dead)
    place, site = Place(asked), Site()
    known = list(machines(place.machines, asked.agents, progress("certificates", asked.agents)))
    site.settle(known, shares.manners(len(known)), Pace(), serving=not asked.by_api)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(site.open(asked.agents_port))
        client, management = await start(stack, place, site, known, by_api=asked.by_api)
        explain(place, client, site)
        ends = {asyncio.create_task(work) for work in (stop.wait(), watch(site), management.wait())}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for task in ends:
            task.cancel()
        if not stop.is_set():
            raise QuickstartError(f"the management node ended by itself; its log is {place.log}")
        print("\nstopping ...", flush=True)
    return 0


async def start(
    stack: AsyncExitStack, place: Place, site: Site, known: list[Machine], *, by_api: bool
) -> tuple[Client, asyncio.subprocess.Process]:
    """Start the management node, with the agents in its database, or add them when it runs; log in there."""
    password, said = place.password(), progress("backup storages", len(known))
    if not by_api:
        await adding.to_database(place.database, Keyring.open(place.state), known, site.port, said)
    await program("bs-management", "set-password", "--config", place.config, "admin", stdin=password)
    log = stack.enter_context(place.log.open("wb"))
    management = await stack.enter_async_context(daemon("bs-management", place.config, log))
    client = await log_in(place.url, password, management)
    if by_api and (failed := await adding.by_api(client, known, site.port, said)):
        print(f"{failed} of {len(known)} were not added: dead, away just now, or there already", flush=True)
    return client, management


async def watch(site: Site) -> None:
    """Say now and then what the agents were asked."""
    before: Counter[str] = Counter()
    while True:
        await asyncio.sleep(SAID_EVERY)
        asked = Counter({manner: site.polls[manner] - before[manner] for manner in site.polls})
        before = site.polls.copy()
        told = ", ".join(f"{count} of {manner} ones" for manner, count in sorted(asked.items()))
        print(f"{time.strftime('%H:%M:%S')} {asked.total() / SAID_EVERY:.0f} requests/s: {told or 'none'}", flush=True)


def progress(what: str, of: int) -> Callable[[int], None]:
    """Return what prints now and then how far something is."""
    step = max(1, of // 10)

    def say(done: int) -> None:
        if done % step == 0 or done == of:
            print(f"{what}: {done} of {of}", flush=True)

    return say


def explain(place: Place, client: Client, site: Site) -> None:
    """Print where to look."""
    counted = Counter(str(agent.manner) for agent in site.agents.values())
    cli, api = command("bs-cli")[0], f"{place.url}/zstack/v1"
    session = f"-H 'Authorization: OAuth {client.session_id}'"
    print(
        f"""
{len(site.agents)} agents at port {site.port} of 127.1.0.1 and on: {", ".join(f"{n} {m}" for m, n in counted.items())}.
{place.url} polls them, and logs to {place.log}.
Its calls, with forms to try: {api}/docs. The password of `admin` is in
{place.password_file}. From another terminal:

  curl -g {session} '{api}/backup-storage?count=true&q=status=Disconnected'
  curl -g {session} '{api}/backup-storage?sort=availableCapacity&limit=3'
  curl {session} {place.url}/metrics

or:  {cli} --url {place.url} LogInByAccount accountName=admin < {place.password_file}
     {cli} --url {place.url} QueryBackupStorage status=Disconnected fields=name,statusReason limit=10

Ctrl-C stops all of it; `rm -r {place.config.parent}` forgets it.""",
        flush=True,
    )


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    said = (__doc__ or "").split("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m tests.fleet",
        description=said[0],
        epilog="\n\n".join(said[1:]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("agents", type=int, help=f"how many, up to {MOST}")
    for name in Shares().by_manner:
        default = Shares().by_manner[name]
        text = f"share of {name} agents, such as 5%% or 0.05 ({default:.0%}%)"
        parser.add_argument(f"--{name}", type=share, default=default, metavar="SHARE", help=text)
    parser.add_argument("--interval", type=float, default=60.0, help="seconds between two polls (%(default)g)")
    parser.add_argument("--by-api", action="store_true", help="add each by a call, not all through the database")
    parser.add_argument("--database", default="", metavar="URL", help="postgresql://...; SQLite without")
    parser.add_argument("--directory", type=Path, default=Path(".run/fleet"), help="where all is kept (%(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="the management node's port (%(default)s)")
    parser.add_argument("--agents-port", type=int, default=17765, help="the agents' port (%(default)s)")
    asked = parser.parse_args(words)
    if not 1 <= asked.agents <= MOST:
        parser.error(f"there can be 1 to {MOST} agents, not {asked.agents}")
    if not asked.interval >= 1:
        parser.error(f"the interval is 1 second at least, not {asked.interval:g}")
    try:
        Shares(asked.changing, asked.slow, asked.flapping, asked.dead)
    except ValueError as error:
        parser.error(str(error))
    return asked


def share(text: str) -> float:
    """Read a share for the command line."""
    try:
        return read_share(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def main() -> None:
    """Parse the command line and run until Ctrl-C."""
    asked = arguments()
    try:
        sys.exit(asyncio.run(run(asked)))
    except (QuickstartError, CallFailed, TooFewDescriptors, OSError, TimeoutError) as error:
        print(f"make fleet: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
