"""The mons that run on this host, by their admin sockets: they answer with or without a quorum."""

import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from pydantic import ValidationError

from bs_agent.agent.storages.ceph_answers import MON_STATUS, MON_VERSION, Question
from bs_agent.agent.storages.ceph_link import read
from bs_agent.agent.storages.ceph_mons import local_mon_of
from bs_agent.contract.errors import StorageProblem, explain
from bs_agent.contract.report import LocalMon

T = TypeVar("T")

# cephadm puts the sockets of each cluster into a folder of its own, which has the name of its fsid.
PATTERNS = ("*.asok", "*/*.asok")
# A mgr may be called after a host whose name looks like that of a mon: ceph-mgr.x-mon.abcdef.asok.
NAME = re.compile(r".+?-(mon|mgr|osd|mds|client)\..+\.asok", re.DOTALL)
SECONDS = 1.0
SECONDS_FOR_ALL = 3.0
MAX_ANSWER = 16 * 1024 * 1024
MAX_SOCKETS = 1000
AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class LocalMons:
    """The mons of one cluster that answered, and what became of the sockets that nobody answered on."""

    mons: list[LocalMon]
    silent: list[str]


async def local_mons(run_dir: Path, fsid: str) -> LocalMons:
    """Ask all mons of this host; those of another cluster than `fsid` do not count, unless it is empty."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def ask(path: Path) -> LocalMon | str | None:
        async with turns:
            return await _ask(path, fsid)

    asked = [asyncio.create_task(ask(path)) for path in mon_sockets(run_dir, fsid)]
    if not asked:
        return LocalMons([], [])
    try:
        done, _ = await asyncio.wait(asked, timeout=SECONDS_FOR_ALL)
    finally:
        for task in asked:
            task.cancel()
    found = [task.result() for task in asked if task in done]
    return LocalMons(
        [mon for mon in found if isinstance(mon, LocalMon)], [why for why in found if isinstance(why, str)]
    )


def mon_sockets(run_dir: Path, fsid: str = "") -> list[Path]:
    """Return the sockets that may be those of mons of the cluster, the newest first: dead mons leave theirs behind."""
    found = {path: made for path, made in _entries(run_dir) if _may_be_of(path.parent.name, fsid)}
    return sorted(found, key=lambda path: found[path], reverse=True)[:MAX_SOCKETS]


def _entries(run_dir: Path) -> Iterator[tuple[Path, int]]:
    for pattern in PATTERNS:
        for path in run_dir.glob(pattern):
            name = NAME.fullmatch(path.name)
            if name and name[1] == "mon":
                with suppress(OSError):  # it may be gone already
                    yield path, path.lstat().st_ctime_ns


def _may_be_of(folder: str, fsid: str) -> bool:
    """Tell whether the sockets in a folder may be of the cluster; not so where it is called after another one."""
    try:
        return not fsid or UUID(folder) == UUID(fsid)
    except ValueError:
        return True


async def _ask(path: Path, fsid: str) -> LocalMon | str | None:
    try:
        async with asyncio.timeout(SECONDS):
            status = await _answer(path, MON_STATUS)
            if fsid and status.monmap.fsid and status.monmap.fsid != fsid:
                return None
            return local_mon_of(status, await _answer(path, MON_VERSION))
    except TimeoutError:
        return f"{path}: no answer within {SECONDS:g} s"
    except PermissionError:
        return None  # whoever may not ask the mon asks the cluster about it
    except OSError as error:
        return f"{path}: {error.strerror or error}"
    except StorageProblem as error:
        return f"{path}: {error.details}"
    except ValidationError as error:
        return f"{path}: what it says no report can hold: {explain(error)}"


async def _answer(path: Path, question: Question[T]) -> T:
    """Send a command that ends with NUL; after 4 bytes with its length, the answer lasts until the end."""
    reader, writer = await asyncio.open_unix_connection(path)
    with closing(writer):
        writer.write(json.dumps(question.words).encode() + b"\0")
        await writer.drain()
        answer = bytearray()
        while len(answer) < MAX_ANSWER and (chunk := await reader.read(1 << 16)):
            answer += chunk
        return read(question, answer[4:].decode(errors="replace"))
