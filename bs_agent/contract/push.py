"""The push: what an agent sends by itself when it has news, where to, and how the two sides know one another.

`POST <url>/agent/v1/enrollments/{id}/report` with the host's report as its body. The bearer token follows from the
enrolment's token by hashing, so the management node computes it, and the agent needs only the hash that it keeps.
"""

import hashlib
import ipaddress
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from bs_agent.contract.bounds import OperationNumber
from bs_agent.contract.report import Wire

PUSH_PATH = "/agent/v1/enrollments/{id}/report"
URL_PATTERN = r"^https?://[^/?#@\s]+$"


class ReportTo(Wire):
    """Where reports are pushed to, and the SHA-256 fingerprint of the certificate that must be shown there."""

    url: str = Field(max_length=300, pattern=URL_PATTERN)
    fingerprint: str = Field("", pattern=r"^([0-9a-f]{64})?$")

    @model_validator(mode="after")
    def _check_trust(self) -> Self:
        check_url(self.url, pinned=bool(self.fingerprint))
        return self

    def path_of(self, enrollment_id: str) -> str:
        """Return the address that the reports of an enrolment are posted to."""
        return self.url + PUSH_PATH.format(id=enrollment_id)


class ConnectRequest(Wire):
    """What the connect command says beside the parameters of the storage; without `reportTo` nothing is pushed."""

    number: OperationNumber = 0
    reportTo: ReportTo | None = None


def push_token(token_hash: bytes) -> str:
    """Return the bearer token of the pushes of the enrolment whose token has this hash."""
    return hashlib.sha256(b"bs-agent push\0" + token_hash).hexdigest()


def check_url(url: str, *, pinned: bool) -> None:
    """See that reports and their token travel over TLS with a pinned certificate, or do not leave the host.

    Raises:
        ValueError: they would be readable on the network, or it is no address.
    """
    parts = urlsplit(url)
    if not parts.hostname or parts.port == 0:  # a port that is no number raises ValueError, too
        raise ValueError(f"{url} names no host")
    if parts.scheme == "https" and not pinned:
        raise ValueError("an https address wants the certificate that it shows")
    if parts.scheme == "http" and (pinned or not is_loopback(parts.hostname)):
        raise ValueError("plain http goes to a loopback address only, where there is no certificate")


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address is this host's own by its form."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
