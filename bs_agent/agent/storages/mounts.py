"""Which mount a path is on, as the kernel lists them: found without touching the path, which may hang."""

import os
import re
import select
import weakref
from pathlib import Path

LIST = Path("/proc/self/mountinfo")
CHUNK = 1 << 20
_ESCAPED = re.compile(rb"\\([0-7]{3})")


class Mounts:
    """The mount points of this process's namespace, read again when the kernel says that they have changed."""

    def __init__(self) -> None:
        self._list = os.open(LIST, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._list)
        self._changes = select.poll()
        self._changes.register(self._list, select.POLLPRI)
        self._points: frozenset[bytes] | None = None

    def of(self, path: str) -> str:
        """Return the mount point that an absolute path lies below, as text; links in it are not followed."""
        if self._changes.poll(0) or self._points is None:
            self._points = self._read()
        below = os.path.normpath(b"/" + os.fsencode(path).lstrip(b"/"))
        while below not in self._points and below != b"/":
            below = below.rpartition(b"/")[0] or b"/"
        return below.decode(errors="backslashreplace")

    def _read(self) -> frozenset[bytes]:
        os.lseek(self._list, 0, os.SEEK_SET)
        content = bytearray()
        while chunk := os.read(self._list, CHUNK):
            content += chunk
        return points_in(bytes(content))


def points_in(content: bytes) -> frozenset[bytes]:
    """Return the mount points of the kernel's list."""
    fields = (line.split(b" ") for line in content.split(b"\n"))
    return frozenset(_ESCAPED.sub(_unescaped, line[4]) for line in fields if len(line) > 4)


def _unescaped(found: re.Match[bytes]) -> bytes:
    return bytes([int(found[1], 8) & 0xFF])
