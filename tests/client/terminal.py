"""Programs in a pseudo-terminal of their own, and `bs-cli` as a child process."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
BS_CLI = (sys.executable, "-m", "bs_agent.client.cli.cli")
DEADLINE = 20.0
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07|\x1b[=>()][0-9AB]?|\r")


def environment(home: Path) -> dict[str, str]:
    """The environment of a user whose files are all under `home`."""
    return {
        "HOME": str(home),
        "PATH": f"{home}/bin:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "TERM": "xterm",
        "LANG": "C.UTF-8",
        "PROMPT_TOOLKIT_NO_CPR": "1",
    }


def bs_cli(home: Path, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run bs-cli with pipes on all sides."""
    return subprocess.run(
        [*BS_CLI, *words],
        input=stdin,
        capture_output=True,
        text=True,
        env=environment(home),
        timeout=60,
        check=False,
    )


class Terminal:
    """A program that believes it talks with a person."""

    def __init__(self, master: int, child: subprocess.Popen[bytes]) -> None:
        self._master = master
        self.child = child
        self.shown = ""

    def send(self, text: str) -> None:
        """Type."""
        os.write(self._master, text.encode())

    def expect(self, *texts: str) -> str:
        """Wait until the texts were shown, each behind the one before; returns what was shown up to there."""
        deadline = time.monotonic() + DEADLINE
        while (end := _end(self.shown, texts)) < 0:
            ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
            try:
                new = os.read(self._master, 1 << 16) if ready else b""
            except OSError:  # the other side is closed
                new = b""
            assert new, f"{texts} did not all come; there was:\n{self.shown}"
            self.shown = ESCAPES.sub("", self.shown + new.decode(errors="replace"))
        shown, self.shown = self.shown[:end], self.shown[end:]
        return shown

    def end(self) -> int:
        """Wait for the end; returns the exit code."""
        deadline = time.monotonic() + DEADLINE
        while self.child.poll() is None:
            assert time.monotonic() < deadline, f"it does not end; there was:\n{self.shown}"
            if select.select([self._master], [], [], 0.1)[0]:
                try:
                    self.shown += ESCAPES.sub("", os.read(self._master, 1 << 16).decode(errors="replace"))
                except OSError:
                    self.child.wait(DEADLINE)
        return self.child.wait()


def _end(shown: str, texts: Sequence[str]) -> int:
    """Where the last of the texts ends, each behind the one before; -1 while one is missing."""
    end = 0
    for text in texts:
        found = shown.find(text, end)
        if found < 0:
            return -1
        end = found + len(text)
    return end


@contextmanager
def terminal(home: Path, command: Sequence[str], columns: int = 120) -> Iterator[Terminal]:
    """Run a program in a terminal of its own, as the leader of its session, so that Ctrl-C reaches it."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    child = subprocess.Popen(
        ["setsid", "--ctty", *command], stdin=slave, stdout=slave, stderr=slave, env=environment(home), cwd=home
    )
    os.close(slave)
    try:
        yield Terminal(master, child)
    finally:
        if child.poll() is None:
            child.kill()
        child.wait(DEADLINE)
        os.close(master)
