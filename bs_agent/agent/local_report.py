"""This host's report without any server: the storages of the journal, and directories named by hand."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

from bs_agent.agent.config import AgentSettings
from bs_agent.agent.journal import database
from bs_agent.agent.probing.monitor import GRACE
from bs_agent.agent.probing.reporter import Reporter
from bs_agent.agent.served import Row, read_rows
from bs_agent.agent.state import StateError, database_of, next_of
from bs_agent.agent.storages.base import Host
from bs_agent.agent.storages.imagestore import PlainDirectory
from bs_agent.contract.report import HostReport
from bs_agent.daemon.certificate import CertificateError, fingerprint


async def local_report(settings: AgentSettings, directories: Sequence[str]) -> HostReport:
    """Probe everything once and return the report; nothing is written.

    Raises:
        StateError: there is a journal, but it cannot be read.
    """
    host = Host(settings)
    reporter = Reporter(host)
    with suppress(CertificateError):  # there may be none, or one that only the agent's user may read
        reporter.next_fingerprint = fingerprint(next_of(settings.state.directory))
    async with host.workers.running(), reporter.running():
        for row in _rows(database_of(settings.state.directory)):
            await reporter.watch(row.make(host))
        for directory in directories:
            await reporter.watch(PlainDirectory(directory, host))
        await reporter.refresh(reporter.watched, host.deadline + GRACE)
        return reporter.report(reporter.watched)


def _rows(path: Path) -> list[Row]:
    if not path.exists():
        return []
    try:
        with closing(database.connect(path)) as connection:
            return read_rows(connection)
    except (sqlite3.Error, database.DatabaseRefusedError, ValueError) as error:
        raise StateError(f"the journal {path} cannot be read: {error}") from error
