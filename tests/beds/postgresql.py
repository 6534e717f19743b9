"""A PostgreSQL server of the test's own: its folder, its socket, its port on loopback."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psutil

_PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
_DEADLINE = 60


def missing() -> str:
    """Say why there can be no server here; empty when there can."""
    if not _PROGRAMS:
        return "PostgreSQL is not installed (apt-get install postgresql)"
    if os.geteuid() == 0 and not shutil.which("setpriv"):
        return "PostgreSQL does not run as root and there is no setpriv"
    return ""


@dataclass
class PostgreSQL:
    """A running server; each test asks for a database of its own."""

    folder: Path
    port: int
    _numbers: Iterator[int]

    def new_database(self, copy_of: str = "") -> str:
        """Make a database, with a linguistic collation as sites have it, and return its URL.

        It is empty, or the copy of another one by its URL, to which nobody may be connected.
        """
        name = f"test{next(self._numbers)}"
        collation = "LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8'"
        template = copy_of.rpartition("/")[2] or "template0"
        # Copying files is a tenth of the work of writing all pages into the log, which is what it does else.
        self._sql(f"CREATE DATABASE {name} TEMPLATE {template} ENCODING 'UTF8' {collation} STRATEGY file_copy")
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    def restart(self) -> None:
        """Stop the server and start it again."""
        _run([*_control(self.folder), "-m", "fast", "-l", f"{self.folder}/log", "restart"])

    @contextlib.contextmanager
    def standby(self, *, synchronous: bool = False) -> Iterator["PostgreSQL"]:
        """Have a second server follow this one while the context is open; it may be promoted.

        With `synchronous` nothing is told to be written here that is not there, for good.
        """
        with _folder() as folder:
            port = _free_port()
            source = f"host=127.0.0.1 port={self.port} user=postgres application_name=standby"
            copy = ["-D", f"{folder}/data", "--write-recovery-conf", "--checkpoint=fast", "-d", source]
            _run([*_as_postgres(), str(_PROGRAMS[-1] / "pg_basebackup"), *copy])
            with _running(folder, port):
                if synchronous:
                    self._sql("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
                    self._sql("SELECT pg_reload_conf()")
                yield PostgreSQL(folder, port, self._numbers)

    def promote(self) -> None:
        """Take writes from now on, as a standby whose first server is lost."""
        _run([*_control(self.folder), "promote"])

    def caught_up(self) -> bool:
        """Tell whether the standby of this server has all that was written here."""
        behind = "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn = pg_current_wal_lsn()"
        return self._sql(behind) == "1"

    def deadlocks(self) -> int:
        """Return how many transactions were given up because of deadlocks, in all databases."""
        return int(self._sql("SELECT sum(deadlocks) FROM pg_stat_database"))

    def crash(self) -> None:
        """Let the server end as if the machine had failed."""
        _run([*_control(self.folder), "-m", "immediate", "stop"])

    def start(self) -> None:
        """Start a server that was stopped."""
        _start(self.folder, self.port)

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Have no server while the context is open."""
        _run([*_control(self.folder), "-m", "fast", "stop"])
        try:
            yield
        finally:
            _start(self.folder, self.port)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Have the server and its processes stand still while the context is open."""
        main = psutil.Process(int((self.folder / "data" / "postmaster.pid").read_text().split()[0]))
        processes = [main, *main.children(recursive=True)]
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                process.resume()

    def _sql(self, statement: str) -> str:
        where = ["-h", str(self.folder), "-p", str(self.port), "-U", "postgres", "-At"]
        return _run([str(_PROGRAMS[-1] / "psql"), *where, "-v", "ON_ERROR_STOP=1", "-c", statement])


@contextlib.contextmanager
def postgresql(network: str = "") -> Iterator[PostgreSQL]:
    """Run a server while the context is open, in a temporary folder that its user may enter.

    It listens on loopback, and to all who come from a network, if one is named.
    """
    with _folder() as folder:
        port = _free_port()
        options = ["-A", "trust", "-N", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8"]
        _run([*_as_postgres(), str(_PROGRAMS[-1] / "initdb"), "-D", f"{folder}/data", *options])
        if network:
            with (folder / "data/pg_hba.conf").open("a") as rules:
                rules.write(f"host all all {network} trust\n")
        with (folder / "data/postgresql.auto.conf").open("a") as settings:
            settings.write(f"listen_addresses = '{'*' if network else '127.0.0.1'}'\n")
        with _running(folder, port):
            yield PostgreSQL(folder, port, count(1))


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="bs-postgresql-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        yield folder
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def _running(folder: Path, port: int) -> Iterator[None]:
    _start(folder, port)
    try:
        yield
    finally:
        if (folder / "data" / "postmaster.pid").exists():
            _run([*_control(folder), "-m", "immediate", "stop"])


def _start(folder: Path, port: int) -> None:
    options = f"-k {folder} -p {port} -c fsync=off -c max_connections=60"
    _run([*_control(folder), "-l", f"{folder}/log", "-o", options, "start"])


def _control(folder: Path) -> list[str]:
    return [*_as_postgres(), str(_PROGRAMS[-1] / "pg_ctl"), "-D", f"{folder}/data", "-w", "-t", str(_DEADLINE)]


def _as_postgres() -> list[str]:
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_DEADLINE + 10, check=False, cwd="/")
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stdout[-500:]} {done.stderr[-500:]}")
    return done.stdout.strip()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
