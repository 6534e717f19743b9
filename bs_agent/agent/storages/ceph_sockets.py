"""The mons that run on this host, by their admin sockets: they answer with or without a quorum."""

import asyncio
import json
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bs_agent.agent.storages.ceph_answers import MON_STATUS, MON_VERSION, Question
from bs_agent.agent.storages.ceph_link import read
from bs_agent.agent.storages.ceph_mons import local_mon_of
from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.report import LocalMon

T = TypeVar("T")

# cephadm puts the sockets of each cluster into a folder of its own.
PATTERNS = ("*-mon.*.asok", "*/*-mon.*.asok")
SECONDS = 1.0
MAX_ANSWER = 16 * 1024 * 1024
MAX_SOCKETS = 16


@dataclass(frozen=True, slots=True)
class LocalMons:
    """The mons of one cluster that answered, and what became of the sockets that nobody answered on."""

    mons: list[LocalMon]
    silent: list[str]


async def local_mons(run_dir: Path, fsid: str) -> LocalMons:
    """Ask all mons of this host; those of another cluster than `fsid` do not count, unless it is empty."""
    found = await asyncio.gather(*(_ask(path, fsid) for path in _paths(run_dir)))
    return LocalMons(
        [mon for mon in found if isinstance(mon, LocalMon)], [why for why in found if isinstance(why, str)]
    )


def _paths(run_dir: Path) -> list[Path]:
    return sorted(path for pattern in PATTERNS for path in run_dir.glob(pattern))[:MAX_SOCKETS]


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
        return f"{path}: {error.strerror}"
    except StorageProblem as error:
        return f"{path}: {error.details}"


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
