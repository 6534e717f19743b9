"""Secrets at rest: what is stored of SSH passwords and agents' tokens is encrypted with the key file of this node.

The key file is made at the first start; after a rotation its first line is the key, and the second the one before it.
Management nodes that share a database share the key file too.
"""

import os
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from bs_agent.daemon.cures import cannot_use

KEY_FILE = "secrets.key"
MAX_FILE = 4096

_DIRECTORY = "Name a directory that is there in state.directory."


class SecretsError(Exception):
    """The key file cannot be used, or is not the one that the stored secrets were encrypted with."""


class Keyring:
    """Encrypts secrets with the first of its keys and decrypts them with any; `origin` says where the keys are from."""

    def __init__(self, keys: bytes, origin: str) -> None:
        self._origin = origin
        self._use(keys)

    @staticmethod
    def open(directory: Path) -> "KeyFile":
        """Read the key file in `directory`; it is made first when there is none.

        Raises:
            SecretsError: the file cannot be made or read, others may read it, or it is no key.
        """
        path = directory / KEY_FILE
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not path.exists():
                _make(path)
        except OSError as error:
            raise SecretsError(cannot_use("the key file", path, error, _DIRECTORY)) from error
        return KeyFile(path)

    def encrypt(self, secret: str) -> str:
        """Return what may be stored."""
        return self._fernet.encrypt(secret.encode()).decode()

    def decrypt(self, stored: str) -> str:
        """Return the secret.

        Raises:
            SecretsError: it was encrypted with another key.
        """
        try:
            return self._fernet.decrypt(stored).decode()
        except InvalidToken:
            raise SecretsError(
                f"{self._origin}: is not the key that the secrets of the database were encrypted with; "
                "restore the key file that belongs to the database"
            ) from None

    def _use(self, keys: bytes) -> None:
        try:
            self._keys = keys.split()
            self._fernet = MultiFernet([Fernet(key) for key in self._keys])
        except ValueError as error:
            raise SecretsError(f"{self._origin}: is not a key file: {error}") from error


class KeyFile(Keyring):
    """The key file; a running node follows it when a command has rotated it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        content, self._version = self._read()
        super().__init__(content, str(path))

    def encrypt(self, secret: str) -> str:
        """Return what may be stored, encrypted with the key that the file holds now."""
        self._follow()
        return super().encrypt(secret)

    def decrypt(self, stored: str) -> str:
        """Return the secret.

        Raises:
            SecretsError: it was encrypted with another key.
        """
        try:
            return super().decrypt(stored)
        except SecretsError:
            if self._follow():
                return super().decrypt(stored)
            raise

    def add_key(self) -> None:
        """Encrypt with a new key from now on; the one before still decrypts, those before it no longer.

        Raises:
            SecretsError: the key file cannot be written; it stays as it is.
        """
        beside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            _write(beside, Fernet.generate_key() + b"\n" + self._keys[0] + b"\n")
            beside.rename(self._path)
            directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            os.fsync(directory)
            os.close(directory)
        except OSError as error:
            raise SecretsError(cannot_use("the key file", self._path, error, _DIRECTORY)) from error
        self._follow()

    def _follow(self) -> bool:
        content, version = self._read()
        changed = version != self._version
        if changed:
            self._use(content)
            self._version = version
        return changed

    def _read(self) -> tuple[bytes, tuple[int, int]]:
        try:
            with self._path.open("rb") as file:
                state = os.fstat(file.fileno())
                if state.st_mode & 0o077:
                    raise SecretsError(f"{self._path}: others may read it; run `chmod 600 {self._path}`")
                return file.read(MAX_FILE), (state.st_ino, state.st_mtime_ns)
        except OSError as error:
            raise SecretsError(cannot_use("the key file", self._path, error, _DIRECTORY)) from error


def _make(path: Path) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    _write(beside, Fernet.generate_key())
    try:
        path.hardlink_to(beside)
    except FileExistsError:
        return  # another process was first: its key holds
    finally:
        beside.unlink()


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
