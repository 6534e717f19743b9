"""Whatever stands in the file of the running daemon: where it listens and its process, or none."""

import fcntl
import os
import signal
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bs_agent.agent import state
from bs_agent.daemon.configuration import Address
from tests.odd_values import LINES

WELL = b"127.0.0.1:7765\n4711\n"
PARTS = st.sampled_from([b"127.0.0.1:7765", b"[::1]:7765", b"4711", b"-1", b"0", b"1", b"9" * 20, b"+5", b"\n", b"x"])


def _running(folder: Path, content: bytes) -> tuple[Address | None, list[tuple[int, int]]]:
    """What is read while a daemon holds its lock, and which processes are told by which signal."""
    told: list[tuple[int, int]] = []
    with (folder / "running").open("wb") as daemon, pytest.MonkeyPatch.context() as patch:
        fcntl.flock(daemon, fcntl.LOCK_EX)
        daemon.write(content)
        daemon.flush()
        patch.setattr(os, "kill", lambda *call: told.append(call))
        state.tell_running(folder)
        return state.running_address(folder), told


def test_a_daemon_is_told(tmp_path: Path) -> None:
    assert _running(tmp_path, WELL) == (Address("127.0.0.1", 7765), [(4711, signal.SIGHUP)])


@settings(max_examples=100, deadline=None)
@given(LINES | st.lists(PARTS, max_size=4).map(b" ".join))
@example(b"127.0.0.1:7765\n-1\n")
@example(b"127.0.0.1:7765\n0\n")
@example(b"127.0.0.1:7765\n99999999999999999999\n")
def test_nobody_else_is_told(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    address, told = _running(tmp_path_factory.mktemp("state"), content)
    assert (address is None) == (told == [])
    assert all(1 < pid < 2**31 for pid, _ in told)
