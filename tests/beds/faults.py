"""System calls that fail, or kill, at the n-th time: strace's fault injection on a running process."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager


def missing() -> str:
    """Say why nothing can be injected here; empty when it can."""
    if not shutil.which("strace"):
        return "strace is not installed (apt-get install strace)"
    return "" if os.geteuid() == 0 else "tracing wants root"


@contextmanager
def injected(pid: int, calls: str, fault: str) -> Iterator[None]:
    """Inject a fault such as `error=EIO:when=3` into the named calls of all threads of a process."""
    command = ["strace", "-f", "-p", str(pid), "-e", f"trace={calls}", "-e", f"inject={calls}:{fault}"]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        if tracer.stderr is None:
            raise RuntimeError("the tracer was started without a pipe")
        # The first line tells that the process is under control.
        line = tracer.stderr.readline()
        if "attached" not in line:
            raise RuntimeError(f"cannot trace: {line}")
        os.set_blocking(tracer.stderr.fileno(), False)
        yield
    finally:
        tracer.send_signal(signal.SIGTERM)
        tracer.communicate(timeout=30)
