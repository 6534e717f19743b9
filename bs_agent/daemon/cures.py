"""What keeps a daemon from starting, in one sentence with its cure behind an arrow: both daemons say it alike."""

import errno
import os
from pathlib import Path

_LISTEN = {
    errno.EADDRINUSE: "`ss -ltnp` shows who has the port; end that, or name another in server.listen.",
    errno.EACCES: "A port below 1024 is for root: name a higher one in server.listen.",
    errno.EADDRNOTAVAIL: "server.listen must name an address of this host: `ip address` lists them.",
}
_FILE = {
    errno.EACCES: "Run this as root or as the service's user, or let that user have the path.",
    errno.EPERM: "Run this as root or as the service's user, or let that user have the path.",
    errno.EROFS: "The file system is mounted read-only: look for disk errors in the kernel's log.",
    errno.ENOSPC: "Make room on the disk.",
    errno.EDQUOT: "Make room on the disk.",
}


def cannot_listen(address: object, error: OSError) -> str:
    """Say why nothing can listen at an address."""
    cure = _LISTEN.get(error.errno or 0, "Name another address in server.listen.")
    return f"cannot listen on {address}: {_words(error)} -> {cure}"


def cannot_use(what: str, path: Path, error: OSError, otherwise: str) -> str:
    """Say why a file or a directory cannot be used; `otherwise` is the cure of what is neither rights nor room."""
    return (
        f"{what}{' ' if what else ''}{path} cannot be used: {_words(error)} -> {_FILE.get(error.errno or 0, otherwise)}"
    )


def cannot_read(path: Path, error: OSError) -> str:
    """Say why a configuration file cannot be read."""
    missing = "Create it (an empty one is valid), or name another by --config."
    return f"{path}: cannot be read: {_words(error)} -> {_FILE.get(error.errno or 0, missing)}"


def _words(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
