"""Offers of the completion as text: a heading for each group, and columns under it. Pure."""

from collections.abc import Sequence
from itertools import groupby

from bs_agent.client.cli.prompt.completion import Offer
from bs_agent.client.cli.text import plain

MOST = 120


def grouped(offers: Sequence[Offer], width: int) -> list[tuple[str, str]]:
    """Return the lines, each with its style: headings are bold. Values with notes get a line of their own."""
    lines: list[tuple[str, str]] = []
    widest = max((len(plain(offer.label)) for offer in offers[:MOST] if _wants_a_line(offer)), default=0)
    for group, members in groupby(offers[:MOST], key=lambda offer: offer.group):
        chosen = list(members)
        lines.append(("bold", f"{group}:"))
        noted = any(_wants_a_line(offer) for offer in chosen)
        rows = _noted(chosen, widest) if noted else _columns([plain(offer.label) for offer in chosen], width)
        lines += [("", row[: max(width, 20) - 1]) for row in rows]
    if len(offers) > MOST:
        lines.append(("", f"  and {len(offers) - MOST} more; type on to see fewer"))
    return lines


def _wants_a_line(offer: Offer) -> bool:
    return bool(offer.note) and offer.ends


def _noted(offers: Sequence[Offer], widest: int) -> list[str]:
    return [f"  {plain(offer.label):<{widest}}  {plain(offer.note)}".rstrip() for offer in offers]


def _columns(labels: Sequence[str], width: int) -> list[str]:
    """Lay labels out in columns, downwards first, as a shell does."""
    widest = max(len(label) for label in labels) + 2
    across = max(1, (width - 2) // widest)
    rows = -(-len(labels) // across)
    return ["  " + "".join(f"{label:<{widest}}" for label in labels[row::rows]).rstrip() for row in range(rows)]
