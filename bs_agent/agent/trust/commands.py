"""The commands on enrolments: make a token and say how this agent is reached, list who has one, take one away."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from bs_agent.agent import state
from bs_agent.agent.config import AgentSettings
from bs_agent.agent.journal import database
from bs_agent.agent.trust.enrollment import enroll
from bs_agent.contract.enrollment import encode
from bs_agent.contract.report import Enrollment
from bs_agent.daemon.privileges import become_owner

_LIST = """
    SELECT id, label, created_at, count(storage) FROM enrollments LEFT JOIN owners ON enrollment = id
    GROUP BY id ORDER BY created_at
"""

# Who has no storage here asks for no reports (one made for a Prometheus, say), and would not be told ever.
_UNTOLD = """
    SELECT id, label FROM enrollments
    WHERE told IS NOT ? AND id IN (SELECT enrollment FROM owners) ORDER BY created_at
"""


class Enrolled(NamedTuple):
    """An enrolment as the operator sees it."""

    id: str
    label: str
    created_at: float
    storages: int

    def __str__(self) -> str:
        made = datetime.fromtimestamp(self.created_at, UTC)
        return f"{self.id}  {made:%Y-%m-%d %H:%M:%SZ}  {self.storages:>8}  {self.label}"


async def make_enrollment(settings: AgentSettings, label: str) -> Enrollment:
    """Return a new enrolment; certificate and journal are made first where they are missing.

    Raises:
        StateError: the state directory or its journal cannot be used.
    """
    directory = settings.state.directory
    become_owner(directory)
    kept = await state.prepare(directory)
    running = state.running_address(directory)
    port = settings.server.listen.port or (running.port if running else 0)
    if not port:
        raise state.StateError("server.listen names no port and no agent runs here: start it first")
    with _journal(kept.database) as connection, database.transaction(connection):
        identity, token = enroll(connection, label)
    code = encode(port, token, kept.fingerprint)
    return Enrollment(id=identity, port=port, token=token, fingerprint=kept.fingerprint, code=code)


def list_enrollments(settings: AgentSettings) -> list[Enrolled]:
    """Return all enrolments, the oldest first.

    Raises:
        StateError: the journal cannot be used.
    """
    become_owner(settings.state.directory)
    path = state.database_of(settings.state.directory)
    try:
        if not path.exists():
            return []
        with database.looked_at(path) as connection:
            return [_enrolled(row) for row in connection.execute(_LIST)]
    except (sqlite3.Error, OSError, database.DatabaseRefusedError, ValueError) as error:
        raise state.StateError(f"the journal {path} cannot be read: {error}") from error


def _enrolled(row: Sequence[Any]) -> Enrolled:
    found = Enrolled(*row)
    try:
        str(found)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"enrolment {str(found.id)[:32]} is not as it was written") from None
    return found


def remove_enrollment(settings: AgentSettings, identity: str) -> Enrolled:
    """Take a token away, and return whose it was; a running agent refuses it from now on.

    Raises:
        StateError: there is no such enrolment, or the journal cannot be used.
    """
    known = {enrolled.id: enrolled for enrolled in list_enrollments(settings)}
    if identity not in known:
        raise state.StateError(f"there is no enrolment {identity}: `bs-agent enrollments list` shows those there are")
    with _journal(state.database_of(settings.state.directory)) as connection, database.transaction(connection):
        connection.execute("DELETE FROM enrollments WHERE id = ?", (identity,))
    state.tell_running(settings.state.directory)
    return known[identity]


async def rotate_certificate(settings: AgentSettings, *, force: bool) -> str:
    """Let the agent show its next certificate from now on, and return its fingerprint.

    Raises:
        StateError: management nodes that have not been told of it would refuse it; with `force` they do. Or it cannot
            be done.
    """
    directory = settings.state.directory
    become_owner(directory)
    kept = await state.prepare(directory)
    if not kept.next_fingerprint:
        raise state.StateError("there is no next certificate, and none can be made: is the state directory full?")
    with _journal(kept.database) as connection:
        untold = [f"{identity} ({label})" for identity, label in connection.execute(_UNTOLD, (kept.next_fingerprint,))]
    if untold and not force:
        raise state.StateError(
            f"these enrolments have not been told of the next certificate yet: {', '.join(untold)}. A management node "
            "that runs asks within its poll interval, so try again then; take away the token of one that is gone "
            "(`bs-agent enrollments remove ID`); with --force their storages are reconnected with a new code afterwards"
        )
    rotated = await state.rotate_certificate(directory, kept.next_fingerprint)
    state.tell_running(directory)
    return rotated.fingerprint


@contextmanager
def _journal(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(database.connect(path)) as connection:
            yield connection
    except (sqlite3.Error, database.DatabaseRefusedError) as error:
        raise state.StateError(f"the journal {path} cannot be used: {error}") from error
