r"""Requests that an access key signs, in the place of a session.

    date: Tue, 24 Nov 2026 03:11:33 Etc/UTC
    Authorization: ZStack <keyId>:<base64 of HMAC-SHA1(secret, METHOD + "\n" + date + "\n" + "/v1" + path)>

Neither the body nor the query string is signed, so who reads a request could send another one under its signature:
that is why the API speaks TLS on all but loopback addresses. No signature counts long after its first use.
"""

import hashlib
import hmac
import re
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from bs_agent.contract.errors import AuthenticationFailed, RequestError, TimeTooSkewed
from bs_agent.management.access.access_keys import AccessKeys
from bs_agent.management.access.used import UsedSignatures
from bs_agent.management.store.signatures import SignatureStore

MOST_SKEW = 900.0

KEPT = 4 * MOST_SKEW
"""Seconds that a signature is remembered: twice as long as one may count, as nodes may disagree on what time it is."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DATE = re.compile(r"[A-Z][a-z]{2}, (\d{1,2}) ([A-Z][a-z]{2}) (\d{4}) (\d{2}):(\d{2}):(\d{2}) ([!-~]{1,64})")
_SIGNED = re.compile(r"([A-Za-z0-9]{1,64}):([A-Za-z0-9+/=]{1,100})")
_OFFSET = re.compile(r"(?:GMT|UTC|UT)?([+-])(\d{1,2})(?::?(\d{2}))?(?::?(\d{2}))?")
_UTC = {"Z", "GMT", "UTC", "UT", "Etc/UTC", "Etc/GMT", "Etc/UCT", "UCT", "Zulu", "Etc/Zulu", "Universal"}
_DECOY = "no key has this secret"


@dataclass(frozen=True, slots=True)
class Signed:
    """What a signed request says of itself."""

    key_id: str
    signature: str
    texts: tuple[str, ...]


def read_signed(value: str, method: str, paths: tuple[str, ...], date: str | None, now: float) -> Signed:
    """Read the header of a signed request; `paths` begin with `/v1`: as it was sent, and decoded.

    Raises:
        RequestError: the header or the date is not as it should be.
        TimeTooSkewed: the date is too far from now.
    """
    found = _SIGNED.fullmatch(value.strip())
    if not found:
        raise RequestError("Authorization with an access key must be 'ZStack <access key id>:<signature>'")
    if date is None:
        raise RequestError("missing header 'Date': an access key wants it")
    if abs(parse_date(date) - now) > MOST_SKEW:
        raise TimeTooSkewed("requestTimeTooSkewed")
    return Signed(found[1], found[2], tuple(f"{method}\n{date}\n{path}" for path in paths))


def parse_date(text: str) -> float:
    """Return the moment that a date such as `Tue, 24 Nov 2026 03:11:33 Etc/UTC` names, in Unix seconds.

    Raises:
        RequestError: it has another form, or names no moment.
    """
    found = _DATE.fullmatch(text.strip())
    try:
        day, month, year, hour, minute, second, zone = found.groups() if found else [""] * 7
        numbers = (int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second))
        return datetime(*numbers, tzinfo=_zone(zone)).timestamp()
    except (ValueError, OverflowError, OSError):
        raise RequestError("'Date' must be such as 'Tue, 24 Nov 2026 03:11:33 Etc/UTC'") from None


def sign(secret: str, text: str) -> str:
    """Return the signature of a text."""
    return b64encode(hmac.new(secret.encode(), text.encode(errors="replace"), hashlib.sha1).digest()).decode()


class Signatures:
    """Tells whose key signed a request."""

    def __init__(self, keys: AccessKeys, used: UsedSignatures) -> None:
        self._keys = keys
        self._used = used

    @classmethod
    @asynccontextmanager
    async def open(cls, keys: AccessKeys, store: SignatureStore) -> AsyncIterator["Signatures"]:
        """Check signatures while the context is open."""
        async with UsedSignatures.open(store, KEPT) as used:
            yield cls(keys, used)

    async def check(self, signed: Signed) -> tuple[str, str]:
        """Return uuid and name of the account that the key acts for.

        Raises:
            AuthenticationFailed: there is no such key, it did not sign this, or the signature was used before.
        """
        key = await self._keys.reveal(signed.key_id)
        secret = key.secret if key else _DECOY
        # An unknown key costs as much time as a wrong signature.
        fits = [hmac.compare_digest(sign(secret, text).encode(), signed.signature.encode()) for text in signed.texts]
        if key is None or not any(fits):
            raise AuthenticationFailed("wrong access key or signature")
        if not await self._used.take(signed.signature):
            raise AuthenticationFailed("the signature was used before; sign each request anew")
        return key.account_uuid, key.account_name


def _zone(text: str) -> tzinfo:
    if text in _UTC:
        return UTC
    if found := _OFFSET.fullmatch(text):
        sign_, hours, minutes, seconds = found.groups()
        offset = timedelta(hours=int(hours), minutes=int(minutes or 0), seconds=int(seconds or 0))
        return timezone(-offset if sign_ == "-" else offset)
    try:
        return ZoneInfo(text)
    except (OSError, KeyError):
        raise ValueError(text) from None
