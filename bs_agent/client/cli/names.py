"""A name where the API wants a uuid: the resource that has it is looked up, and taken if it is the only one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bs_agent.client.cli import catalog
from bs_agent.client.cli.faults import MOST_HINTS, UsageFault, near
from bs_agent.client.cli.values import handle, is_uuid, names_uuids
from bs_agent.client.sdk import ACTIONS
from bs_agent.client.wire.failures import CallFailed
from bs_agent.client.wire.transport import Client
from bs_agent.contract.declaration import Api
from bs_agent.contract.errors import ResourceNotFound

MOST = 1000
NOT_USED = "not used"  # the url of a pool
NOTES = ("hostname", "poolName", "url", "resourceUuid")
"""Fields that tell resources of one name apart."""


@dataclass(frozen=True, slots=True)
class Named:
    """A resource: its uuid, and by what people know it."""

    uuid: str
    name: str
    note: str

    def __str__(self) -> str:
        known = ", ".join(filter(None, [self.name, self.note]))
        return f"{self.uuid} ({known})" if known else self.uuid


@dataclass(frozen=True, slots=True)
class Place:
    """Where resources are found: a query, the table in its answer that holds them (or none), their uuid and handle."""

    api: Api
    table: str
    field: str
    handle: str

    def named(self, client: Client, conditions: Sequence[str] = ()) -> Iterator[Named]:
        """Yield what there is.

        Raises:
            CallFailed: the management node says no, or nothing.
        """
        fields = {"fields": [self.table]} if self.table else {}
        res = ACTIONS[self.api.name](conditions=list(conditions), limit=MOST, **fields).call(client)
        res.unwrap()
        for found in res.answer.get("inventories", []):
            for entry in found.get(self.table, []) if self.table else [found]:
                notes = [
                    str(entry[name]) for name in NOTES if entry.get(name, NOT_USED) != NOT_USED and name != self.handle
                ]
                yield Named(entry[self.field], str(entry.get(self.handle) or ""), " ".join(notes[:2]))

    def called(self, client: Client, name: str) -> list[Named]:
        """Return what has this name."""
        if not self.handle:
            return []
        dot = "." if self.table else ""
        found = self.named(client, [f"{self.table}{dot}{self.handle}={name}"])
        return [one for one in found if one.name == name]


def places(api: Api, parameter: str, given: Mapping[str, Any]) -> list[Place]:
    """Return where the uuids of a parameter are found; nowhere for one that is no uuid, or that names none yet."""
    if not names_uuids(parameter):
        return []
    texts = {name: value for name, value in given.items() if isinstance(value, str)}
    found = []
    for query, path in catalog.named_by(api, parameter, texts):
        table, _, field = path.rpartition(".")
        if query.queries:
            owner = catalog.tables(query.queries)[table] if table else query.queries
            found.append(Place(query, table, field, handle(owner)))
    return found


def resolved(api: Api, values: Mapping[str, Any], client: Client) -> dict[str, Any]:
    """Return the parameters with uuids in the place of names; each name must be that of one resource.

    Raises:
        UsageFault: several have it; the message names them.
        CallFailed: none has it, or the management node could not be asked.
    """
    found = dict(values)
    for parameter, value in values.items():
        where = places(api, parameter, values) if value else []
        if isinstance(value, list) and where:
            found[parameter] = [_resolved(where, parameter, one, client) for one in value]
        elif isinstance(value, str) and where:
            found[parameter] = _resolved(where, parameter, value, client)
    return found


def left_out(api: Api, values: Mapping[str, Any], client: Client) -> str:
    """Return what is to be said of a uuid that is needed and not given: which there are; nothing if none is missing."""
    for field in catalog.parameters(api).values():
        if not field.needed or field.name in values or not names_uuids(field.name):
            continue
        text = f"{field.name} is left out: write {field.name}=UUID"
        where = places(api, field.name, values)
        if any(place.handle for place in where):
            text += f" or {field.name}={where[0].handle.upper()}"
        try:
            known = [one for place in where for one in place.named(client)] if client.session_id else []
        except CallFailed:  # the command line is wrong all the same
            known = []
        return text + (f"; there are {_some([str(one) for one in known])}" if known else "")
    return ""


def _resolved(where: Sequence[Place], parameter: str, text: str, client: Client) -> str:
    if is_uuid(text):
        return text
    found = sorted((one for place in where for one in place.called(client, text)), key=lambda one: (one.note, one.uuid))
    if len(found) > 1:
        several = _some([str(one) for one in found])
        raise UsageFault(f"{parameter}={text}: {len(found)} resources have this name: {several}; write the uuid")
    if found:
        return found[0].uuid
    known = [one.name for place in where if place.handle for one in place.named(client) if one.name]
    close = near(text, known)
    hint = f"did you mean {_some(close)}?" if close else f"there are {_some(known)}"
    details = f"{parameter}={text}: no resource has this uuid or name" + (f"; {hint}" if known else "")
    raise CallFailed(ResourceNotFound(details).shown())


def _some(names: Sequence[str]) -> str:
    few = list(names[:MOST_HINTS])
    more = len(names) - len(few)
    return ", ".join([*few, f"and {more} more"] if more else few)
