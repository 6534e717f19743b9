"""The enroll command: make a token and say how this agent is reached and recognised."""

import sqlite3
from contextlib import closing

from bs_agent.agent import database, state
from bs_agent.agent.config import AgentSettings
from bs_agent.agent.enrollment import enroll
from bs_agent.contract.enrollment import encode
from bs_agent.contract.report import Enrollment


async def make_enrollment(settings: AgentSettings, label: str) -> Enrollment:
    """Return a new enrolment; certificate and journal are made first where they are missing.

    Raises:
        StateError: the state directory or its journal cannot be used.
    """
    directory = settings.state.directory
    state.become_owner(directory)
    kept = await state.prepare(directory)
    running = state.running_address(directory)
    port = settings.server.listen.port or (running.port if running else 0)
    if not port:
        raise state.StateError("server.listen names no port and no agent runs here: start it first")
    try:
        with closing(database.connect(kept.database)) as connection, database.transaction(connection):
            identity, token = enroll(connection, label)
    except (sqlite3.Error, database.DatabaseRefusedError) as error:
        raise state.StateError(f"the journal {kept.database} cannot be written: {error}") from error
    code = encode(port, token, kept.fingerprint)
    return Enrollment(id=identity, port=port, token=token, fingerprint=kept.fingerprint, code=code)
