"""How numbers, dates and states are said: in words that need no manual, the same on every page."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bs_agent.contract.dates import parse_date
from bs_agent.contract.reasons import REASONS, Reason
from bs_agent.contract.report import CEPH

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_AGES = ((86400, "d"), (3600, "h"), (60, "min"))
_FIELDS = {
    "name": "Name", "description": "Description", "hostname": "Host", "url": "Directory", "servicePort": "Port",
    "hosts": "Mon hosts", "poolName": "Pool", "code": "Code", "username": "User", "password": "Password",
    "sshPort": "SSH port",
}  # fmt: skip
_STALE = (
    "The numbers are older than they should be.",
    "See whether the agent runs and answers; the storage's page names its hosts.",
)
_NEARLY_FULL = ("A twentieth of the room is left at most.", "Remove images, or add room before it is full.")


@dataclass(frozen=True)
class Level:
    """How a storage is, in a word; `shape` names the sign beside it, which says the same without colour."""

    word: str
    shape: str


WELL, ATTENTION, CONNECTING, AWAY = LEVELS = (
    Level("Connected", "well"),
    Level("Attention", "attention"),
    Level("Connecting", "connecting"),
    Level("Disconnected", "away"),
)
"""By the hundreds of the urgency."""


@dataclass(frozen=True)
class Trouble:
    """Why a storage is not well, and what to do."""

    meaning: str
    details: str
    cure: str


def level(storage: Mapping[str, Any]) -> Level:
    """Return how a storage is."""
    return LEVELS[min(max(storage.get("urgency", 0) // 100, 0), 3)]


def of_status(status: str) -> Level:
    """Return the sign of an observed status, as a mon host has it."""
    return {"Connected": WELL, "Disconnected": AWAY}.get(status, CONNECTING)


def trouble(storage: Mapping[str, Any]) -> Trouble | None:
    """Return why a storage, or a host, is not well; None when it is."""
    if reason := storage.get("statusReason"):
        # The inventories hold it as it is stored; one of a newer version is understood as the contract says.
        known = Reason.model_validate(reason)
        text = REASONS[known.code]
        return Trouble(text.meaning, known.details, text.cure)
    if storage.get("capacityStale"):
        return Trouble(_STALE[0], "", _STALE[1])
    if storage.get("urgency", 0) // 100 == 1:
        return Trouble(_NEARLY_FULL[0], "", _NEARLY_FULL[1])
    return None


def place(storage: Mapping[str, Any]) -> str:
    """Return where a storage is; of a cluster's fsid the beginning."""
    if storage.get("type") == CEPH:
        return f"pool {storage.get('poolName', '?')} of cluster {storage.get('fsid', '?')[:8]}"
    return f"{storage.get('hostname', '?')}:{storage.get('url', '')}"


def kind(storage: Mapping[str, Any]) -> str:
    """Return what kind a storage is, shortly."""
    return str(storage.get("type", "")).removesuffix("BackupStorage")


def used(storage: Mapping[str, Any]) -> int:
    """Return how many percent are used, as its number of urgency has it."""
    total, available = storage.get("totalCapacity", 0), storage.get("availableCapacity", 0)
    return min(100, max(0, round(100 * (total - available) / total))) if total else 0


def size(count: float | None) -> str:
    """Write a number of bytes with three digits that count."""
    if count is None:
        return "unknown"
    value, unit = float(count), 0
    while abs(value) >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if unit == 0 or abs(value) >= 99.95 else f"{value:.3g} {_UNITS[unit]}"


def ago(date: str | None) -> str:
    """Say how long ago something was."""
    if not date:
        return "not yet"
    return duration(time.time() - parse_date(date).timestamp(), "just now", " ago")


def until(date: str | None) -> str:
    """Say how long it is until something is."""
    if not date:
        return "never"
    seconds = parse_date(date).timestamp() - time.time()
    return duration(seconds, "now", "") if seconds >= 0 else f"over since {duration(-seconds, 'a moment', '')}"


def duration(seconds: float, moment: str, after: str) -> str:
    """Write a time in its largest unit; what is less than a minute is a moment."""
    for length, unit in _AGES:
        if seconds >= length:
            return f"{int(seconds // length)} {unit}{after}"
    return moment


def spaced(name: str) -> str:
    """Write a name such as StatusChanged in words."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).capitalize()


def field(name: str) -> str:
    """Return what a field of the form is called there."""
    return _FIELDS.get(name, name)


FILTERS = {
    "ago": ago, "field": field, "kind": kind, "level": level, "of_status": of_status, "place": place, "size": size,
    "spaced": spaced, "trouble": trouble, "until": until, "used": used,
}  # fmt: skip
