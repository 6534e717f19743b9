"""What the kernel says of a file system: how much it holds, how it is mounted, and whether it still takes writes.

As `directory.py`, which imports it, it runs on the distribution's Python, 3.6 or later, with the standard library only.
"""

import errno
import os
from typing import Dict, Iterable, List, NamedTuple

# What a signed counter of the kernel can hold, and the protocol too.
LARGEST = (1 << 63) - 1
UNKNOWN = (-1, (1 << 64) - 1)
# A kernel that has met an error may stop the writing without calling the file system read-only.
STOPPED = frozenset({"ro", "emergency_ro", "shutdown"})
EXT4 = frozenset({"ext2", "ext3", "ext4"})


class Mount(NamedTuple):
    """A mount: its root within the file system and where it is, the file system's type, and the options of that.

    One that `follows` goes when its original does: a service with a view of its own has such copies of the host's.
    """

    place: str
    kind: str
    options: List[str]
    follows: bool


def capacity(seen: os.statvfs_result) -> Dict[str, int]:
    """Return bytes and inodes, in all and available; none is below 0, and none available one above its total."""
    unit = counted(seen.f_frsize)
    total = min(counted(seen.f_blocks) * unit, LARGEST)
    # Some file systems count the inodes in use and call the free ones unknown: there is no limit then.
    inodes = 0 if seen.f_favail in UNKNOWN else counted(seen.f_files)
    return {
        "totalCapacity": total,
        "availableCapacity": min(counted(seen.f_bavail) * unit, total),
        "totalInodes": inodes,
        "availableInodes": min(counted(seen.f_favail), inodes),
    }


def counted(number: int) -> int:
    """Return a counter of the kernel; one that went below zero, which some Pythons take for a huge one, is none."""
    return number if 0 <= number <= LARGEST else 0


def mount_of(directory: int) -> Mount:
    """Return the mount that an open directory was reached through."""
    with open("/proc/self/fdinfo/%d" % directory) as lines:
        number = number_in(lines)
    # Blanks in names are written as numbers, but other ends of a line than ours are not.
    with open("/proc/self/mountinfo", errors="surrogateescape", newline="\n") as lines:
        return mount_in(lines, number)


def number_in(lines: Iterable[str]) -> str:
    """Return the number of the mount that an open file is on, as the kernel's notes on the file say it."""
    fields = (line.split() for line in lines if line.startswith("mnt_id:"))
    return next((found[1] for found in fields if len(found) > 1), "")


def mount_in(lines: Iterable[str], number: str) -> Mount:
    """Return the mount of this number in the kernel's list, an unknown one if it is not there."""
    for line in lines:
        place, _, rest = line.rstrip("\n").partition(" - ")
        fields = place.split(" ")
        if number and fields[0] == number:
            kind, _, options = [*rest.split(" "), "", "", ""][:3]
            follows = any(field.startswith("master:") for field in fields[6:])
            return Mount(" ".join(fields[3:5]), kind, options.split(","), follows)
    return Mount("", "", [], False)


def read_only(directory: int, seen: os.statvfs_result, mount: Mount) -> bool:
    """Tell whether the file system of an open directory takes no writes, in whatever way the kernel says so."""
    if seen.f_flag & os.ST_RDONLY or STOPPED.intersection(mount.options):
        return True
    return mount.kind in EXT4 and had_errors(directory) and refuses(directory)


def had_errors(directory: int) -> bool:
    """Tell whether ext4 has ever met an error there; it may go on writing all the same."""
    device = os.fstat(directory).st_dev
    disk = os.path.basename(os.path.realpath("/sys/dev/block/%d:%d" % (os.major(device), os.minor(device))))
    try:
        with open("/sys/fs/ext4/%s/errors_count" % disk) as count:
            return count.read().strip() != "0"
    except OSError:
        return False


def refuses(directory: int) -> bool:
    """Tell whether what is written would not come to disk; the directory itself stays as it is."""
    try:
        os.fsync(directory)
    except OSError as error:
        return error.errno in (errno.EROFS, errno.EIO)
    return False
