"""Directories in the odd corners of kernels: no error of theirs ends the worker, and no number of theirs is trusted."""

import errno
import json
import os
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bs_agent.agent.worker import directory as program
from bs_agent.agent.worker import filesystem
from bs_agent.agent.worker.problem import Problem
from bs_agent.agent.worker.process import Worker, WorkerCounters, WorkerError
from bs_agent.contract.reasons import ReasonCode
from tests.agent.conftest import OTHER_UUID, UUID, tree
from tests.beds import faults, fuse, mounts

MARKER = program.MARKER
UNFINISHED = program.unfinished(UUID)
OURS = json.dumps({"storage": UUID}).encode()
DEADLINE = 30.0
LARGEST = 2**63 - 1


def _below_zero(number: int) -> int:
    return 2**64 - number


def _code(operation: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(Problem) as caught:
        operation(*arguments)
    return caught.value.code


@pytest.mark.parametrize(
    ("numbers", "capacity", "inodes"),
    [
        ({"f_bavail": _below_zero(1)}, (4096000, 0), (100, 50)),
        ({"f_bavail": _below_zero(5000)}, (4096000, 0), (100, 50)),
        ({"f_bavail": 2**63}, (4096000, 0), (100, 50)),
        ({"f_bavail": 2**63 - 1}, (4096000, 4096000), (100, 50)),
        ({"f_bavail": 1001}, (4096000, 4096000), (100, 50)),
        ({"f_blocks": 2**62, "f_bavail": 2**61}, (LARGEST, LARGEST), (100, 50)),
        ({"f_blocks": 2**52, "f_bavail": 2**50}, (LARGEST, 2**62), (100, 50)),
        ({"f_blocks": _below_zero(1), "f_bavail": _below_zero(1)}, (0, 0), (100, 50)),
        ({"f_blocks": 0, "f_bavail": 7}, (0, 0), (100, 50)),
        ({"f_frsize": 0, "f_bsize": 512}, (512000, 256000), (100, 50)),
        ({"f_ffree": _below_zero(2)}, (4096000, 2048000), (100, 0)),
        ({"f_ffree": 101}, (4096000, 2048000), (100, 100)),
        ({"f_files": 0, "f_ffree": 9}, (4096000, 2048000), (0, 0)),
        # CephFS tells how many files there are, and -1 for how many there may be yet.
        ({"f_files": 12345, "f_ffree": _below_zero(1)}, (4096000, 2048000), (0, 0)),
    ],
)
def test_no_number_is_below_zero_or_above_its_total(
    tmp_path: Path, mountable: None, numbers: dict[str, int], capacity: tuple[int, int], inodes: tuple[int, int]
) -> None:
    with fuse.mounted(tmp_path / "odd") as said:
        said.numbers = numbers
        usage = program.directory_usage(str(tmp_path / "odd"), None)
    assert (usage["totalCapacity"], usage["availableCapacity"]) == capacity
    assert (usage["totalInodes"], usage["availableInodes"]) == inodes


@pytest_asyncio.fixture
async def worker() -> AsyncIterator[Worker]:
    worker = Worker("odd", Path("/usr/bin/python3"))
    yield worker
    assert await worker.stop()


OPERATIONS: dict[str, dict[str, Any]] = {
    "directory_connect": {"remembered": None, "taken": []},
    "directory_usage": {},
    "directory_leftovers": {"remembered": None},
    "directory_remove": {"remembered": None, "name": MARKER},
}
ODD_ERRORS = ["ESTALE", "EIO", "ENOTCONN", "EUCLEAN", "ENXIO", "ETIMEDOUT", "ENOSPC", "EDQUOT", "EACCES", "ENODATA"]


async def _codes(worker: Worker, path: Path) -> dict[str, str]:
    """Ask for every operation; return the code of each, which is empty where it succeeds."""
    codes = {}
    for operation, parameters in OPERATIONS.items():
        try:
            await worker.call(operation, DEADLINE, path=str(path), storage=UUID, **parameters)
            codes[operation] = ""
        except WorkerError as error:
            codes[operation] = str(error.reason.code)
    return codes


@pytest.mark.asyncio
@pytest.mark.parametrize("marked", [True, False], ids=["with a marker", "without"])
@pytest.mark.parametrize("error", ODD_ERRORS)
async def test_no_error_of_a_file_system_ends_the_worker(
    worker: Worker, tmp_path: Path, mountable: None, error: str, marked: bool
) -> None:
    odd = tmp_path / "odd"
    with fuse.mounted(odd) as said:
        for operation in fuse.OPERATIONS.values():
            said.errors.clear()
            said.files = {MARKER: bytearray(OURS)} if marked else {}
            said.errors = {operation: getattr(errno, error)}
            codes = await _codes(worker, odd)
            assert "WorkerCrashed" not in codes.values(), (operation, codes)
            if operation == "statfs" and error in {"ESTALE", "EIO", "ENOTCONN"} and marked:
                assert codes["directory_usage"] == ReasonCode.DIRECTORY_FAULT
    assert worker.counters == WorkerCounters(starts=1)


@pytest.mark.asyncio
@pytest.mark.parametrize("call", ["openat", "newfstatat", "fstatfs", "close", "linkat", "unlinkat", "fsync", "fstat"])
async def test_no_error_of_a_system_call_ends_the_worker(worker: Worker, tmp_path: Path, call: str) -> None:
    if why := faults.missing():
        pytest.skip(why)
    assert (await _codes(worker, tmp_path))["directory_connect"] == ""
    assert worker.pid
    for number in range(1, 9):
        with faults.injected(worker.pid, call, f"error=ESTALE:when={number}"):
            assert "WorkerCrashed" not in (await _codes(worker, tmp_path)).values(), number
    assert worker.counters == WorkerCounters(starts=1)


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 4000,
        b'{"storage": ' * 300,
        b'{"storage": "\\ud800"}',
        b'{"storage": "' + UUID.upper().encode().replace(b"1", b"A") + b'"}',
        b'{"storage": "' + UUID.encode() + b'0"}',
        b'{"storage": ["' + UUID.encode() + b'"]}',
        b'{"storage": 1111}',
        OURS + b" " * 5000,
        OURS + b"\0",
    ],
)
def test_a_marker_that_is_not_as_we_write_it_is_refused(directory: Path, content: bytes) -> None:
    (directory / MARKER).write_bytes(content)
    assert _code(program.directory_connect, str(directory), UUID, None, []) == "MarkerForeign"
    assert _code(program.directory_usage, str(directory), UUID) == "MarkerForeign"
    assert program.directory_leftovers(str(directory), UUID, None) == []
    assert (directory / MARKER).read_bytes() == content


