"""Operations overtake one another: whatever arrives late, is repeated or hangs, the newest has the last word."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import aiohttp
import pytest

from bs_agent.agent import app
from bs_agent.agent.config import AgentSettings, ProbeSettings
from bs_agent.agent.journal import database
from bs_agent.agent.storages.imagestore import ImageStore
from bs_agent.contract.report import Command, CommandState
from tests.agent.asking import MARKER, clean, connect, refusal, report
from tests.agent.conftest import OTHER_UUID, UUID, enrolled, eventually, running_agent, tree
from tests.beds import faults
from tests.beds.agent import AgentClient, AgentProcess, Answer, client_of

pytestmark = pytest.mark.asyncio

OUTDATED = (409, "BS.CommandOutdated")


@pytest.fixture
def settings(settings: AgentSettings) -> AgentSettings:
    """An agent that lets everybody wait for their turn, however slow the machine is."""
    return settings.model_copy(update={"probe": ProbeSettings(interval=60.0, deadline=60.0)})


async def cleanup(client: AgentClient, command: int, number: int, **more: object) -> Answer:
    body = {"commandUuid": f"{command:032x}", "number": number, **more}
    return await client.ask("POST", f"/v1/storages/{UUID}/cleanup", body)


def said(answer: Answer) -> tuple[int, str]:
    return answer.status, refusal(answer)


class Hang:
    """The first connect that reaches its storage hangs there until it is let go, and then does its work."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.let_go = asyncio.Event(), asyncio.Event()
        original = ImageStore.connect

        async def wait(storage: ImageStore, others: list[dict[str, object]]) -> dict[str, object]:
            if not self.reached.is_set():
                self.reached.set()
                await self.let_go.wait()
            return await original(storage, others)

        monkeypatch.setattr(ImageStore, "connect", wait)


