"""Answers queries: a `Query` -> the page's rows as JSON-ready inventories.

This is the hot path, so rows become dictionaries without models in between, and what belongs to the rows of a page
(zones, mons) is read in one statement each. A page is ordered by the uuid at last, so that pages never overlap.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bs_agent.contract.dates import format_seconds
from bs_agent.contract.errors import InvalidArgument, ResourceNotFound
from bs_agent.contract.inventory import CephBackupStorageInventory, CephBackupStorageMonInventory, Inventory
from bs_agent.contract.query import Query
from bs_agent.contract.reasons import REASONS, Reason
from bs_agent.management.store import tables
from bs_agent.management.store.columns import comparable
from bs_agent.management.store.conditions import SIGNS_OF_ORDER, ascii_lower, where
from bs_agent.management.store.database import Database
from bs_agent.management.store.fields import AGENT_LISTS, RESOURCES, ZONE_UUIDS, Elements, Field, Resource

Item = dict[str, Any]

MASK = "*****"
_FEW = 1000


@dataclass(frozen=True, slots=True)
class Found:
    """What a query found; `kinds` names the inventory of each item."""

    inventories: list[Item] | None = None
    total: int | None = None
    kinds: list[type[Inventory]] = field(default_factory=list)


async def find(database: Database, inventory: type[Inventory], query: Query) -> Found:
    """Run a query.

    Raises:
        InvalidArgument: it names fields that there are not, or values that do not fit them.
    """
    resource = RESOURCES[inventory]
    shape = _shape(inventory, query.fields)
    conditions = _conditions(database, resource, query)
    order = _order(resource, query)
    total: int | None = None
    async with database.reading() as connection:
        if query.count or query.reply_with_count:
            counted = select(func.count()).select_from(resource.table).where(*conditions)
            total = int((await connection.execute(counted)).scalar_one())
        if query.count:
            return Found(total=total)
        if database.is_sqlite and any(one.operator in SIGNS_OF_ORDER for one in query.conditions):
            conditions = await _narrowed(connection, resource, conditions)
        page = shape.select.where(*conditions).order_by(*order)
        if query.start:
            # Of the rows before the page no more is read than the index has.
            keys = select(resource.key).where(*conditions).order_by(*order).limit(query.limit).offset(query.start)
            page = shape.select.where(resource.key.in_(keys.correlate(None))).order_by(*order)
        found = await _read(connection, shape, page.limit(query.limit))
    return Found(found.inventories, total, found.kinds)


async def find_one(database: Database, inventory: type[Inventory], uuid: str) -> Found:
    """Return the inventory of one resource in a list, or an empty list."""
    shape = _shape(inventory, ())
    showable = shape.resource.showable(database.moment())
    async with database.reading() as connection:
        return await _read(connection, shape, shape.select.where(shape.resource.key == uuid, *showable))


class _Shape:
    """Which columns are read, and how a row becomes an item: the key and the type first; nulls are left out."""

    def __init__(self, resource: Resource, wanted: set[str]) -> None:
        self.resource = resource
        self.wanted = wanted
        leading: list[ColumnElement[Any]] = [resource.key, *([resource.table.c.type] if resource.kinds else [])]
        columns = [column for column in resource.table.c if column.name in wanted]
        self.select = select(*leading, *columns)
        # Plain `str`: the names of columns are of a class of their own, which is slow to encode.
        self._readers: dict[type[Inventory], list[tuple[int, str, Callable[[Any], Any] | None]]] = {
            kind: [
                (position, str(column.name), format_seconds if column.name.endswith("Date") else None)
                for position, column in enumerate(columns, len(leading))
                if column.name in kind.model_fields
            ]
            for kind in resource.kinds.values() or [resource.inventory]
        }

    def kind(self, row: Sequence[Any]) -> type[Inventory]:
        """Return which inventory the row is."""
        return self.resource.kinds[row[1]] if self.resource.kinds else self.resource.inventory

    def item(self, row: Sequence[Any], kind: type[Inventory]) -> Item:
        """Return the row as an inventory."""
        item: Item = {}
        for position, name, convert in self._readers[kind]:
            value = row[position]
            if value is not None:
                item[name] = convert(value) if convert else value
        return item


@lru_cache(maxsize=256)
def _shape(inventory: type[Inventory], fields: tuple[str, ...]) -> _Shape:
    resource = RESOURCES[inventory]
    for name in fields:
        if name not in resource.shown:
            raise InvalidArgument(
                f"{inventory.__name__} has no field[{name}]; its fields are {', '.join(sorted(resource.shown))}"
            )
    return _Shape(resource, set(fields) or resource.shown)


def _conditions(database: Database, resource: Resource, query: Query) -> list[ColumnElement[bool]]:
    conditions = [
        *resource.showable(database.moment()),
        *(where(resource, condition) for condition in query.conditions),
    ]
    if resource.inventory in resource.kinds.values():
        conditions.extend(func.lower(resource.table.c.type) == ascii_lower(type_) for type_ in resource.kinds)
    if query.group_by:
        # One inventory for each value: the one with the smallest uuid.
        value = comparable(_own_field(resource, query.group_by, "group by").column)
        first = select(func.min(resource.key)).where(*conditions).group_by(value).correlate(None)
        conditions.append(resource.key.in_(first))
    return conditions


def _order(resource: Resource, query: Query) -> list[ColumnElement[Any]]:
    by: list[ColumnElement[Any]] = [resource.key]
    if query.sort:
        sorted_by = _own_field(resource, query.sort, "order by")
        by.insert(0, comparable(sorted_by.column))
        if sorted_by.column.nullable:  # PostgreSQL has nulls last, unless told; an index helps only where it is not
            by[0] = by[0].desc().nulls_last() if query.descending else by[0].asc().nulls_first()
            return [by[0], resource.key.desc() if query.descending else resource.key]
    return [column.desc() for column in by] if query.descending else by


async def _narrowed(
    connection: AsyncConnection, resource: Resource, conditions: list[ColumnElement[bool]]
) -> list[ColumnElement[bool]]:
    """Name the rows that meet the conditions instead, when they are few.

    SQLite cannot tell how many rows a range has, and reads the whole table in the order of the page for one that has
    none. Asked for some rows in no order, it reads the range alone.
    """
    few = select(resource.key).where(*conditions).limit(_FEW + 1)
    keys = (await connection.execute(few)).scalars().all()
    return [resource.key.in_(keys)] if len(keys) <= _FEW else conditions


def _own_field(resource: Resource, name: str, clause: str) -> Field:
    if name not in resource.fields:
        raise InvalidArgument(
            f"invalid {clause} clause, inventory[{resource.inventory.__name__}] doesn't have field[{name}]; "
            f"its fields are {', '.join(sorted(resource.fields))}"
        )
    return resource.fields[name]


async def _read(connection: AsyncConnection, shape: _Shape, page: Select[Any]) -> Found:
    rows = (await connection.execute(page)).all()
    if not rows:
        return Found([], None, [])
    kinds = [shape.kind(row) for row in rows]
    items = [shape.item(row, kind) for row, kind in zip(rows, kinds, strict=True)]
    by_uuid = {row[0]: item for row, item in zip(rows, items, strict=True)}
    if shape.resource.table is tables.backup_storage:
        if "attachedZoneUuids" in shape.wanted:
            await _add_list(connection, by_uuid, "attachedZoneUuids", ZONE_UUIDS)
        if "mons" in shape.wanted and CephBackupStorageInventory in kinds:
            ceph = zip(by_uuid, kinds, strict=True)
            await _add_mons(
                connection, {uuid: by_uuid[uuid] for uuid, kind in ceph if kind is CephBackupStorageInventory}
            )
    if shape.resource.table is tables.agent:
        for name in AGENT_LISTS.keys() & shape.wanted:
            await _add_list(connection, by_uuid, name, AGENT_LISTS[name])
    if shape.resource.table is tables.debt:
        await _add_places(connection, shape, by_uuid)
    return Found(items, None, kinds)


async def _add_list(connection: AsyncConnection, items: dict[str, Item], name: str, elements: Elements) -> None:
    for item in items.values():
        item[name] = []
    value = elements.fields[name].column
    theirs = select(elements.owner, value).where(elements.owner.in_(list(items))).distinct()
    for owner, element in (await connection.execute(theirs.order_by(value))).all():
        items[str(owner)][name].append(element)


async def _add_places(connection: AsyncConnection, shape: _Shape, items: dict[str, Item]) -> None:
    """Add to debts where their agents are reached, and what helps against what hinders them."""
    if "hostname" in shape.wanted:
        at = select(tables.debt.c.uuid, tables.agent.c.hostname).join(tables.agent)
        for uuid, hostname in (await connection.execute(at.where(tables.debt.c.uuid.in_(list(items))))).all():
            items[uuid]["hostname"] = hostname
    if "cure" in shape.wanted:
        why = select(tables.debt.c.uuid, tables.debt.c.lastReason).where(tables.debt.c.uuid.in_(list(items)))
        for uuid, reason in (await connection.execute(why)).all():
            if reason:
                items[uuid]["cure"] = REASONS[Reason.model_validate(reason).code].cure


_MON = _Shape(
    Resource(CephBackupStorageMonInventory, tables.host, tables.host.c.backupStorageUuid, {}),
    set(CephBackupStorageMonInventory.model_fields),
)
_HAS_PASSWORD = tables.host.c.sshPasswordSecret.is_not(None)


async def _add_mons(connection: AsyncConnection, items: dict[str, Item]) -> None:
    of = tables.host.c
    for item in items.values():
        item["mons"] = []
    mons = _MON.select.add_columns(_HAS_PASSWORD).where(of.backupStorageUuid.in_(list(items))).order_by(of.monUuid)
    for row in (await connection.execute(mons)).all():
        mon = _MON.item(row, CephBackupStorageMonInventory)
        if row[-1]:
            mon["sshPassword"] = MASK
        items[row[0]]["mons"].append(mon)


async def shown(database: Database, kind: type[Inventory], uuid: str) -> dict[str, Any]:
    """Return one inventory as the API shows it.

    Raises:
        ResourceNotFound: there is none of this uuid.
    """
    found = await find_one(database, kind, uuid)
    if not found.inventories:
        raise not_found(kind, uuid)
    return found.inventories[0]


def not_found(kind: type[Inventory], uuid: str, field: str = "uuid") -> ResourceNotFound:
    """Build the error for a uuid that names nothing."""
    resource = kind.__name__.removesuffix("Inventory")
    return ResourceNotFound(f"invalid field[{field}], resource[uuid:{uuid}, type:{resource}VO] not found")