def test_a_marker_of_a_gigabyte_is_not_read(directory: Path) -> None:
    (directory / MARKER).write_bytes(OURS)
    os.truncate(directory / MARKER, 1 << 30)
    assert _code(program.directory_usage, str(directory), UUID) == "MarkerForeign"


def _put(path: Path, kind: str, target: Path) -> None:
    """Put something in the place of one of our files that only a neighbour would put there."""
    if kind == "link":
        path.symlink_to(target)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        os.mknod(path, 0o600 | stat.S_IFSOCK)
    elif kind == "device":
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))


@pytest.mark.parametrize("kind", ["link", "fifo", "folder", "socket", "device"])
@pytest.mark.parametrize("name", [MARKER, UNFINISHED])
def test_what_a_neighbour_put_in_our_place_is_refused_and_left(
    directory: Path, mountable: None, tmp_path: Path, kind: str, name: str
) -> None:
    (tmp_path / "outside").write_bytes(OURS)
    _put(directory / name, kind, tmp_path / "outside")
    before = tree(directory)
    assert _code(program.directory_connect, str(directory), UUID, None, []) == "MarkerForeign"
    assert program.directory_leftovers(str(directory), UUID, None) == []
    assert tree(directory) == before
    assert (tmp_path / "outside").read_bytes() == OURS


def test_a_link_in_the_place_of_what_is_removed_is_left(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("not ours")
    (directory / UNFINISHED).symlink_to(tmp_path / "outside")
    assert program.directory_remove(str(directory), UUID, UNFINISHED, None) is False
    assert (directory / UNFINISHED).is_symlink()


def test_another_name_of_an_image_is_not_written_through(directory: Path) -> None:
    (directory / UNFINISHED).hardlink_to(directory / "image.qcow2")
    program.directory_connect(str(directory), UUID, None, [])
    assert (directory / "image.qcow2").read_text() == "an image"
    assert tree(directory).keys() == {MARKER, "image.qcow2"}


@pytest.mark.parametrize("refusal", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK])
@pytest.mark.parametrize("owner", [OTHER_UUID, UUID])
def test_without_hard_links_a_marker_that_came_in_between_stays(
    tmp_path: Path, mountable: None, refusal: int, owner: str
) -> None:
    marker = bytearray(json.dumps({"storage": owner}).encode())
    with fuse.mounted(tmp_path / "odd") as said:
        said.errors = {"link": refusal}
        said.before = {"link": lambda: said.files.update({MARKER: marker})}
        if owner == UUID:
            program.directory_connect(str(tmp_path / "odd"), UUID, None, [])
        else:
            assert _code(program.directory_connect, str(tmp_path / "odd"), UUID, None, []) == "MarkerForeign"
        assert said.files == {MARKER: marker}


