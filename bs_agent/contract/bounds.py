"""The bounds of what a peer may send: numbers that a database can hold, texts and lists that end.

A text that is only shown is cut, and is one line without control characters: it goes into logs and to terminals. One
that names something is refused when it is too long: a part of a name names something else. What no database takes, NUL
and halves of surrogate pairs, becomes U+FFFD.
"""

import re
from collections.abc import Callable
from typing import Annotated

from pydantic import BeforeValidator, Field

MAX_INTEGER = 2**63 - 1
MAX_STORAGES = 1000
MAX_POOLS = 10_000
MAX_OSDS = 100_000
MAX_MONS = 1000
MAX_ADDRESSES = 100
MAX_CHECKS = 1000
MAX_STEPS = 1000

_UNFIT = re.compile("[\0\ud800-\udfff]")
_CONTROL = re.compile("[\x01-\x1f\x7f-\x9f\u2028\u2029]+")


def fit(text: object) -> object:
    """Replace in a text what a database does not take."""
    return _UNFIT.sub("\ufffd", text) if isinstance(text, str) else text


def _cut_to(longest: int) -> Callable[[object], object]:
    def cut(value: object) -> object:
        text = fit(value)
        if not isinstance(text, str):
            return text
        text = _CONTROL.sub(" ", text)
        return text[: longest - 1] + "…" if len(text) > longest else text

    return cut


Count = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
Bytes = Annotated[int, Field(ge=0, le=MAX_INTEGER, description="Bytes.")]
Port = Annotated[int, Field(ge=1, le=65535)]
Rank = Annotated[int, Field(ge=-1, le=MAX_INTEGER, description="The rank of a mon; -1 while it is not in the map.")]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, le=1e10, allow_inf_nan=False, description="An age or a duration, in seconds.")]
Moment = Annotated[float, Field(ge=0, le=1e11, allow_inf_nan=False, description="Unix seconds (UTC).")]

Details = Annotated[str, BeforeValidator(_cut_to(2000)), Field(max_length=2000)]
Label = Annotated[str, BeforeValidator(_cut_to(255)), Field(max_length=255)]
Name = Annotated[str, BeforeValidator(fit), Field(max_length=255)]
Path = Annotated[str, BeforeValidator(fit), Field(max_length=4096)]
Fsid = Annotated[str, BeforeValidator(fit), Field(max_length=36)]
Fingerprint = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256, 64 hexadecimal digits.")]
Token = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{16,256}$")]
OperationNumber = Annotated[
    int,
    Field(
        ge=0,
        le=MAX_INTEGER,
        strict=True,
        description="The number of the operation that the command belongs to, which never goes back for a storage: "
        "an agent refuses a command with a smaller number than the greatest that it has seen for the storage. "
        "0 is no number; it is accepted while no number was seen.",
    ),
]
