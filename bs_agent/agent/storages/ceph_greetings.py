"""Which mons live: each greets whoever connects to it, before any log-in and with or without a quorum."""

import asyncio
from collections.abc import Sequence
from contextlib import closing

from bs_agent.agent.storages.ceph_mons import is_address, split_address
from bs_agent.contract.report import Mon

# "ceph v027" of the first protocol, "ceph v2" of the second; a mon that is frozen says nothing.
GREETING = b"ceph v"
SECONDS = 1.0


async def living(mons: Sequence[Mon]) -> list[str]:
    """Return the names of the mons that greet on one of their addresses."""
    return [mon.name for mon, lives in zip(mons, await asyncio.gather(*map(_lives, mons)), strict=True) if lives]


async def _lives(mon: Mon) -> bool:
    return any(await asyncio.gather(*(_greets(address.address) for address in mon.addresses)))


async def _greets(address: str) -> bool:
    try:
        host, port = split_address(address)
        if not is_address(host):
            return False
        async with asyncio.timeout(SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            with closing(writer):
                return await reader.readexactly(len(GREETING)) == GREETING
    except (OSError, TimeoutError, EOFError, ValueError):
        return False
