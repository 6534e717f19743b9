"""Where programs of a test run: here, or in a mount namespace of its own, with other files at the paths they know.

The mounts go with the namespace, and that goes with the process that holds it: nothing is left, however a test ends.
"""

import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Self

REPOSITORY = Path(__file__).parents[2]
# What belongs to a host and not to a test: empty in each namespace, and the machine's own stays as it is.
EMPTIED = ("/run", "/etc/ceph", "/var/lib/ceph")
# A tree's virtual environment, with what the agent needs.
AGENT_HOME = "/opt/agent"
SECONDS = 30.0


class Place:
    """This machine, as it is."""

    python = "/usr/bin/python3"  # of the distribution, with its rados

    def command(self, *words: str) -> list[str]:
        """Return the command that runs `words` there."""
        return [*words]

    @property
    def agent_python(self) -> list[str]:
        """The words that start a Python there that has what the agent needs."""
        return [sys.executable]


HERE = Place()


class Namespace(Place):
    """A mount namespace; with a `tree` that is its root, and what is written to it is kept in `folder`.

    The repository and the temporary files are at their own paths; `binds` are folders of those at others.
    """

    def __init__(self, folder: Path, tree: Path | None = None, binds: Mapping[str, Path] | None = None) -> None:
        self._folder, self._tree, self._binds = folder, tree, dict(binds or {})
        self._root = folder / "root" if tree else Path("/")
        self._holder: Popen[str] | None = None
        self._python = folder / "python"

    def __enter__(self) -> Self:
        script = "\n".join(["set -e", *map(shlex.join, self._mounts()), "echo ready", "exec cat"])
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
        self._holder = Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True)
        assert self._holder.stdout
        if self._holder.stdout.readline() != "ready\n":
            _, errors = self._holder.communicate(timeout=SECONDS)
            raise RuntimeError(f"no namespace: {errors}")
        if self._tree:
            inside = shlex.join(self.command(super().python))
            self._python.write_text(f'#!/bin/sh\nexec {inside} "$@"\n')
            self._python.chmod(0o755)
            self.python = str(self._python)
        return self

    def __exit__(self, *_: object) -> None:
        if self._holder:
            self._holder.communicate(timeout=SECONDS)

    def command(self, *words: str) -> list[str]:
        """Return the command that runs `words` there; it is the process itself that is started."""
        assert self._holder
        inside = ["chroot", str(self._root)] if self._tree else []
        return ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", *inside, *words]

    def outside(self, *words: str) -> list[str]:
        """Return the command that lets a program of this machine work on the tree, by its option `--root`."""
        assert self._holder
        return ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", words[0], "--root", str(self._root), *words[1:]]

    @property
    def agent_python(self) -> list[str]:
        """The words that start a Python there that has what the agent needs."""
        return ["env", "PYTHONDONTWRITEBYTECODE=1", f"{AGENT_HOME}/bin/python"] if self._tree else super().agent_python

    def run(self, *words: str) -> str:
        """Run a command there; return what it prints."""
        done = subprocess.run(self.command(*words), check=False, capture_output=True, text=True, timeout=SECONDS)
        if done.returncode:
            raise RuntimeError(f"{shlex.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def _mounts(self) -> list[list[str]]:
        made: list[list[str]] = []
        if self._tree:
            upper, work = self._folder / "upper", self._folder / "work"
            for each in (upper, work, self._root):
                each.mkdir()
            for packages in self._tree.glob(f"{AGENT_HOME[1:]}/lib/python3*/site-packages"):
                beside = upper / packages.relative_to(self._tree)
                beside.mkdir(parents=True)
                (beside / "bs-agent.pth").write_text(f"{REPOSITORY}\n")
            options = f"lowerdir={self._tree},upperdir={upper},workdir={work}"
            made.append(["mount", "-t", "overlay", "overlay", "-o", options, str(self._root)])
            here = ["/dev", "/proc", "/sys", "/dev/shm", tempfile.gettempdir(), str(REPOSITORY)]
            made += [step for each in dict.fromkeys(here) for step in self._bound(each, each)]
        made += [["mount", "-t", "tmpfs", "tmpfs", self._inside(each)] for each in EMPTIED]
        made += [step for inside, outside in self._binds.items() for step in self._bound(str(outside), inside)]
        return made

    def _bound(self, outside: str, inside: str) -> list[list[str]]:
        target = self._inside(inside)
        return [["mkdir", "-p", target], ["mount", "--bind", outside, target]]

    def _inside(self, path: str) -> str:
        return str(self._root / path.lstrip("/"))
