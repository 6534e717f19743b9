"""Uuids have one form: 32 lower-case hexadecimal digits. It is made here, at the border, and nowhere else is asked for.

A uuid that names a resource may be given in capitals, with hyphens or with blanks around it. Any other text names
nothing, as the clients of the API expect: a query finds nothing, a delete has nothing to do, all else is not found.
"""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

_UUID = re.compile(r"[0-9a-f]{32}")
_HYPHENATED = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def one_form(text: str) -> str:
    """Return a uuid in its one form; a text that is no uuid is returned as it is."""
    low = text.strip().lower()
    plain = low.replace("-", "") if _HYPHENATED.fullmatch(low) else low
    return plain if is_uuid(plain) else text


def is_uuid(text: str) -> bool:
    """Tell whether a text is a uuid in its one form."""
    return _UUID.fullmatch(text) is not None


def _check_new(text: str) -> str:
    plain = one_form(text)
    if not is_uuid(plain):
        raise ValueError("must be a uuid: 32 hexadecimal digits, for example 1ab3b836a88342e1bbc1b1a17d092f0f")
    return plain


Uuid = Annotated[str, Field(max_length=255), AfterValidator(one_form)]
"""Names a resource, or nothing."""

NewUuid = Annotated[
    str,
    AfterValidator(_check_new),
    Field(json_schema_extra={"pattern": "^[0-9A-Fa-f]{32}$"}, description="The UUID to give to the resource."),
]
"""Is to name a new resource."""
