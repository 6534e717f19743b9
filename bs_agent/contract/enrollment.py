"""The enrolment code: port, token and certificate fingerprint of an agent in one string that survives copy and paste.

The id of an enrolment is derived from its token, so whoever holds the token can name what to forget.
"""

import base64
import binascii
import hashlib
import re
import struct
from typing import NamedTuple

from bs_agent.contract.errors import InvalidArgument

_VERSION = 1
_HEAD = struct.Struct("!BH32s")
_CHECK = struct.Struct("!I")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,256}")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{68,}")
# Version, port and fingerprint, and then so much of a token that it can be read though the end is missing.
_CODE_WITHIN = re.compile(rb"\x01.{34}[A-Za-z0-9_-]{16}", re.DOTALL)


class EnrollmentCode(NamedTuple):
    """What a code holds; the token is a secret."""

    port: int
    token: str
    fingerprint: str


def encode(port: int, token: str, fingerprint: str) -> str:
    """Return the code: URL-safe base64 without padding, with a checksum against a lost character."""
    content = _HEAD.pack(_VERSION, port, bytes.fromhex(fingerprint)) + token.encode("ascii")
    checked = content + _CHECK.pack(binascii.crc32(content))
    return base64.urlsafe_b64encode(checked).decode("ascii").rstrip("=")


def decode(code: str) -> EnrollmentCode:
    """Return what the code holds.

    Raises:
        InvalidArgument: it is no code, or a part of it was lost; the message does not repeat it.
    """
    wrong = InvalidArgument("this is no enrolment code: run `bs-agent enroll` on the host and copy its whole code")
    try:
        checked = base64.b64decode(code + "=" * (-len(code) % 4), altchars=b"-_", validate=True)
        content, check = checked[: -_CHECK.size], checked[-_CHECK.size :]
        version, port, fingerprint = _HEAD.unpack(content[: _HEAD.size])
        token = content[_HEAD.size :].decode("ascii")
    except (ValueError, struct.error):
        raise wrong from None
    if version != _VERSION or check != _CHECK.pack(binascii.crc32(content)) or not port or not _TOKEN.fullmatch(token):
        raise wrong
    return EnrollmentCode(port, token, fingerprint.hex())


def holds_code(text: str) -> bool:
    """Tell whether a text holds a code anywhere, whole or cut short; blanks and line breaks within hide nothing."""
    runs = _BASE64.findall("".join(text.split()))
    # Base64 has its groups of four from wherever the code begins.
    parts = (run[start : start + (len(run) - start) // 4 * 4] for run in runs for start in range(4))
    return any(_CODE_WITHIN.search(base64.b64decode(part, altchars=b"-_")) for part in parts)


def enrollment_id(token: str) -> str:
    """Return the id of the enrolment that this token belongs to; it tells nothing about the token."""
    return hashlib.sha256(b"bs-agent enrolment id\0" + token.encode()).hexdigest()[:32]


def token_hash(token: str) -> bytes:
    """Return what an agent keeps of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
