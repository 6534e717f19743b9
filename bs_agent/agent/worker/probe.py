"""The probe worker: touches disks and clusters for the agent, in a process that may hang or crash.

Runs alone on the distribution's Python, 3.6 or later, with the standard library (and rados) only; of the package it
imports what is written for that too.
One JSON request a line on standard input, one JSON answer a line on standard output.
"""

import contextlib
import ctypes
import errno
import importlib
import json
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

ALONE = __name__ == "__main__"
if ALONE:  # nothing but its own release is to be found, and only for these imports
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, os.pardir, os.pardir))
from bs_agent.agent.worker.directory import (  # noqa: E402
    directory_connect,
    directory_leftovers,
    directory_remove,
    directory_usage,
)
from bs_agent.agent.worker.keyring import what_does_not_fit  # noqa: E402
from bs_agent.agent.worker.listing import holds_others  # noqa: E402
from bs_agent.agent.worker.problem import Problem  # noqa: E402

if ALONE:
    sys.path.pop(0)

MAX_REQUEST = 16 * 1024 * 1024
PR_SET_PDEATHSIG = 1
READING = threading.Lock()  # read as a whole an answer takes many times its size: one at a time
PARALLEL_COMMANDS = 4  # a mon answers one after the other, but the round trips overlap

# What a client needs of the OSDs, as docs/ceph.md has it.
LOOK, TOUCH = "osd 'allow r'", "osd 'allow rw object_prefix bs-agent.write-probe.'"
DENIED = (errno.EPERM, errno.EACCES)
# What releases of librados say when they cannot use a keyring, or the cluster does not accept it.
OF_A_KEYRING = (*DENIED, errno.EIO, errno.EINVAL, errno.EISDIR)
REASON_OF_RADOS_ERRNO = {errno.EPERM: "AuthFailed", errno.EACCES: "AuthFailed", errno.ETIMEDOUT: "ClusterUnreachable"}


