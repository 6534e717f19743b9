"""Whatever an admin socket says, and whatever lies beside it: a mon within the contract, or why there is none."""

import asyncio
import json
import os
import struct
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from bs_agent.agent.storages.ceph_sockets import LocalMons, local_mons, mon_sockets
from bs_agent.contract.reasons import Reason, ReasonCode
from bs_agent.contract.report import LocalMon
from tests.ceph.captured import FOLDER
from tests.odd_values import LINES, as_text, spoilt

FOUND = FOLDER / "16.2" / "healthy"
STATUS = json.loads((FOUND / "socket_mon_status.json").read_text())
VERSION = json.loads((FOUND / "socket_version.json").read_text())
FSID = STATUS["monmap"]["fsid"]


def _framed(answer: bytes) -> bytes:
    return struct.pack(">I", len(answer)) + answer


async def _told(status: bytes, version: bytes, fsid: str) -> LocalMons:
    """What is read of a socket that answers so."""
    with tempfile.TemporaryDirectory() as folder:

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked = json.loads((await reader.readuntil(b"\0"))[:-1])
            with suppress(ConnectionError):
                writer.write(status if asked["prefix"] == "mon_status" else version)
                await writer.drain()
            writer.close()

        async with await asyncio.start_unix_server(answer, Path(folder, "ceph-mon.a.asok")):
            return await local_mons(Path(folder), fsid)


def _check(found: LocalMons) -> None:
    assert len(found.mons) + len(found.silent) <= 1
    for mon in found.mons:
        assert LocalMon.model_validate_json(mon.model_dump_json()) == mon
    for said in found.silent:
        assert "\n" not in Reason(code=ReasonCode.CEPH_FAULT, details=said).details


def test_what_was_captured_is_a_mon() -> None:
    found = asyncio.run(_told(_framed(as_text(STATUS).encode()), _framed(as_text(VERSION).encode()), FSID))
    assert [mon.name for mon in found.mons] == [STATUS["name"]]


@settings(max_examples=100, deadline=None)
@given(spoilt(STATUS), spoilt(VERSION), st.sampled_from([FSID, ""]))
@example(STATUS | {"name": "x" * 300}, VERSION, FSID)
@example(STATUS | {"rank": 2**64}, VERSION, FSID)
@example(STATUS, {"version": "ceph version"}, FSID)
def test_an_answer_that_is_spoilt_in_places(status: Any, version: Any, fsid: str) -> None:
    _check(asyncio.run(_told(_framed(as_text(status).encode()), _framed(as_text(version).encode()), fsid)))


@settings(max_examples=100, deadline=None)
@given(LINES | LINES.map(_framed), LINES | LINES.map(_framed))
def test_an_answer_of_any_bytes(status: bytes, version: bytes) -> None:
    _check(asyncio.run(_told(status, version, FSID)))


NAMES = st.binary(min_size=1, max_size=40).filter(lambda name: not {0, 47} & set(name) and name not in {b".", b".."})


@settings(max_examples=100, deadline=None)
@given(st.lists(NAMES | NAMES.map(lambda name: b"ceph-mon." + name + b".asok"), max_size=5), NAMES)
def test_names_of_any_bytes_are_sockets_of_mons_or_not(names: list[bytes], folder: bytes) -> None:
    with tempfile.TemporaryDirectory() as run_dir:
        below = Path(run_dir, os.fsdecode(folder))
        below.mkdir()
        for name in names:
            with suppress(FileExistsError):
                Path(run_dir, os.fsdecode(name)).touch(exist_ok=False)
                (below / os.fsdecode(name)).touch()
        for path in mon_sockets(Path(run_dir), FSID):
            assert "-mon." in path.name
        found = asyncio.run(local_mons(Path(run_dir), FSID))
        assert found.mons == []
        for said in found.silent:
            Reason(code=ReasonCode.CEPH_FAULT, details=said).details.encode()
