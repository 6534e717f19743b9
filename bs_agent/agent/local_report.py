"""This host's report without any server: the storages of the journal, and directories named by hand."""

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from bs_agent.agent.config import AgentSettings
from bs_agent.agent.journal import database
from bs_agent.agent.probing.monitor import GRACE
from bs_agent.agent.probing.reporter import Reporter
from bs_agent.agent.served import read_rows
from bs_agent.agent.state import StateError, database_of, next_of
from bs_agent.agent.storages.base import Host, Storage
from bs_agent.agent.storages.imagestore import PlainDirectory
from bs_agent.contract.report import HostReport
from bs_agent.daemon.certificate import CertificateError, fingerprint


async def local_report(settings: AgentSettings, directories: Sequence[str]) -> HostReport:
    """Probe everything once, without write probes, and return the report; nothing is written.

    Raises:
        StateError: there is a journal, but it cannot be read.
    """
    host = Host(settings)
    reporter = Reporter(host)
    with suppress(CertificateError):  # there may be none, or one that only the agent's user may read
        reporter.next_fingerprint = fingerprint(next_of(settings.state.directory))
    async with host.workers.running(), reporter.running():
        for storage in _storages(database_of(settings.state.directory), host):
            await reporter.watch(storage)
        for directory in directories:
            await reporter.watch(PlainDirectory(directory, host))
        await reporter.refresh(reporter.watched, host.deadline + GRACE)
        return reporter.report(reporter.watched)


def _storages(path: Path, host: Host) -> list[Storage]:
    try:
        if not path.exists():
            return []
        with database.looked_at(path) as connection:
            return [row.make(host, write_probe=False) for row in read_rows(connection)]
    except (sqlite3.Error, OSError, database.DatabaseRefusedError, ValueError) as error:
        raise StateError(f"the journal {path} cannot be read: {error}") from error
