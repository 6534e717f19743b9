"""The simulated site: its agents are polled, connected and cleaned as real ones are, each in its own manner."""

import asyncio
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bs_agent.client.sdk import QueryBackupStorageAction
from bs_agent.client.wire.transport import Client
from bs_agent.management.secrets import Keyring
from tests.beds.node import NodeProcess, client_of, free_port
from tests.fleet import adding
from tests.fleet.__main__ import arguments
from tests.fleet.behaviour import Manner, Pace, Shares, read_share
from tests.fleet.machines import Machine, address, machines
from tests.fleet.site import Site

COUNT = 50
SHARES = Shares(changing=0.2, slow=0.1, flapping=0.1, dead=0.1)
PACE = Pace(slow=(0.1, 0.2), flap=3600.0, change=0.5)
POLL = {"interval": 1.0, "timeout": 1.0, "max_failures": 2}
SECONDS = 60.0


def nothing(_done: int) -> None:
    """Hear of no progress."""


async def until(condition: Callable[[], Awaitable[object]], explain: Callable[[], object]) -> None:
    deadline = asyncio.get_running_loop().time() + SECONDS
    while not await condition():
        assert asyncio.get_running_loop().time() < deadline, explain()
        await asyncio.sleep(0.1)


@asynccontextmanager
async def played(folder: Path, *, serving: bool) -> AsyncIterator[tuple[Site, list[Machine]]]:
    known = list(machines(folder / "machines", COUNT, nothing))
    site = Site()
    site.settle(known, SHARES.manners(COUNT), PACE, serving=serving)
    async with site.open():
        yield site, known


@pytest.mark.parametrize("by_api", [False, True], ids=["database", "api"])
@pytest.mark.asyncio
async def test_a_management_node_sees_each_agent_in_its_manner(tmp_path: Path, by_api: bool) -> None:
    node = NodeProcess(tmp_path / "node", {"poll": POLL})
    async with played(tmp_path, serving=not by_api) as (site, known):
        if not by_api:
            url, keyring = f"sqlite:///{node.folder}/management.db", Keyring.open(node.folder)
            assert await adding.to_database(url, keyring, known, site.port, nothing) == COUNT
            assert await adding.to_database(url, keyring, known, site.port, nothing) == 0, "all are there"
        await asyncio.to_thread(node.start)
        try:
            async with client_of(node) as http:
                client = Client(url=node.url, session_id=http.session)
                away = {machine.name for machine in known if site.agents[machine.host].is_away}
                assert len(away) >= COUNT * SHARES.dead
                if by_api:
                    assert await adding.by_api(client, known, site.port, nothing) == len(away)
                await sees(client, site, {machine.name for machine in known}, set() if by_api else away, away)
        finally:
            await asyncio.to_thread(node.stop)


async def sees(client: Client, site: Site, names: set[str], disconnected: set[str], away: set[str]) -> None:
    """See that a node shows the storages of agents that answer as such, and follows what changes of them."""
    there = names - away
    shown: dict[str, str] = {}
    free: dict[str, set[int]] = {name: set() for name in names}

    async def look() -> bool:
        found = (await QueryBackupStorageAction().call_async(client)).unwrap().inventories or []
        shown.clear()
        shown.update({one.name: one.status for one in found})
        for one in found:
            free[one.name].add(one.availableCapacity)
        wanted = dict.fromkeys(there, "Connected") | dict.fromkeys(disconnected, "Disconnected")
        changing = {one.machine.name for one in site.agents.values() if one.manner is Manner.CHANGING}
        return shown == wanted and all(len(free[name]) > 2 for name in changing)

    await until(look, lambda: (Counter(shown.values()), site.polls))
    assert {Manner.STEADY, Manner.CHANGING, Manner.SLOW} <= {Manner(name) for name in site.polls}


