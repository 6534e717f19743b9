"""Inventories as tables: which columns, how bytes and lists are written."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bs_agent.client.cli.text import human, plain
from bs_agent.contract.errors import ErrorCode, cure_of

STORAGE_COLUMNS = ("name", "type", "status", "state", "availableCapacity", "totalCapacity", "uuid")
HEADINGS = {"availableCapacity": "available", "totalCapacity": "total"}
WIDEST = 10_000
BYTES = frozenset({"poolMaxAvail", "poolStored"})
STATUS_STYLES = {"Connected": "green", "Connecting": "yellow", "Disconnected": "red", "Disabled": "yellow"}


def cell(name: str, value: object, entry: Mapping[str, Any]) -> Text:
    """Write one value of an inventory."""
    if value is None:
        return Text("")
    if is_size(value, name):
        return Text(human(value))
    if name in {"status", "state"}:
        reason = entry.get("statusReason") if name == "status" else None
        why = f" ({reason.get('code')})" if isinstance(reason, dict) else ""
        return Text(plain(f"{value}{why}"), style=STATUS_STYLES.get(str(value), ""))
    if isinstance(value, list):
        return Text(plain(", ".join(_brief(item) for item in value)))
    return Text(plain(_brief(value)))


def is_size(value: object, name: str) -> TypeGuard[int]:
    """Tell whether a value is a number of bytes."""
    return isinstance(value, int) and not isinstance(value, bool) and (name.endswith("Capacity") or name in BYTES)


def is_reason(value: object) -> TypeGuard[Mapping[str, Any]]:
    """Tell whether a value says why something is not well."""
    return isinstance(value, dict) and {"code", "details"} <= value.keys()


def told(reason: Mapping[str, Any]) -> list[str]:
    """Return a reason and its cure as lines."""
    code, details = str(reason["code"]), str(reason["details"])
    cure = cure_of(ErrorCode(code=f"BS.{code}", description=""))
    return [plain(f"{code}: {details}"), *([f"-> {cure}"] if cure else [])]


def listed(inventories: Sequence[Mapping[str, Any]], fields: Sequence[str] = ()) -> Table:
    """Return the table of several inventories; with `fields` these are its columns."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = list(fields) or _columns(inventories)
    for name in columns:
        sizes = any(is_size(entry.get(name), name) for entry in inventories)
        table.add_column(
            HEADINGS.get(name, name),
            overflow="fold",
            no_wrap=name.lower().endswith("uuid") or sizes,
            justify="right" if sizes else "left",
        )
    for entry in inventories:
        table.add_row(*(cell(name, entry.get(name), entry) for name in columns))
    return table


def detailed(values: Mapping[str, Any]) -> Table:
    """Return the table of one inventory, a line for each field."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in values.items():
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            table.add_row(name, listed(value, [key for key in value[0] if not isinstance(value[0][key], list | dict)]))
        elif is_reason(value):
            table.add_row(name, "\n".join(told(value)))
        elif is_size(value, name):
            table.add_row(name, f"{human(value)} ({value} bytes)")
        else:
            table.add_row(name, cell(name, value, values))
    return table


def show_answer(answer: Mapping[str, Any], fields: Sequence[str] = ()) -> None:
    """Print an answer of the API on the terminal."""
    console = Console(highlight=False, soft_wrap=False)
    inventories = answer.get("inventories")
    rest = {name: value for name, value in answer.items() if name not in {"inventories", "inventory", "success"}}
    if isinstance(answer.get("inventory"), dict):
        console.print(detailed(answer["inventory"]))
    elif isinstance(inventories, list):
        if inventories:
            _show_several(console, inventories, fields)
            _show_reasons(console, inventories)
        total = rest.pop("total", None)
        console.print(f"{len(inventories)} found" if total is None else f"{len(inventories)} of {total}", style="dim")
    if rest:
        console.print(detailed(rest))
    elif not answer.keys() - {"success"}:
        console.print("done", style="dim")


def _show_several(console: Console, inventories: Sequence[Mapping[str, Any]], fields: Sequence[str]) -> None:
    """Print a table, or one inventory below the other where the terminal is too narrow for its columns."""
    table = listed(inventories, fields)
    if console.measure(table, options=console.options.update(width=WIDEST)).maximum <= console.width:
        console.print(table)
        return
    for entry in inventories:
        console.print(detailed({name: entry.get(name) for name in fields or _columns(inventories)}), "")


def _show_reasons(console: Console, inventories: Sequence[Mapping[str, Any]]) -> None:
    """Print below a table why those of it that are not well are not, and what to do."""
    for entry in inventories:
        if is_reason(reason := entry.get("statusReason") or entry.get("lastReason")):
            name = entry.get("name") or entry.get("hostname") or entry.get("uuid")
            first, *cure = told(reason)
            console.print(Text(plain(f"{name}: {first}")), *map(Text, cure), sep="\n  ", soft_wrap=True)


def _columns(inventories: Sequence[Mapping[str, Any]]) -> list[str]:
    names = list(dict.fromkeys(name for entry in inventories for name in entry))
    if {"availableCapacity", "status"} <= set(names):
        usual = all(entry.get("state") == "Enabled" for entry in inventories)
        return [name for name in STORAGE_COLUMNS if name in names and not (usual and name == "state")]
    told = any(entry.get("description") for entry in inventories)
    hidden = {"uuid", "lastOpDate"} if told else {"uuid", "lastOpDate", "description"}
    shown = [name for name in names if name not in hidden]
    return [*shown, "uuid"] if "uuid" in names else shown


def _brief(value: object) -> str:
    if isinstance(value, dict):
        return str(value.get("hostname") or value.get("name") or value.get("code") or value)
    return str(value).lower() if isinstance(value, bool) else str(value)
