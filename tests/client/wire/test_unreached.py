"""Why no answer came: each cause is told from the others by what really happens, and has its own cure."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from bs_agent.client.sdk import Client, QueryBackupStorageAction
from bs_agent.contract.errors import ErrorCode
from bs_agent.daemon.certificate import server_context
from tests.client.certificate import make_certificate
from tests.client.node import SESSION, Node, running


def asked(url: str, **settings: Any) -> ErrorCode:
    """Return the error of a query there."""
    client = Client(url=url, session_id=SESSION, patience=0, **{"timeout": 20.0, **settings})
    error = QueryBackupStorageAction().call(client).error
    assert error is not None
    return error


def told(error: ErrorCode) -> tuple[str, str]:
    """Return what was seen and what to do."""
    return error.details or "", error.elaboration or ""


@contextmanager
def saying(greeting: bytes) -> Iterator[str]:
    """Listen on loopback as a server that says something of its own to whoever comes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            while True:
                try:
                    line, _ = listener.accept()
                except OSError:
                    return
                with line:
                    line.sendall(greeting)
                    line.recv(4096)

        thread = threading.Thread(target=greet)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def test_https_to_a_plain_port_is_no_matter_of_certificates(node: Node) -> None:
    details, cure = told(asked(node.url.replace("http:", "https:")))
    assert details == "the port does not speak TLS, and https was spoken to it"
    assert "Write http://" in cure


def test_plain_http_to_a_tls_port(tmp_path: Path) -> None:
    with running(Node(), server_context(*make_certificate(tmp_path))) as node:
        details, cure = told(asked(node.url.replace("https:", "http:")))
    assert details == "the port speaks TLS, and plain http was spoken to it"
    assert "Write https://" in cure
    assert "--ca-file" in cure


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_port_of_another_program(scheme: str) -> None:
    with saying(b"SSH-2.0-OpenSSH_9.2p1\r\n") as place:
        details, cure = told(asked(f"{scheme}://{place}"))
    assert (
        details
        == {
            "http": "what answers does not speak HTTP",
            "https": "the port does not speak TLS, and https was spoken to it",
        }[scheme]
    )
    assert "port" in cure


@pytest.mark.parametrize(
    ("host", "days", "why", "cure"),
    [
        ("localhost", (-1, 1), "self-signed certificate", "name it: `--ca-file FILE`"),
        ("trusted localhost", (-3, -1), "certificate has expired", "systemctl reload bs-management"),
        ("trusted localhost", (1, 3), "certificate is not yet valid", "Set the clock of this host"),
        ("trusted 127.0.0.1", (-1, 1), "certificate is not valid for '127.0.0.1'", "with a name that the certificate"),
    ],
)
def test_certificates_that_are_not_trusted(
    tmp_path: Path, host: str, days: tuple[int, int], why: str, cure: str
) -> None:
    certificate, key = make_certificate(tmp_path, days)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    trusted = {"ca_file": certificate} if host.startswith("trusted") else {}
    with running(Node(), context) as node:
        found = told(asked(node.url.replace("127.0.0.1", host.rsplit(maxsplit=1)[-1]), **trusted))
    assert found[0].startswith("its certificate is not trusted: ")
    assert why in found[0]
    assert cure in found[1]


def test_another_certificate_than_the_trusted_one(tmp_path: Path) -> None:
    for name in ("theirs", "ours"):
        (tmp_path / name).mkdir()
    ours, _ = make_certificate(tmp_path / "ours")
    with running(Node(), server_context(*make_certificate(tmp_path / "theirs"))) as node:
        found = told(asked(node.url.replace("127.0.0.1", "localhost"), ca_file=ours))
    assert str(ours) in found[1]
    assert "somebody may sit in between" in found[1]


def test_files_of_certificates_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "node.pem").write_text("no certificate")
    for path, why in ((tmp_path / "node.pem", "holds no certificate in PEM form"), (tmp_path, "Is a directory")):
        details, cure = told(asked("https://localhost:1", ca_file=path))
        assert details == f"ca file {path}: {why}"
        assert "as PEM" in cure


def test_nobody_listens() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        details, cure = told(asked(f"http://127.0.0.1:{closed.getsockname()[1]}"))
    assert details == "Connection refused"
    assert "systemctl start bs-management" in cure
    assert "--port" in cure


def test_a_name_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("https_proxy", raising=False)
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    details, cure = told(asked("https://nowhere.invalid"))
    assert details.startswith("the name nowhere.invalid is not known: ")
    assert "proxy" not in cure
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    assert "The proxy that the environment names is not used" in told(asked("https://nowhere.invalid"))[1]


def test_a_host_that_drops_what_is_sent() -> None:
    with ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(3):  # the queue of those who wait to be taken in, and of those on their way into it
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        details, cure = told(asked(f"http://127.0.0.1:{full.getsockname()[1]}", timeout=1.0))
    assert details == "no connection within 0.5 s"
    assert "firewall" in cure


def test_a_node_that_does_not_answer(node: Node) -> None:
    node.mute = True
    details, cure = told(asked(node.url, timeout=0.5))
    assert details == "no answer within 0.5 s"
    assert "the log of the management node" in cure


@pytest.mark.parametrize(
    ("status", "text", "cure"),
    [
        (404, "<html>nginx</html>", "Another server than the management node answers"),
        (200, "<html>welcome</html>", "Another server than the management node answers"),
        (403, "forbidden", "Another server than the management node answers"),
        (302, "", "Give the URL that this one leads to"),
        (407, "", "A proxy or load balancer answers"),
        (502, "bad gateway", "A proxy or load balancer answers"),
        (500, "oops", "Look at the log of the management node"),
    ],
)
def test_answers_of_somebody_else(node: Node, status: int, text: str, cure: str) -> None:
    node.canned = (status, text)
    assert cure in told(asked(node.url))[1]
