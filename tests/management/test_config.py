"""Keys of management.toml that depend on one another."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from bs_agent.contract.push import ReportTo
from bs_agent.daemon.certificate import CertificateError, fingerprint
from bs_agent.management.config import ManagementSettings, ServerSettings
from bs_agent.management.polling.receive import advertised
from tests.beds.certificate import ensure_certificate

CERTIFICATE = {"tls_certificate": "/node.pem", "tls_key": "/node.key"}


@pytest.mark.parametrize(
    ("server", "fault"),
    [
        ({"advertise_url": "https://node:8080"}, "wants the certificate"),
        ({"advertise_url": "http://node:8080"}, "loopback address only"),
        ({"advertise_url": "http://node:8080", **CERTIFICATE}, "loopback address only"),
        ({"advertise_url": "https://node/zstack", **CERTIFICATE}, "pattern"),
        ({"advertise_url": "node:8080", **CERTIFICATE}, "pattern"),
        ({"tls_key": "/node.key"}, "go together"),
    ],
)
def test_what_does_not_fit_is_refused(server: dict[str, str], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        ManagementSettings.model_validate({"server": server})


@pytest.mark.asyncio
async def test_agents_are_told_where_to_push_and_what_to_pin(tmp_path: Path) -> None:
    certificate, key = await ensure_certificate(tmp_path, "node")
    pair = {"tls_certificate": str(certificate), "tls_key": str(key)}
    assert advertised(ServerSettings()) is None
    plain = ServerSettings.model_validate({"advertise_url": "http://127.0.0.1:8080"})
    assert advertised(plain) == ReportTo(url="http://127.0.0.1:8080")
    pinned = ServerSettings.model_validate({"advertise_url": "https://node:8080", **pair})
    assert advertised(pinned) == ReportTo(url="https://node:8080", fingerprint=fingerprint(certificate))
    certificate.unlink()
    with pytest.raises(CertificateError):
        advertised(pinned)
