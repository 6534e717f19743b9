"""Which user a command of the daemon runs as."""

import os
import pwd
from collections.abc import Collection
from pathlib import Path


def become_owner(directory: Path, more_groups: Collection[int] = ()) -> None:
    """Go on as the user of an existing state directory, so that root leaves no files that the daemon cannot use.

    In the groups that this user has, as the service manager starts the daemon, and in `more_groups` that it adds.

    Raises:
        OSError: the directory cannot be looked at.
    """
    if os.geteuid() == 0 and directory.exists():
        owner = directory.stat()
        if owner.st_uid:
            os.setgroups(sorted({*groups_of(owner.st_uid, owner.st_gid), *more_groups}))
            os.setgid(owner.st_gid)
            os.setuid(owner.st_uid)


def groups_of(user: int, group: int) -> list[int]:
    """Return the groups of a user, its own one among them; of one without a name only that."""
    try:
        return os.getgrouplist(pwd.getpwuid(user).pw_name, group)
    except KeyError:
        return [group]
