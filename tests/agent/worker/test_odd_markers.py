"""What neighbours may put in the place of a marker or of the directory: refused with its reason, and never followed."""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings

from bs_agent.agent.worker import directory as program
from bs_agent.agent.worker.problem import Problem
from tests.agent.conftest import OTHER_UUID, UUID, tree
from tests.odd_values import JSON, LINES

MARKER = program.MARKER
OURS = json.dumps({"storage": UUID}).encode()
GIGABYTE = 1 << 30


def _put(path: Path, kind: str, target: Path) -> None:
    match kind:
        case "a link":
            path.symlink_to(target)
        case "a FIFO":
            os.mkfifo(path)
        case "a directory":
            path.mkdir()
        case "a socket":
            os.mknod(path, 0o600 | stat.S_IFSOCK)
        case "a device":
            os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))
        case _:
            path.write_bytes(OURS)
            os.truncate(path, GIGABYTE)


def _problem(operation: Callable[..., object], *arguments: object) -> Problem:
    with pytest.raises(Problem) as caught:
        operation(*arguments)
    return caught.value


def _look(directory: Path, remembered: dict[str, Any] | None, storage: str = UUID) -> list[Problem]:
    """Have every operation refuse what is in the place of the marker."""
    path = str(directory)
    return [
        _problem(program.directory_connect, path, storage, remembered, []),
        _problem(program.directory_usage, path, storage),
        _problem(program.directory_remove, path, storage, MARKER, remembered),
    ]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "images"
    made.mkdir()
    (made / "image.qcow2").write_text("an image")
    return made


@pytest.mark.parametrize(
    "kind", ["a link", "a FIFO", "a directory", "a socket", "a device", f"has {GIGABYTE} bytes, a marker has 4096"]
)
@pytest.mark.parametrize("known", [True, False])
def test_what_is_no_marker_is_named_by_every_operation(
    directory: Path, mountable: None, tmp_path: Path, kind: str, known: bool
) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(OURS)
    remembered = None
    if known:
        remembered = program.directory_connect(str(directory), UUID, None, [])
        (directory / MARKER).unlink()
    _put(directory / MARKER, kind, outside)
    before = sorted(directory.iterdir())
    for problem in _look(directory, remembered):
        assert problem.code == "MarkerForeign"
        assert f"{MARKER} {kind if kind.startswith('has') else f'is {kind} and no marker'}" in problem.details
    assert program.directory_leftovers(str(directory), UUID, remembered) == []
    assert sorted(directory.iterdir()) == before
    assert outside.read_bytes() == OURS


@settings(max_examples=200)
@given(
    LINES | JSON.map(lambda value: json.dumps(value).encode()) | JSON.map(lambda v: json.dumps({"storage": v}).encode())
)
@example(OURS)
@example(OURS + b"x")
@example(json.dumps({"storage": UUID.upper()}).encode())
@example(json.dumps({"storage": UUID + "\n"}).encode())
@example(json.dumps({"storage": OTHER_UUID, "writtenBy": "bs-agent"}).encode())
@example(b'{"storage": "' + UUID.encode() + b'"}' + b" " * 5000)
def test_a_marker_of_any_bytes_names_one_storage_or_none(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    directory = tmp_path_factory.mktemp("images", numbered=True)
    (directory / MARKER).write_bytes(content)
    with program.opened(str(directory)) as opened:
        owner = program.marker_owner(opened, str(directory))
    assert owner is not None
    if owner:
        assert json.loads(content)["storage"] == owner
        assert len(owner) == 32
    asked = OTHER_UUID if owner == UUID else UUID
    for problem in _look(directory, None, asked):
        assert problem.code == "MarkerForeign"
        assert len(problem.details) < 500
    assert (directory / MARKER).read_bytes() == content


@pytest.mark.parametrize("kind", ["a link", "a FIFO", "a directory", "a socket", "a device", "nothing"])
def test_what_comes_in_between_is_neither_followed_nor_waited_for(
    directory: Path, mountable: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """It was a file of our size when it was looked at."""
    (tmp_path / "outside").write_bytes(OURS)
    (directory / MARKER).write_bytes(OURS)
    seen = (directory / MARKER).stat()
    (directory / MARKER).unlink()
    if kind != "nothing":
        _put(directory / MARKER, kind, tmp_path / "outside")
    monkeypatch.setattr(program, "seen_at", lambda *_: seen)
    code = "MarkerMissing" if kind == "nothing" else "MarkerForeign"
    assert _problem(program.directory_usage, str(directory), UUID).code == code


def test_a_link_in_the_place_of_the_directory_leads_nowhere(directory: Path, tmp_path: Path) -> None:
    place = program.directory_connect(str(directory), UUID, None, [])
    directory.rename(tmp_path / "away")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("a key")
    directory.symlink_to("secret")
    before = tree(tmp_path / "secret")
    problems = [
        _problem(program.directory_connect, str(directory), UUID, place, []),
        _problem(program.directory_leftovers, str(directory), UUID, place),
        _problem(program.directory_remove, str(directory), UUID, MARKER, place),
    ]
    assert {problem.code for problem in problems} == {"MarkerMissing"}
    assert _problem(program.directory_usage, str(directory), UUID).code == "MarkerMissing"
    assert tree(tmp_path / "secret") == before
    # Where the link leads to our directory, it is the one that it was: the marker says so.
    directory.unlink()
    directory.symlink_to("away")
    assert program.directory_usage(str(directory), UUID)["totalCapacity"]
    assert program.directory_connect(str(directory), UUID, place, [])["realPath"] == str(tmp_path / "away")


class Calls:
    """The calls that are made of the operating system by the name of an entry; each must be by an open directory."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        self.seen: list[str] = []
        self._directory = str(directory)
        for name in ("open", "stat", "unlink", "link", "rename", "access"):
            monkeypatch.setattr(os, name, self._checked(name, getattr(os, name)))

    def _checked(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def checked(path: Any, *more: Any, **named: Any) -> Any:
            if not isinstance(path, int) and not str(path).startswith(("/proc/", "/sys/", "/dev/")):
                self._check(name, path, more, named)
            return call(path, *more, **named)

        return checked

    def _check(self, name: str, path: Any, more: Any, named: dict[str, Any]) -> None:
        if str(path) in {"/", self._directory}:
            return
        self.seen.append(name)
        assert "/" not in str(path), (name, path)
        if name == "open":
            assert more[0] & os.O_NOFOLLOW
        elif name in {"stat", "link"}:
            assert named["follow_symlinks"] is False
        for key in ("src_dir_fd", "dst_dir_fd") if name in {"link", "rename"} else ("dir_fd",):
            assert isinstance(named[key], int)


@pytest.mark.parametrize("hard_links", [True, False])
def test_every_entry_is_reached_by_its_directory_and_no_link_is_followed(
    directory: Path, monkeypatch: pytest.MonkeyPatch, hard_links: bool
) -> None:
    path = str(directory)
    if not hard_links:

        def no_links(*_: object, **__: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", no_links)
    calls = Calls(monkeypatch, directory)
    place = program.directory_connect(path, UUID, None, [])
    program.directory_connect(path, UUID, place, [])
    program.directory_usage(path, UUID)
    for name in program.directory_leftovers(path, UUID, place):
        assert program.directory_remove(path, UUID, name, place)
    assert set(calls.seen) >= {"open", "stat", "unlink", "link", "access"} | ({"rename"} if not hard_links else set())
    assert [entry.name for entry in directory.iterdir()] == ["image.qcow2"]