@pytest.mark.asyncio
async def test_a_storage_is_reconnected_and_deleted_with_its_clean_up(tmp_path: Path) -> None:
    node = NodeProcess(tmp_path / "node", {"poll": POLL})
    async with played(tmp_path, serving=False) as (site, known):
        for agent in site.agents.values():
            agent.manner = Manner.STEADY
        await asyncio.to_thread(node.start)
        try:
            async with client_of(node) as http:
                client = Client(url=node.url, session_id=http.session)
                assert await adding.by_api(client, known[:3], site.port, nothing) == 0
                agent, path = site.agents[known[0].host], f"/backup-storage/{known[0].uuid}"
                assert list(agent.storages) == [known[0].uuid]
                answer = await http.call("PUT", f"{path}/actions", {"reconnectBackupStorage": {}})
                assert answer["inventory"]["status"] == "Connected"
                assert await http.call("DELETE", f"{path}?deleteMode=Permissive") == {}
                assert not agent.storages
                assert agent.asked["plan"]
                assert agent.asked["clean"] == 1

                async def forgotten() -> bool:
                    return agent.enrolled == 0

                await until(forgotten, lambda: agent.asked)
        finally:
            await asyncio.to_thread(node.stop)


def test_machines_are_the_same_in_each_run_and_no_two_alike(tmp_path: Path) -> None:
    made: list[int] = []
    first = list(machines(tmp_path, 5, made.append))
    assert made == [1, 2, 3, 4, 5]
    assert list(machines(tmp_path, 7, made.append))[:5] == first
    assert made[5:] == [6, 7]
    for name in ("host", "fingerprint", "token", "uuid", "name"):
        assert len({getattr(machine, name) for machine in first}) == 5


def test_addresses_are_of_loopback_and_each_of_one_machine() -> None:
    found = [address(number) for number in (0, 249, 250, 62_499, 62_500, 99_999)]
    assert found == ["127.1.0.1", "127.1.0.250", "127.1.1.1", "127.1.249.250", "127.2.0.1", "127.2.149.250"]


def test_shares_are_kept_and_the_rest_is_steady() -> None:
    counted = Counter(Shares(changing=0.1, slow=0.05, flapping=0.02, dead=0.2).manners(1000))
    assert counted == {"changing": 100, "slow": 50, "flapping": 20, "dead": 200, "steady": 630}
    assert Counter(Shares(0, 0, 0, 1).manners(7)) == {"dead": 7}
    with pytest.raises(ValueError, match="come to 120%"):
        replace(SHARES, dead=0.8)


@pytest.mark.parametrize(
    ("text", "read"), [("5%", 0.05), ("0.05", 0.05), (" 100 % ", 1.0), ("0", 0.0), ("2.5%", 0.025)]
)
def test_a_share_is_read(text: str, read: float) -> None:
    assert read_share(text) == pytest.approx(read)


@pytest.mark.parametrize("text", ["", "5", "101%", "-1%", "x", "nan", "5%%"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no share"):
        read_share(text)


@pytest.mark.parametrize(
    "words",
    [["0"], ["100001"], ["x"], ["5", "--dead", "2"], ["5", "--dead", "60%", "--slow", "50%"], ["5", "--interval", "0"]],
)
def test_what_cannot_be_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        arguments(words)
    assert refused.value.code == 2
    assert "error: " in capsys.readouterr().err


@pytest.mark.timeout(180)
def test_the_program_says_where_to_look_and_stops_at_ctrl_c(tmp_path: Path) -> None:
    options = ["8", "--dead", "0%", "--interval", "1", "--directory", str(tmp_path / "fleet")]
    options += ["--port", str(free_port()), "--agents-port", str(free_port())]
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.fleet", *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert child.stdout
    try:
        said = ""
        while "Ctrl-C stops all" not in said:
            line = child.stdout.readline()
            assert line, said
            said += line
        (curl,) = [line for line in said.splitlines() if "count=true" in line]
        done = subprocess.run(["sh", "-c", curl], capture_output=True, text=True, check=True, timeout=60)
        assert re.search(r'"total": ?\d', done.stdout)
    finally:
        child.send_signal(signal.SIGINT)
        rest, _ = child.communicate(timeout=60)
    assert child.returncode == 0, said + rest
