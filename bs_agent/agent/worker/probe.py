"""The probe worker: touches disks and clusters for the agent, in a process that may hang or crash.

Runs alone on the distribution's Python, 3.6 or later, with the standard library (and rados) only.
One JSON request a line on standard input, one JSON answer a line on standard output.
"""

import contextlib
import ctypes
import errno
import importlib
import json
import os
import signal
import stat
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

MAX_REQUEST = 1024 * 1024
MARKER = ".bs-agent.json"
MAX_MARKER = 4096
PR_SET_PDEATHSIG = 1
PARALLEL_COMMANDS = 4  # a mon answers one after the other, but the round trips overlap
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
REASON_OF_RADOS_ERRNO = {errno.EPERM: "AuthFailed", errno.EACCES: "AuthFailed", errno.ETIMEDOUT: "ClusterUnreachable"}


class Problem(Exception):
    """Why an operation failed: a reason code of the agent protocol and what was seen."""

    def __init__(self, code: str, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


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
                raise Problem("MarkerMissing", "%s is not on the file system that carried the marker" % path)
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


def directory_leftovers(path: str, storage: str) -> List[str]:
    """Return the names in the directory that are ours to remove."""
    with opened(path) as directory:
        names = [unfinished(storage)] if exists(directory, unfinished(storage)) else []
        return [MARKER] * (marker_owner(directory, path) == storage) + names


def directory_remove(path: str, storage: str, name: str) -> bool:
    """Remove one of our names from the directory; say whether it was there. Safe to repeat."""
    if name not in (MARKER, unfinished(storage)):
        raise Problem("DirectoryNotAllowed", "%s/%s is not ours to remove" % (path, name))
    with opened(path) as directory:
        if name == MARKER and marker_owner(directory, path) not in (None, storage):
            raise foreign(path, marker_owner(directory, path))
        if not exists(directory, name):
            return False
        os.unlink(name, dir_fd=directory)
        sync_directory(directory)
        return True


class Cluster:
    """The one handle to a Ceph cluster that this process holds."""

    def __init__(self, access: Dict[str, Any]) -> None:
        self.access = access
        self.timed_out = False
        self.threads = ThreadPoolExecutor(PARALLEL_COMMANDS)
        try:
            self.rados = importlib.import_module("rados")
        except ImportError as error:
            raise Problem("LibradosMissing", "%s: %s" % (sys.executable, error)) from error
        # librados ignores the time-outs that its calls take, and reads these before it connects, never later.
        names = ("client_mount_timeout", "rados_mon_op_timeout", "rados_osd_op_timeout")
        options = dict(
            {"keyring": access["keyring"]} if access["keyring"] else {}, **dict.fromkeys(names, access["seconds"])
        )
        with self.problems(access["conf"], "CephConfInvalid"):
            self.handle = self.rados.Rados(conffile=access["conf"], name=access["client"], conf=options)

    def connected(self) -> Any:  # noqa: ANN401 RUF100  rados has no types
        """Return the handle, connected."""
        if self.handle.state != "connected":
            with self.problems("%s with %s" % (self.access["client"], self.access["conf"]), "CephConfInvalid"):
                self.handle.connect()
        return self.handle

    @contextlib.contextmanager
    def pool(self, name: str) -> Iterator[Any]:
        """Open a pool; used after the shutdown of the handle its context would be a segmentation fault."""
        with self.problems("pool %s" % name, "PoolMissing"):
            context = self.connected().open_ioctx(name)
        with contextlib.closing(context), self.problems("pool %s" % name, "CephFault"):
            yield context

    @contextlib.contextmanager
    def problems(self, target: str, otherwise: str) -> Iterator[None]:
        """Translate the errors of librados."""
        try:
            yield
        except self.rados.Error as error:
            number = abs(getattr(error, "errno", None) or 0)
            self.timed_out = self.timed_out or number == errno.ETIMEDOUT
            raise Problem(REASON_OF_RADOS_ERRNO.get(number, otherwise), "%s: %s" % (target, error)) from error

    def close(self) -> None:
        """Give threads and descriptors back; after a time-out that may hang, and the end of the process does it."""
        if not self.timed_out:
            self.handle.shutdown()


CLUSTERS: List[Cluster] = []


def cluster(access: Dict[str, Any]) -> Cluster:
    """Return the cluster; other ways of access than before mean another handle."""
    if CLUSTERS and CLUSTERS[0].access != access:
        CLUSTERS.pop().close()
    if not CLUSTERS:
        CLUSTERS.append(Cluster(access))
    return CLUSTERS[0]


def ceph_ask(access: Dict[str, Any], commands: List[Dict[str, Any]]) -> List[Tuple[int, str]]:
    """Send commands to the mons, several at once; return for each 0 and the answer, or errno and the complaint."""
    handle = cluster(access).connected()

    def ask(command: Dict[str, Any]) -> Tuple[int, str]:
        # The sign of the error number differs between the mons' commands and those that a mgr answers.
        code, answer, complaint = handle.mon_command(json.dumps(command), b"")
        return abs(code), complaint if code else answer.decode("utf-8", "replace")

    answers = list(cluster(access).threads.map(ask, commands))
    cluster(access).timed_out |= any(code == errno.ETIMEDOUT for code, _ in answers)
    return answers


def ceph_write(access: Dict[str, Any], pool: str, name: str) -> float:
    """Write and remove a small object; return the seconds that took."""
    with cluster(access).pool(pool) as context:
        began = time.monotonic()
        context.write_full(name, b"written by bs-agent, which removes it at once\n")
        succeeds(access, context.remove_object, name)  # another mon host of the storage may have been faster
        return time.monotonic() - began


def ceph_objects(access: Dict[str, Any], pool: str, name: str) -> Dict[str, bool]:
    """Tell whether the pool holds an object of this name, and whether it holds another, in whatever namespace."""
    with cluster(access).pool(pool) as context:
        ours = succeeds(access, context.stat, name)
        context.set_namespace(cluster(access).rados.LIBRADOS_ALL_NSPACES)
        return {"ours": ours, "others": any(found.nspace or found.key != name for found in context.list_objects())}


def ceph_remove(access: Dict[str, Any], pool: str, name: str) -> bool:
    """Remove an object; say whether it was there. Safe to repeat."""
    with cluster(access).pool(pool) as context:
        return succeeds(access, context.remove_object, name)


def succeeds(access: Dict[str, Any], call: Callable[[str], Any], name: str) -> bool:
    """Do something to an object; say whether it was there."""
    try:
        call(name)
    except cluster(access).rados.ObjectNotFound:
        return False
    return True


OPERATIONS: Dict[str, Callable[..., Any]] = {
    "ceph_ask": ceph_ask,
    "ceph_objects": ceph_objects,
    "ceph_remove": ceph_remove,
    "ceph_write": ceph_write,
    "directory_connect": directory_connect,
    "directory_usage": directory_usage,
    "directory_leftovers": directory_leftovers,
    "directory_remove": directory_remove,
}


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


def answer(line: bytes) -> Dict[str, Any]:
    """Do what one request asks for; whatever is not a Problem ends the process, and the agent starts another."""
    request = json.loads(line.decode("utf-8"))
    try:
        return {"value": OPERATIONS[request["operation"]](**request["parameters"])}
    except Problem as error:
        return {"error": {"code": error.code, "details": error.details}}


def main() -> None:
    """Answer requests until standard input ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the agent, which then ends us
    os.umask(0o022)
    # What a library prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    for line in iter(lambda: sys.stdin.buffer.readline(MAX_REQUEST), b""):
        answers.write(json.dumps(answer(line)).encode("ascii") + b"\n")
        answers.flush()
    for held in CLUSTERS:
        held.close()
    os._exit(0)  # without waiting for a thread that librados may still hold


if __name__ == "__main__":
    main()
