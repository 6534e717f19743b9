"""Which user a command of the daemon runs as."""

import os
from pathlib import Path


def become_owner(directory: Path) -> None:
    """Go on as the user of an existing state directory, so that root leaves no files that the daemon cannot use.

    Raises:
        OSError: the directory cannot be looked at.
    """
    if os.geteuid() == 0 and directory.exists():
        owner = directory.stat()
        if owner.st_uid:
            os.setgroups([])
            os.setgid(owner.st_gid)
            os.setuid(owner.st_uid)
