"""What the client does when the network or the management node misbehaves: tried again, never twice in effect."""

import asyncio
import socket
import threading
from pathlib import Path

import pytest

from bs_agent.client.sdk import (
    CallFailed,
    Client,
    DeleteBackupStorageAction,
    LogInByAccountAction,
    Progress,
    QueryBackupStorageAction,
    ReconnectBackupStorageAction,
)
from bs_agent.client.wire.encoding import Request
from bs_agent.client.wire.transport import pauses
from bs_agent.daemon.certificate import server_context
from tests.client.certificate import make_certificate
from tests.client.fleet import STORE
from tests.client.node import PASSWORD, SESSION, Node, running

UUID = str(STORE["uuid"])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_a_job_is_followed_on_the_configured_node_with_progress(node: Node) -> None:
    seen: list[Progress] = []
    node.polls = 3
    client = Client(url=node.url, session_id=SESSION, polling_interval=0.02, on_progress=seen.append)
    assert ReconnectBackupStorageAction(uuid=UUID).call(client).error is None
    (job,) = node.jobs
    assert node.headers[0]["X-Job-UUID"] == job
    assert [path for _, path in node.requests[1:]] == [f"/zstack/v1/api-jobs/{job}"] * 4
    assert all("X-Job-UUID" not in headers for headers in node.headers[1:])
    assert [progress.job for progress in seen] == [job] * 3
    assert seen == sorted(seen, key=lambda progress: progress.seconds)


def test_a_job_that_does_not_end_is_left_after_the_polling_time(node: Node) -> None:
    node.polls = 10_000
    client = Client(url=node.url, session_id=SESSION, polling_interval=0.02, polling_timeout=0.3)
    error = DeleteBackupStorageAction(uuid=UUID).call(client).error
    assert error is not None
    assert error.code == "sdk.1001"
    assert error.details is not None
    assert list(node.jobs)[0] in error.details  # noqa: RUF015  there is one


def test_a_failed_job_is_the_error_of_the_call(node: Node, client: Client) -> None:
    error = ReconnectBackupStorageAction(uuid="0" * 32).call(client).error
    assert error is not None
    assert error.code == "SYS.1003"
    assert len(node.jobs) == 1


def test_a_lost_answer_does_not_make_a_long_call_act_twice(node: Node, client: Client) -> None:
    node.drop_answers = 2
    assert DeleteBackupStorageAction(uuid=UUID).call(client).error is None
    assert node.effects == [f"DELETE /backup-storage/{UUID}"]
    assert len(node.jobs) == 1


def test_a_broken_connection_is_tried_again_when_that_is_safe(node: Node, client: Client) -> None:
    for action in (QueryBackupStorageAction(), LogInByAccountAction(accountName="admin", password=PASSWORD)):
        node.drop = 3
        assert action.call(client).error is None
    node.requests.clear()

    async def post() -> None:
        async with client.connect() as line:
            await line.send(Request("POST", "/zstack/v1/zones", b"{}"), {}, repeatable=False)

    node.drop = 1
    with pytest.raises(CallFailed, match=r"sdk\.1002.*Server disconnected"):
        asyncio.run(post())
    assert node.requests == []


def test_patience_ends(node: Node) -> None:
    node.drop = 1000
    error = QueryBackupStorageAction().call(Client(url=node.url, patience=0.3)).error
    assert error is not None
    assert (error.code, error.details) == ("sdk.1002", "the connection broke: Server disconnected")
    node.drop, node.mute = 0, True
    error = QueryBackupStorageAction().call(Client(url=node.url, patience=0.1, timeout=0.2)).error
    assert error is not None
    assert error.details == "no answer within 0.2 s"


def test_a_node_that_starts_late_is_waited_for() -> None:
    port = free_port()
    client = Client(url=f"http://127.0.0.1:{port}", session_id=SESSION, patience=20)
    results = []
    action = ReconnectBackupStorageAction(uuid=UUID)
    caller = threading.Thread(target=lambda: results.append(action.call(client)))
    refused = QueryBackupStorageAction().call(Client(url=client.url, patience=0)).error
    assert refused is not None
    assert refused.details == "Connection refused"
    caller.start()
    with running(Node(inventories=[dict(STORE)]), port=port):
        caller.join(20)
    assert [res.error for res in results] == [None]


