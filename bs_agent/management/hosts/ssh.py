"""The way into a host over SSH: enrol with its agent, start its agent. Nothing else is ever run there.

Only what is said here counts: no ssh config, no keys, no ssh-agent of the user who runs the management node. The host
key is pinned: the one seen first, or the one the operator named. Import this module when it is needed, not before:
asyncssh costs 30 MiB.
"""

import asyncio
import shlex
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import asyncssh
from pydantic import ValidationError

from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import Enrollment
from bs_agent.management.config import SshSettings
from bs_agent.management.hosts.agent_client import words_of

_MAX_OUTPUT = 64 * 1024
_NOT_FOUND = 127


@dataclass(frozen=True, slots=True)
class Login:
    """Who enters which host, whose key must have `fingerprint`; without one be `host_key`; without either be any."""

    host: str
    port: int
    username: str
    password: str = field(repr=False)
    host_key: str = ""
    fingerprint: str = ""


class Done(NamedTuple):
    """How a command on the host ended."""

    status: int
    output: str
    complaint: str


class Session:
    """One open SSH connection; `host_key` and `fingerprint` are those the host has shown."""

    def __init__(self, connection: asyncssh.SSHClientConnection, login: Login, settings: SshSettings) -> None:
        self._connection = connection
        self._login = login
        self._settings = settings
        key = connection.get_server_host_key()
        if key is None:
            raise _failed(login, "the host showed no key")
        self.host_key = key.export_public_key("openssh").decode().strip()
        self.fingerprint = key.get_fingerprint()

    async def enroll(self, label: str) -> Enrollment:
        """Let the host's agent make a token for us and say what to trust."""
        command = [*self._settings.enroll_command, "--label", label, "--json"]
        done = await self._run(command)
        self._check_installed(done)
        if done.status:
            raise _failed(self._login, f"{shlex.join(command)}: {_said(done)}")
        try:
            return Enrollment.model_validate_json(done.output[done.output.find("{") :])
        except ValidationError:
            raise _failed(self._login, f"{shlex.join(command)}: its answer is no enrolment") from None

    async def start_agent(self) -> None:
        """Restart the agent's service; that it answers afterwards is for the caller to see."""
        command = self._settings.restart_command
        done = await self._run(command)
        if done.status:
            self._check_installed(await self._run([*self._settings.enroll_command, "--help"]))
            details = f"{self._login.host}: {shlex.join(command)}: {_said(done)}"
            raise StorageProblem.of(ReasonCode.AGENT_START_FAILED, details)

    def _check_installed(self, done: Done) -> None:
        # A shell says 127; sudo says it in words.
        if done.status == _NOT_FOUND or (done.status and "command not found" in done.complaint):
            details = f"{self._login.host}: {self._settings.enroll_command[0]}: no such program"
            raise StorageProblem.of(ReasonCode.AGENT_NOT_INSTALLED, details)

    async def _run(self, command: Sequence[str]) -> Done:
        words = command if self._login.username == "root" else ["sudo", "-n", *command]
        with _translated(self._login):
            async with asyncio.timeout(self._settings.command_timeout):
                process = await self._connection.create_process(
                    shlex.join(words), stdin=asyncssh.DEVNULL, errors="replace"
                )
                try:
                    output, complaint = await asyncio.gather(_all(process.stdout), _all(process.stderr))
                    await process.wait_closed()
                finally:
                    process.close()
        return Done(process.returncode if process.returncode is not None else -1, output, complaint)


@asynccontextmanager
async def session(login: Login, settings: SshSettings) -> AsyncIterator[Session]:
    """Log in and keep the connection while the context is open.

    Raises:
        StorageProblem: NoRoute, SshAuthFailed, SshHostKeyChanged or SshFailed.
    """
    client = _Client(login)
    pinned = login.host_key and not login.fingerprint
    with _translated(login, client):
        # Some servers stall after the TCP connection or in the middle of the log-in: one deadline for all of it.
        async with asyncio.timeout(2 * settings.connect_timeout):
            connection = await asyncssh.connect(
                login.host,
                login.port,
                username=login.username,
                client_factory=lambda: client,
                known_hosts=([asyncssh.import_public_key(login.host_key)] if pinned else [], [], []),
                config=None,
                client_keys=None,
                agent_path=None,
                agent_forwarding=False,
                gss_host=None,
                preferred_auth=("password", "keyboard-interactive"),
                connect_timeout=settings.connect_timeout,
                login_timeout=settings.connect_timeout,
                keepalive_interval=15,
                keepalive_count_max=3,
            )
    try:
        yield Session(connection, login, settings)
    finally:
        connection.abort()


