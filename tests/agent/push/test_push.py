"""Pushed reports as a management node receives them, or fails to: real servers in this process, right and wrong."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from bs_agent.agent import app
from bs_agent.agent.push import channel
from bs_agent.contract.enrollment import token_hash
from bs_agent.contract.push import ReportTo, push_token
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import HostReport
from bs_agent.daemon.certificate import fingerprint, server_context
from bs_agent.daemon.configuration import Address
from bs_agent.daemon.http import serving
from tests.agent.asking import MARKER, clean, connect, refusal
from tests.agent.conftest import OTHER_UUID, UUID, enrolled, eventually
from tests.beds.agent import AgentClient, Answer

pytestmark = pytest.mark.asyncio


@dataclass
class Receiver:
    """A management node's door for reports, which does what a test wants."""

    report_to: ReportTo = field(init=False)
    status: Callable[[int], int] = lambda _: 200
    retry_after: str | None = None
    hold: asyncio.Event | None = None
    requests: list[tuple[str, str]] = field(default_factory=list)
    reports: list[HostReport] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append((request.path, request.headers["Authorization"]))
        self.reports.append(HostReport.model_validate_json(await request.read()))
        if self.hold:
            await self.hold.wait()
        headers = {"Location": f"{self.report_to.url}/elsewhere"}
        if self.retry_after is not None:
            headers["Retry-After"] = self.retry_after
        return web.json_response({}, status=self.status(len(self.requests)), headers=headers)

    @property
    def codes(self) -> list[ReasonCode | None]:
        """What the reports say of the first section of their first storage."""
        reasons = [report.storages[0].sections()[0].reason for report in self.reports]
        return [reason.code if reason else None for reason in reasons]


@asynccontextmanager
async def receiving(tls: Path) -> AsyncIterator[Receiver]:
    receiver, application = Receiver(), web.Application()
    application.router.add_route("*", "/{rest:.*}", receiver.handle)
    context = server_context(tls / "present.pem")
    async with serving(application, Address("127.0.0.1", 0), context) as address:
        receiver.report_to = ReportTo(url=f"https://{address}", fingerprint=fingerprint(tls / "present.pem"))
        yield receiver


