"""Backup and restore of what a management node keeps: the SQLite database and the key file that belongs to it.

A backup is one tar file, readable by its owner only: with it, every agent's token can be read.
"""

import asyncio
import os
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from bs_agent.management.secrets import KEY_FILE, Keyring
from bs_agent.management.store.database import Database
from bs_agent.management.store.schema import any_secret

DATABASE = "management.db"
_BUSY_SECONDS = 30


class BackupError(Exception):
    """The backup cannot be made or restored; the message says why."""


def backup(database: Path, key_file: Path, target: Path) -> None:
    """Write a backup to `target`, which must not exist; the node may run meanwhile.

    Raises:
        BackupError: there is nothing to save, or `target` exists.
        SecretsError: the key file is not the one of the database: this would be no backup.
    """
    for file in (database, key_file):
        if not file.exists():
            raise BackupError(f"{file}: there is no such file, so there is nothing to save")
    if target.exists():
        raise BackupError(f"{target}: exists already, and is left as it is")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".backup-") as folder:
        copy, key = Path(folder, DATABASE), Path(folder, KEY_FILE)
        _copy_database(database, copy)
        shutil.copyfile(key_file, key)
        key.chmod(0o600)
        _check(copy, key)
        whole = Path(folder, target.name)
        whole.touch(mode=0o600)
        with tarfile.open(whole, "w") as archive:
            for path in (copy, key):
                archive.add(path, path.name, recursive=False)
        _sync(whole)
        whole.rename(target)


def restore(source: Path, database: Path, key_file: Path) -> None:
    """Put the database and the key file of a backup into their places, which must be empty.

    Raises:
        BackupError: something is there already, or `source` is no backup.
        SecretsError: its key file is not the one of its database.
    """
    for file in (database, key_file):
        if file.exists() or file.with_name(f"{file.name}-wal").exists():
            raise BackupError(f"{file}: exists already, and is left as it is; move it away first")
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=database.parent, prefix=".restore-") as folder:
        copy, key = Path(folder, DATABASE), Path(folder, KEY_FILE)
        with _opened(source) as archive:
            for path in (copy, key):
                _extract(archive, path, source)
        _check(copy, key)
        # The key first: a node that starts in between makes neither of them anew.
        for path, place in ((key, key_file), (copy, database)):
            owner = place.parent.stat()
            if os.geteuid() == 0:
                os.chown(path, owner.st_uid, owner.st_gid)
            shutil.move(path, place)


def _copy_database(source: Path, target: Path) -> None:
    target.touch(mode=0o600)
    try:
        uri = f"{source.absolute().as_uri()}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS)) as connection:
            connection.execute("VACUUM INTO ?", (str(target),))
    except sqlite3.Error as error:
        raise BackupError(f"{source}: {error}") from error


def _check(database: Path, key: Path) -> None:
    """See that the copy is whole and that the key fits it."""
    try:
        with closing(sqlite3.connect(database)) as connection:
            (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            known = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
    except sqlite3.Error as error:
        raise BackupError(f"{database.name}: {error}") from error
    if said != "ok" or known != (1,):
        raise BackupError(f"{database.name}: is damaged, or not the database of a management node: {said}")
    asyncio.run(_check_key(database, key))


async def _check_key(database: Path, key: Path) -> None:
    copy = Database.connect(f"sqlite:///{database}")
    try:
        if secret := await any_secret(copy):
            Keyring.open(key.parent).decrypt(secret)
    finally:
        await copy.close()


@contextmanager
def _opened(source: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(source, "r:") as archive:
            yield archive
    except (OSError, tarfile.TarError) as error:
        raise BackupError(f"{source}: {error}") from error


def _extract(archive: tarfile.TarFile, path: Path, source: Path) -> None:
    try:
        content = archive.extractfile(path.name)
    except KeyError:
        content = None
    if content is None:
        raise BackupError(f"{source}: holds no {path.name}, so it is no backup of a management node")
    path.touch(mode=0o600)
    with path.open("r+b") as file:
        shutil.copyfileobj(content, file)
    _sync(path)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
