"""The HTTP side of the agent protocol: who may enter, bad requests, ETags, ages, health and metrics."""

import asyncio
import io
import json
from pathlib import Path

import aiohttp
import pytest

from bs_agent.agent import app, http
from bs_agent.agent.commands import Commands
from bs_agent.agent.config import AgentSettings
from bs_agent.agent.journal.journal import Journal
from bs_agent.agent.metrics import Metrics
from bs_agent.agent.probing.reporter import Reporter
from bs_agent.agent.push.push import Pushing
from bs_agent.agent.served import Served
from bs_agent.agent.state import prepare
from bs_agent.agent.storages.base import Host
from bs_agent.agent.trust.enrollment import Enrollments
from bs_agent.agent.trust.told import Told
from bs_agent.daemon.certificate import ServedCertificate
from bs_agent.daemon.connection import connector
from bs_agent.daemon.http import MAX_BODY
from tests.agent.asking import MARKER, connect, refusal
from tests.agent.conftest import OTHER_UUID, UUID, enrolled, running_agent, tree
from tests.beds.agent import AgentClient

pytestmark = pytest.mark.asyncio

ROUTES = [
    ("GET", "/metrics"),
    ("GET", "/v1/report"),
    ("GET", "/v1/report?fresh=true"),
    ("PUT", f"/v1/storages/{UUID}"),
    ("POST", f"/v1/storages/{UUID}/cleanup"),
    ("GET", f"/v1/commands/{UUID}"),
    ("DELETE", f"/v1/enrollments/{UUID}"),
    ("GET", "/"),
    ("GET", "/no/such/path"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_nothing_is_answered_without_a_token(client: AgentClient, method: str, path: str) -> None:
    token = client.enrollment.token
    for header in ("", "Bearer", "Bearer ", f"Basic {token}", f"Bearer {token[:-1]}", f"Bearer {token}x", token):
        answer = await client.ask(method, path, {} if method != "GET" else None, headers={"Authorization": header})
        assert (answer.status, refusal(answer)) == (401, "BS.AgentUnauthorized"), header
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert token not in json.dumps(answer.body)


async def test_the_list_of_routes_is_whole(settings: AgentSettings) -> None:
    """Every route that the application has is among those tried without a token."""
    host, journal = Host(settings), Journal(settings.state.directory)
    reporter = Reporter(host)
    served = Served(host, journal, reporter)
    commands, enrollments = Commands(journal, served), Enrollments(journal)
    async with aiohttp.ClientSession(connector=connector()) as session:
        pushing = Pushing(session, journal, reporter, served)
    metrics = Metrics(reporter, host.workers, journal, pushing)
    tls = ServedCertificate((await prepare(settings.state.directory)).certificate)
    parts = http.Parts(host, journal, reporter, served, commands, enrollments, Told(journal), pushing, metrics, tls)
    tried = {path.replace(UUID, "{uuid}").partition("?")[0] for _, path in ROUTES}
    declared = {resource.canonical for resource in http.build(parts, 1).router.resources()}
    assert declared - tried == http.OPEN_PATHS


async def test_health_wants_no_token(agent: app.Agent) -> None:
    async with aiohttp.ClientSession(connector=connector()) as session:
        for path, status in (("/livez", 200), ("/readyz", 200)):
            async with session.get(f"https://{agent.address}{path}", ssl=False) as answer:
                assert answer.status == status


async def test_a_token_is_known_at_once_and_only_where_it_was_made(
    agent: app.Agent, client: AgentClient, settings: AgentSettings, tmp_path: Path
) -> None:
    async with enrolled(agent, "another") as other:
        assert (await other.ask("GET", "/v1/report")).status == 200
    directory = settings.state.model_copy(update={"directory": tmp_path / "elsewhere"})
    async with running_agent(settings.model_copy(update={"state": directory})) as second:
        client.url = f"https://{second.address}"
        async with enrolled(second) as own:
            client.pin = own.pin
            assert (await client.ask("GET", "/v1/report")).status == 401


async def test_another_certificate_is_refused_by_the_client(client: AgentClient) -> None:
    client.pin = aiohttp.Fingerprint(b"\0" * 32)
    with pytest.raises(aiohttp.ServerFingerprintMismatch):
        await client.ask("GET", "/v1/report")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b"", 400),
        (b"null", 400),
        (b'{"type": "ImageStoreBackupStorage"}', 400),
        (b'{"type": "Tape", "url": "/data"}', 400),
        (b'{"type": "ImageStoreBackupStorage", "url": 7}', 400),
        (b'{"type": "ImageStoreBackupStorage", "url": "\\ud800"}', 400),
        (b'{"type": "ImageStoreBackupStorage", "url": "/\\u0000"}', 503),
        (b"[" * 10_000 + b"]" * 10_000, 400),
        (b'{"url":' * 10_000 + b"1" + b"}" * 10_000, 400),
        (b'{"url": "' + b"x" * MAX_BODY + b'"}', 413),
    ],
    ids=["cut", "list", "empty", "null", "no-url", "kind", "number", "surrogate", "nul", "deep", "deeper", "large"],
)
async def test_a_bad_body_is_refused_and_changes_nothing(
    client: AgentClient, directory: Path, body: bytes, status: int
) -> None:
    async with client.session.put(
        f"{client.url}/v1/storages/{UUID}",
        data=io.BytesIO(body),
        headers={"Authorization": f"Bearer {client.enrollment.token}"},
        ssl=client.pin,
    ) as answer:
        shown = await answer.json()
    assert answer.status == status, shown
    assert set(shown["error"]) <= {"code", "description", "details"}
    assert (await client.ask("GET", "/v1/report")).body["storages"] == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "/v1/storages/xyz", 400),
        ("PUT", f"/v1/storages/{UUID.replace('1', 'A')}", 400),
        ("POST", "/v1/storages/../cleanup", 404),
        ("GET", "/v1/commands/xyz", 400),
        ("GET", f"/v1/commands/{UUID}", 404),
        ("DELETE", f"/v1/enrollments/{UUID}", 404),
        ("GET", "/v1/report?fresh=maybe", 400),
        ("GET", "/v2/report", 404),
        ("POST", "/v1/report", 405),
        ("POST", f"/v1/storages/{UUID}/cleanup", 400),
    ],
)
async def test_a_wrong_request_is_explained(client: AgentClient, method: str, path: str, status: int) -> None:
    answer = await client.ask(method, path, {"type": "ImageStoreBackupStorage", "url": "/nowhere"})
    assert answer.status == status
    assert answer.body["error"]["details"]


