"""Look-ups of names: they are shared, bounded, and whoever does not wait any longer is not held up by them."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from bs_agent.daemon import names
from bs_agent.daemon.names import Names, Resolver

pytestmark = pytest.mark.asyncio


class HangingServer:
    """Stands in for a name server that does not answer until it is let."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.asked: list[str] = []

    def getaddrinfo(self, name: str, *_arguments: Any, **_options: Any) -> list[Any]:
        self.asked.append(name)
        self.gate.wait(60)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0))]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HangingServer]:
    server = HangingServer()
    monkeypatch.setattr(socket, "getaddrinfo", server.getaddrinfo)
    yield server
    server.gate.set()


async def test_a_name_of_this_host_is_found() -> None:
    assert {found[4][0] for found in await Names().look_up("localhost")} & {"127.0.0.1", "::1"}
    (found,) = await Resolver(Names()).resolve("localhost", 80)
    assert (found["host"], found["port"]) == ("127.0.0.1", 80)


@pytest.mark.parametrize(
    "name", ["no-such-host.invalid", "x" * 5000, "a..b", ".", "\0", "bad name", "é" * 300, "\ud800"]
)
async def test_what_is_not_found_is_an_error(name: str) -> None:
    with pytest.raises(OSError, match=r".+"):
        await Names().look_up(name)


async def test_one_look_up_serves_all_who_ask_meanwhile(server: HangingServer) -> None:
    looking = Names()
    asking = [asyncio.ensure_future(looking.look_up("node")) for _ in range(20)]
    await asyncio.sleep(0)
    asking[0].cancel()
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await looking.look_up("node")
    server.gate.set()
    assert [found[0][4][0] for found in await asyncio.gather(*asking[1:])] == ["192.0.2.1"] * 19
    assert server.asked == ["node"]
    assert asking[0].cancelled()


async def test_hanging_look_ups_are_bounded(server: HangingServer) -> None:
    looking = Names()
    asking = [asyncio.ensure_future(looking.look_up(f"node-{number}")) for number in range(names.MAX_UNDER_WAY)]
    await asyncio.sleep(0)
    with pytest.raises(OSError, match="have not come to an end"):
        await looking.look_up("one more")
    server.gate.set()
    await asyncio.gather(*asking)
    assert await looking.look_up("one more")


async def test_a_loop_ends_while_a_look_up_hangs(server: HangingServer) -> None:
    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await Names().look_up("node")

    await asyncio.to_thread(asyncio.run, give_up())
    assert not server.gate.is_set()
