"""Real file systems for the tests: small tmpfs, bind mounts, and FUSE mounts that never answer. Root only."""

import ctypes
import os
import struct
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_MNT_DETACH = 2
_FUSE_INIT = 26
_IN_HEADER = struct.Struct("=IIQQIIIHH")
_OUT_HEADER = struct.Struct("=IiQ")
_INIT_OUT = struct.Struct("=IIIIHHII36x")


def missing() -> str:
    """Say why there can be no mounts here; empty when there can."""
    if os.geteuid():
        return "mounting wants root"
    return "" if Path("/dev/fuse").exists() else "there is no /dev/fuse"


def mount(source: str, target: Path, *options: str) -> None:
    """Mount something; the caller unmounts it."""
    subprocess.run(["mount", *options, source, str(target)], check=True, timeout=30)


def unmount(target: Path) -> None:
    """Unmount at once, whoever still uses it."""
    if _LIBC.umount2(bytes(target), _MNT_DETACH):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(target))


@contextmanager
def tmpfs(target: Path, options: str) -> Iterator[Path]:
    """Have a tmpfs of the given size on `target`."""
    target.mkdir(exist_ok=True)
    mount("tmpfs", target, "-t", "tmpfs", "-o", options)
    try:
        yield target
    finally:
        unmount(target)


@contextmanager
def ext4(image: Path, target: Path, options: str = "errors=remount-ro") -> Iterator[str]:
    """Have a small ext4 on `target`, on a loop device; yields the name of that."""
    target.mkdir(exist_ok=True)
    with image.open("wb") as disk:
        disk.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True, timeout=30)
    mount(str(image), target, "-o", f"loop,{options}")
    try:
        device = target.stat().st_dev
        yield Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve().name
    finally:
        unmount(target)


@contextmanager
def bound(source: Path, target: Path) -> Iterator[Path]:
    """Have `source` at `target` too."""
    mount(str(source), target, "--bind")
    try:
        yield target
    finally:
        unmount(target)


@contextmanager
def hung(target: Path, *, taken: bool = False, held: set[int] | None = None) -> Iterator[Path]:
    """Have a mount on `target` that never answers.

    With `taken` the requests are taken and never answered: whoever asked can not even be killed until the end,
    also when the test unmounts it. The ids of these processes are put into `held`.
    """
    target.mkdir(exist_ok=True)
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
    try:
        if _LIBC.mount(b"hung", bytes(target), b"fuse", 0, options):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(target))
        try:
            number = _devices_at(target)[-1]
            server = threading.Thread(target=_take_all, args=(device, set() if held is None else held), daemon=True)
            if taken:
                server.start()
            yield target
        finally:
            # What hangs on the connection gets an error, and the reader its end.
            _abort(number)
            if number in _devices_at(target):  # the test may have unmounted it before
                unmount(target)
            if taken:
                server.join(10)
    finally:
        os.close(device)


def _devices_at(target: Path) -> list[str]:
    """Return the device numbers of all that is mounted on `target`, the topmost last, without touching it."""
    with Path("/proc/self/mountinfo").open() as lines:
        return [fields[2] for fields in map(str.split, lines) if fields[4] == str(target)]


def _abort(device: str) -> None:
    """Cut the connection of a FUSE mount; its number is that of the device. It may be gone already."""
    with tempfile.TemporaryDirectory() as control:
        subprocess.run(["mount", "-t", "fusectl", "none", control], check=True, timeout=30)
        try:
            with suppress(FileNotFoundError):
                Path(control, device.split(":")[1], "abort").write_text("1")
        finally:
            unmount(Path(control))


def _take_all(device: int, held: set[int]) -> None:
    while True:
        try:
            request = os.read(device, 1 << 20)
        except OSError:  # the connection was cut
            return
        _, opcode, unique, _, _, _, process, *_ = _IN_HEADER.unpack_from(request)
        if opcode == _FUSE_INIT:
            content = _INIT_OUT.pack(7, 26, 65536, 0, 12, 9, 65536, 0)
            os.write(device, _OUT_HEADER.pack(_OUT_HEADER.size + len(content), 0, unique) + content)
        else:
            held.add(process)
