"""A real management node as a process of its own, spoken to over its public API."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from bs_agent.daemon.connection import connector
from tests.beds import warm
from tests.beds.agent import ROOT

_DEADLINE = 30.0


def free_port() -> int:
    """Return a port that nobody listens on now: the node has to know its own before it starts."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class NodeProcess:
    """A bs-management on a folder and a port of its own; `settings` are sections of management.toml.

    It runs the code that is in `code`; `inside` are words before its command, such as those that enter a network.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        code: Path = ROOT,
        inside: Sequence[str] = (),
    ) -> None:
        self.code = code
        self._inside = inside
        self.folder = folder
        self.port = free_port()
        self.config = folder / "management.toml"
        self.log = folder / "management.log"
        self.password = ""
        self.environment: dict[str, str] = {}
        self._settings: dict[str, dict[str, Any]] = {
            "server": {"listen": f"127.0.0.1:{self.port}"},
            "database": {"url": f"sqlite:///{folder}/management.db"},
            "state": {"directory": str(folder)},
            "jobs": {"finish": 0},  # tests end in the middle of something
        }
        self._process: subprocess.Popen[str] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.configure(settings or {})

    def configure(self, settings: Mapping[str, Mapping[str, Any]]) -> None:
        """Change keys of the configuration file."""
        for section, keys in settings.items():
            self._settings.setdefault(section, {}).update(keys)
        lines = []
        for section, keys in self._settings.items():
            lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
        self.config.write_text("\n".join(lines) + "\n")

    @property
    def url(self) -> str:
        """Where the node listens."""
        scheme = "https" if "tls_certificate" in self._settings["server"] else "http"
        return f"{scheme}://{self._settings['server']['listen']}"

    def start(self) -> None:
        """Start the node and wait until it listens; the first start tells the password."""
        before = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = warm.popen(
                [*self._inside, sys.executable, "-m", "bs_agent.management.main", "run", "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=self.code,
                env=os.environ | ({} if self.code == ROOT else {"PYTHONPATH": str(self.code)}) | self.environment,
                text=True,
            )
        if not self.password and self._process.stdout:
            self.password = self._process.stdout.readline().rpartition(" ")[2].strip()
        until = time.monotonic() + _DEADLINE
        while b"ready: " not in self.log.read_bytes()[before:]:
            if self._process.poll() is not None or time.monotonic() > until:
                self.stop()
                raise RuntimeError(f"the management node did not start:\n{self.log.read_text()}")
            time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the node."""
        if self._process:
            self._process.send_signal(number)

    def wait(self, seconds: float = _DEADLINE) -> int:
        """Wait until the node has ended, and return its status."""
        if self._process is None:
            raise RuntimeError("it was not started")
        self._process.communicate(timeout=seconds)
        return self._process.returncode

    def stop(self) -> None:
        """End the node as systemd would."""
        if self._process and self._process.poll() is None:
            self._process.terminate()
        if self._process:
            try:
                self._process.communicate(timeout=_DEADLINE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.communicate()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class NodeClient:
    """A session of the administrator."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self.http = http
        self.url = f"{url}/zstack/v1"
        self.session = ""

    async def log_in(self, password: str) -> None:
        """Open the session."""
        body = {"logInByAccount": {"accountName": "admin", "password": password}}
        self.session = (await self.call("PUT", "/accounts/login", body))["inventory"]["uuid"]

    async def call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Send one request and return the answer, an error too."""
        headers = {"Authorization": f"OAuth {self.session}"} if self.session else {}
        async with self.http.request(method, self.url + path, json=body, headers=headers, ssl=False) as answer:
            decoded: dict[str, Any] = await answer.json()
            return decoded

    async def add(self, directory: Path, code: str, hostname: str = "127.0.0.1") -> str:
        """Add a directory of this host by its agent's code; return the uuid of the storage."""
        parameters = {"name": directory.name, "hostname": hostname, "url": str(directory)}
        tags = [f"agentEnrollment::{code}"]
        added = await self.call("POST", "/backup-storage/image-store", {"params": parameters, "systemTags": tags})
        if "error" in added:
            raise RuntimeError(added["error"])
        return str(added["inventory"]["uuid"])

    async def storage(self, uuid: str) -> dict[str, Any]:
        """Return a storage as the API shows it."""
        shown: dict[str, Any] = (await self.call("GET", f"/backup-storage/{uuid}"))["inventories"][0]
        return shown

    async def status(self, uuid: str) -> tuple[str, str]:
        """Return a storage's status and the code of its reason."""
        shown = await self.storage(uuid)
        return shown["status"], (shown.get("statusReason") or {}).get("code", "")


@asynccontextmanager
async def client_of(node: NodeProcess) -> AsyncIterator[NodeClient]:
    """Be logged in while the context is open."""
    async with aiohttp.ClientSession(connector=connector(), timeout=aiohttp.ClientTimeout(total=60)) as http:
        client = NodeClient(http, node.url)
        await client.log_in(node.password)
        yield client
