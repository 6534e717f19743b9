"""The operations of the probe program on directories: connect, usage, what is ours there, and its removal.

As `probe.py`, which imports it, it runs on the distribution's Python, 3.6 or later, with the standard library only.
"""

import contextlib
import errno
import json
import os
import re
import stat
from typing import Any, Dict, Iterator, List, Optional

from bs_agent.agent.worker.filesystem import Mount, capacity, mount_of, read_only
from bs_agent.agent.worker.problem import Problem

MARKER = ".bs-agent.json"
MAX_MARKER = 4096
UUID = re.compile("[0-9a-f]{32}")
WITHOUT_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)

OTHER_THAN_FILES = {
    stat.S_IFLNK: "a link",
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}

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
    path: str, storage: str, remembered: Optional[Dict[str, Any]], taken: List[str], followed: bool = False
) -> Dict[str, Any]:
    """Make sure that the directory carries our marker; return what to remember of it.

    `taken` are the real paths of the other storages; `followed` is what was told before of whether the mount `follows`.

    A marker that is missing is written when the storage is new (nothing remembered), or when the directory is still
    the one where the marker once was. Otherwise the disk is not mounted, or a link leads elsewhere: nothing is written.
    """
    with opened(path) as directory:
        place = place_of(directory, path, followed)
        owner = owner_seen_by(storage, directory, path)
        if place["realPath"] in taken:
            raise Problem("MarkerForeign", "%s is the directory of another backup storage" % path)
        if owner is None:
            if remembered and not same_place(place, remembered):
                raise elsewhere(path, remembered)
            write_marker(directory, path, storage)
        elif owner != storage:
            raise foreign(directory, path, owner)
        elif not place["readOnly"] and not os.access(".", os.R_OK | os.W_OK | os.X_OK, dir_fd=directory):
            raise Problem("DirectoryDenied", "%s: user id %d may not write here" % (path, os.geteuid()))
        return place


def directory_usage(path: str, storage: Optional[str], followed: bool = False) -> Dict[str, Any]:
    """Return capacity and inodes of the directory's file system, if it carries the marker of the storage, if any."""
    with opened(path) as directory:
        owner = marker_owner(directory, path)
        if storage and owner is None:
            raise Problem("MarkerMissing", "%s has no %s" % (path, MARKER))
        if storage and owner != storage:
            raise foreign(directory, path, owner)
        seen, mount = os.fstatvfs(directory), mount_of(directory)
        refuse_left_behind(path, mount, followed)
        return dict(capacity(seen), readOnly=read_only(directory, seen, mount), follows=mount.follows)


def directory_leftovers(path: str, storage: str, remembered: Optional[Dict[str, Any]]) -> List[str]:
    """Return the names in the directory that are ours to remove."""
    with opened(path) as directory:
        owner = owner_on_our_disk(directory, path, storage, remembered)
        ours = owner == storage or is_claim(directory, storage)
        return [MARKER] * ours + [unfinished(storage)] * is_file(directory, unfinished(storage))


def directory_remove(path: str, storage: str, name: str, remembered: Optional[Dict[str, Any]]) -> bool:
    """Remove one of our names from the directory; say whether it was there. Safe to repeat."""
    if name not in (MARKER, unfinished(storage)):
        raise Problem("DirectoryNotAllowed", "%s/%s is not ours to remove" % (path, name))
    with opened(path) as directory:
        owner = owner_on_our_disk(directory, path, storage, remembered)
        if name == MARKER and owner not in (None, storage):
            raise foreign(directory, path, owner)
        if not is_file(directory, name):
            return False
        os.unlink(name, dir_fd=directory)
        sync_directory(directory)
        return True


