"""The operations of the probe program on directories: connect, usage, what is ours there, and its removal.

As `probe.py`, which imports it, it runs on the distribution's Python, 3.6 or later, with the standard library only.
"""

import contextlib
import errno
import json
import os
import stat
from typing import Any, Dict, Iterator, List, Optional

from bs_agent.agent.worker.problem import Problem

MARKER = ".bs-agent.json"
MAX_MARKER = 4096
WITHOUT_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)

# The names are those of bs_agent.contract.reasons.ReasonCode.
REASON_OF_ERRNO = {
    errno.ENOENT: "DirectoryMissing",
    errno.ENOTDIR: "DirectoryNotAllowed",
    errno.ENAMETOOLONG: "DirectoryNotAllowed",
    errno.ELOOP: "DirectoryNotAllowed",
    errno.EACCES: "DirectoryDenied",
    errno.EPERM: "DirectoryDenied",
    errno.ENOSPC: "DirectoryFull",
    errno.EDQUOT: "DirectoryFull",
    errno.EROFS: "ReadOnly",
}


def directory_connect(
    path: str, storage: str, remembered: Optional[Dict[str, Any]], taken: List[str]
) -> Dict[str, Any]:
    """Make sure that the directory carries our marker; return what to remember of it.

    `taken` are the real paths of the other storages.

    A marker that is missing is written when the storage is new (nothing remembered), or when the directory is still
    on the file system where the marker once was. Otherwise the disk is not mounted, and nothing is written.
    """
    with opened(path) as directory:
        place = place_of(directory, path)
        owner = marker_owner(directory, path)
        if place["realPath"] in taken:
            raise Problem("MarkerForeign", "%s is the directory of another backup storage" % path)
        if owner is None:
            if remembered and not same_file_system(place, remembered):
                raise not_mounted(path)
            write_marker(directory, path, storage)
        elif owner != storage:
            raise foreign(path, owner)
        elif not place["readOnly"] and not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            raise Problem("DirectoryDenied", "%s: user id %d may not write here" % (path, os.geteuid()))
        return place


def directory_usage(path: str, storage: Optional[str]) -> Dict[str, Any]:
    """Return capacity and inodes of the directory's file system, if it carries the marker of the storage, if any."""
    with opened(path) as directory:
        owner = marker_owner(directory, path)
        if storage and owner is None:
            raise Problem("MarkerMissing", "%s has no %s" % (path, MARKER))
        if storage and owner != storage:
            raise foreign(path, owner)
        seen = os.fstatvfs(directory)
        return {
            "totalCapacity": seen.f_blocks * seen.f_frsize,
            "availableCapacity": min(seen.f_bavail, seen.f_blocks) * seen.f_frsize,
            "totalInodes": seen.f_files,
            "availableInodes": min(seen.f_favail, seen.f_files),
            "readOnly": bool(seen.f_flag & os.ST_RDONLY),
        }


def directory_leftovers(path: str, storage: str, remembered: Optional[Dict[str, Any]]) -> List[str]:
    """Return the names in the directory that are ours to remove."""
    with opened(path) as directory:
        owner = owner_on_our_disk(directory, path, storage, remembered)
        return [MARKER] * (owner == storage) + [unfinished(storage)] * exists(directory, unfinished(storage))


def directory_remove(path: str, storage: str, name: str, remembered: Optional[Dict[str, Any]]) -> bool:
    """Remove one of our names from the directory; say whether it was there. Safe to repeat."""
    if name not in (MARKER, unfinished(storage)):
        raise Problem("DirectoryNotAllowed", "%s/%s is not ours to remove" % (path, name))
    with opened(path) as directory:
        owner = owner_on_our_disk(directory, path, storage, remembered)
        if name == MARKER and owner not in (None, storage):
            raise foreign(path, owner)
        if not exists(directory, name):
            return False
        os.unlink(name, dir_fd=directory)
        sync_directory(directory)
        return True


@contextlib.contextmanager
def opened(path: str) -> Iterator[int]:
    """Open the directory once, so that all that follows is about one and the same file system."""
    if not os.path.isabs(path) or "\0" in path:
        raise Problem("DirectoryNotAllowed", "%r is not an absolute path" % path)
    try:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise problem(error, path) from error
    try:
        if os.path.samestat(os.fstat(directory), os.stat("/")):
            raise Problem("DirectoryNotAllowed", "%s is the root directory" % path)
        yield directory
    except OSError as error:
        seen = os.fstatvfs(directory)
        if error.errno == errno.ENOSPC and seen.f_files and not seen.f_favail:
            raise Problem("InodesExhausted", "%s: no inodes left" % path) from error
        raise problem(error, path) from error
    finally:
        os.close(directory)


