"""Look-ups of names that may never end: each in a thread that keeps nobody from stopping, and one at a time for a name.

asyncio's own look-ups fill its pool of threads when the name server hangs, and the loop does not end before they do.
"""

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

MAX_UNDER_WAY = 8


class Names:
    """Looks names up for one event loop; who asks for a name that is being looked up shares the answer."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Future[list[Any]]]] = {}

    async def look_up(self, name: str) -> list[Any]:
        """Return what `getaddrinfo` finds for stream sockets.

        Raises:
            OSError: there is no such name, or too many look-ups have not come to an end.
        """
        loop = asyncio.get_running_loop()
        if name not in self._waiting:
            if len(self._waiting) >= MAX_UNDER_WAY:
                raise OSError(f"{MAX_UNDER_WAY} look-ups of names have not come to an end")

            def tell(found: list[Any] | OSError) -> None:
                with suppress(RuntimeError):  # the loop may have ended meanwhile
                    loop.call_soon_threadsafe(self._end, name, found)

            self._waiting[name] = set()
            threading.Thread(target=_find, args=(name, tell), name=f"look-up of {name}", daemon=True).start()
        waiting = self._waiting[name]
        answer: asyncio.Future[list[Any]] = loop.create_future()
        waiting.add(answer)
        try:
            return await answer
        finally:
            waiting.discard(answer)

    def _end(self, name: str, found: list[Any] | OSError) -> None:
        for answer in self._waiting.pop(name):
            if answer.done():
                continue
            if isinstance(found, OSError):
                answer.set_exception(found)
            else:
                answer.set_result(found)


class Resolver(AbstractResolver):
    """The same for an aiohttp client."""

    def __init__(self, names: Names) -> None:
        self._names = names

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a host."""
        return [
            ResolveResult(
                hostname=host,
                host=f"{address[0]}%{address[3]}" if found == socket.AF_INET6 and address[3] else str(address[0]),
                port=port,
                family=found,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for found, _, protocol, _, address in await self._names.look_up(host)
            if family in {socket.AF_UNSPEC, found}
        ]

    async def close(self) -> None:
        """Hold on to nothing."""


def _find(name: str, tell: Callable[[list[Any] | OSError], None]) -> None:
    try:
        tell(socket.getaddrinfo(name, None, type=socket.SOCK_STREAM))
    except OSError as error:
        tell(error)
    except ValueError:  # a part of it is too long, or nothing that a name may hold
        tell(OSError(f"{name[:100]!r} is no host name"))
