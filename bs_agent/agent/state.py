"""The agent's state directory: made with its key, certificate and journal by whoever needs it first, daemon or command.

Locks on two files in it keep two processes from making it at once, and two daemons from running on it.
"""

import asyncio
import fcntl
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bs_agent.agent.journal import database
from bs_agent.daemon.certificate import CertificateError, ensure_certificate, fingerprint, renew_certificate
from bs_agent.daemon.configuration import Address, parse_address

LOCK_DEADLINE = 30.0


class StateError(Exception):
    """The state directory cannot be used; the message is a sentence for the operator."""


@dataclass(frozen=True)
class State:
    """What is in the state directory."""

    directory: Path
    certificate: Path
    key: Path
    fingerprint: str

    @property
    def database(self) -> Path:
        """The journal."""
        return database_of(self.directory)


async def prepare(directory: Path) -> State:
    """Return the state directory, made first where something is missing.

    Raises:
        StateError: it cannot be made or read.
    """
    try:
        _make_directory(directory)
        async with _making(directory):
            database.create(database_of(directory))
            certificate, key = await ensure_certificate(tls_of(directory), socket.gethostname())
        return State(directory, certificate, key, fingerprint(certificate))
    except OSError as error:
        raise StateError(f"the state directory {directory} cannot be used: {error}") from error
    except (CertificateError, database.DatabaseRefusedError) as error:
        raise StateError(str(error)) from error


async def rotate_certificate(directory: Path) -> State:
    """Put a new key and certificate in the place of the old ones; a running agent shows them after `tell_running`.

    Raises:
        StateError: they cannot be made; the old ones stay.
    """
    kept = await prepare(directory)
    try:
        async with _making(directory):
            await renew_certificate(tls_of(directory), socket.gethostname())
        return State(directory, kept.certificate, kept.key, fingerprint(kept.certificate))
    except (OSError, CertificateError) as error:
        raise StateError(str(error)) from error


@asynccontextmanager
async def running(directory: Path) -> AsyncIterator[Callable[[Address], None]]:
    """Be the daemon of this directory; yields what to call with the address that it listens on.

    Raises:
        StateError: another one runs.
    """
    with _open_lock(directory / "running") as lock:
        # Not at the first try: `running_address` holds the lock for a moment.
        await _lock(lock, 1.0, f"another bs-agent runs on the state directory {directory}")
        os.ftruncate(lock, 0)
        yield lambda address: _write(lock, f"{address}\n{os.getpid()}\n")
        os.ftruncate(lock, 0)


def running_address(directory: Path) -> Address | None:
    """Return where the daemon of this directory listens, or None when none runs."""
    found = _running(directory)
    return found[0] if found else None


def tell_running(directory: Path) -> bool:
    """Let the daemon of this directory take up what was changed in it (SIGHUP); tell whether one runs."""
    found = _running(directory)
    if found:
        os.kill(found[1], signal.SIGHUP)
    return found is not None


def _running(directory: Path) -> tuple[Address, int] | None:
    try:
        with _open_lock(directory / "running") as lock:
            if _locked(lock):
                return None
            address, pid = os.pread(lock, 256, 0).decode().split()
            return parse_address(address), int(pid)
    except (OSError, ValueError):
        return None


def _make_directory(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if directory.stat().st_mode & 0o077:
        directory.chmod(0o700)


def _write(descriptor: int, text: str) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)


def database_of(directory: Path) -> Path:
    """Return where the journal of a state directory is."""
    return directory / "agent.db"


def tls_of(directory: Path) -> Path:
    """Return where key and certificate of a state directory are."""
    return directory / "tls"


@asynccontextmanager
async def _making(directory: Path) -> AsyncIterator[None]:
    with _open_lock(directory / "making") as lock:
        await _lock(lock, LOCK_DEADLINE, f"another process has been making {directory} for {LOCK_DEADLINE:g} s")
        yield


async def _lock(lock: int, deadline: float, refusal: str) -> None:
    until = time.monotonic() + deadline
    while not _locked(lock):
        if time.monotonic() > until:
            raise StateError(refusal)
        await asyncio.sleep(0.02)


@contextmanager
def _open_lock(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
