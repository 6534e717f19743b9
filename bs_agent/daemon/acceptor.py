"""Accepts connections up to a bound, in all and from one peer, and closes those that bring no request in time."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Sequence

from aiohttp import web

from bs_agent.daemon.connection import Connection
from bs_agent.daemon.descriptors import OUT_OF_RESOURCES

log = logging.getLogger(__name__)

HANDSHAKE_DEADLINE = 5.0
FIRST_REQUEST_DEADLINE = 10.0
DRAIN_DEADLINE = 3.0
WITHOUT_RESOURCES = 1.0
REFUSALS_TOLD_EVERY = 60.0


class Acceptor:
    """Hands the connections of listening sockets to an aiohttp server; the bounds hold for all of them together.

    `per_peer` bounds those that come from one address, so that no single peer keeps all others out; None where a proxy
    may bring everybody. With `known_only` a connection is kept once it has brought a request of a known sender.
    """

    def __init__(
        self,
        listeners: socket.socket | Sequence[socket.socket],
        server: web.Server,
        tls: ssl.SSLContext | None,
        limit: int,
        per_peer: int | None = None,
        *,
        known_only: bool = False,
    ) -> None:
        self._listeners = [listeners] if isinstance(listeners, socket.socket) else list(listeners)
        self._server = server
        self._tls = tls
        self._limit = limit
        self._per_peer = per_peer
        self._known_only = known_only
        self._handshakes: dict[web.RequestHandler, asyncio.Task[None]] = {}
        self._peers: dict[web.RequestHandler, str] = {}  # those of connections that have ended go when the next comes
        self._without_request: dict[object, asyncio.Future[None]] = {}
        self._told_at: float | None = None
        self._to_end: set[object] = set()

    async def run(self) -> None:
        """Accept until cancelled."""
        try:
            await asyncio.gather(*(self._accept_from(listener) for listener in self._listeners))
        finally:
            await self._drain()

    async def _accept_from(self, listener: socket.socket) -> None:
        """Accept until cancelled.

        Not by `loop.sock_accept`: cancelled at the wrong moment, it drops the connection that it has just accepted.
        """
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        listener.setblocking(False)
        loop.add_reader(listener, ready.set)
        try:
            while True:
                await ready.wait()
                ready.clear()
                try:
                    connection, address = listener.accept()
                except OSError as error:  # the peer may be gone already
                    if error.errno in OUT_OF_RESOURCES:
                        # Nothing to do but to wait. What cannot be accepted would wake the event loop without a pause.
                        loop.remove_reader(listener)
                        await asyncio.sleep(WITHOUT_RESOURCES)
                        loop.add_reader(listener, ready.set)
                    continue
                self._take(connection, address[0])
        finally:
            loop.remove_reader(listener)

    async def _drain(self) -> None:
        """Let connections that were accepted bring their first request: nobody else would ever answer it."""
        if self._handshakes:
            await asyncio.wait(self._handshakes.values(), timeout=DRAIN_DEADLINE)
        present: set[object] = {*self._server.connections}  # others have hung up, or were refused for what they sent
        if awaited := [request for protocol, request in self._without_request.items() if protocol in present]:
            await asyncio.wait(awaited, timeout=DRAIN_DEADLINE)
        for handshake in self._handshakes.values():
            handshake.cancel()
        await asyncio.gather(*self._handshakes.values(), return_exceptions=True)

    def begun(self, protocol: object) -> None:
        """Note that a connection has brought a request, or was answered."""
        if request := self._without_request.pop(protocol, None):
            request.set_result(None)

    def renew_connections(self) -> None:
        """Let each connection that is open now end with the answer to its next request."""
        self._to_end = {*self._handshakes, *self._server.connections}

    def is_last(self, protocol: object) -> bool:
        """Tell whether a connection ends with the answer to the request that it has brought."""
        if protocol not in self._to_end:
            return False
        self._to_end.intersection_update({*self._handshakes, *self._server.connections})
        return True

    def _take(self, connection: socket.socket, peer: str) -> None:
        if refusal := self._refusal(peer):
            self._tell(refusal)
            connection.close()
            return
        protocol = Connection(self._server, self.begun, known_only=self._known_only)
        if self._per_peer:
            self._peers[protocol] = peer
        handshake = self._handshakes[protocol] = asyncio.create_task(self._shake_hands(connection, protocol))
        handshake.add_done_callback(lambda _: self._handshakes.pop(protocol, None))

    def _refusal(self, peer: str) -> str:
        """Say why no connection of this peer can be taken now; empty when one can."""
        # To count together takes long where there are thousands: only when the sum, which is never less, asks for it.
        most = len(self._handshakes) + len(self._server.connections)
        if most < self._limit and not self._per_peer:
            return ""
        present = {*self._handshakes, *self._server.connections}
        if len(present) >= self._limit:
            return f"more than {self._limit} connections: further ones are closed"
        self._peers = {protocol: other for protocol, other in self._peers.items() if protocol in present}
        if self._per_peer and sum(other == peer for other in self._peers.values()) >= self._per_peer:
            return f"more than {self._per_peer} connections from {peer}: further ones are closed"
        return ""

    def _tell(self, refusal: str) -> None:
        """Log that connections are refused; seldom, since a flood of them must not become one of the log."""
        now = asyncio.get_running_loop().time()
        if self._told_at is None or now - self._told_at >= REFUSALS_TOLD_EVERY:
            self._told_at = now
            log.warning("%s", refusal)

    async def _shake_hands(self, connection: socket.socket, protocol: web.RequestHandler) -> None:
        loop = asyncio.get_running_loop()
        connection.setblocking(False)
        deadline = HANDSHAKE_DEADLINE if self._tls else None
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, connection, ssl=self._tls, ssl_handshake_timeout=deadline
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
