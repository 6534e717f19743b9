"""`make run`: a management node and an agent over a local directory, enrolled and added, until Ctrl-C.

Everything lives in one directory, so a second run picks up the same data.
"""

import argparse
import asyncio
import json
import os
import secrets
import shlex
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import IO

from bs_agent.client.sdk import AddImageStoreBackupStorageAction, LogInByAccountAction, QueryBackupStorageAction
from bs_agent.client.wire.failures import CallFailed
from bs_agent.client.wire.transport import Client

STOP_DEADLINE = 20.0
START_DEADLINE = 30.0
NAME = "image-store"


class QuickstartError(Exception):
    """A step failed; the message says which, and why."""


class Place:
    """The files of one quick start."""

    def __init__(self, directory: Path, port: int, agent_port: int) -> None:
        self.images = directory / "images"
        self.agent_toml = directory / "agent.toml"
        self.management_toml = directory / "management.toml"
        self.password_file = directory / "admin-password"
        self.url = f"http://127.0.0.1:{port}"
        self.ports = {"PORT": port, "AGENT_PORT": agent_port}
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.images.mkdir(exist_ok=True)
        self.agent_toml.write_text(
            f'[server]\nlisten = "127.0.0.1:{agent_port}"\n[state]\ndirectory = {json.dumps(f"{directory}/agent")}\n'
            "[probe]\ninterval = 2\ndeadline = 2\n"
        )
        self.management_toml.write_text(
            f'[server]\nlisten = "127.0.0.1:{port}"\n[state]\ndirectory = {json.dumps(f"{directory}/management")}\n'
            f"[database]\nurl = {json.dumps(f'sqlite:///{directory}/management/management.db')}\n"
            "[poll]\ninterval = 2\ntimeout = 2\n"
        )

    def password(self) -> str:
        """Return the password of `admin`, made on the first run."""
        if not self.password_file.exists():
            self.password_file.touch(mode=0o600)
            self.password_file.write_text(secrets.token_urlsafe(12) + "\n")
        return self.password_file.read_text().strip()


async def run(place: Place) -> int:
    """Start everything, show the answer, and wait for Ctrl-C or for the end of a daemon."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    must_be_free(place.ports)  # before a password is sent to whoever has one of them
    async with AsyncExitStack() as stack:
        password = place.password()
        await program("bs-management", "set-password", "--config", place.management_toml, "admin", stdin=password)
        management = await stack.enter_async_context(daemon("bs-management", place.management_toml))
        agent = await stack.enter_async_context(daemon("bs-agent", place.agent_toml))
        client = await log_in(place.url, password, management)
        await add_once(place, client)
        await show(place, client)
        ends = {asyncio.create_task(work) for work in (stop.wait(), management.wait(), agent.wait())}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for task in ends:
            task.cancel()
        if not stop.is_set():
            raise QuickstartError("a daemon ended by itself; its log is above")
        print("\nstopping ...", flush=True)
    return 0


def must_be_free(ports: Mapping[str, int]) -> None:
    """Look whether the ports, by the variables of `make run` that name them, can be had.

    Raises:
        QuickstartError: one cannot; the message says how to take another.
    """
    for variable, port in ports.items():
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError as error:
            raise QuickstartError(
                f"port {port} cannot be had: {os.strerror(error.errno or 0)}. `ss -ltnp` shows who has it: end that, "
                f"or take another one: make run {variable}={port + 1}"
            ) from error


@asynccontextmanager
async def daemon(name: str, config: Path, log: IO[bytes] | None = None) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a daemon while the context is open; what it logs goes to a file, or to where we write ourselves."""
    # A session of its own keeps Ctrl-C from the daemon: it is stopped here, in order.
    child = await asyncio.create_subprocess_exec(
        *command(name, "run", "--config", config),
        stdin=asyncio.subprocess.DEVNULL,
        stderr=log,
        start_new_session=True,
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.terminate()
            try:
                await asyncio.wait_for(child.wait(), STOP_DEADLINE)
            except TimeoutError:
                child.kill()
                await child.wait()


def command(name: str, *arguments: str | Path) -> list[str]:
    """Return the command line of one of our programs, in the virtual environment that runs this one."""
    return [str(Path(sys.executable).with_name(name)), *map(str, arguments)]


async def program(name: str, *arguments: str | Path, stdin: str = "") -> str:
    """Run one of our programs to its end and return what it printed.

    Raises:
        QuickstartError: it failed.
    """
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*command(name, *arguments), stdin=pipe, stdout=pipe, stderr=pipe)
    stdout, stderr = await asyncio.wait_for(child.communicate(stdin.encode() + b"\n"), START_DEADLINE)
    if child.returncode:
        raise QuickstartError(f"{name} {arguments[0]} failed: {stderr.decode().strip()}")
    return stdout.decode()


