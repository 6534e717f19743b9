"""The operations of the probe program on real directories: what is refused, what is written, what is left behind."""

import ast
import json
import os
import sys
from pathlib import Path

import pytest

from bs_agent.agent.worker import directory as program
from bs_agent.agent.worker import probe
from bs_agent.agent.worker.problem import Problem
from bs_agent.contract.reasons import ReasonCode
from tests.agent.conftest import OTHER_UUID, UUID, tree
from tests.beds import mounts

MARKER = program.MARKER
RUN_ALONE = [f"bs_agent{name}" for name in ("", ".agent", ".agent.worker")]
RUN_ALONE += [
    f"bs_agent.agent.worker.{name}" for name in ("directory", "filesystem", "keyring", "listing", "probe", "problem")
]


def _connect(path: Path, remembered: dict[str, object] | None = None, uuid: str = UUID) -> dict[str, object]:
    return program.directory_connect(str(path), uuid, remembered, [])


def _code(operation: object, *arguments: object) -> str:
    assert callable(operation)
    with pytest.raises(Problem) as caught:
        operation(*arguments)
    return caught.value.code


@pytest.mark.parametrize("module", RUN_ALONE)
def test_it_is_written_for_python_3_6_and_its_standard_library(module: str) -> None:
    path = sys.modules[module].__file__
    assert path
    source = Path(path).read_text()
    nodes = list(ast.walk(ast.parse(source, feature_version=(3, 6))))
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    named = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in (imported | named) - {*RUN_ALONE}} <= sys.stdlib_module_names | {"rados"}


def test_its_reasons_are_those_of_the_vocabulary() -> None:
    assert set(program.REASON_OF_ERRNO.values()) | set(probe.REASON_OF_RADOS_ERRNO.values()) <= set(ReasonCode)


def test_connect_writes_the_marker_and_nothing_else(directory: Path) -> None:
    before = tree(directory)
    place = _connect(directory)
    assert json.loads((directory / MARKER).read_text())["storage"] == UUID
    assert place["realPath"] == str(directory)
    assert tree(directory).keys() - before.keys() == {MARKER}
    inode = (directory / MARKER).stat().st_ino
    assert _connect(directory, place) == place
    assert (directory / MARKER).stat().st_ino == inode


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/", "DirectoryNotAllowed"),
        ("//", "DirectoryNotAllowed"),
        ("/tmp/..", "DirectoryNotAllowed"),
        ("relative", "DirectoryNotAllowed"),
        ("", "DirectoryNotAllowed"),
        ("/tmp/\0", "DirectoryNotAllowed"),
        ("/" + "x" * 5000, "DirectoryNotAllowed"),
        ("/etc/passwd", "DirectoryNotAllowed"),
        ("/proc", "DirectoryNotAllowed"),
        ("/nowhere/at/all", "DirectoryMissing"),
    ],
)
def test_what_cannot_be_a_storage_is_refused(path: str, code: str) -> None:
    assert _code(program.directory_connect, path, UUID, None, []) == code


def test_a_loop_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert _code(_connect, tmp_path / "loop") == "DirectoryNotAllowed"


def test_the_directory_of_another_storage_is_refused(directory: Path) -> None:
    _connect(directory, uuid=OTHER_UUID)
    before = tree(directory)
    assert _code(_connect, directory) == "MarkerForeign"
    assert _code(program.directory_usage, str(directory), UUID) == "MarkerForeign"
    assert _code(program.directory_remove, str(directory), UUID, MARKER, None) == "MarkerForeign"
    assert program.directory_leftovers(str(directory), UUID, None) == []
    assert tree(directory) == before


def test_a_directory_that_another_storage_has_is_refused_even_without_its_marker(directory: Path) -> None:
    assert _code(program.directory_connect, str(directory), UUID, None, [str(directory)]) == "MarkerForeign"
    assert not (directory / MARKER).exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"storage": ', b"x" * 10_000, b'{"other": 1}'])
def test_a_file_that_is_no_marker_is_left_alone(directory: Path, content: bytes) -> None:
    (directory / MARKER).write_bytes(content)
    assert _code(_connect, directory) == "MarkerForeign"
    assert (directory / MARKER).read_bytes() == content


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_a_marker_that_is_no_file_is_foreign_and_does_not_block(directory: Path, kind: str) -> None:
    marker = directory / MARKER
    if kind == "link":
        (directory / "target").write_text(json.dumps({"storage": UUID}))
        marker.symlink_to("target")
    elif kind == "fifo":
        os.mkfifo(marker)
    else:
        marker.mkdir()
    assert _code(_connect, directory) == "MarkerForeign"


def test_a_missing_marker_comes_back_on_its_own_file_system_only(directory: Path) -> None:
    place = _connect(directory)
    (directory / MARKER).unlink()
    for wrong in ({"mount": "/ /data"}, {"fsid": 1}, {"fsid": 0, "device": -1}):
        assert _code(_connect, directory, place | wrong) == "MarkerMissing"
    assert not (directory / MARKER).exists()
    assert _code(program.directory_usage, str(directory), UUID) == "MarkerMissing"
    _connect(directory, place)
    assert program.directory_usage(str(directory), UUID)["totalCapacity"]