def problem(error: OSError, path: str) -> Problem:
    """Translate an error of the operating system."""
    code = REASON_OF_ERRNO.get(error.errno or 0, "DirectoryFault")
    return Problem(code, "%s: %s" % (path, error.strerror))


def foreign(path: str, owner: Optional[str]) -> Problem:
    """Say whose the directory is."""
    whose = "belongs to backup storage %s" % owner if owner else "cannot be read as a marker"
    return Problem("MarkerForeign", "%s/%s %s" % (path, MARKER, whose))


def not_mounted(path: str) -> Problem:
    """Say that there is something else where our disk was."""
    return Problem("MarkerMissing", "%s is not on the file system that carried the marker" % path)


def place_of(directory: int, path: str) -> Dict[str, Any]:
    """Describe the file system that an open directory is on."""
    seen = os.fstatvfs(directory)
    if not seen.f_blocks:
        raise Problem("DirectoryNotAllowed", "%s is on a file system without capacity" % path)
    return {
        "realPath": os.path.realpath("/proc/self/fd/%d" % directory),
        "mount": mount_of(directory),
        "fsid": getattr(seen, "f_fsid", 0),
        "device": os.fstat(directory).st_dev,
        "readOnly": bool(seen.f_flag & os.ST_RDONLY),
    }


def mount_of(directory: int) -> str:
    """Return mount point and root of the mount that an open directory was reached through."""
    with open("/proc/self/fdinfo/%d" % directory) as lines:
        number = next(line.split()[1] for line in lines if line.startswith("mnt_id:"))
    with open("/proc/self/mountinfo", errors="surrogateescape") as lines:
        for line in lines:
            fields = line.split()
            if fields[0] == number:
                return " ".join(fields[3:5])
    return ""


def same_file_system(place: Dict[str, Any], remembered: Dict[str, Any]) -> bool:
    """Tell whether both are one file system; its device may have another number after a reboot."""
    identity = "fsid" if place["fsid"] and remembered["fsid"] else "device"
    return bool(place["mount"] == remembered["mount"] and place[identity] == remembered[identity])


def marker_owner(directory: int, path: str) -> Optional[str]:
    """Return the uuid in the marker, "" for a file that is no marker of ours, None when there is none."""
    try:
        marker = os.open(MARKER, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return ""
        raise problem(error, path) from error
    try:
        if not stat.S_ISREG(os.fstat(marker).st_mode):
            return ""
        content = json.loads(os.read(marker, MAX_MARKER).decode("ascii"))
        return str(content["storage"])
    except (ValueError, KeyError, TypeError):
        return ""
    finally:
        os.close(marker)


def owner_on_our_disk(directory: int, path: str, storage: str, remembered: Optional[Dict[str, Any]]) -> Optional[str]:
    """Return whose marker is in the directory; a missing one was removed by hand.

    Without our marker the directory must be on the file system that carried it: else our disk is not mounted, and the
    marker on it would be forgotten, and refuse every later storage there.
    """
    owner = marker_owner(directory, path)
    if owner != storage and remembered and not same_file_system(place_of(directory, path), remembered):
        raise not_mounted(path) if owner is None else foreign(path, owner)
    return owner


def write_marker(directory: int, path: str, storage: str) -> None:
    """Put the marker in place, complete and on disk, never over another one."""
    beside = unfinished(storage)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    content = json.dumps({"storage": storage, "writtenBy": "bs-agent"}).encode("ascii") + b"\n"
    try:
        marker = os.open(beside, flags, 0o644, dir_fd=directory)
        try:
            if os.write(marker, content) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(marker)
        finally:
            os.close(marker)
        try:
            os.link(beside, MARKER, src_dir_fd=directory, dst_dir_fd=directory)
        except OSError as error:
            if error.errno not in WITHOUT_HARD_LINKS:
                raise
            os.rename(beside, MARKER, src_dir_fd=directory, dst_dir_fd=directory)
        sync_directory(directory)
    except FileExistsError:
        raise foreign(path, marker_owner(directory, path)) from None
    finally:
        if exists(directory, beside):
            os.unlink(beside, dir_fd=directory)


def unfinished(storage: str) -> str:
    """Return the name under which the marker of this storage is written before it is put in place."""
    return MARKER + "." + storage


def exists(directory: int, name: str) -> bool:
    """Tell whether the directory has an entry of this name, of whatever kind."""
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def sync_directory(directory: int) -> None:
    """Bring the directory's entries to disk; some file systems have no such call."""
    try:
        os.fsync(directory)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
