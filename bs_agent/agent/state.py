"""The agent's state directory: made with its keys, certificates and journal by whoever needs it first.

That is the daemon or a command. There are two pairs of key and certificate: the one that the agent shows, and the next
one, of which its reports tell, so that a rotation surprises nobody.

Locks on two files in it keep two processes from making it at once, and two daemons from running on it.
"""

import asyncio
import fcntl
import logging
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bs_agent.agent.journal import database
from bs_agent.daemon.certificate import (
    CertificateError,
    fingerprint,
    make_certificates,
    put_in_place,
    server_context,
)
from bs_agent.daemon.configuration import Address, parse_address
from bs_agent.daemon.cures import cannot_use

log = logging.getLogger(__name__)

LOCK_DEADLINE = 30.0
LARGEST_PID = 2**31
VALID_DAYS = 3650
# Made at a rotation and shown from the one after it: then it should last as long as the one that it replaces has.
NEXT_VALID_DAYS = 2 * VALID_DAYS


class StateError(Exception):
    """The state directory cannot be used; the message is a sentence for the operator."""


@dataclass(frozen=True)
class State:
    """What is in the state directory."""

    directory: Path
    certificate: Path  # with its key
    fingerprint: str
    next_fingerprint: str  # empty while there is no next one

    @property
    def database(self) -> Path:
        """The journal."""
        return database_of(self.directory)


async def prepare(directory: Path) -> State:
    """Return the state directory, made first where something is missing.

    Raises:
        StateError: it cannot be made or read.
    """
    with _explained(directory):
        _make_directory(directory)
        async with _making(directory):
            database.create(database_of(directory))
            return await _keep_pairs(directory)


async def read_pairs(directory: Path) -> State:
    """Return the state directory with the certificates that are in it now; the next one is made if it is missing.

    Raises:
        StateError: the present one cannot be read.
    """
    with _explained(directory):
        async with _making(directory):
            return await _keep_pairs(directory)


async def rotate_certificate(directory: Path, expected: str) -> State:
    """Put the next key and certificate, of this fingerprint, in the place of the present ones, and make new next ones.

    A running agent shows them after `tell_running`.

    Raises:
        StateError: the next ones are others, or the present ones cannot be replaced; then they stay.
    """
    with _explained(directory):
        async with _making(directory):
            following = next_of(directory)
            if fingerprint(following) != expected:
                raise StateError("the certificate has been rotated by another command meanwhile")
            server_context(following)
            put_in_place(following, present_of(directory))
            return await _keep_pairs(directory)


async def _keep_pairs(directory: Path) -> State:
    """See that the present pair can be used, and that there is a next one; agents run without that while they must."""
    present, following = present_of(directory), next_of(directory)
    wanted = {} if present.exists() else {present: VALID_DAYS}
    if wanted or not _usable(following):
        wanted[following] = NEXT_VALID_DAYS
    try:
        if wanted:
            await make_certificates(socket.gethostname(), wanted)
        next_fingerprint = fingerprint(following)
    except CertificateError as error:
        if not present.exists():
            raise
        log.warning("there is no certificate to rotate to: %s", error)
        next_fingerprint = ""
    try:
        server_context(present)
        return State(directory, present, fingerprint(present), next_fingerprint)
    except CertificateError as error:
        cure = f"restore it, or remove {present.parent} to start anew (then every management node has to enrol again)"
        raise StateError(f"{error}: {cure}") from error


def _usable(pair: Path) -> bool:
    try:
        server_context(pair)
    except CertificateError:
        return False
    return True


@contextmanager
def _explained(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        otherwise = "Name a directory that can be made in state.directory."
        raise StateError(cannot_use("the state directory", directory, error, otherwise)) from error
    except (CertificateError, database.DatabaseRefusedError) as error:
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
        with _open_lock(directory / "running", make=False) as lock:
            if _locked(lock):
                return None
            address, pid = os.pread(lock, 256, 0).decode().split()
            # Other numbers mean many processes, or none.
            return (parse_address(address), int(pid)) if 1 < int(pid) < LARGEST_PID else None
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


def present_of(directory: Path) -> Path:
    """Return where the key and certificate are that the agent shows."""
    return directory / "tls" / "present.pem"


def next_of(directory: Path) -> Path:
    """Return where the key and certificate are that the agent will show after the next rotation."""
    return directory / "tls" / "next.pem"


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
def _open_lock(path: Path, *, make: bool = True) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT * make | os.O_CLOEXEC, 0o600)
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
