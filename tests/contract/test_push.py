"""The vocabulary of the push: tokens that tell nothing, and addresses that keep reports off the open network."""

import pytest
from pydantic import ValidationError

from bs_agent.contract.enrollment import enrollment_id, token_hash
from bs_agent.contract.push import ConnectRequest, ReportTo, push_token

TOKEN = "a-token-of-an-enrolment"


def test_the_token_of_pushes_follows_from_the_hash_that_the_agent_keeps() -> None:
    pushed = push_token(token_hash(TOKEN))
    assert pushed == push_token(token_hash(TOKEN))
    assert len(pushed) == 64
    assert len({pushed, token_hash(TOKEN).hex(), enrollment_id(TOKEN), push_token(token_hash(TOKEN + "x"))}) == 4


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080", "http://localhost:1", "http://[::1]:8080", "http://127.1.2.3"]
)
def test_plain_http_stays_on_the_host(url: str) -> None:
    assert ReportTo(url=url).path_of("1" * 32) == f"{url}/agent/v1/enrollments/{'1' * 32}/report"
    with pytest.raises(ValidationError, match="no certificate"):
        ReportTo(url=url, fingerprint="0" * 64)


@pytest.mark.parametrize("url", ["https://node:8080", "https://192.0.2.1", "https://[2001:db8::1]:443"])
def test_https_is_pinned(url: str) -> None:
    assert ReportTo(url=url, fingerprint="0" * 64).url == url
    with pytest.raises(ValidationError, match="wants the certificate"):
        ReportTo(url=url)


@pytest.mark.parametrize(
    "url",
    [
        "http://node:8080",
        "https://node:65536",
        "https://:1",
        "https://a@node",
        "https://node/path",
        "https://node?",
        "",
    ],
)
def test_other_addresses_are_refused(url: str) -> None:
    for fingerprint in ("", "0" * 64):
        with pytest.raises(ValidationError):
            ReportTo(url=url, fingerprint=fingerprint)


def test_the_wish_is_optional() -> None:
    assert ConnectRequest.model_validate({"type": "ImageStoreBackupStorage", "url": "/images"}).reportTo is None
