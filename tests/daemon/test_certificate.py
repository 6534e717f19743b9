"""The daemon's own certificate on disk."""

import ssl
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given, settings
from hypothesis import strategies as st

from bs_agent.daemon.certificate import CertificateError, fingerprint, server_context
from tests.beds.certificate import ensure_certificate
from tests.odd_values import LINES

PEM = ["-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----", "\n", "AAAA", "=", "-----BEGIN PRIVATE KEY-----"]


@pytest.mark.asyncio
async def test_of_a_chain_the_first_certificate_is_pinned(tmp_path: Path) -> None:
    leaf, key = await ensure_certificate(tmp_path / "leaf", "leaf")
    issuer, _ = await ensure_certificate(tmp_path / "issuer", "issuer")
    chain = tmp_path / "chain.pem"
    for content in (leaf.read_text() + issuer.read_text(), key.read_text() + "a comment\n" + leaf.read_text()):
        chain.write_text(content)
        assert fingerprint(chain) == fingerprint(leaf) != fingerprint(issuer)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)


@pytest.mark.asyncio
async def test_a_session_comes_without_a_ticket(tmp_path: Path) -> None:
    certificate, key = await ensure_certificate(tmp_path, "host")
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.load_verify_locations(certificate)
    client_context.check_hostname = False
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(back, there)
    server = server_context(certificate, key).wrap_bio(there, back, server_side=True)
    for side in (client, server, client, server):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    server.write(b"an answer")
    assert (client.read(100), client.version()) == (b"an answer", "TLSv1.3")
    assert client.session
    assert not client.session.has_ticket


@pytest.mark.parametrize("content", ["", "no certificate", "-----BEGIN CERTIFICATE-----\n"])
def test_what_is_no_certificate(tmp_path: Path, content: str) -> None:
    (tmp_path / "certificate.pem").write_text(content)
    with pytest.raises(CertificateError):
        fingerprint(tmp_path / "certificate.pem")


@settings(max_examples=100, deadline=None)
@given(LINES | st.lists(st.sampled_from(PEM) | st.text(max_size=8)).map(lambda parts: "".join(parts).encode()))
def test_any_bytes_are_a_certificate_or_not(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.mktemp("tls") / "certificate.pem"
    file.write_bytes(content)
    with suppress(CertificateError):
        assert len(fingerprint(file)) == 64
    with pytest.raises(CertificateError):
        server_context(file)


@pytest.mark.asyncio
async def test_a_key_that_wants_a_password_is_refused_and_nobody_is_asked(tmp_path: Path) -> None:
    certificate, key = await ensure_certificate(tmp_path, "node")
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    encryption = serialization.BestAvailableEncryption(b"secret")
    form = serialization.PrivateFormat.PKCS8
    key.write_bytes(private.private_bytes(serialization.Encoding.PEM, form, encryption))
    with pytest.raises(CertificateError):
        server_context(certificate, key)