def test_a_job_outlives_a_restart_of_the_node() -> None:
    node, port = Node(inventories=[dict(STORE)], polls=10), free_port()
    polled = threading.Event()
    client = Client(
        url=f"http://127.0.0.1:{port}",
        session_id=SESSION,
        patience=0,
        polling_interval=0.05,
        on_progress=lambda _: polled.set(),
    )
    results = []
    caller = threading.Thread(target=lambda: results.append(DeleteBackupStorageAction(uuid=UUID).call(client)))
    with running(node, port=port):
        caller.start()
        assert polled.wait(10)
    with running(node, port=port):
        caller.join(20)
    assert [res.error for res in results] == [None]
    assert node.effects == [f"DELETE /backup-storage/{UUID}"]


@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [
        (200, "[]", "sdk.1000: the answer is not a JSON object"),
        (200, "<html>", "sdk.1000: the answer is not JSON"),
        (200, "[" * 100_000, "sdk.1000: the answer is not JSON"),
        (200, '{"inventories": 3}', "sdk.1000: the answer does not have the form of the API"),
        (302, "", "sdk.1000: the http status code[302] indicates a failure happened"),
        (404, "no api mapping to /v1/x", "sdk.1000: the http status code[404] indicates a failure happened"),
        (500, '{"error": "text"}', "sdk.1000: the http status code[500] indicates a failure happened"),
        (503, '{"error": {"code": 7}}', "sdk.1000: the http status code[503] came with an unknown error"),
        (200, '{"error": {"code": "SYS.1006", "description": "d"}, "success": false}', "SYS.1006: d"),
    ],
)  # fmt: skip
def test_answers_that_are_none(node: Node, client: Client, status: int, text: str, expected: str) -> None:
    node.canned = (status, text)
    error = QueryBackupStorageAction().call(client).error
    assert error is not None
    assert f"{error.code}: {error.description}" == expected
    assert len(error.details or "") <= 2000


def test_an_empty_body_is_an_empty_reply(node: Node, client: Client) -> None:
    node.canned = (200, "")
    assert DeleteBackupStorageAction(uuid=UUID).call(client).error is None


def test_tls_is_checked_against_the_given_certificate(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    with running(Node(inventories=[dict(STORE)]), server_context(certificate, key)) as node:
        url = node.url.replace("127.0.0.1", "localhost")
        untrusted = QueryBackupStorageAction().call(Client(url=url, session_id=SESSION)).error
        assert untrusted is not None
        assert untrusted.details is not None
        assert "its certificate is not trusted" in untrusted.details
        missing = QueryBackupStorageAction().call(Client(url=url, ca_file=tmp_path / "none.pem")).error
        assert missing is not None
        assert "none.pem" in str(missing.details)
        trusting = Client(url=url, session_id=SESSION, ca_file=certificate)
        assert QueryBackupStorageAction().call(trusting).error is None


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://mn.example:8080", "plain http would show the session"),
        ("http://10.0.0.1:8080", "plain http would show the session"),
        ("ftp://localhost", "must be http://host:port"),
        ("localhost:8080", "must be http://host:port"),
        ("http://localhost:99999", "Port out of range"),
        ("https://admin:secret@mn.example", "scheme, host and port only"),
        ("https://mn.example/zstack/v1", "scheme, host and port only"),
    ],
)
def test_urls_that_are_refused(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        Client(url=url)
    assert "secret" not in str(caught.value)


def test_plain_http_is_for_this_host_or_on_purpose() -> None:
    for url in ("http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1", "https://mn.example"):
        assert Client(url=url).url == url
    assert Client(url="http://mn.example:8080", allow_plain_http=True).allow_plain_http


def test_pauses_grow_to_their_limit() -> None:
    found = [pause for pause, _ in zip(pauses(2.0), range(12), strict=False)]
    assert all(0 < pause <= 2.0 for pause in found)
    assert found[0] <= 0.1
    assert min(found[6:]) >= 1.5