@pytest_asyncio.fixture
async def receiver(tls: Path) -> AsyncIterator[Receiver]:
    async with receiving(tls) as made:
        yield made


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that nobody has to wait for."""
    monkeypatch.setattr(channel, "SPACING", 0.01)
    monkeypatch.setattr(channel, "GATHER", 0.0)


async def connect_to(client: AgentClient, path: Path, receiver: Receiver, uuid: str = UUID) -> Answer:
    answer = await connect(client, path, uuid, reportTo=receiver.report_to.model_dump())
    assert answer.status == 200, answer.body
    return answer


async def outcomes(client: AgentClient) -> dict[str, float]:
    """Return how many pushes there were, by what became of them."""
    text = (await client.ask("GET", "/metrics")).body.decode()
    lines = [line.split() for line in text.splitlines() if line.startswith("bs_agent_pushes_total")]
    return {name.partition('"')[2].partition('"')[0]: float(value) for name, value in lines}


async def test_news_are_sent_and_what_was_answered_is_none(
    client: AgentClient, directory: Path, receiver: Receiver
) -> None:
    await connect_to(client, directory, receiver)
    (directory / MARKER).unlink()
    await eventually(lambda: bool(receiver.reports))
    assert receiver.codes == [ReasonCode.MARKER_MISSING]
    bearer = f"Bearer {push_token(token_hash(client.enrollment.token))}"
    assert receiver.requests == [(f"/agent/v1/enrollments/{client.enrollment.id}/report", bearer)]
    assert await outcomes(client) == {"accepted": 1, "refused": 0, "failed": 0}


@pytest.mark.usefixtures("impatient")
async def test_who_is_told_when_to_come_back_comes_back_however_often(
    client: AgentClient,
    directory: Path,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "bs_agent.agent.push.channel")
    monkeypatch.setattr(channel, "LONGEST_PAUSE", 0.01)
    enough = 2 * channel.TRIES
    receiver.status, receiver.retry_after = lambda count: (429, 503)[count % 2] if count < enough else 200, "5"
    await connect_to(client, directory, receiver)
    (directory / MARKER).unlink()
    await eventually(lambda: len(receiver.reports) == enough)

    await eventually(lambda: "again after" in caplog.text)
    assert await outcomes(client) == {"accepted": 1, "refused": 0, "failed": enough - 1}


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("5", 5), ("0", 0), ("", 0), ("-1", 0), ("1e3", 0), ("x", 0), ("\u00b2", 0), ("9" * 5000, 60), ("Wed, 21 Oct", 0)],
)
async def test_the_time_to_come_back_has_bounds(header: str, seconds: float) -> None:
    assert channel._seconds(header) == seconds


@pytest.mark.usefixtures("impatient")
async def test_a_lost_push_comes_again_with_the_newest_report(
    client: AgentClient, directory: Path, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "bs_agent.agent.push.channel")
    receiver.status = lambda count: 503 if count < 4 else 200
    await connect_to(client, directory, receiver)
    (directory / MARKER).unlink()
    await eventually(lambda: len(receiver.reports) == 4)
    assert receiver.codes == [ReasonCode.MARKER_MISSING] * 4
    await eventually(lambda: "again after 3 failures" in caplog.text)
    assert caplog.text.count("cannot be pushed") == 1
    assert client.enrollment.token not in caplog.text
    assert await outcomes(client) == {"accepted": 1, "refused": 0, "failed": 3}


@pytest.mark.usefixtures("impatient")
async def test_tries_are_bounded(client: AgentClient, directory: Path, receiver: Receiver, tmp_path: Path) -> None:
    receiver.status = lambda _: 503
    await connect_to(client, directory, receiver)
    (directory / MARKER).unlink()
    await eventually(lambda: len(receiver.reports) == channel.TRIES)
    # Of many further probes none sees a change, so nothing is tried again; the next change is.
    for _ in range(10):
        await client.ask("GET", "/v1/report?fresh=true")
    assert len(receiver.reports) == channel.TRIES
    (directory / MARKER).write_text("{}")
    await eventually(lambda: len(receiver.reports) > channel.TRIES)


async def test_changes_that_come_quickly_travel_together(
    client: AgentClient, directory: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await connect_to(client, directory, receiver)
    monkeypatch.setattr(channel, "SPACING", 3.0)
    began = time.monotonic()
    for _ in range(10):
        (directory / MARKER).rename(directory / "away")
        await client.ask("GET", "/v1/report?fresh=true")
        (directory / "away").rename(directory / MARKER)
        await client.ask("GET", "/v1/report?fresh=true")
    (directory / MARKER).rename(directory / "away")
    await eventually(lambda: receiver.codes[-1:] == [ReasonCode.MARKER_MISSING])
    assert len(receiver.reports) <= 2 + (time.monotonic() - began) / channel.SPACING, "21 changes"


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 404])
async def test_a_refusal_is_final_and_a_redirect_is_not_followed(
    client: AgentClient, directory: Path, receiver: Receiver, status: int
) -> None:
    receiver.status = lambda _: status
    await connect_to(client, directory, receiver)
    (directory / MARKER).unlink()
    await eventually(lambda: bool(receiver.reports))
    for _ in range(10):
        await client.ask("GET", "/v1/report?fresh=true")
    assert len(receiver.requests) == 1
    assert await outcomes(client) == {"accepted": 0, "refused": 1, "failed": 0}


@pytest.mark.usefixtures("impatient")
async def test_a_fault_of_ours_ends_no_channel(
    client: AgentClient,
    directory: Path,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object) -> bool:
        raise RuntimeError("a fault of ours")

    await connect_to(client, directory, receiver)
    with monkeypatch.context() as faulty:
        faulty.setattr(channel, "is_news", fail)
        (directory / MARKER).rename(directory / "away")
        await eventually(lambda: "goes on" in caplog.text)
    (directory / "away").rename(directory / MARKER)
    await client.ask("GET", "/v1/report?fresh=true")
    (directory / MARKER).unlink()
    await eventually(lambda: receiver.codes[-1:] == [ReasonCode.MARKER_MISSING])


async def test_another_certificate_gets_nothing(
    client: AgentClient, directory: Path, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = ReportTo(url=receiver.report_to.url, fingerprint="0" * 64)
    await connect(client, directory, reportTo=stranger.model_dump())
    (directory / MARKER).unlink()
    await eventually(lambda: "another certificate" in caplog.text)
    assert receiver.requests == []


async def test_a_receiver_that_hangs_holds_up_neither_probes_nor_the_end(
    client: AgentClient, directory: Path, receiver: Receiver
) -> None:
    receiver.hold = asyncio.Event()
    await connect_to(client, directory, receiver)
    (directory / MARKER).unlink()
    await eventually(lambda: bool(receiver.reports))
    for _ in range(3):
        answer = await client.ask("GET", "/v1/report?fresh=true")
        assert answer.body["storages"][0]["usage"]["ageSeconds"] is not None
    assert (await client.ask("GET", "/readyz")).status == 200
    receiver.hold.set()


async def test_a_receiver_that_is_slow_is_given_up(
    client: AgentClient, directory: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "DEADLINE", 0.2)
    receiver.hold = asyncio.Event()
    await connect_to(client, directory, receiver)
    (directory / MARKER).unlink()
    await eventually(lambda: len(receiver.reports) == 2)
    receiver.hold.set()


async def test_each_node_gets_its_own_storages(
    agent: app.Agent, client: AgentClient, directory: Path, tls: Path, receiver: Receiver
) -> None:
    other_directory = directory.with_name("other")
    other_directory.mkdir()
    async with receiving(tls) as other, enrolled(agent, "another") as other_client:
        await connect_to(client, directory, receiver)
        await connect_to(other_client, other_directory, other, OTHER_UUID)
        (directory / MARKER).unlink()
        await eventually(lambda: bool(receiver.reports))
        (other_directory / MARKER).unlink()
        await eventually(lambda: bool(other.reports))
    assert [[storage.uuid for storage in report.storages] for report in receiver.reports] == [[UUID]]
    assert [[storage.uuid for storage in report.storages] for report in other.reports] == [[OTHER_UUID]]


async def test_a_place_that_cannot_be_read_spoils_its_own_channel_only(
    agent: app.Agent, client: AgentClient, directory: Path, receiver: Receiver
) -> None:
    await connect_to(client, directory, receiver)
    async with enrolled(agent, "another") as other:
        change = "UPDATE enrollments SET report_to = '{}' WHERE id = ?"
        await agent.parts.journal.write(lambda connection: connection.execute(change, (other.enrollment.id,)))
        await app.take_up(agent)
        (directory / MARKER).unlink()
        await eventually(lambda: bool(receiver.reports))
        assert (await connect(other, directory, reportTo=receiver.report_to.model_dump())).status == 200


async def test_pushes_end_with_the_wish_with_the_storage_and_with_the_enrolment(
    agent: app.Agent, client: AgentClient, directory: Path, receiver: Receiver
) -> None:
    async with enrolled(agent, "watches the same") as other:
        await connect_to(other, directory, receiver)
        await connect_to(client, directory, receiver)
        assert (await connect(client, directory)).status == 200
        (directory / MARKER).unlink()
        await eventually(lambda: bool(receiver.requests))
        assert {path.split("/")[4] for path, _ in receiver.requests} == {other.enrollment.id}
        receiver.requests.clear()
        assert (await other.ask("DELETE", f"/v1/enrollments/{other.enrollment.id}")).status == 200
    assert (await connect(client, directory)).status == 200
    await connect_to(client, directory, receiver)
    assert (await clean(client)).error is None
    assert receiver.requests == []


@pytest.mark.parametrize(
    "report_to",
    [
        {"url": "https://127.0.0.1:1"},
        {"url": "https://127.0.0.1:1", "fingerprint": "0" * 63},
        {"url": "http://192.0.2.1:80"},
        {"url": "http://127.0.0.1:80", "fingerprint": "0" * 64},
        {"url": "http://user@127.0.0.1:80"},
        {"url": "http://127.0.0.1:80/path"},
        {"url": "http://127.0.0.1:x"},
        {"url": "http://127.0.0.1:0"},
        {"url": "ftp://127.0.0.1"},
        {"url": "http://" + "x" * 300},
        {},
        "http://127.0.0.1:80",
    ],
    ids=str,
)
async def test_where_reports_would_be_readable_they_are_not_sent(
    client: AgentClient, directory: Path, report_to: dict[str, Any] | str
) -> None:
    answer = await connect(client, directory, reportTo=report_to)
    assert (answer.status, refusal(answer)) == (400, "SYS.1007")
    assert not (directory / MARKER).exists()
    assert (await client.ask("GET", "/v1/report")).body["storages"] == []
