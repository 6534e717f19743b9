"""A peer that never closes its side of TLS holds no connection of ours."""

import asyncio
import gc
import ssl
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from socket import create_server

import aiohttp
import pytest

from bs_agent.daemon.connection import connector
from tests.beds.certificate import ensure_certificate

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"


@pytest.fixture
def never_closes(tmp_path: Path) -> Iterator[str]:
    """The URL of a server that answers one request, and then does nothing, not even close."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*asyncio.run(ensure_certificate(tmp_path, "127.0.0.1")))
    is_over = threading.Event()

    def serve() -> None:
        with context.wrap_socket(listener.accept()[0], server_side=True) as connection:
            connection.recv(4096)
            connection.sendall(ANSWER)
            is_over.wait(60)

    with create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}/"
        is_over.set()
        thread.join()


def test_nothing_is_left_of_a_connection_whose_peer_does_not_close(
    never_closes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask() -> bytes:
        async with aiohttp.ClientSession(connector=connector()) as http, http.get(never_closes, ssl=False) as answer:
            return await answer.read()

    left: list[object] = []
    with monkeypatch.context() as looking:
        looking.setattr(sys, "unraisablehook", lambda told: left.append(told.exc_value))
        assert asyncio.run(ask()) == b"hi"
        gc.collect()
    assert left == []