@pytest.mark.parametrize("taken_up", [True, False])
def test_without_hard_links_what_was_cut_short_is_taken_up_or_taken_back(
    tmp_path: Path, mountable: None, taken_up: bool
) -> None:
    odd = tmp_path / "odd"
    with fuse.mounted(odd, {MARKER: b"", UNFINISHED: OURS}) as said:
        said.errors = {"link": errno.EPERM}
        assert _code(program.directory_connect, str(odd), OTHER_UUID, None, []) == "MarkerForeign"
        assert _code(program.directory_usage, str(odd), UUID) == "MarkerForeign"
        names = program.directory_leftovers(str(odd), UUID, None)
        assert names == [MARKER, UNFINISHED]
        if taken_up:
            program.directory_connect(str(odd), UUID, None, [])
            assert program.directory_usage(str(odd), UUID)["totalCapacity"]
        else:
            assert all(program.directory_remove(str(odd), UUID, name, None) for name in names)
        assert list(said.files) == [MARKER] * taken_up


@pytest.mark.parametrize("path", ["/tmp/\ud800", "/\udfff"])
def test_a_path_that_no_file_system_can_have_is_refused(path: str) -> None:
    assert _code(program.directory_connect, path, UUID, None, []) == "DirectoryNotAllowed"


def test_a_path_of_any_bytes_is_served(tmp_path: Path, mountable: None) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n\r \\040 %s \xc3"))
    with mounts.tmpfs(odd, "size=1m"):
        _check_served(odd)


def _check_served(odd: Path) -> None:
    place = program.directory_connect(str(odd), UUID, None, [])
    assert json.loads(json.dumps(place)) == place
    assert place["mount"].startswith("/ /")
    assert program.directory_connect(str(odd), UUID, place, []) == place
    assert program.directory_usage(str(odd), UUID)["totalCapacity"]


@pytest.mark.asyncio
async def test_a_disk_that_only_this_service_still_holds_is_not_shown(tmp_path: Path, mountable: None) -> None:
    """As systemd starts a service: its own view follows that of the host, with the directory mounted in it."""
    disk = tmp_path / "disk"
    own = tmp_path / "python3"
    own.write_text(f'#!/bin/sh\nmount --bind {disk}/images {disk}/images && exec /usr/bin/python3 "$@"\n')
    own.chmod(0o755)
    wrapper = tmp_path / "wrapper"
    wrapper.write_text(f'#!/bin/sh\nexec unshare --mount --propagation slave {own} "$@"\n')
    wrapper.chmod(0o755)
    with mounts.tmpfs(disk, "size=1m"):
        mounts.mount("none", disk, "--make-shared")
        (disk / "images").mkdir()
        worker = Worker("in a view of its own", wrapper)
        asked: dict[str, Any] = {"path": str(disk / "images"), "storage": UUID}
        place = await worker.call("directory_connect", DEADLINE, remembered=None, taken=[], **asked)
        usage = await worker.call("directory_usage", DEADLINE, followed=True, **asked)
        assert (place["follows"], usage["follows"], usage["totalCapacity"]) == (True, True, 1 << 20)
        mounts.unmount(disk)
        for operation, more in (("directory_usage", {}), ("directory_connect", {"remembered": place, "taken": []})):
            with pytest.raises(WorkerError, match="the host has unmounted the disk") as caught:
                await worker.call(operation, DEADLINE, followed=True, **asked, **more)
            assert caught.value.reason.code == ReasonCode.DIRECTORY_UNMOUNTED
        assert await worker.stop()
        mounts.mount("tmpfs", disk, "-t", "tmpfs")


@pytest.fixture
def stopped(tmp_path: Path, mountable: None) -> Any:
    """An ext4 that the kernel has stopped after an error."""
    disk = tmp_path / "disk"
    with mounts.ext4(tmp_path / "image", disk) as device:
        program.directory_connect(str(disk), UUID, None, [])
        Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("an error")
        yield disk


def test_a_disk_that_the_kernel_has_stopped_is_read_only(stopped: Path) -> None:
    usage = program.directory_usage(str(stopped), UUID)
    assert (usage["readOnly"], usage["totalCapacity"] > 0) == (True, True)
    assert program.directory_connect(str(stopped), UUID, None, [])["readOnly"]
    assert _code(program.directory_remove, str(stopped), UUID, MARKER, None) == "ReadOnly"


def test_kernels_that_show_it_nowhere_are_asked(stopped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "STOPPED", frozenset())
    assert program.directory_usage(str(stopped), UUID)["readOnly"]
    monkeypatch.setattr(filesystem, "refuses", lambda _directory: False)
    assert not program.directory_usage(str(stopped), UUID)["readOnly"]


def test_a_disk_that_goes_on_after_an_error_is_not_read_only(tmp_path: Path, mountable: None) -> None:
    disk = tmp_path / "disk"
    with mounts.ext4(tmp_path / "image", disk, "errors=continue") as device:
        Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("an error")
        assert program.directory_connect(str(disk), UUID, None, [])["readOnly"] is False
        assert program.directory_usage(str(disk), UUID)["readOnly"] is False
