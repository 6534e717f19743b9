"""The pairs of key and certificate in the state directory, over kills at every step, full disks and damaged files."""

import asyncio
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from bs_agent.agent.state import State, StateError, next_of, prepare, present_of, read_pairs, rotate_certificate
from bs_agent.daemon.certificate import fingerprint, make_certificates, server_context
from tests.beds import faults, mounts
from tests.beds.agent import AgentProcess

pytestmark = pytest.mark.asyncio


async def test_there_are_two_pairs_from_the_beginning(tmp_path: Path) -> None:
    kept = await prepare(tmp_path / "state")
    assert kept.certificate == present_of(kept.directory)
    assert [fingerprint(of(kept.directory)) for of in (present_of, next_of)] == [
        kept.fingerprint,
        kept.next_fingerprint,
    ]
    assert kept.fingerprint != kept.next_fingerprint
    for pair in (present_of(kept.directory), next_of(kept.directory)):
        server_context(pair)
        assert pair.stat().st_mode & 0o777 == 0o600
    assert await prepare(tmp_path / "state") == kept == await read_pairs(kept.directory)


async def test_the_next_pair_becomes_the_present_one(tmp_path: Path) -> None:
    kept = await prepare(tmp_path / "state")
    rotated = await rotate_certificate(kept.directory, kept.next_fingerprint)
    assert rotated.fingerprint == kept.next_fingerprint
    assert rotated.next_fingerprint not in {kept.fingerprint, kept.next_fingerprint, ""}
    assert await prepare(kept.directory) == rotated
    with pytest.raises(StateError, match="by another command meanwhile"):
        await rotate_certificate(kept.directory, kept.next_fingerprint)
    assert await prepare(kept.directory) == rotated


@pytest.mark.parametrize("call", ["rename", "fsync"])
async def test_rotations_that_are_killed_leave_pairs_that_fit(tmp_path: Path, call: str) -> None:
    """One is killed at the first such call, the next one, which finds what that has left, at the second, and so on."""
    if why := faults.missing():
        pytest.skip(why)
    process = AgentProcess(tmp_path / "agent", {"server": {"listen": "127.0.0.1:7765"}})
    kept = await prepare(process.state)
    present, following = kept.fingerprint, kept.next_fingerprint
    for when in range(1, 10):
        words = ["strace", "-o/dev/null", f"-etrace={call}", f"-einject={call}:signal=KILL:when={when}"]
        words += process.command("rotate-certificate", "--force")
        done = await asyncio.to_thread(subprocess.run, words, capture_output=True, timeout=60, check=False)
        server_context(present_of(process.state))
        shown = fingerprint(present_of(process.state))
        assert shown in {present, following}, "nobody has been told of any other"
        assert done.returncode or shown == following
        if shown == following:
            present, following = shown, (await read_pairs(process.state)).next_fingerprint
        if done.returncode == 0:
            break
    assert when > 2
    assert done.returncode == 0, "the last one came to its end"
    server_context(next_of(process.state))
    leftovers = {path.name for path in present_of(process.state).parent.iterdir()}
    assert leftovers == {"next.pem", "present.pem"}


def _empty(pair: Path) -> None:
    pair.write_text("")


def _cut(pair: Path) -> None:
    pair.write_bytes(pair.read_bytes()[:-100])


def _other_key(pair: Path) -> None:
    _, mark, certificate = pair.read_text().partition("-----END PRIVATE KEY-----\n")
    sibling = pair.with_name("present.pem" if pair.name == "next.pem" else "next.pem")
    pair.write_text(sibling.read_text().partition(mark)[0] + mark + certificate)


DAMAGES = pytest.mark.parametrize("damage", [_empty, _cut, _other_key])


@DAMAGES
async def test_a_damaged_next_pair_is_made_anew(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    kept = await prepare(tmp_path / "state")
    damage(next_of(kept.directory))
    again = await prepare(kept.directory)
    assert (again.fingerprint, again.next_fingerprint != kept.next_fingerprint) == (kept.fingerprint, True)
    server_context(next_of(kept.directory))


@DAMAGES
async def test_a_damaged_present_pair_is_named_and_left_as_it_is(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    kept = await prepare(tmp_path / "state")
    present = present_of(kept.directory)
    damage(present)
    content = present.read_bytes()
    with pytest.raises(StateError, match="to start anew") as refusal:
        await prepare(kept.directory)
    assert str(present) in str(refusal.value)
    assert present.read_bytes() == content
    present.unlink()
    again = await prepare(kept.directory)
    pairs = {again.fingerprint, again.next_fingerprint}
    assert not pairs & {kept.fingerprint, kept.next_fingerprint}, "the next one lay beside it"


async def test_what_was_left_half_written_does_no_harm(tmp_path: Path) -> None:
    kept = await prepare(tmp_path / "state")
    for name in (".present.pem.new", ".next.pem.new"):
        (present_of(kept.directory).parent / name).write_text("")
    assert await prepare(kept.directory) == kept
    rotated = await rotate_certificate(kept.directory, kept.next_fingerprint)
    assert rotated.fingerprint == kept.next_fingerprint
    server_context(next_of(kept.directory))


async def test_a_full_disk_costs_the_next_pair_only(tmp_path: Path, mountable: None) -> None:
    with mounts.tmpfs(tmp_path / "disk", "size=1m") as disk:
        kept = await prepare(disk / "state")
        next_of(kept.directory).unlink()
        with (disk / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
            while True:
                ballast.write(b"x" * 4096)
        assert await prepare(kept.directory) == State(kept.directory, kept.certificate, kept.fingerprint, "")
        with pytest.raises(StateError):
            await rotate_certificate(kept.directory, kept.next_fingerprint)
        assert fingerprint(kept.certificate) == kept.fingerprint
        (disk / "ballast").unlink()
        assert (await prepare(kept.directory)).next_fingerprint == fingerprint(next_of(kept.directory))


async def test_a_certificate_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "tls").write_text("not a directory")
    with pytest.raises(StateError, match="tls"):
        await prepare(tmp_path / "state")
    made = tmp_path / "made.pem"
    await make_certificates("a name of more than 64 characters, as the longest host names have it", {made: 1})
    server_context(made)
