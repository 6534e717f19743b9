"""Offers of the completion as text: a heading for each group, and columns under it. Pure."""

from collections.abc import Sequence
from itertools import groupby

from bs_agent.client.completion import Offer
from bs_agent.client.text import plain

MOST = 120


def grouped(offers: Sequence[Offer], width: int) -> list[tuple[str, str]]:
    """Return the lines, each with its style: headings are bold. Values with notes get a line of their own."""
    lines: list[tuple[str, str]] = []
    for group, members in groupby(offers[:MOST], key=lambda offer: offer.group):
        chosen = list(members)
        lines.append(("bold", f"{group}:"))
        noted = [offer for offer in chosen if offer.note and offer.ends]
        rows = _noted(chosen) if noted else _columns([plain(offer.label) for offer in chosen], width)
        lines += [("", row[: max(width, 20) - 1]) for row in rows]
    if len(offers) > MOST:
        lines.append(("", f"  and {len(offers) - MOST} more; type on to see fewer"))
    return lines


def _noted(offers: Sequence[Offer]) -> list[str]:
    widest = max(len(offer.label) for offer in offers)
    return [f"  {plain(offer.label):<{widest}}  {plain(offer.note)}".rstrip() for offer in offers]


def _columns(labels: Sequence[str], width: int) -> list[str]:
    """Lay labels out in columns, downwards first, as a shell does."""
    widest = max(len(label) for label in labels) + 2
    across = max(1, (width - 2) // widest)
    rows = -(-len(labels) // across)
    return ["  " + "".join(f"{label:<{widest}}" for label in labels[row::rows]).rstrip() for row in range(rows)]
