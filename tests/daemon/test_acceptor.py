"""Connections at the moment of a stop."""

import asyncio
import socket
from contextlib import closing, suppress

import pytest
from aiohttp import web

from bs_agent.daemon.acceptor import Acceptor


@pytest.mark.asyncio
async def test_a_stop_leaves_the_connection_that_comes_just_then_to_the_next_process() -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response()

    stop, stopping = socket.socketpair()
    with closing(socket.create_server(("127.0.0.1", 0))) as listener, closing(stop), closing(stopping):
        listener.setblocking(False)
        running = asyncio.create_task(Acceptor(listener, web.Server(answer), None, limit=10).run())
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