def test_a_device_may_have_another_number_after_a_reboot(directory: Path) -> None:
    place = _connect(directory)
    (directory / MARKER).unlink()
    _connect(directory, place | {"device": -1})


def test_nothing_is_written_where_the_disk_is_not_mounted(tmp_path: Path, mountable: None) -> None:
    disk = tmp_path / "disk"
    with mounts.tmpfs(disk, "size=1m"):
        place = _connect(disk)
    assert _code(_connect, disk, place) == "MarkerMissing"
    with mounts.tmpfs(disk, "size=1m"):  # another disk at the same place
        assert _code(_connect, disk, place) == "MarkerMissing"
        assert tree(disk) == {}
    assert tree(disk) == {}


def test_a_bind_mount_that_is_gone_is_seen(tmp_path: Path, directory: Path, mountable: None) -> None:
    place_of_mount = tmp_path / "mounted"
    place_of_mount.mkdir()
    with mounts.bound(directory, place_of_mount):
        place = _connect(place_of_mount)
    assert _code(_connect, place_of_mount, place) == "MarkerMissing"


def test_no_room_for_the_marker_leaves_nothing(tmp_path: Path, mountable: None) -> None:
    with mounts.tmpfs(tmp_path / "full", "size=4k") as full:
        (full / "data").write_bytes(b"x" * 4096)
        assert _code(_connect, full) == "DirectoryFull"
        assert tree(full).keys() == {"data"}
    with mounts.tmpfs(tmp_path / "none", "size=1m,nr_inodes=2") as none:
        (none / "data").write_bytes(b"x")
        assert _code(_connect, none) == "InodesExhausted"
        assert tree(none).keys() == {"data"}
    with mounts.tmpfs(tmp_path / "fixed", "size=1m,ro") as fixed:
        assert _code(_connect, fixed) == "ReadOnly"


def test_a_connected_directory_may_turn_read_only(tmp_path: Path, mountable: None) -> None:
    with mounts.tmpfs(tmp_path / "disk", "size=1m") as disk:
        place = _connect(disk)
        mounts.mount("tmpfs", disk, "-o", "remount,ro")
        assert _connect(disk, place)["readOnly"] is True
        assert _code(program.directory_remove, str(disk), UUID, MARKER, None) == "ReadOnly"


def test_the_root_of_the_system_is_seen_through_a_bind_mount(tmp_path: Path, mountable: None) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with mounts.bound(Path("/"), root):
        assert _code(_connect, root) == "DirectoryNotAllowed"


def test_after_the_removal_the_directory_is_as_it_was(directory: Path) -> None:
    before = tree(directory)
    _connect(directory)
    (directory / program.unfinished(UUID)).write_text("left by a crash")
    names = program.directory_leftovers(str(directory), UUID, None)
    assert names == [MARKER, program.unfinished(UUID)]
    assert [program.directory_remove(str(directory), UUID, name, None) for name in names * 2] == [
        True,
        True,
        False,
        False,
    ]
    assert tree(directory) == before


def test_nothing_is_ours_to_remove_where_the_disk_is_not_mounted(tmp_path: Path, mountable: None) -> None:
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    kept.mkdir()

    def codes() -> set[str]:
        return {
            _code(program.directory_leftovers, str(disk), UUID, place),
            *(_code(program.directory_remove, str(disk), UUID, name, place) for name in names),
        }

    with mounts.tmpfs(disk, "size=1m"):
        place = _connect(disk)
        names = [*program.directory_leftovers(str(disk), UUID, place), program.unfinished(UUID)]
        mounts.mount(str(disk), kept, "--bind")
    try:
        assert codes() == {"MarkerMissing"}
        with mounts.tmpfs(disk, "size=1m"):  # another disk at the same place
            assert codes() == {"MarkerMissing"}
            _connect(disk, uuid=OTHER_UUID)
            assert codes() == {"MarkerForeign"}
        with mounts.bound(kept, disk):
            assert program.directory_leftovers(str(disk), UUID, place) == [MARKER]
            assert program.directory_remove(str(disk), UUID, MARKER, place)
            assert tree(disk) == {}
    finally:
        mounts.unmount(kept)


def test_a_marker_that_was_removed_by_hand_is_clean(directory: Path) -> None:
    place = _connect(directory)
    (directory / MARKER).unlink()
    assert program.directory_leftovers(str(directory), UUID, place) == []
    assert program.directory_remove(str(directory), UUID, MARKER, place) is False
    _connect(directory, uuid=OTHER_UUID)
    assert program.directory_leftovers(str(directory), UUID, place) == []


@pytest.mark.parametrize("name", ["image.qcow2", "../images/image.qcow2", ".bs-agent.json." + OTHER_UUID, "", "."])
def test_what_is_not_ours_is_not_removed(directory: Path, name: str) -> None:
    before = tree(directory)
    assert _code(program.directory_remove, str(directory), UUID, name, None) == "DirectoryNotAllowed"
    assert tree(directory) == before


def test_a_file_system_without_hard_links_is_served_too(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    before = tree(directory)
    _connect(directory)
    assert tree(directory).keys() - before.keys() == {MARKER}
