"""Which mon is that of this host: real sockets of all kinds where the admin sockets are, and captured answers."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import pytest_asyncio

from bs_agent.agent.config import AgentSettings
from bs_agent.agent.storages import ceph_own_mon, ceph_sockets
from bs_agent.agent.storages.base import Host
from bs_agent.agent.storages.ceph_answers import MON_METADATA, QUORUM_STATUS, Question
from bs_agent.agent.storages.ceph_link import Answers
from bs_agent.agent.storages.ceph_own_mon import OwnMon
from bs_agent.agent.storages.ceph_sockets import local_mons, mon_sockets
from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.reasons import ReasonCode
from tests.ceph.captured import FOLDER, RELEASES

pytestmark = pytest.mark.asyncio
CAPTURES = FOLDER / RELEASES[0]


def _captured(state: str, name: str) -> str:
    """Return an answer as if mon a had an address that others can reach."""
    return (CAPTURES / state / f"{name}.json").read_text().replace("127.0.0.1:", "192.0.2.1:")


STATUS = json.loads(_captured("healthy", "socket_mon_status"))
FSID: str = STATUS["monmap"]["fsid"]
OTHER_FSID = "00000000-0000-4000-8000-000000000000"
ADDRESS: str = STATUS["monmap"]["mons"][0]["addr"].partition("/")[0]


class Sockets:
    """Admin sockets in a folder, as daemons and dead daemons leave them."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.folder, self._stack = folder, stack

    async def answering(self, name: str, status: dict[str, Any] | bytes) -> None:
        """Have a daemon that answers."""

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked = await reader.readuntil(b"\0")
            said = status if isinstance(status, bytes) else json.dumps(status).encode()
            if b'"version"' in asked and not isinstance(status, bytes):
                said = b'{"version":"16.2.15"}'
            writer.write(struct.pack(">I", len(said)) + said)
            writer.close()

        server = await asyncio.start_unix_server(answer, self._place(name))
        self._stack.push_async_callback(server.wait_closed)
        self._stack.callback(server.close)

    def frozen(self, name: str) -> None:
        """Have a daemon that takes connections and says nothing."""
        listener = self._stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(self._place(name)))
        listener.listen()

    def stale(self, name: str) -> None:
        """Have what a killed daemon leaves."""
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self._place(name)))

    def _place(self, name: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        return path


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose name is short, as the path of a socket has to be."""
    with TemporaryDirectory(prefix="bs-", dir="/tmp") as made:
        yield Path(made)


@pytest_asyncio.fixture
async def sockets(folder: Path) -> AsyncIterator[Sockets]:
    async with AsyncExitStack() as stack:
        yield Sockets(folder, stack)


class Link:
    """Stands in for the way to the cluster, which says what was captured."""

    def __init__(self, state: str = "healthy") -> None:
        self._state = state

    async def ask(self, *questions: Question[Any]) -> Answers:
        names = {QUORUM_STATUS: "quorum_status", MON_METADATA: "mon_metadata"}
        return Answers({asked: (0, _captured(self._state, names[asked])) for asked in questions})


class SilentLink(Link):
    async def ask(self, *questions: Question[Any]) -> Answers:
        raise StorageProblem.of(ReasonCode.CLUSTER_UNREACHABLE, "nobody answers")


def _own_mon(sockets: Sockets, address: str = ADDRESS, link: Link | None = None) -> OwnMon:
    host = Host(AgentSettings.model_validate({"ceph": {"run_dir": sockets.folder}}))
    return OwnMon(link or Link(), host, address)  # type: ignore[arg-type]


def _of(fsid: str, **more: Any) -> dict[str, Any]:
    return {**STATUS, "monmap": {**STATUS["monmap"], "fsid": fsid}, **more}


async def _is_well(own: OwnMon) -> bool:
    mon, reason = await own.look(FSID)
    return (mon.name, mon.state in {"leader", "peon"}, reason) == ("a", True, None)


@pytest.mark.parametrize("number", [20, 300])
@pytest.mark.parametrize("ours", ["ceph-mon.a.asok", "ceph-mon.zzz.asok", f"{FSID}/ceph-mon.a.asok"])
async def test_stale_sockets_of_purged_clusters_do_not_hide_our_mon(sockets: Sockets, ours: str, number: int) -> None:
    await sockets.answering(ours, STATUS)
    for purged in range(number):
        sockets.stale(f"ceph-mon.a{purged:03}.asok")
        sockets.stale(f"0000{purged:04}-0000-4000-8000-000000000000/ceph-mon.a.asok")
    assert await _is_well(_own_mon(sockets))
    assert await _own_mon(sockets).counts_itself_in(FSID) is True


async def test_without_our_socket_the_cluster_says_how_our_mon_is(sockets: Sockets) -> None:
    for purged in range(20):
        sockets.stale(f"ceph-mon.a{purged:03}.asok")
    assert await _is_well(_own_mon(sockets))
    with pytest.raises(StorageProblem, match="nobody answers"):
        await _own_mon(sockets, link=SilentLink()).look(FSID)


FOREIGN: dict[str, Callable[[Sockets], Any]] = {
    "frozen in the folder of another cluster": lambda sockets: sockets.frozen(f"{OTHER_FSID}/ceph-mon.x.asok"),
    "stale in the folder of another cluster": lambda sockets: sockets.stale(f"{OTHER_FSID}/ceph-mon.x.asok"),
    "frozen beside ours": lambda sockets: sockets.frozen("other-mon.x.asok"),
    "of another cluster": lambda sockets: sockets.answering("ceph-mon.x.asok", _of(OTHER_FSID, state="probing")),
    "of a mgr": lambda sockets: sockets.answering("ceph-mgr.x-mon.abcdef.asok", b"no such command"),
    "of a frozen mgr": lambda sockets: sockets.frozen("ceph-mgr.x-mon.abcdef.asok"),
    "of an osd": lambda sockets: sockets.frozen("ceph-osd.1.asok"),
    "of a client": lambda sockets: sockets.frozen("ceph-client.x-mon.a.7.94.asok"),
    "of somebody who babbles": lambda sockets: sockets.answering("ceph-mon.x.asok", b"\xff" * 100),
    "of somebody who nests": lambda sockets: sockets.answering("ceph-mon.x.asok", b"[" * 100_000),
    "of somebody without a map": lambda sockets: sockets.answering("ceph-mon.x.asok", {"name": "a", "rank": 0}),
    "a file": lambda sockets: (sockets.folder / "ceph-mon.x.asok").touch(),
    "a folder": lambda sockets: (sockets.folder / "ceph-mon.x.asok").mkdir(),
    "a link to nowhere": lambda sockets: (sockets.folder / "ceph-mon.x.asok").symlink_to("nowhere"),
}


@pytest.mark.parametrize("foreign", FOREIGN)
@pytest.mark.parametrize("ours", [True, False], ids=["beside ours", "alone"])
async def test_a_socket_that_is_not_ours_says_nothing_of_our_mon(sockets: Sockets, foreign: str, ours: bool) -> None:
    if (made := FOREIGN[foreign](sockets)) is not None:
        await made
    if ours:
        await sockets.answering("ceph-mon.a.asok", STATUS)
    assert await _is_well(_own_mon(sockets))


async def test_our_dead_mon_is_out_and_its_socket_is_named(sockets: Sockets) -> None:
    sockets.stale("ceph-mon.c.asok")
    third = STATUS["monmap"]["mons"][2]["addr"].partition("/")[0]
    said = r"mon c is out of quorum; .*ceph-mon\.c\.asok: Connection refused"
    with pytest.raises(StorageProblem, match=said) as caught:
        await _own_mon(sockets, third, Link("broken")).look(FSID)
    assert caught.value.reason.code == ReasonCode.MON_OUT_OF_QUORUM


async def test_too_many_sockets_that_say_nothing_do_not_take_all_the_time(
    sockets: Sockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ceph_sockets, "SECONDS_FOR_ALL", 0.5)
    for number in range(100):
        sockets.frozen(f"ceph-mon.b{number}.asok")
    await sockets.answering("ceph-mon.a.asok", STATUS)
    found = await local_mons(sockets.folder, FSID)
    assert [mon.name for mon in found.mons] == ["a"], "the newest comes first"


async def test_the_number_of_sockets_is_bounded(sockets: Sockets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceph_sockets, "MAX_SOCKETS", 3)
    for number in range(5):
        sockets.stale(f"ceph-mon.{number}.asok")
    assert len(mon_sockets(sockets.folder)) == 3
    assert mon_sockets(sockets.folder / "nowhere") == []


@pytest.mark.parametrize("found", [["127.0.1.1"], ["127.0.0.1", "::1"], ["::1"]])
async def test_a_name_that_this_host_finds_at_a_loopback_address_is_this_host(
    sockets: Sockets, monkeypatch: pytest.MonkeyPatch, found: list[str]
) -> None:
    """As Debian's installer writes it to /etc/hosts."""
    host, _, port = ADDRESS.rpartition(":")
    monkeypatch.setattr(ceph_own_mon, "own_hosts", lambda: [host, "192.0.2.7"])
    own = _own_mon(sockets, f"ceph-1:{port}")

    async def look_up(name: str) -> list[Any]:
        assert name == "ceph-1"
        return [(0, 0, 0, "", (address, 0)) for address in found]

    monkeypatch.setattr(own._host.names, "look_up", look_up)
    assert await _is_well(own), "by the cluster"
    await sockets.answering("ceph-mon.a.asok", STATUS)
    assert await _is_well(own), "by its socket"
    monkeypatch.setattr(ceph_own_mon, "own_hosts", lambda: ["192.0.2.7"])
    _, reason = await own.look(FSID)
    assert reason
    assert reason.code == ReasonCode.MON_ADDR_CHANGED


async def test_an_address_that_is_given_as_one_is_meant(sockets: Sockets, monkeypatch: pytest.MonkeyPatch) -> None:
    host, _, port = ADDRESS.rpartition(":")
    monkeypatch.setattr(ceph_own_mon, "own_hosts", lambda: [host])
    await sockets.answering("ceph-mon.a.asok", STATUS)
    _, reason = await _own_mon(sockets, f"127.0.1.1:{port}").look(FSID)
    assert reason
    assert reason.code == ReasonCode.MON_ADDR_CHANGED


@pytest.mark.parametrize("address", ["-", ":/0", "0.0.0.0:0/0", "[::]:0/0", "1.2.3.4:99999/0", "x:" + "9" * 5000, "["])
async def test_addresses_that_are_none_do_no_harm(sockets: Sockets, address: str) -> None:
    status = json.loads(json.dumps(STATUS))
    status["monmap"]["mons"][0]["public_addrs"]["addrvec"].insert(0, {"type": "v1", "addr": address, "nonce": 0})
    await sockets.answering("ceph-mon.a.asok", status)
    assert await _is_well(_own_mon(sockets))
