"""Which mons live, by what answers on their addresses: real ones do so in `test_faults`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import pytest

from bs_agent.agent.storages.ceph_greetings import living
from bs_agent.contract.report import Mon, MonAddress

pytestmark = pytest.mark.asyncio


@asynccontextmanager
async def greeting(says: bytes | None, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """Yield the address of somebody who says this to whoever connects, and then nothing; None: ends the connection."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            if says is not None:
                writer.write(says)
                await reader.read()

    server = await asyncio.start_server(greet, host)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def mon(name: str, *addresses: str) -> Mon:
    vector = [MonAddress(type="v2", address=address) for address in addresses]
    return Mon(rank=0, name=name, addresses=vector, inQuorum=True, leader=False, version="")


async def test_a_mon_lives_that_greets_on_one_of_its_addresses() -> None:
    async with (
        greeting(b"ceph v2\n\x10\x00") as second,
        greeting(b"ceph v027\x00\x00", "::1") as first,
        greeting(b"") as frozen,
        greeting(None) as ended,
        greeting(b"SSH-2.0-") as stranger,
    ):
        mons = [
            mon("both", second, first),
            mon("old", first),
            mon("half", frozen, second),
            mon("frozen", frozen),
            mon("ended", ended),
            mon("stranger", stranger),
            mon("dead", "127.0.0.1:1"),
            mon("nowhere", "no-such-host.invalid:6789"),
            mon("unknown"),
        ]
        assert await living(mons) == ["both", "old", "half"]
    assert await living([]) == []
