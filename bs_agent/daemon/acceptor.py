"""Accepts connections up to a bound, and closes those that bring no request in time."""

import asyncio
import errno
import logging
import socket
import ssl

from aiohttp import web

log = logging.getLogger(__name__)

HANDSHAKE_DEADLINE = 5.0
FIRST_REQUEST_DEADLINE = 10.0
DRAIN_DEADLINE = 3.0
_OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Acceptor:
    """Hands the connections of one listening socket to an aiohttp server."""

    def __init__(self, listener: socket.socket, server: web.Server, tls: ssl.SSLContext | None, limit: int) -> None:
        self._listener = listener
        self._server = server
        self._tls = tls
        self._limit = limit
        self._handshakes: set[asyncio.Task[None]] = set()
        self._without_request: dict[object, asyncio.Future[None]] = {}
        self._refusing = False
        self._to_end: set[object] = set()

    async def run(self) -> None:
        """Accept until cancelled.

        Not by `loop.sock_accept`: cancelled at the wrong moment, it drops the connection that it has just accepted.
        """
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        self._listener.setblocking(False)
        loop.add_reader(self._listener, ready.set)
        try:
            while True:
                await ready.wait()
                ready.clear()
                try:
                    connection, _ = self._listener.accept()
                except OSError as error:
                    # The peer may be gone already; without descriptors there is nothing to do but to wait for some.
                    await asyncio.sleep(1.0 if error.errno in _OUT_OF_RESOURCES else 0.0)
                    continue
                self._take(connection)
        finally:
            loop.remove_reader(self._listener)
            await self._drain()

    async def _drain(self) -> None:
        """Let connections that were accepted bring their first request: nobody else would ever answer it."""
        if self._handshakes:
            await asyncio.wait(self._handshakes, timeout=DRAIN_DEADLINE)
        if self._without_request:
            await asyncio.wait(self._without_request.values(), timeout=DRAIN_DEADLINE)
        for handshake in self._handshakes:
            handshake.cancel()
        await asyncio.gather(*self._handshakes, return_exceptions=True)

    def begun(self, protocol: object) -> None:
        """Note that a connection has brought a request."""
        if request := self._without_request.pop(protocol, None):
            request.set_result(None)

    def renew_connections(self) -> None:
        """Let each connection that is open now end with the answer to its next request."""
        self._to_end = set(self._server.connections)

    def is_last(self, protocol: object) -> bool:
        """Tell whether a connection ends with the answer to the request that it has brought."""
        if protocol not in self._to_end:
            return False
        self._to_end.discard(protocol)
        self._to_end.intersection_update(self._server.connections)
        return True

    def _take(self, connection: socket.socket) -> None:
        if len(self._handshakes) + len(self._server.connections) >= self._limit:
            if not self._refusing:
                log.warning("more than %d connections: further ones are closed", self._limit)
            self._refusing = True
            connection.close()
            return
        self._refusing = False
        handshake = asyncio.create_task(self._shake_hands(connection))
        self._handshakes.add(handshake)
        handshake.add_done_callback(self._handshakes.discard)

    async def _shake_hands(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        connection.setblocking(False)
        deadline = HANDSHAKE_DEADLINE if self._tls else None
        try:
            transport, protocol = await loop.connect_accepted_socket(
                self._server, connection, ssl=self._tls, ssl_handshake_timeout=deadline
            )
        except OSError as error:  # no TLS, or not in time: ssl.SSLError and TimeoutError are among these
            log.debug("a connection was dropped: %s", error)
            return
        self._without_request[protocol] = loop.create_future()
        loop.call_later(FIRST_REQUEST_DEADLINE, self._close_without_request, transport, protocol)

    def _close_without_request(self, transport: asyncio.Transport, protocol: object) -> None:
        if request := self._without_request.pop(protocol, None):
            request.cancel()
            transport.abort()