@contextlib.contextmanager
def opened(path: str) -> Iterator[int]:
    """Open the directory once, so that all that follows is about one and the same file system.

    Whatever the operating system refuses, here or in what follows, becomes a Problem.
    """
    if not os.path.isabs(path) or "\0" in path:
        raise Problem("DirectoryNotAllowed", "%r is not an absolute path" % path)
    try:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise problem(error, path) from error
    except UnicodeEncodeError as error:
        raise Problem("DirectoryNotAllowed", "%r is not the name of a file" % path) from error
    try:
        if os.path.samestat(os.fstat(directory), os.stat("/")):
            raise Problem("DirectoryNotAllowed", "%s is the root directory" % path)
        yield directory
    except OSError as error:
        if error.errno == errno.ENOSPC and without_inodes(directory):
            raise Problem("InodesExhausted", "%s: no inodes left" % path) from error
        raise problem(error, path) from error
    finally:
        close(directory)


def close(descriptor: int) -> None:
    """Close what was read; what was read is true although some file systems find fault with the closing."""
    with contextlib.suppress(OSError):
        os.close(descriptor)


def without_inodes(directory: int) -> bool:
    """Tell whether there is no room because there are no inodes, as far as the file system still says anything."""
    try:
        found = capacity(os.fstatvfs(directory))
    except OSError:
        return False
    return found["totalInodes"] > 0 and found["availableInodes"] == 0


def problem(error: OSError, path: str) -> Problem:
    """Translate an error of the operating system."""
    code = REASON_OF_ERRNO.get(error.errno or 0, "DirectoryFault")
    return Problem(code, "%s: %s" % (path, error.strerror or error))


def foreign(directory: int, path: str, owner: Optional[str]) -> Problem:
    """Say whose the directory is, or what is in the place of the marker."""
    whose = "belongs to backup storage %s" % owner if owner else what_is(seen_at(directory, MARKER))
    return Problem("MarkerForeign", "%s/%s %s" % (path, MARKER, whose))


def what_is(seen: Optional[os.stat_result]) -> str:
    """Say why something is no marker."""
    kind = OTHER_THAN_FILES.get(stat.S_IFMT(seen.st_mode)) if seen else None
    if kind:
        return "is %s and no marker" % kind
    if seen and seen.st_size > MAX_MARKER:
        return "has %d bytes, a marker has %d at the most" % (seen.st_size, MAX_MARKER)
    return "cannot be read as a marker"


def elsewhere(path: str, remembered: Dict[str, Any]) -> Problem:
    """Say that there is something else where our directory was."""
    where = "is not %s on the file system that carried the marker" % remembered["realPath"]
    return Problem("MarkerMissing", "%s %s" % (path, where))


def refuse_left_behind(path: str, mount: Mount, followed: bool) -> None:
    """Refuse what is only mounted for us any more: a disk that the host has unmounted, and perhaps replaced."""
    if followed and not mount.follows:
        raise Problem("DirectoryUnmounted", "the host has unmounted the disk of %s, this service still holds it" % path)


def place_of(directory: int, path: str, followed: bool = False) -> Dict[str, Any]:
    """Describe the file system that an open directory is on."""
    seen = os.fstatvfs(directory)
    if not capacity(seen)["totalCapacity"]:
        raise Problem("DirectoryNotAllowed", "%s is on a file system without capacity" % path)
    mount = mount_of(directory)
    refuse_left_behind(path, mount, followed)
    return {
        "realPath": os.path.realpath("/proc/self/fd/%d" % directory),
        "mount": mount.place,
        "follows": mount.follows,
        "fsid": getattr(seen, "f_fsid", 0),
        "device": os.fstat(directory).st_dev,
        "readOnly": read_only(directory, seen, mount),
    }


def same_place(place: Dict[str, Any], remembered: Dict[str, Any]) -> bool:
    """Tell whether both are one directory of one file system; its device may have another number after a reboot."""
    identity = "fsid" if place["fsid"] and remembered["fsid"] else "device"
    return all(place[name] == remembered[name] for name in ("realPath", "mount", identity))


