"""The log-in of the command line, kept between commands in a file that only its owner can read."""

import json
import os
import stat
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

MAX_FILE = 16 * 1024


class SessionFileError(Exception):
    """The file cannot be used; the message says why, and what cures it."""


@dataclass(frozen=True, slots=True)
class Session:
    """A log-in: where, as whom, and the session's uuid, which is a secret."""

    url: str
    uuid: str
    account: str
    ca_file: str = ""
    allow_plain_http: bool = False


def state_directory() -> Path:
    """Return where the command line keeps its state: the XDG state directory."""
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "state") / "bs-cli"


def load() -> Session | None:
    """Return the kept log-in, or None.

    Raises:
        SessionFileError: others may read the file, or it holds something else.
    """
    path = state_directory() / "session"
    try:
        with path.open(encoding="utf-8") as file:
            info = os.fstat(file.fileno())
            if info.st_uid != os.getuid() or stat.S_IMODE(info.st_mode) & 0o077:
                raise SessionFileError(f"{path}: others may read or own it; remove it and log in again")
            return Session(**json.loads(file.read(MAX_FILE)))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SessionFileError(f"{path}: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise SessionFileError(f"{path}: is no log-in of bs-cli; remove it and log in again") from error


def save(session: Session) -> None:
    """Keep a log-in in place of the one before, whole or not at all.

    Raises:
        SessionFileError: the file cannot be written.
    """
    directory = state_directory()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(dir=directory, prefix=".session-")  # mode 0600
        try:
            with os.fdopen(number, "w", encoding="utf-8") as file:
                json.dump(asdict(session), file)
            Path(name).rename(directory / "session")
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise SessionFileError(f"{directory}/session: {error.strerror}; the log-in is not kept") from error


def forget() -> None:
    """Remove the kept log-in, if there is one."""
    (state_directory() / "session").unlink(missing_ok=True)