@asynccontextmanager
async def hanging(
    client: AgentClient, directory: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator["asyncio.Task[Answer]"]:
    """Have a connect of this number hang in its storage while the context is open."""
    hang = Hang(monkeypatch)
    task = asyncio.create_task(connect(client, directory, number=number))
    await hang.reached.wait()
    yield task
    hang.let_go.set()
    await task


async def taken(agent: app.Agent, number: int) -> None:
    """Wait until an operation of this number has come in."""
    with closing(database.connect(agent.kept.database)) as journal:
        await eventually(lambda: (number,) in journal.execute("SELECT number FROM numbers").fetchall())


async def test_an_older_operation_is_refused_before_anything_is_done(client: AgentClient, directory: Path) -> None:
    before = tree(directory)
    assert (await connect(client, directory, number=6)).status == 200
    assert (await connect(client, directory, number=6)).status == 200, "an operation may repeat itself"
    (directory / MARKER).unlink()
    for number in (5, 0):
        assert said(await connect(client, directory, number=number)) == OUTDATED
        assert said(await cleanup(client, 1, number)) == OUTDATED
        assert said(await cleanup(client, 1, number, dryRun=True)) == OUTDATED
    assert tree(directory) == before
    assert [reason.code for reason in (await report(client)).storages[0].reasons()] == ["MarkerMissing"]
    assert (await client.ask("GET", f"/v1/commands/{1:032x}")).status == 404


async def test_what_has_no_number_is_accepted_while_none_was_seen(client: AgentClient, directory: Path) -> None:
    assert (await connect(client, directory)).status == 200
    assert (await cleanup(client, 1, 0, dryRun=True)).status == 200
    assert (await clean(client)).state == CommandState.DONE
    assert (await connect(client, directory)).status == 200


async def test_a_plan_overtakes_nothing(client: AgentClient, directory: Path) -> None:
    await connect(client, directory, number=5)
    assert (await cleanup(client, 1, 7, dryRun=True)).status == 200
    assert (await connect(client, directory, number=6)).status == 200


async def test_a_late_connect_does_not_bring_a_cleaned_storage_back(settings: AgentSettings, directory: Path) -> None:
    before = tree(directory)
    async with running_agent(settings) as agent, enrolled(agent) as client:
        await connect(client, directory, number=5)
        done = await clean(client, 1, number=6)
        assert (done.state, done.number) == (CommandState.DONE, 6)
        assert said(await connect(client, directory, number=5)) == OUTDATED
    async with running_agent(settings) as agent, enrolled(agent) as client:
        assert said(await connect(client, directory, number=5)) == OUTDATED, "it is on disk"
        assert tree(directory) == before
        assert (await report(client)).storages == []
        # What was answered is answered again, whatever has come since.
        assert (await connect(client, directory, number=7)).status == 200
        assert Command.model_validate((await cleanup(client, 1, 6)).body) == done
        assert [storage.uuid for storage in (await report(client)).storages] == [UUID]


async def test_a_cleanup_that_finds_nothing_is_later_than_what_comes_after_it(
    client: AgentClient, directory: Path
) -> None:
    assert said(await cleanup(client, 1, 6)) == (404, "BS.StorageUnknown")
    assert said(await connect(client, directory, number=5)) == OUTDATED
    assert not (directory / MARKER).exists()


async def test_a_stranger_overtakes_nothing(agent: app.Agent, directory: Path) -> None:
    async with enrolled(agent, "one") as one, enrolled(agent, "two") as two:
        await connect(one, directory, number=5)
        for more in ({}, {"dryRun": True}):
            assert said(await cleanup(two, 1, 99, **more)) == (404, "BS.StorageUnknown")
            assert said(await cleanup(two, 1, 1, **more)) == (404, "BS.StorageUnknown"), "nor is it told of numbers"
        assert (await connect(one, directory, number=6)).status == 200


@pytest.mark.parametrize("known", [False, True], ids=["first", "again"])
async def test_a_connect_is_overtaken_while_it_hangs(
    agent: app.Agent, client: AgentClient, directory: Path, monkeypatch: pytest.MonkeyPatch, *, known: bool
) -> None:
    if known:
        await connect(client, directory, number=4)
    async with hanging(client, directory, 5, monkeypatch) as late:
        newer = asyncio.create_task(connect(client, directory, number=6))
        await taken(agent, 6)
        assert not newer.done(), "it waits for its turn"
    assert said(await late) == OUTDATED
    assert (await newer).status == 200
    assert [storage.reasons() for storage in (await report(client)).storages] == [[]]
    assert (await clean(client, number=7)).state == CommandState.DONE
    assert MARKER not in tree(directory)


async def test_a_first_connect_that_is_overtaken_by_a_cleanup_leaves_nothing(
    agent: app.Agent, client: AgentClient, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree(directory)
    async with hanging(client, directory, 5, monkeypatch) as late:
        newer = asyncio.create_task(cleanup(client, 1, 6))
        await taken(agent, 6)
    assert said(await late) == OUTDATED
    assert said(await newer) == (404, "BS.StorageUnknown")
    assert tree(directory) == before
    assert (await report(client)).storages == []


async def test_what_waits_for_its_turn_is_overtaken_too(
    agent: app.Agent, client: AgentClient, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hanging(client, directory, 4, monkeypatch) as first:
        waiting = []
        for number in (5, 6):
            waiting.append(asyncio.create_task(connect(client, directory, number=number)))
            await taken(agent, number)
    assert said(await first) == OUTDATED
    assert [answer.status for answer in await asyncio.gather(*waiting)] == [409, 200]


async def test_a_newer_operation_that_gives_up_has_overtaken_all_the_same(
    agent: app.Agent, client: AgentClient, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = agent.host.settings
    agent.host.settings = patient.model_copy(update={"probe": ProbeSettings(interval=60.0, deadline=0.5)})
    async with hanging(client, directory, 5, monkeypatch) as late:
        assert said(await connect(client, directory, number=6)) == (503, "BS.StorageBusy")
        agent.host.settings = patient
    assert said(await late) == OUTDATED
    assert (await connect(client, directory, number=6)).status == 200


async def test_the_number_of_one_storage_is_none_of_another(
    client: AgentClient, directory: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    await connect(client, directory, number=9)
    assert (await connect(client, tmp_path / "other", OTHER_UUID, number=1)).status == 200


@pytest.mark.parametrize("number", [-1, 2**63, 1.5, "7", True])
async def test_what_is_no_number_is_refused(client: AgentClient, directory: Path, number: object) -> None:
    answers = [await connect(client, directory, number=number)]
    answers.append(
        await client.ask("POST", f"/v1/storages/{UUID}/cleanup", {"commandUuid": "1" * 32, "number": number})
    )
    assert [said(answer) for answer in answers] == [(400, "SYS.1007")] * 2
    assert "number" in answers[0].body["error"]["details"]


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_comes_in_whatever_order_the_newest_decides(
    client: AgentClient, directory: Path, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311  it is for the tests
    kinds = {number: chance.choice(["connect", "cleanup"]) for number in range(1, 13)}
    order = sorted(kinds, key=lambda _: chance.random())

    async def send(number: int) -> Answer:
        while True:
            if kinds[number] == "connect":
                answer = await connect(client, directory, number=number)
            else:
                answer = await cleanup(client, number, number)
            if answer.status < 400 or refusal(answer) != "BS.StorageBusy":
                return answer
            await asyncio.sleep(0.01)

    answers = dict(zip(order, await asyncio.gather(*map(send, order)), strict=True))
    newest = max(kinds)
    assert answers[newest].status in {200, 202, 404}
    if answers[newest].status == 202:
        await clean(client, newest, number=newest)
    served = [storage.uuid for storage in (await report(client)).storages]
    assert served == ([UUID] if kinds[newest] == "connect" else [])
    assert (directory / MARKER).exists() == bool(served)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[AgentProcess]:
    if why := faults.missing():
        pytest.skip(why)
    with AgentProcess(tmp_path / "agent") as process:
        yield process


async def test_a_number_is_on_disk_before_anything_is_done(process: AgentProcess, directory: Path) -> None:
    before = tree(directory)
    async with client_of(process.address, process.enroll()) as client:
        with faults.injected(process.pid, "fdatasync", "signal=KILL:when=2"), pytest.raises(aiohttp.ClientError):
            await connect(client, directory, number=6)
        assert process.wait()
        assert tree(directory) == before
        process.start()
        assert said(await connect(client, directory, number=5)) == OUTDATED
        assert (await connect(client, directory, number=6)).status == 200
