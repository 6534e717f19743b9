"""Secrets at rest: what is stored of SSH passwords and agents' tokens is encrypted with the key file of this node.

The key file is made at the first start. Management nodes that share a database share the key file too.
"""

import os
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

KEY_FILE = "secrets.key"


class SecretsError(Exception):
    """The key file cannot be used, or is not the one that the stored secrets were encrypted with."""


class Keyring:
    """Encrypts and decrypts secrets."""

    def __init__(self, key: bytes, origin: str) -> None:
        self._fernet = Fernet(key)
        self._origin = origin

    @classmethod
    def open(cls, directory: Path) -> "Keyring":
        """Read the key file in `directory`; it is made first when there is none.

        Raises:
            SecretsError: the file cannot be made or read, others may read it, or it is no key.
        """
        path = directory / KEY_FILE
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not path.exists():
                _make(path)
            if path.stat().st_mode & 0o077:
                raise SecretsError(f"{path}: others may read it; run `chmod 600 {path}`")
            return cls(path.read_bytes().strip(), str(path))
        except OSError as error:
            raise SecretsError(f"{path}: {error.strerror}") from error
        except ValueError as error:
            raise SecretsError(f"{path}: is not a key file: {error}") from error

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


def _make(path: Path) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(Fernet.generate_key())
        file.flush()
        os.fsync(file.fileno())
    try:
        path.hardlink_to(beside)
    except FileExistsError:
        return  # another process was first: its key holds
    finally:
        beside.unlink()
