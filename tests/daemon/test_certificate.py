"""The daemon's own certificate on disk."""

import ssl
from pathlib import Path

import pytest

from bs_agent.daemon.certificate import CertificateError, fingerprint
from tests.beds.certificate import ensure_certificate


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


@pytest.mark.parametrize("content", ["", "no certificate", "-----BEGIN CERTIFICATE-----\n"])
def test_what_is_no_certificate(tmp_path: Path, content: str) -> None:
    (tmp_path / "certificate.pem").write_text(content)
    with pytest.raises(CertificateError):
        fingerprint(tmp_path / "certificate.pem")