class _Client(asyncssh.SSHClient):
    """Answers for us in the handshake: is this the host's key, what is the password."""

    def __init__(self, login: Login) -> None:
        self._login = login
        self._password_given = False
        self.refused_key = ""

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:  # noqa: ARG002
        """Accept the first key ever seen, or the one the operator named; a pinned key is checked by asyncssh itself."""
        fingerprint = key.get_fingerprint()
        wanted = self._login.fingerprint
        accepted = fingerprint == wanted if wanted else not self._login.host_key
        if not accepted:
            self.refused_key = fingerprint
        return accepted

    def password_auth_requested(self) -> str | None:
        """Give the password once: a second try of the same one would only count towards a lock."""
        if self._password_given:
            return None
        self._password_given = True
        return self._login.password

    def kbdint_auth_requested(self) -> str | None:
        """Use the dialogue only with hosts that do not take the password itself."""
        return None if self._password_given else ""

    def kbdint_challenge_received(
        self, _name: str, _instructions: str, _lang: str, prompts: Sequence[tuple[str, bool]]
    ) -> list[str] | None:
        """Answer the one question whose answer is not shown."""
        if not prompts:
            return []
        if self._password_given or len(prompts) > 1 or prompts[0][1]:
            return None
        self._password_given = True
        return [self._login.password]


class _EndlessError(Exception):
    """A command has printed more than anyone reads."""


@contextmanager
def _translated(login: Login, client: _Client | None = None) -> Iterator[None]:
    where = f"{login.username}@{login.host}:{login.port}"
    try:
        yield
    except asyncssh.PermissionDenied as error:
        raise StorageProblem.of(ReasonCode.SSH_AUTH_FAILED, f"{where}: {error.reason}") from None
    except (asyncssh.HostKeyNotVerifiable, asyncssh.KeyExchangeFailed) as error:
        if client and client.refused_key:
            raise StorageProblem.of(
                ReasonCode.SSH_HOST_KEY_CHANGED, f"{login.host} showed the key {client.refused_key}"
            ) from None
        if login.host_key and isinstance(error, asyncssh.KeyExchangeFailed):
            details = f"{login.host} has no key of the pinned kind any more: {error.reason}"
            raise StorageProblem.of(ReasonCode.SSH_HOST_KEY_CHANGED, details) from None
        raise _failed(login, error.reason) from None
    except _EndlessError:
        raise _failed(login, "the command prints without end") from None
    except TimeoutError:
        if client is None:
            raise _failed(login, "the command did not end in time") from None
        raise StorageProblem.of(ReasonCode.NO_ROUTE, f"{where} did not answer in time") from None
    except asyncssh.Error as error:
        raise _failed(login, error.reason) from None
    except (ConnectionResetError, BrokenPipeError) as error:
        raise _failed(login, words_of(error)) from None
    except ConnectionRefusedError as error:
        raise StorageProblem.of(ReasonCode.NO_ROUTE, f"{where}: nobody listens there: {words_of(error)}") from None
    except OSError as error:
        raise StorageProblem.of(ReasonCode.NO_ROUTE, f"{where}: {words_of(error)}") from None


def _failed(login: Login, details: str) -> StorageProblem:
    return StorageProblem.of(ReasonCode.SSH_FAILED, f"{login.username}@{login.host}:{login.port}: {details}")


def _said(done: Done) -> str:
    words = (done.complaint.strip() or done.output.strip())[-300:]
    return f"exit status {done.status}" + (f": {words}" if words else "")


async def _all(stream: asyncssh.SSHReader[str]) -> str:
    try:
        await stream.readexactly(_MAX_OUTPUT)
    except asyncio.IncompleteReadError as error:
        return str(error.partial)  # asyncssh keeps text in it, whatever the class says
    raise _EndlessError
