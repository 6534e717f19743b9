"""Connections to PostgreSQL: to whichever of the servers that a URL names takes them, so that one may fail over.

libpq's own form of URL is read: `postgresql://USER@HOST1:PORT,HOST2:PORT/NAME?target_session_attrs=read-write`. Each
server has its share of the time: one that is gone without a word must not use up all of it.
"""

import asyncio
import socket
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import asyncpg
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry

SCHEME = "postgresql://"
_PROOF = 5.0
"""Seconds in which a connection that was used before has to show that its server is there."""
_NEW = "bs_agent_new"


class Servers:
    """The servers of a URL; that which took the last connection is asked first for the next one.

    `seconds` is the time for all of them together, and that after which a server that acknowledges nothing is lost.
    """

    def __init__(self, url: str, seconds: float, **options: Any) -> None:
        self.urls = split(url)
        self._seconds = seconds
        self._options = options

    async def connect(self) -> Any:  # noqa: ANN401 RUF100  the driver has no types
        """Return a new connection.

        Raises:
            OSError: none of them can be reached, or none takes part as the URL wants.
            asyncpg.PostgresError: none takes a connection; this is what the last one said.
        """
        problem: Exception | None = None
        for number, url in enumerate(self.urls):
            try:
                connection = await asyncpg.connect(url, timeout=self._seconds / len(self.urls), **self._options)
            except asyncpg.TargetServerAttributeNotMatched as error:
                problem = ConnectionError(f"no server is as target_session_attrs wants it: {error}")
            except (OSError, asyncpg.PostgresError) as error:
                problem = error
            else:
                self.urls = [*self.urls[number:], *self.urls[:number]]
                _lose_in_time(connection, self._seconds)
                return connection
        raise problem or ConnectionError("the URL names no server")


def check(connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:  # noqa: ANN401 RUF100  as above
    """See that a connection that was used before still works, before it is used again.

    SQLAlchemy's own check (`pool_pre_ping`) takes no answer in time for no reason to leave the others, too: one call
    after the other would wait for each of them.

    Raises:
        InvalidatePoolError: it does not; nor will those that are as old.
    """
    if record.info.setdefault(_NEW, True):
        record.info[_NEW] = False
        return
    try:
        connection.run_async(lambda driver: driver.fetchval("SELECT 1", timeout=_PROOF))
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        raise InvalidatePoolError from error  # the last one of these where the server has just said that it stops


def split(url: str) -> list[str]:
    """Return a URL for each of the servers that one names, in their order.

    Raises:
        ValueError: a port is none, or is missing among several.
    """
    parts = urlsplit(url)
    user, at, names = parts.netloc.rpartition("@")
    options = parse_qsl(parts.query, keep_blank_values=True)
    # SQLAlchemy's form has them as options.
    hosts = [name for key, value in options if key == "host" for name in value.split(",")] or names.split(",")
    ports = [number for key, value in options if key == "port" for number in value.split(",")]
    if len(ports) not in {0, 1, len(hosts)}:
        raise ValueError(f"the URL has {len(hosts)} hosts and {len(ports)} ports")
    ports = ports * len(hosts) if len(ports) == 1 else ports or [""] * len(hosts)
    rest = [(key, value) for key, value in options if key not in {"host", "port"}]
    return [_joined(user + at + place, parts.path, urlencode(rest + more)) for place, more in map(_place, hosts, ports)]


def without_password(url: str) -> str:
    """Return what may be shown of a URL."""
    parts = urlsplit(url)
    user, at, names = parts.netloc.rpartition("@")
    options = [(key, value) for key, value in parse_qsl(parts.query, keep_blank_values=True) if key != "password"]
    shown = user.partition(":")[0] + (":***" if ":" in user else "") + at + names
    return _joined(shown, parts.path, urlencode(options, safe=":/"))


def _joined(place: str, path: str, options: str) -> str:
    return f"{SCHEME}{place}{path}" + (f"?{options}" if options else "")


def _place(host: str, port: str) -> tuple[str, list[tuple[str, str]]]:
    """Return what stands in the URL for a host: its name and port, or, for a folder of sockets, options.

    Raises:
        ValueError: the port is none.
    """
    if host.startswith("/"):
        return "", [("host", host), *([("port", port)] if port else [])]
    place = f"{host}:{port}" if port else host
    _ = urlsplit(f"//{place}").port
    return place, []


def _lose_in_time(connection: Any, seconds: float) -> None:  # noqa: ANN401 RUF100  as above
    """Let the connection end when what is sent is acknowledged by nobody: an address may be gone without a word."""
    transport: asyncio.Transport = connection._transport  # noqa: SLF001  no other way to its socket
    if (sock := transport.get_extra_info("socket")) is not None and sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))