def marker_owner(directory: int, path: str) -> Optional[str]:
    """Return the uuid in the marker, "" for a thing that is no marker of ours, None when there is none."""
    seen = seen_at(directory, MARKER)
    if seen is None:
        return None
    if not stat.S_ISREG(seen.st_mode) or seen.st_size > MAX_MARKER:
        return ""
    try:
        marker = os.open(MARKER, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link or a socket has come in between
            return ""
        raise problem(error, path) from error
    try:
        # It may have become something else since, and then nobody waits for it.
        content = os.read(marker, MAX_MARKER) if stat.S_ISREG(os.fstat(marker).st_mode) else b""
        owner = json.loads(content.decode("ascii"))["storage"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    finally:
        close(marker)
    return owner if isinstance(owner, str) and UUID.fullmatch(owner) else ""


def owner_seen_by(storage: str, directory: int, path: str) -> Optional[str]:
    """Return what `marker_owner` does, but for this storage a marker that it has begun is none yet."""
    return None if is_claim(directory, storage) else marker_owner(directory, path)


def owner_on_our_disk(directory: int, path: str, storage: str, remembered: Optional[Dict[str, Any]]) -> Optional[str]:
    """Return whose marker is in the directory; a missing one was removed by hand.

    Without our marker the directory must be the one that carried it: else our disk is not mounted, and the marker on it
    would be forgotten, and refuse every later storage there.
    """
    owner = owner_seen_by(storage, directory, path)
    if owner != storage and remembered and not same_place(place_of(directory, path), remembered):
        raise elsewhere(path, remembered) if owner is None else foreign(directory, path, owner)
    return owner


def write_marker(directory: int, path: str, storage: str) -> None:
    """Put the marker in place, complete and on disk, never over another one."""
    beside = unfinished(storage)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    content = json.dumps({"storage": storage, "writtenBy": "bs-agent"}).encode("ascii") + b"\n"
    if is_claim(directory, storage):
        os.unlink(MARKER, dir_fd=directory)
    if is_file(directory, beside):
        os.unlink(beside, dir_fd=directory)
    elif seen_at(directory, beside):
        raise Problem("MarkerForeign", "%s/%s is no file: move it out of the way" % (path, beside))
    try:
        marker = os.open(beside, flags, 0o644, dir_fd=directory)
        try:
            if os.write(marker, content) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(marker)
        finally:
            os.close(marker)
        put_in_place(directory, beside)
        sync_directory(directory)
    except FileExistsError:
        owner = marker_owner(directory, path)
        if owner != storage:
            raise foreign(directory, path, owner) from None
    finally:
        with contextlib.suppress(OSError):
            os.unlink(beside, dir_fd=directory)


def put_in_place(directory: int, beside: str) -> None:
    """Give the written marker its name, if nothing else has it.

    Without hard links an empty marker claims the name first, and the complete one takes its place.
    """
    try:
        os.link(beside, MARKER, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
    except OSError as error:
        if error.errno not in WITHOUT_HARD_LINKS:
            raise
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(MARKER, flags, 0o644, dir_fd=directory))
        os.rename(beside, MARKER, src_dir_fd=directory, dst_dir_fd=directory)


def is_claim(directory: int, storage: str) -> bool:
    """Tell whether the marker is the empty one of this storage, and the complete one beside it was not put in place."""
    marker = seen_at(directory, MARKER)
    if marker is None or not stat.S_ISREG(marker.st_mode) or marker.st_size:
        return False
    return is_file(directory, unfinished(storage))


def unfinished(storage: str) -> str:
    """Return the name under which the marker of this storage is written before it is put in place."""
    return MARKER + "." + storage


def is_file(directory: int, name: str) -> bool:
    """Tell whether the directory has a file of this name; what is something else was not made by us."""
    seen = seen_at(directory, name)
    return seen is not None and stat.S_ISREG(seen.st_mode)


def seen_at(directory: int, name: str) -> Optional[os.stat_result]:
    """Look at an entry of the directory, of whatever kind; None when there is none."""
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def sync_directory(directory: int) -> None:
    """Bring the directory's entries to disk; some file systems have no such call."""
    try:
        os.fsync(directory)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
