"""A file system of our own making: its numbers and its errors are what the test says. Root only, no package needed.

It holds files in one directory, in memory, and answers what it is asked for by the operations of FUSE's protocol.
"""

import ctypes
import errno
import os
import stat
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.beds.mounts import unmount

_LIBC = ctypes.CDLL(None, use_errno=True)
_IN = struct.Struct("=IIQQIIIHH")
_OUT = struct.Struct("=IiQ")
_INIT = struct.Struct("=IIIIHHII36x")
_ATTR = struct.Struct("=6Q10I")
_ENTRY = struct.Struct("=4QII")
_STATFS = struct.Struct("=5Q4I24x")
ROOT = 1
OPERATIONS = {
    1: "lookup", 3: "getattr", 4: "setattr", 10: "unlink", 12: "rename", 13: "link", 14: "open", 15: "read",
    16: "write", 17: "statfs", 18: "release", 20: "fsync", 25: "flush", 26: "init", 27: "opendir", 29: "releasedir",
    30: "fsyncdir", 35: "create",
}  # fmt: skip
SILENT = {2, 36, 42}  # forget, interrupt and batch forget want no answer


@dataclass
class Answering:
    """What the file system says: its numbers by the kernel's names, its files, and the operations that fail.

    What is in `before` is done before an operation is answered.
    """

    files: dict[str, bytearray] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    before: dict[str, Callable[[], None]] = field(default_factory=dict)
    _nodes: dict[int, bytearray] = field(default_factory=dict)

    def answer(self, opcode: int, node: int, body: bytes) -> bytes:
        """Return the answer to one request; an OSError is an answer too."""
        name = OPERATIONS.get(opcode, "")
        self.before.get(name, lambda: None)()
        if name in self.errors:
            raise OSError(self.errors[name], name)
        handle = getattr(self, f"_{name}", None)
        if handle is None:
            raise OSError(errno.ENOSYS, name)
        done: bytes = handle(node, body)
        return done

    def _init(self, node: int, body: bytes) -> bytes:
        return _INIT.pack(7, 26, 65536, 0, 12, 9, 65536, 0)

    def _lookup(self, node: int, body: bytes) -> bytes:
        return self._entry(_text(body))

    def _getattr(self, node: int, body: bytes) -> bytes:
        return struct.pack("=QII", 0, 0, 0) + self._attributes(node)

    _setattr = _getattr

    def _open(self, node: int, body: bytes) -> bytes:
        return struct.pack("=QII", 0, 0, 0)

    _opendir = _open

    def _read(self, node: int, body: bytes) -> bytes:
        _, offset, size = struct.unpack_from("=QQI", body)
        return bytes(self._nodes[node][offset : offset + size])

    def _write(self, node: int, body: bytes) -> bytes:
        _, offset, size = struct.unpack_from("=QQI", body)
        self._nodes[node][offset : offset + size] = body[40 : 40 + size]
        return struct.pack("=II", size, 0)

    def _statfs(self, node: int, body: bytes) -> bytes:
        names = ("f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree", "f_bsize", "f_namelen", "f_frsize")
        usual = (1000, 500, 500, 100, 50, 4096, 255, 4096)
        found = dict(zip(names, usual, strict=True)) | self.numbers
        return _STATFS.pack(*(found[name] for name in names), 0)

    def _create(self, node: int, body: bytes) -> bytes:
        name = _text(body[16:])
        self.files[name] = bytearray()
        return self._entry(name) + struct.pack("=QII", 0, 0, 0)

    def _unlink(self, node: int, body: bytes) -> bytes:
        if self.files.pop(_text(body), None) is None:
            raise OSError(errno.ENOENT, "unlink")
        return b""

    def _rename(self, node: int, body: bytes) -> bytes:
        old, new = body[8:].split(b"\0")[:2]
        self.files[new.decode()] = self.files.pop(old.decode())
        return b""

    def _link(self, node: int, body: bytes) -> bytes:
        self.files[_text(body[8:])] = self._nodes[struct.unpack_from("=Q", body)[0]]
        return self._entry(_text(body[8:]))

    def _flush(self, node: int, body: bytes) -> bytes:
        return b""

    _release = _releasedir = _fsync = _fsyncdir = _flush

    def _entry(self, name: str) -> bytes:
        if name not in self.files:
            raise OSError(errno.ENOENT, name)
        content = self.files[name]
        node = next((node for node, other in self._nodes.items() if other is content), len(self._nodes) + 2)
        self._nodes[node] = content
        return _ENTRY.pack(node, 0, 0, 0, 0, 0) + self._attributes(node)

    def _attributes(self, node: int) -> bytes:
        mode = stat.S_IFDIR | 0o755 if node == ROOT else stat.S_IFREG | 0o644
        size = 0 if node == ROOT else len(self._nodes[node])
        return _ATTR.pack(node, size, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


@contextmanager
def mounted(target: Path, files: Mapping[str, bytes] | None = None) -> Iterator[Answering]:
    """Have such a file system on `target`; what it says may be changed while it is there."""
    target.mkdir(exist_ok=True)
    said = Answering(files={name: bytearray(content) for name, content in (files or {}).items()})
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    try:
        options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
        if _LIBC.mount(b"answering", bytes(target), b"fuse", 0, options):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(target))
        server = threading.Thread(target=_serve, args=(device, said), daemon=True)
        server.start()
        try:
            yield said
        finally:
            unmount(target)
            server.join(10)
    finally:
        os.close(device)


def _serve(device: int, said: Answering) -> None:
    while True:
        try:
            request = os.read(device, 1 << 20)
        except OSError:  # it was unmounted
            return
        _, opcode, unique, node, *_ = _IN.unpack_from(request)
        if opcode in SILENT:
            continue
        try:
            content, failure = said.answer(opcode, node, request[_IN.size :]), 0
        except OSError as error:
            content, failure = b"", -(error.errno or errno.EIO)
        try:
            os.write(device, _OUT.pack(_OUT.size + len(content), failure, unique) + content)
        except OSError:  # whoever asked is gone
            continue


def _text(body: bytes) -> str:
    return body.split(b"\0")[0].decode()
