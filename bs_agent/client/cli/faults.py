"""What is wrong with a command line, and which words come near to what was written."""

import difflib
from collections.abc import Iterable, Sequence

import click

MOST_HINTS = 5
NEAR = 0.6


class UsageFault(click.ClickException):
    """The command line is wrong; the message says what, where, and what is allowed."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which names come near, or else which there are."""
    known = list(known)
    close = near(name, known)
    return f"did you mean {either(close)}?" if close else f"there are {', '.join(known)}"


def either(names: Sequence[str]) -> str:
    """Write a choice of at least one name; of many only the first."""
    few = [*names[:MOST_HINTS], "another"] if len(names) > MOST_HINTS else names
    return " or ".join(filter(None, [", ".join(few[:-1]), few[-1]]))


def near(name: str, known: Iterable[str]) -> list[str]:
    """Return the names that are nearly this one, whatever the case of their letters."""
    by_folded = {one.casefold(): one for one in known}
    return [by_folded[one] for one in difflib.get_close_matches(name.casefold(), by_folded, n=3, cutoff=NEAR)]
