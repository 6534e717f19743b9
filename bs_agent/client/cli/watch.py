"""The live view: what a query finds, again and again, with capacity bars; what is not well comes first."""

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bs_agent.client.actions.action import Action
from bs_agent.client.cli.arguments import api_named, parse_words
from bs_agent.client.cli.execute import DONE, FAILED, Options, kept_session, not_logged_in, show_error
from bs_agent.client.cli.faults import UsageFault
from bs_agent.client.cli.tables import cell, listed
from bs_agent.client.cli.text import human, plain
from bs_agent.client.sdk import ACTIONS
from bs_agent.client.wire.transport import Client
from bs_agent.contract.errors import ErrorCode

NEARLY_FULL, BAR, WIDE = 0.85, 24, 100


def watch(words: Sequence[str], options: Options, interval: float) -> int:
    """Show the inventories of a query until Ctrl-C.

    Raises:
        UsageFault: it is no query, or there is no terminal to show it on.
    """
    kind = ACTIONS[api_named(words[0]).name]
    if not kind.api.queries:
        raise UsageFault(f"--watch shows what a query finds; {kind.api.name} is none")
    console = Console(highlight=False)
    if not console.is_terminal:
        raise UsageFault("--watch needs a terminal; without --watch the query prints JSON")
    action = kind(**parse_words(kind.api, words[1:], _refuse))
    if fault := action.check():
        raise UsageFault(f"{kind.api.name}: {fault.details}")
    kept = kept_session()
    client = options.client(kept)
    if not client.session_id:
        raise UsageFault(not_logged_in(client, kept))
    with contextlib.suppress(KeyboardInterrupt):
        if error := asyncio.run(_look(action, client, console, interval)):
            show_error(error)
            return FAILED
    return DONE


async def _look(action: Action[Any], client: Client, console: Console, interval: float) -> ErrorCode | None:
    """Draw until cancelled; returns the error when already the first look fails."""
    async with client.connect() as line:
        res = await action.call_async(line)
        if res.error:
            return res.error
        with Live(console=console, screen=True, auto_refresh=False) as live:
            found, seen = res.answer.get("inventories", []), time.monotonic()
            while True:
                age = time.monotonic() - seen
                live.update(picture(client.url, found, res.error, age, console), refresh=True)
                await asyncio.sleep(interval)
                res = await action.call_async(line)
                if res.error is None:
                    found, seen = res.answer.get("inventories", []), time.monotonic()


def picture(
    url: str, inventories: Sequence[Mapping[str, Any]], error: ErrorCode | None, age: float, console: Console
) -> Group:
    """Draw the fleet as it was last seen, as much of it as fits, and what went wrong since."""
    connected = sum(entry.get("status") == "Connected" for entry in inventories)
    lines = [Text(f"{plain(url)}   {time.strftime('%H:%M:%S')}   {connected} of {len(inventories)} connected", "bold")]
    if error:
        lines.append(Text(plain(f"{error.code}: {error.details or error.description}; seen {age:.0f} s ago"), "red"))
    inventories = sorted(inventories, key=lambda one: (one.get("status") == "Connected", str(one.get("name"))))
    shown = inventories[: max(1, console.height - len(lines) - 4)]
    whole = all("totalCapacity" in entry and "availableCapacity" in entry for entry in shown)
    wide = console.width >= WIDE
    more = len(inventories) - len(shown)
    return Group(
        *lines, Text(), _fleet(shown, wide=wide) if whole else listed(shown), Text(f"and {more} more" if more else "")
    )


def _fleet(inventories: Sequence[Mapping[str, Any]], *, wide: bool) -> Table:
    """Draw the bars; a narrow terminal gets a shorter one, and neither the type nor the total."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    texts = ("name", "type", "status") if wide else ("name", "status")
    for name in (*texts, "used", "", "available", *(["of"] if wide else [])):
        right = name in {"used", "available", "of"}
        table.add_column(
            name,
            justify="right" if right else "left",
            no_wrap=True,
            min_width=9 if name in {"status", "available"} else None,
        )
    for entry in inventories:
        total, available = int(entry["totalCapacity"]), int(entry["availableCapacity"])
        used = 1 - available / total if total else 0.0
        style = "red" if used >= NEARLY_FULL else "green"
        stale = " (old)" if entry.get("capacityStale") else ""
        table.add_row(
            *(cell(name, entry.get(name), entry) for name in texts),
            f"{used:.0%}",
            ProgressBar(
                total=1.0, completed=used, width=BAR if wide else BAR // 3, complete_style=style, finished_style=style
            ),
            f"{human(available)}{stale}",
            *([human(total)] if wide else []),
        )
    return table


def _refuse(name: str) -> str:
    raise UsageFault(f"{name}: a live view asks for no secret")
