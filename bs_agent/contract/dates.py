"""Timestamps as the public API writes them: `Apr 11, 2018 2:50:54 PM`, in the local zone and without naming it."""

import re
import time
from datetime import UTC, datetime
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SHOWN = re.compile(r"([A-Za-z]{3})[a-z]* (\d{1,2}), (\d{4}),? (\d{1,2}):(\d{2}):(\d{2}) ([AaPp])[Mm]")


def format_date(moment: datetime) -> str:
    """Write a moment as the API does; month names do not depend on the locale."""
    return format_seconds(moment.timestamp())


def format_seconds(moment: float) -> str:
    """Write a moment, given in Unix seconds, as the API does."""
    year, month, day, hour, minute, second, *_ = time.localtime(moment)
    clock = f"{hour % 12 or 12}:{minute:02}:{second:02} {'AM' if hour < 12 else 'PM'}"
    return f"{_MONTHS[month - 1]} {day}, {year} {clock}"


def parse_date(text: str) -> datetime:
    """Read a date: the API's own form or ISO 8601; without an offset it is in the local zone.

    Raises:
        ValueError: the text is neither.
    """
    if found := _SHOWN.fullmatch(text.strip()):
        month, day, year, hour, minute, second, half = found.groups()
        if month.capitalize() not in _MONTHS or not 1 <= int(hour) <= 12:
            raise ValueError(f"not a date: {text!r}")
        hours = int(hour) % 12 + (12 if half in "Pp" else 0)
        number = _MONTHS.index(month.capitalize()) + 1
        moment = datetime(int(year), number, int(day), hours, int(minute), int(second))  # noqa: DTZ001  local, see below
    else:
        moment = datetime.fromisoformat(text.strip())
    return moment.astimezone(UTC)


def _validate(value: object) -> object:
    return parse_date(value) if isinstance(value, str) else value


ApiDate = Annotated[
    datetime,
    BeforeValidator(_validate),
    PlainSerializer(format_date),
    WithJsonSchema({"type": "string", "examples": ["Apr 11, 2018 2:50:54 PM"]}),
]