async def test_a_newer_peer_may_say_more(client: AgentClient, directory: Path) -> None:
    assert (await connect(client, directory, colour="blue")).status == 200


async def test_an_unchanged_report_costs_a_304(client: AgentClient, directory: Path) -> None:
    empty = await client.ask("GET", "/v1/report")
    await connect(client, directory)
    first = await client.ask("GET", "/v1/report")
    assert first.headers["ETag"] != empty.headers["ETag"]
    for header in (first.headers["ETag"], f'"x", {first.headers["ETag"]}', "*", f"W/{first.headers['ETag']}"):
        again = await client.ask("GET", "/v1/report", headers={"If-None-Match": header})
        assert (again.status, again.body) == (304, b"")
        assert again.headers["ETag"] == first.headers["ETag"]
        assert int(again.headers["Age"]) >= 0
    for header in (empty.headers["ETag"], '"x"', "nonsense"):
        assert (await client.ask("GET", "/v1/report", headers={"If-None-Match": header})).status == 200
    (directory / MARKER).unlink()
    changed = await client.ask("GET", "/v1/report?fresh=true", headers={"If-None-Match": first.headers["ETag"]})
    assert changed.status == 200
    assert changed.body["storages"][0]["usage"]["reason"]["code"] == "MarkerMissing"


async def test_ages_grow_between_two_probes(settings: AgentSettings, directory: Path) -> None:
    seldom = settings.model_copy(update={"probe": settings.probe.model_copy(update={"interval": 3600.0})})
    async with running_agent(seldom) as agent, enrolled(agent) as client:
        await connect(client, directory)
        young = await client.ask("GET", "/v1/report")
        await asyncio.sleep(1.1)
        old = await client.ask("GET", "/v1/report")
        assert old.body["storages"][0]["usage"]["ageSeconds"] >= young.body["storages"][0]["usage"]["ageSeconds"] + 1
        assert int(old.headers["Age"]) > int(young.headers["Age"])
        assert old.headers["ETag"] == young.headers["ETag"]
        fresh = await client.ask("GET", "/v1/report?fresh=true")
        assert fresh.body["storages"][0]["usage"]["ageSeconds"] < 1


async def test_metrics_show_what_the_parts_hold(client: AgentClient, directory: Path) -> None:
    await connect(client, directory)
    await client.ask("POST", f"/v1/storages/{OTHER_UUID}/cleanup", {"commandUuid": "1" * 32})
    text = (await client.ask("GET", "/metrics")).body.decode()
    labels = f'storage="{UUID}",type="ImageStoreBackupStorage"'
    for line in (
        f"bs_agent_storage_total_bytes{{{labels}}} ",
        f"bs_agent_storage_available_bytes{{{labels}}} ",
        f"bs_agent_storage_total_inodes{{{labels}}} ",
        f"bs_agent_storage_available_inodes{{{labels}}} ",
        f"bs_agent_storage_read_only{{{labels}}} 0.0",
        "bs_agent_build_info{python=",
        f'bs_agent_section_age_seconds{{section="usage",{labels}}} ',
        f'bs_agent_section_stale{{section="usage",{labels}}} 0.0',
        'bs_agent_worker_starts_total{worker="mount ',
        "bs_agent_journal_available 1.0",
        "process_resident_memory_bytes ",
    ):
        assert f"\n{line}" in text, line
    assert client.enrollment.token not in text
    (directory / MARKER).unlink()
    await client.ask("GET", "/v1/report?fresh=true")
    text = (await client.ask("GET", "/metrics")).body.decode()
    assert f'bs_agent_section_reason{{reason="MarkerMissing",section="usage",{labels}}} 1.0' in text


async def test_metrics_are_said_in_the_format_that_is_asked_for(client: AgentClient, directory: Path) -> None:
    await connect(client, directory)
    asked = {
        "": "text/plain; version=0.0.4",
        "application/openmetrics-text;version=1.0.0,text/plain;q=0.5": "application/openmetrics-text; version=1.0.0",
        "application/openmetrics-text;version=x": "text/plain; version=0.0.4",
    }
    for accept, kind in asked.items():
        answer = await client.ask("GET", "/metrics", headers={"Accept": accept})
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith(kind)
        assert b"_created" not in answer.body
        assert answer.body.endswith(b"# EOF\n") == kind.startswith("application")
    head = await client.ask("HEAD", "/metrics")
    assert (head.status, head.body) == (200, b"")


async def test_a_connect_says_nothing_of_the_token(
    client: AgentClient, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    before = tree(directory)
    answer = await connect(client, directory)
    for text in (json.dumps(answer.body), str(answer.headers), caplog.text, (directory / MARKER).read_text()):
        assert client.enrollment.token not in text
    assert before.keys() < tree(directory).keys()
