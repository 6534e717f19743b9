"""Connections at the moment of a stop, without descriptors, and many of one peer that may be a proxy."""

import asyncio
import errno
import socket
from contextlib import closing, suppress

import pytest
from aiohttp import web

from bs_agent.daemon import acceptor
from bs_agent.daemon.acceptor import Acceptor

pytestmark = pytest.mark.asyncio


async def _answer(request: web.BaseRequest) -> web.Response:
    return web.Response()


async def test_a_stop_leaves_the_connection_that_comes_just_then_to_the_next_process() -> None:
    stop, stopping = socket.socketpair()
    with closing(socket.create_server(("127.0.0.1", 0))) as listener, closing(stop), closing(stopping):
        listener.setblocking(False)
        running = asyncio.create_task(Acceptor(listener, web.Server(_answer), None, limit=10).run())
        await asyncio.sleep(0)
        # Both come in one round of the event loop, the connection first.
        asyncio.get_running_loop().add_reader(stop, running.cancel)
        with closing(socket.create_connection(listener.getsockname())):
            stopping.send(b"x")
            with suppress(asyncio.CancelledError):
                await running
            asyncio.get_running_loop().remove_reader(stop)
            listener.settimeout(5)
            connection, _ = listener.accept()
            connection.close()


class _Listener(socket.socket):
    """Has no descriptor for the first connection when it is asked first, as a process that has too many open."""

    def __init__(self) -> None:
        super().__init__()
        self.refused = asyncio.Event()

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        if not self.refused.is_set():
            self.refused.set()
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


async def test_without_descriptors_it_waits_and_does_not_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptor, "WITHOUT_RESOURCES", 0.1)
    loop = asyncio.get_running_loop()
    with closing(_Listener()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        running = asyncio.create_task(Acceptor(listener, web.Server(_answer), None, limit=10).run())
        with closing(socket.create_connection(listener.getsockname())) as client:
            await listener.refused.wait()
            assert not loop.remove_reader(listener), "what cannot be accepted would wake the loop again and again"
            assert await _status(client) == b"HTTP/1.1 200 OK"
        running.cancel()
        await asyncio.wait([running])


@pytest.mark.parametrize(("per_peer", "answered"), [(None, 4), (2, 2)], ids=["a proxy", "a peer"])
async def test_one_peer_has_its_share(per_peer: int | None, answered: int) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        running = asyncio.create_task(Acceptor(listener, web.Server(_answer), None, 4, per_peer).run())
        clients = [socket.create_connection(listener.getsockname()) for _ in range(6)]
        statuses = [await _status(client) for client in clients]
        assert statuses == [b"HTTP/1.1 200 OK"] * answered + [b""] * (6 - answered)
        for client in clients:
            client.close()
        running.cancel()
        await asyncio.wait([running])


async def _status(client: socket.socket) -> bytes:
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(30):
        try:
            await loop.sock_sendall(client, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            return (await loop.sock_recv(client, 4096)).split(b"\r\n")[0]
        except ConnectionError:
            return b""