def must_open(path: str) -> None:
    """Open the configuration for reading: librados says of a missing one that an object was not found."""
    try:
        with open(path, "rb") as file:
            file.read(1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise Problem("CephConfInvalid", "the Ceph configuration %s cannot be read: %s" % (path, why)) from error


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
        self.options = dict(
            {"keyring": access["keyring"]} if access["keyring"] else {}, **dict.fromkeys(names, access["seconds"])
        )
        must_open(access["conf"])
        with self.problems("the Ceph configuration %s cannot be parsed" % access["conf"], "CephConfInvalid"):
            self.handle = self.rados.Rados(conffile=access["conf"], name=access["client"], conf=self.options)

    def connected(self) -> Any:  # noqa: ANN401 RUF100  rados has no types
        """Return the handle, connected."""
        if self.handle.state != "connected":
            target = "%s with %s" % (self.access["client"], self.access["conf"])
            with self.problems(target, "CephConfInvalid"):
                try:
                    self.handle.connect()
                except self.rados.ObjectNotFound as error:  # of no object: of the mons
                    raise Problem("CephConfInvalid", "%s: it names no mons (mon_host)" % target) from error
                except (self.rados.Error, OSError) as error:
                    self.look_at_keyring(target, error)
                    raise
        return self.handle

    def look_at_keyring(self, target: str, error: Exception) -> None:
        """Raise what is wrong with the keyring, where that may be why there is no connection, and it can be seen."""
        number = abs(getattr(error, "errno", None) or 0)
        if number not in OF_A_KEYRING or any(self.handle.conf_get(option) for option in ("key", "keyfile")):
            return
        paths = self.handle.conf_get("keyring") or ""
        found = what_does_not_fit(paths, self.access["client"], number in DENIED)
        if found:
            raise Problem(found[0], "%s: %s: %s" % (target, found[1], error)) from error

    @contextlib.contextmanager
    def pool(self, name: str, number: Optional[int], needed: str) -> Iterator[Any]:
        """Open a pool, by its number where that is known: its name may be that of another one by now.

        Used after the shutdown of the handle its context would be a segmentation fault.
        """
        with self.problems("pool %s" % name, "PoolMissing"):
            handle = self.connected()
            context = handle.open_ioctx(name) if number is None else handle.open_ioctx2(number)
        with contextlib.closing(context), self.problems("pool %s" % name, "CephFault", needed):
            yield context

    @contextlib.contextmanager
    def problems(self, target: str, otherwise: str, needed: str = "") -> Iterator[None]:
        """Translate the errors of librados, and those of its binding for names that no cluster can have.

        What a client that is denied it lacks is the capability `needed`, if that is known.
        """
        try:
            yield
        except (ValueError, TypeError) as error:
            raise Problem(otherwise, "%s: %s" % (target, error)) from error
        except (self.rados.Error, OSError) as error:
            number = abs(getattr(error, "errno", None) or 0)
            self.timed_out = self.timed_out or number == errno.ETIMEDOUT
            lacks = "; the client lacks the capability %s" % needed if needed and number in DENIED else ""
            code = REASON_OF_RADOS_ERRNO.get(number, otherwise)
            raise Problem(code, "%s: %s%s" % (target, error, lacks)) from error

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


def ceph_ask(
    access: Dict[str, Any], commands: List[Dict[str, Any]], wanted: Optional[List[Any]] = None
) -> List[Tuple[int, str]]:
    """Send commands to the mons, several at once; return for each 0 and the answer, or errno and the complaint.

    Of an answer there is only what is `wanted`: the maps of a large cluster have many megabytes.
    """
    handle = cluster(access).connected()

    def ask(command: Dict[str, Any], parts: Any) -> Tuple[int, str]:  # noqa: ANN401 RUF100  JSON
        # The sign of the error number differs between the mons' commands and those that a mgr answers.
        code, answer, complaint = handle.mon_command(json.dumps(command), b"")
        if code:
            return abs(code), complaint
        with READING:
            return 0, only_wanted(answer.decode("utf-8", "replace"), parts)

    every = wanted or [True] * len(commands)
    answers = list(cluster(access).threads.map(ask, commands, every))
    cluster(access).timed_out |= any(code == errno.ETIMEDOUT for code, _ in answers)
    return answers


def only_wanted(answer: str, wanted: Any) -> str:  # noqa: ANN401 RUF100  JSON
    """Return the wanted parts of an answer; one that is not JSON as it stands is left to whoever knows better."""
    if wanted is True:
        return answer
    try:
        return json.dumps(parts_of(json.loads(answer), wanted))
    except (ValueError, RecursionError):
        return answer


def parts_of(value: Any, wanted: Any) -> Any:  # noqa: ANN401 RUF100  JSON
    """Return the wanted parts of a value: keys and what is wanted below them, `*` for keys of any name."""
    if wanted is True:
        return value
    if isinstance(value, list):
        return [parts_of(entry, wanted) for entry in value]
    if not isinstance(value, dict):
        return value
    if "*" in wanted:
        return {key: parts_of(part, wanted["*"]) for key, part in value.items()}
    return {key: parts_of(value[key], below) for key, below in wanted.items() if key in value}


def ceph_write(access: Dict[str, Any], pool: str, name: str, number: Optional[int] = None) -> float:
    """Write and remove a small object; return the seconds that took."""
    with cluster(access).pool(pool, number, TOUCH) as context:
        began = time.monotonic()
        context.write_full(name, b"written by bs-agent, which removes it at once\n")
        succeeds(access, context.remove_object, name)  # another mon host of the storage may have been faster
        return time.monotonic() - began


def ceph_objects(access: Dict[str, Any], pool: str, name: str, number: Optional[int] = None) -> Dict[str, bool]:
    """Tell whether the pool holds an object of this name, and whether it holds another, in whatever namespace."""
    with cluster(access).pool(pool, number, LOOK) as context:
        ours = succeeds(access, context.stat, name)
    place = pool if number is None else number
    with cluster(access).problems("pool %s cannot be listed" % pool, "CephFault", LOOK):
        others = holds_others(access["conf"], access["client"], cluster(access).options, place, name)
    return {"ours": ours, "others": others}


def ceph_remove(access: Dict[str, Any], pool: str, name: str, number: Optional[int] = None) -> bool:
    """Remove an object; say whether it was there. Safe to repeat."""
    with cluster(access).pool(pool, number, TOUCH) as context:
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
