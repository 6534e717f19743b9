"""Programs of ours, started warm: one process reads their libraries once, and each start is a fork of it.

To read the libraries takes three quarters of the processor time of a start, and the tests start hundreds. What starts
cold all the same: whatever is measured (nothing is warm unless `begin` was called), runs under another program, or
has libraries, descriptors or a Python of its own.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tests.beds.place import REPOSITORY

_PROGRAMS = frozenset({"bs_agent.agent", "bs_agent.management.main"})
_LIBRARIES = (
    "aiosqlite", "alembic.command", "asyncpg", "bs_agent.agent.app", "bs_agent.agent.local_report",
    "bs_agent.agent.main", "bs_agent.management.commands", "bs_agent.management.serve",
    "sqlalchemy.dialects.postgresql.asyncpg", "sqlalchemy.dialects.sqlite.aiosqlite",
)  # fmt: skip
_LONGEST = 1 << 17


def begin() -> None:
    """Let the programs that this process starts from now on be warm."""
    _Warm.wanted = True


def popen(command: Sequence[str], **options: Any) -> "subprocess.Popen[Any]":
    """Do as `subprocess.Popen`, warm where that makes no difference."""
    return (_Warm if _may_be_warm(command, options) else subprocess.Popen)(command, **options)


def run(command: Sequence[str], *, timeout: float, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Do as `subprocess.run` with the output captured as text, warm where that makes no difference."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with popen(command, **pipes, **options) as process:
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


def _may_be_warm(command: Sequence[str], options: Mapping[str, Any]) -> bool:
    is_ours = list(command[:2]) == [sys.executable, "-m"] and command[2] in _PROGRAMS
    is_usual = _of_the_start(options.get("env") or os.environ) == _of_the_start(os.environ)
    return _Warm.wanted and is_ours and is_usual and not options.get("pass_fds") and "coverage" not in sys.modules


def _of_the_start(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what is looked at only when a Python starts."""
    return {name: value for name, value in environment.items() if name.startswith(("LD_", "PYTHON"))}


class _Starter:
    """The process that forks, and what it has told of its children."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        self._ended: dict[int, int] = {}
        with theirs:
            command = [sys.executable, "-m", "tests.beds.warm", str(theirs.fileno())]
            self._process = subprocess.Popen(
                command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
            )

    def close(self) -> None:
        """Let it end, as it does by itself when nobody holds this end of its socket."""
        self._ours.close()
        self._process.wait()

    def start(self, request: Mapping[str, Any], descriptors: Sequence[int]) -> int:
        """Start a program on these three descriptors; return its process id."""
        with self._lock:
            socket.send_fds(self._ours, [json.dumps(request).encode()], descriptors)
            while (started := self._hear().get("started")) is None:
                pass
            self._ended.pop(started, None)  # of another one that had this number
            return started

    def status(self, pid: int) -> int | None:
        """Return how a process has ended, as `os.waitpid` does; None while it runs."""
        with self._lock:
            while select.select([self._ours], [], [], 0)[0]:
                self._hear()
            return self._ended.pop(pid, None)

    def _hear(self) -> dict[str, int]:
        told: dict[str, int] = json.loads(self._ours.recv(_LONGEST))
        if "ended" in told:
            self._ended[told["ended"]] = told["status"]
        return told


class _Warm(subprocess.Popen[Any]):
    """A process that is the starter's child, so that one is asked how it has ended."""

    wanted = False

    def _execute_child(self, args: Any, *rest: Any) -> None:
        cwd, environment, pipes = rest[4], rest[5], rest[9:15]
        request = {
            "module": args[2],
            "arguments": [str(word) for word in args[3:]],
            "cwd": str(cwd or Path.cwd()),
            "environment": dict(os.environ if environment is None else environment),
        }
        descriptors = [own if own != -1 else number for number, own in enumerate((pipes[0], pipes[3], pipes[5]))]
        self.pid = _the_starter().start(request, descriptors)
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        while (status := _the_starter().status(self.pid)) is None:
            if wait_flags:
                return 0, 0
            time.sleep(0.005)
        return self.pid, status

    def _internal_poll(self, *_: Any, **__: Any) -> int | None:
        if self.returncode is None and self._waitpid_lock.acquire(blocking=False):  # type: ignore[attr-defined]
            try:
                pid, status = self._try_wait(os.WNOHANG)
                if pid:
                    self._handle_exitstatus(status)  # type: ignore[attr-defined]
            finally:
                self._waitpid_lock.release()  # type: ignore[attr-defined]
        return self.returncode


@cache
def _the_starter() -> _Starter:
    starter = _Starter()
    atexit.register(starter.close)
    return starter


def _serve(requests: socket.socket) -> dict[str, Any] | None:
    """Fork for each request; return it in the child, and None when nobody is left to ask."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    heard, wake = os.pipe()
    sources: list[Any] = [requests, heard]
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    while True:
        ready, _, _ = select.select(sources, [], [])
        if heard in ready:
            os.read(heard, 4096)
            _tell_of_the_ended(requests)
        if requests not in ready:
            continue
        sent, descriptors, _, _ = socket.recv_fds(requests, _LONGEST, 3)
        if not sent:
            return None
        if pid := os.fork():
            requests.send(json.dumps({"started": pid}).encode())
            for descriptor in descriptors:
                os.close(descriptor)
            continue
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        requests.close()
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
        for descriptor in {heard, wake, *descriptors} - {0, 1, 2}:
            os.close(descriptor)
        request: dict[str, Any] = json.loads(sent)
        return request


def _tell_of_the_ended(requests: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        requests.send(json.dumps({"ended": pid, "status": status}).encode())


def main() -> None:
    """Read the libraries, then start what is asked for on the socket that the first argument names."""
    for name in _LIBRARIES:
        importlib.import_module(name)
    gc.freeze()
    request = _serve(socket.socket(fileno=int(sys.argv[1])))
    if request is not None:
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["environment"])
        time.tzset()
        sys.argv = [request["module"], *request["arguments"]]
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
