"""What the doctor looks at of the clock: whether somebody keeps it, and whether it agrees with the management nodes.

A node's time is the Date header of its answer; asked are the nodes that reports are pushed to, without any token.
"""

import asyncio
import ctypes
import os
import sqlite3
import struct
import time
from email.utils import parsedate_to_datetime
from pathlib import Path

import aiohttp

from bs_agent.agent.config import AgentSettings
from bs_agent.agent.doctor.finding import Finding
from bs_agent.agent.journal import database
from bs_agent.agent.push.push import open_session
from bs_agent.agent.state import database_of
from bs_agent.contract.push import ReportTo
from bs_agent.daemon.names import Names

ANSWER_DEADLINE = 5.0
APART = 2.0
# The kernel's error bound, in microseconds, from which on systemd too calls a clock not synchronised.
UNBOUNDED = 16_000_000

KEEP = "Run chrony or systemd-timesyncd; mons leave the quorum when clocks differ."
COMPARE = "See with `timedatectl` on both hosts which clock does not follow its time server."


async def clock(settings: AgentSettings) -> list[Finding]:
    """Look at the clock: ages, dates and mons depend on it."""
    kept, how = _kept()
    places = await asyncio.to_thread(_report_places, database_of(settings.state.directory))
    async with open_session(Names()) as session:
        compared = await asyncio.gather(*(_compare(session, place) for place in places))
    text = ", ".join([how, *(said for _, said in compared)])
    if not kept:
        return [Finding("warn", "clock", text, KEEP)]
    if any(gap > APART for gap, _ in compared):
        return [Finding("warn", "clock", text, COMPARE)]
    return [Finding("ok", "clock", text)]


def _kept() -> tuple[bool, str]:
    """Tell whether somebody keeps the clock, and how well in words."""
    try:
        error = kernel_error()
    except OSError as refused:
        return False, f"cannot tell whether it is synchronised: {refused.strerror}"
    if error >= UNBOUNDED:
        return False, "not synchronised"
    return True, f"synchronised within {error / 1e6:.3f} s"


def kernel_error() -> int:
    """Return how far off the clock may be, in microseconds, as chrony, ntpd or timesyncd told the kernel.

    Raises:
        OSError: the kernel does not tell, for example in a container.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    timex = ctypes.create_string_buffer(512)  # all zero: nothing is set, only asked for
    if libc.adjtimex(timex) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    _modes, _offset, _frequency, error = struct.unpack_from("@Illl", timex)
    return int(error)


def _report_places(journal: Path) -> list[ReportTo]:
    """Return where reports are pushed to; nothing when the journal cannot be read, which has a finding of its own."""
    try:
        with database.looked_at(journal) as connection:
            rows = connection.execute(
                "SELECT DISTINCT report_to FROM enrollments WHERE report_to IS NOT NULL"
            ).fetchall()
        return [ReportTo.model_validate_json(text) for (text,) in rows]
    except (sqlite3.Error, OSError, database.DatabaseRefusedError, ValueError):
        return []


async def _compare(session: aiohttp.ClientSession, place: ReportTo) -> tuple[float, str]:
    """Return how many seconds a node's clock and this one are apart at the least, and that in words."""
    pin = aiohttp.Fingerprint(bytes.fromhex(place.fingerprint)) if place.fingerprint else True
    before = time.time()
    try:
        async with (
            asyncio.timeout(ANSWER_DEADLINE),
            session.get(f"{place.url}/livez", ssl=pin, allow_redirects=False) as answer,
        ):
            after = time.time()
            shown = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (aiohttp.ClientError, OSError, KeyError, ValueError) as error:
        return 0.0, f"{place.url} does not tell its time ({type(error).__name__})"
    # It answered between `before` and `after`, and what it shows is cut to whole seconds.
    behind, ahead = shown - after, before - shown - 1
    if max(behind, ahead) <= APART:
        return 0.0, f"agrees with {place.url}"
    return max(behind, ahead), f"{max(behind, ahead):.0f} s {'behind' if behind > ahead else 'ahead of'} {place.url}"
