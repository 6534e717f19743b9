"""The names and uuids that exist, for completion: asked from the management node under a short deadline, then kept."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from bs_agent.client.cli import catalog
from bs_agent.client.sdk import ACTIONS
from bs_agent.client.wire.transport import Client
from bs_agent.contract.declaration import Api

DEADLINE, KEPT, MOST, MAX_KEPT = 1.0, 20.0, 100, 256
NOTES = ("name", "tag", "AccessKeyID", "hostname", "createDate")


class Lookup:
    """Answers what a field's values are; without an answer in time there are none."""

    def __init__(self, client: Callable[[], Client | None]) -> None:
        self._client = client
        self._kept: dict[tuple[str, str, str, str], tuple[float, Sequence[tuple[str, str]]]] = {}

    def __call__(self, api: Api, field: str, typed: str) -> Sequence[tuple[str, str]]:
        """Return the values that contain what is typed, each with a note."""
        client = self._client()
        if client is None or not client.session_id:
            return []
        key = (client.session_id, api.name, field, typed)
        kept = self._kept.get(key)
        if kept is None or kept[0] < time.monotonic():
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            kept = time.monotonic() + KEPT, _ask(client, api, field, typed)
            self._kept[key] = kept
        return kept[1]


def _ask(client: Client, api: Api, field: str, typed: str) -> Sequence[tuple[str, str]]:
    table, dot, name = field.rpartition(".")
    note = _note(api, field)
    action = ACTIONS[api.name](
        fields=[table] if dot else [field, note] if note else [field],
        conditions=[f"{field}~=%{typed}%"] if typed else [],
        groupBy=None if note or dot else field,
        limit=MOST,
    )
    found = action.call(replace(client, timeout=DEADLINE, patience=0.0)).answer.get("inventories", [])
    entries = [inner for entry in found for inner in entry.get(table, [])] if dot else found
    notes = {entry[name]: str(entry.get(note) or "") for entry in entries if isinstance(entry.get(name), str)}
    return sorted((value, note) for value, note in notes.items() if value)


def _note(api: Api, field: str) -> str:
    """Return the field that tells people which resource a uuid is."""
    if api.queries is None or not field.endswith(("uuid", "Uuid")):
        return ""
    inventory = catalog.tables(api.queries)[field.partition(".")[0]] if "." in field else api.queries
    return next((name for name in NOTES if name in inventory.model_fields), "")