async def log_in(url: str, password: str, management: asyncio.subprocess.Process) -> Client:
    """Log in as soon as the management node answers."""
    deadline = asyncio.get_running_loop().time() + START_DEADLINE
    action = LogInByAccountAction(accountName="admin", password=password)
    while True:
        result = await action.call_async(Client(url=url, patience=0))
        if result.error is None:
            return Client(url=url, session_id=result.unwrap().inventory.uuid)
        if management.returncode is not None:
            raise QuickstartError("the management node does not run; its log is above")
        if asyncio.get_running_loop().time() > deadline:
            raise QuickstartError(f"cannot log in: {result.error.details}")
        await asyncio.sleep(0.1)


async def add_once(place: Place, client: Client) -> None:
    """Enrol the agent and add its directory, unless an earlier run did."""
    query = QueryBackupStorageAction(conditions=[f"name={NAME}"])
    if not (await query.call_async(client)).unwrap().inventories:
        printed = await program("bs-agent", "enroll", "--config", place.agent_toml, "--label", "quickstart", "--json")
        add = AddImageStoreBackupStorageAction(name=NAME, hostname="127.0.0.1", url=str(place.images))
        add.systemTags = [f"agentEnrollment::{json.loads(printed)['code']}"]
        (await add.call_async(client)).unwrap()
    deadline = asyncio.get_running_loop().time() + START_DEADLINE
    while True:
        found = (await query.call_async(client)).unwrap().inventories or []
        if found and found[0].status == "Connected":
            return
        if asyncio.get_running_loop().time() > deadline:
            raise QuickstartError(f"{NAME} is not Connected: {found}")
        await asyncio.sleep(0.2)


async def show(place: Place, client: Client) -> None:
    """Print the answer of the query, and how to go on by curl."""
    result = await QueryBackupStorageAction().call_async(client)
    inventories = result.unwrap().inventories or []
    base, session = f"{place.url}/zstack/v1", f"-H 'Authorization: OAuth {client.session_id}'"
    storage = f"{base}/backup-storage/{inventories[0].uuid}"
    cli, kept = shlex.quote(command("bs-cli")[0]), shlex.quote(str(place.password_file))
    print(json.dumps({key: value for key, value in result.answer.items() if key != "schema"}, indent=2))
    print(
        f"""
QueryBackupStorage says the above.

The console:  {place.url}/  (account admin, password {place.password()})

Or go on from another terminal (the session lives two hours):

  curl -g {session} '{base}/backup-storage?q=status=Connected'
  curl {session} -X PUT -d '{{"reconnectBackupStorage":{{}}}}' {storage}/actions
  curl {session} -X DELETE '{storage}?deleteMode=Permissive'

or by bs-cli, which keeps the log-in:

  {cli} --url {place.url} LogInByAccount accountName=admin < {kept}
  {cli} storages
  {cli} storages delete {inventories[0].uuid} --dry-run

The images are in {place.images}. Ctrl-C stops both daemons; the next `make run` picks up the same data.""",
        flush=True,
    )


def main() -> None:
    """Parse the command line and run until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, default=Path(".run"), help="where everything is kept (%(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="the management node's port (%(default)s)")
    parser.add_argument("--agent-port", type=int, default=7765, help="the agent's port (%(default)s)")
    options = parser.parse_args()
    try:
        sys.exit(asyncio.run(run(Place(options.directory.resolve(), options.port, options.agent_port))))
    except (QuickstartError, CallFailed, OSError, TimeoutError) as error:
        print(f"make run: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
