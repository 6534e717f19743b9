"""What a benchmark has measured, one figure a row: beside what others need for it, and within its budget or not.

A benchmark tells its figures one by one. Each is printed, and written as a line of JSON to the file that the variable
BENCH_FIGURES names, where `python -m tests.bench` gathers them for its table.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

GATHERED_IN = "BENCH_FIGURES"
HEADINGS = ("figure", "measured", "peer", "limit", "ratio", "budget", "")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Beside(_Frozen):
    """What else does the same, measured in the same run, in the figure's unit."""

    name: str
    value: float


class Budget(_Frozen):
    """A bound that the figure must keep: of its ratio where it has one, else of its value."""

    most: float | None = None
    least: float | None = None

    def kept_by(self, number: float) -> bool:
        """Tell whether a number is within the bound, which counts in."""
        return (self.most is None or number <= self.most) and (self.least is None or number >= self.least)


def at_most(bound: float) -> Budget:
    """Return the budget of what must not be more."""
    return Budget(most=bound)


def at_least(bound: float) -> Budget:
    """Return the budget of what must not be less."""
    return Budget(least=bound)


class Figure(_Frozen):
    """One measured number. `ratio` is what it comes to beside its limit or its peer, whichever the budget speaks of.

    `peer` is what one would otherwise have, `limit` what cannot be beaten. `spread` are the lowest and the highest of
    the runs whose median the judged number (the ratio, else the value) is.
    """

    name: str
    value: float
    unit: str
    peer: Beside | None = None
    limit: Beside | None = None
    ratio: float | None = None
    budget: Budget | None = None
    spread: tuple[float, float] | None = None

    @property
    def kept(self) -> bool | None:
        """Whether the budget is kept; None where there is none."""
        return self.budget.kept_by(self.value if self.ratio is None else self.ratio) if self.budget else None

    def row(self) -> tuple[str, ...]:
        """Return the cells of the table."""
        ratio = "" if self.ratio is None else f"{number(self.ratio)} x"
        spread = f" ({number(self.spread[0])}-{number(self.spread[1])})" if self.spread else ""
        verdict = {True: "kept", False: "MISSED", None: ""}[self.kept]
        judged = f"{number(self.value)} {self.unit}".rstrip()
        if self.ratio is None:
            judged += spread
        else:
            ratio += spread
        return (self.name, judged, self._beside(self.peer), self._beside(self.limit), ratio, self._bound(), verdict)

    def _beside(self, other: Beside | None) -> str:
        return f"{other.name} {number(other.value)} {self.unit}".rstrip() if other else ""

    def _bound(self) -> str:
        if self.budget is None:
            return ""
        unit = self.unit if self.ratio is None else "x"
        bounds = (("<=", self.budget.most), (">=", self.budget.least))
        return " ".join(f"{sign} {number(bound)} {unit}".rstrip() for sign, bound in bounds if bound is not None)

    def as_written(self) -> dict[str, Any]:
        """Return the figure ready for JSON, with the verdict."""
        return self.model_dump(exclude_none=True) | {"kept": self.kept}


def read(path: Path) -> list[Figure]:
    """Return the figures of a file that benchmarks have told theirs to."""
    return [Figure.model_validate_json(line) for line in path.read_text().splitlines()] if path.exists() else []


def number(value: float) -> str:
    """Write a number with three digits that count, and no fraction from 100 on."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def tell(*figures: Figure) -> bool:
    """Print the figures, and let those who gather them have them; tell whether each budget is kept."""
    for figure in figures:
        _, *cells = figure.row()
        named = zip(("", *HEADINGS[2:]), cells, strict=True)
        print(f"{figure.name}: " + ", ".join(f"{name} {cell}".strip() for name, cell in named if cell), flush=True)
    if where := os.environ.get(GATHERED_IN):
        with Path(where).open("a") as gathered:
            gathered.writelines(json.dumps(figure.as_written()) + "\n" for figure in figures)
    return all(figure.kept is not False for figure in figures)


def table(figures: Iterable[Figure]) -> str:
    """Return the figures as a table of text."""
    rows = [HEADINGS, *(figure.row() for figure in figures)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
