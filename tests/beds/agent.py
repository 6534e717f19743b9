"""A real agent as a process of its own: its folder, its port on loopback, its configuration file, its log."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from bs_agent.agent.state import running_address
from bs_agent.contract.report import Enrollment
from bs_agent.daemon.configuration import Address
from bs_agent.daemon.connection import connector
from tests.beds import warm
from tests.beds.place import HERE, Place

ROOT = Path(__file__).parents[2]
_DEADLINE = 30.0


class AgentProcess:
    """An agent that can be started, stopped, killed and started again on the same state and the same port.

    `settings` are sections of agent.toml over those that the bed needs itself; `before` is put before the command
    (strace with -D, so that the process stays our child), which runs in a `place`.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        before: Sequence[str] = (),
        place: Place = HERE,
    ) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.config = folder / "agent.toml"
        self.log = folder / "agent.log"
        self.before = list(before)
        self.place = place
        self.environment: dict[str, str] = {}
        self.inherited: list[int] = []
        self._settings: dict[str, dict[str, Any]] = {
            "server": {"listen": "127.0.0.1:0"},
            "state": {"directory": str(self.state)},
            "probe": {"interval": 2.0, "deadline": 2.0},
        }
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.configure(settings or {})

    def configure(self, settings: Mapping[str, Mapping[str, Any]]) -> None:
        """Change keys of the configuration file; a running agent reads it at its next start or reload."""
        for section, keys in settings.items():
            self._settings.setdefault(section, {}).update(keys)
        lines = []
        for section, keys in self._settings.items():
            lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
        self.config.write_text("\n".join(lines) + "\n")

    def start(self, *, wait: bool = True) -> None:
        """Start the agent and wait until it listens."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("BS_AGENT_")}
        with self.log.open("ab") as log:
            self._process = warm.popen(
                self.place.command(*self.before, *self._words("run")),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=environment | self.environment,
                pass_fds=self.inherited,
            )
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until the agent listens; from then on its port stays the same over restarts."""
        until = time.monotonic() + _DEADLINE
        while (address := running_address(self.state)) is None:
            if self.poll() is not None or time.monotonic() > until:
                self.kill()
                raise RuntimeError(f"the agent did not start:\n{self.log.read_text()}")
            time.sleep(0.02)
        self.configure({"server": {"listen": str(address)}})

    @property
    def pid(self) -> int:
        """The process id."""
        return self._running().pid

    @property
    def address(self) -> Address:
        """Where the agent listens."""
        address = running_address(self.state)
        if address is None:
            raise RuntimeError("the agent does not run")
        return address

    def poll(self) -> int | None:
        """Return the exit status of the process if it has ended."""
        return self._running().poll()

    def wait(self, deadline: float = _DEADLINE) -> int:
        """Wait for the process to end and return its status; a negative one is a signal."""
        return self._running().wait(deadline)

    @property
    def children(self) -> list[int]:
        """The process ids of the agent's children."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run `bs-agent` with this agent's configuration to its end."""
        return warm.run(self.command(*arguments), cwd=ROOT, timeout=_DEADLINE)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the agent."""
        self._running().send_signal(number)

    def stop(self) -> int:
        """End the agent as systemd would."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """End the agent as a power cut would."""
        self.signal(signal.SIGKILL)
        self.wait()

    def command(self, *arguments: str) -> list[str]:
        """Return a command line of `bs-agent` with this agent's configuration."""
        return self.place.command(*self._words(*arguments))

    def enroll(self, label: str = "test") -> Enrollment:
        """Run `bs-agent enroll`, as an operator or a management node does on the host."""
        done = self.run("enroll", "--label", label, "--json")
        if done.returncode:
            raise RuntimeError(done.stderr)
        return Enrollment.model_validate_json(done.stdout)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_DEADLINE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(_DEADLINE)

    def _words(self, *arguments: str) -> list[str]:
        return [*self.place.agent_python, "-m", "bs_agent.agent", *arguments, "--config", str(self.config)]

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            raise RuntimeError("the agent was not started")
        return self._process


@dataclass(frozen=True)
class Answer:
    """An answer of the agent."""

    status: int
    body: Any
    headers: Mapping[str, str]


class AgentClient:
    """Asks an agent what it is told to ask, right or wrong."""

    def __init__(self, session: aiohttp.ClientSession, address: Address, enrollment: Enrollment) -> None:
        self.session = session
        self.url = f"https://{address}"
        self.enrollment = enrollment
        self.pin = aiohttp.Fingerprint(bytes.fromhex(enrollment.fingerprint))

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request with the token; `headers` come on top."""
        sent = {"Authorization": f"Bearer {self.enrollment.token}", **(headers or {})}
        data = json.dumps(body).encode() if body is not None else data
        async with self.session.request(method, self.url + path, data=data, headers=sent, ssl=self.pin) as response:
            content = await response.read()
            is_json = response.content_type == "application/json"
            return Answer(response.status, json.loads(content) if is_json and content else content, response.headers)


@contextlib.asynccontextmanager
async def client_of(address: Address, enrollment: Enrollment) -> AsyncIterator[AgentClient]:
    """Talk to the agent at `address` while the context is open."""
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(connector=connector(), timeout=timeout) as session:
        yield AgentClient(session, address, enrollment)
