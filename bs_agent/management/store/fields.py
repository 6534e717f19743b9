"""What can be queried: each inventory with its table, its fields, and the lists and tables that lead away from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto

from sqlalchemy import BigInteger, Boolean, Column, ColumnElement, Float, FromClause, Table

from bs_agent.contract.inventory import (
    BACKUP_STORAGE_KINDS,
    AccessKeyInventory,
    AccountInventory,
    AgentInventory,
    BackupStorageInventory,
    CephBackupStorageInventory,
    CephBackupStorageMonInventory,
    DebtInventory,
    EventInventory,
    ImageStoreBackupStorageInventory,
    Inventory,
    JobInventory,
    OpenSessionInventory,
    SystemTagInventory,
    UserTagInventory,
    ZoneInventory,
)
from bs_agent.contract.report import CEPH, IMAGESTORE
from bs_agent.management.store import tables
from bs_agent.management.store.columns import is_in_one_way
from bs_agent.management.store.past_tables import event


class Kind(Enum):
    """How a field's values compare. WRITTEN is text that is stored in one way only, in lower case, such as a fsid."""

    TEXT = auto()
    UUID = auto()
    WRITTEN = auto()
    INTEGER = auto()
    REAL = auto()
    BOOLEAN = auto()
    DATE = auto()


@dataclass(frozen=True, slots=True)
class Field:
    """A field that a condition may name, with its column."""

    name: str
    column: Column[object]
    kind: Kind


@dataclass(frozen=True, slots=True)
class Elements:
    """A list that belongs to a resource: its rows, which column names the owner, what else holds of them, and of it.

    `whole` lists are matched as a whole by a negative condition: `attachedZoneUuids!=x` wants no x among them. The
    others, which lead to another table, want one element that matches.
    """

    rows: FromClause
    owner: Column[object]
    fields: dict[str, Field]
    holds: tuple[ColumnElement[bool], ...] = ()
    of_owner: tuple[ColumnElement[bool], ...] = ()
    whole: bool = False


@dataclass(frozen=True)
class Resource:
    """One inventory that can be queried.

    `kinds` maps the value of the column `type` to the inventory of that kind, where there are several. `holds` is what
    is true of every row that may be shown, and `until` the date up to which one is.
    """

    inventory: type[Inventory]
    table: Table
    key: Column[object]
    fields: dict[str, Field]
    kinds: Mapping[str, type[Inventory]] = field(default_factory=dict)
    lists: dict[str, Elements] = field(default_factory=dict)
    expands: dict[str, Elements] = field(default_factory=dict)
    holds: tuple[ColumnElement[bool], ...] = ()
    until: ColumnElement[int] | None = None

    def showable(self, now: ColumnElement[float]) -> list[ColumnElement[bool]]:
        """Tell of rows whether they may be shown, `now` being the database's clock."""
        return [*self.holds, *([self.until > now] if self.until is not None else [])]

    @property
    def shown(self) -> set[str]:
        """The fields that an answer may hold."""
        return {name for kind in self.kinds.values() or [self.inventory] for name in kind.model_fields}

    @property
    def queryable(self) -> list[str]:
        """The names that a condition may have; those that end in a dot go on in another table."""
        return sorted([*self.fields, *self.lists, *(f"{name}." for name in self.expands)])


def _kind(column: Column[object]) -> Kind:
    if column.name.endswith("Date"):
        return Kind.DATE
    if column.name.lower().endswith("uuid"):
        return Kind.UUID
    if is_in_one_way(column):
        return Kind.WRITTEN
    for type_, kind in ((BigInteger, Kind.INTEGER), (Float, Kind.REAL), (Boolean, Kind.BOOLEAN)):
        if isinstance(column.type, type_):
            return kind
    return Kind.TEXT


def _fields(table: Table, *inventories: type[Inventory]) -> dict[str, Field]:
    names = dict.fromkeys(name for inventory in inventories for name in inventory.queryable())
    return {name: Field(name, table.c[name], _kind(table.c[name])) for name in names if name in table.c}


def _tags(name: str, type_: str) -> Elements:
    column = tables.tag.c.tag
    owner = tables.tag.c.resourceUuid
    holds = (tables.tag.c.type == type_,)
    return Elements(tables.tag, owner, {name: Field(name, column, Kind.TEXT)}, holds, whole=True)


TAGS = {"__systemTag__": _tags("__systemTag__", "System"), "__userTag__": _tags("__userTag__", "User")}

_ATTACHED = tables.backup_storage_zone.c
_ZONES = Elements(
    tables.backup_storage_zone.join(tables.zone),
    _ATTACHED.backupStorageUuid,
    _fields(tables.zone, ZoneInventory),
)
ZONE_UUIDS = Elements(
    tables.backup_storage_zone,
    _ATTACHED.backupStorageUuid,
    {"attachedZoneUuids": Field("attachedZoneUuids", _ATTACHED.zoneUuid, Kind.UUID)},
    whole=True,
)
_MONS = Elements(
    tables.host,
    tables.host.c.backupStorageUuid,
    _fields(tables.host, CephBackupStorageMonInventory),
    of_owner=(tables.backup_storage.c.type == CEPH,),  # the host of an ImageStore is no mon
)


_BEHIND = tables.host.c
_OWED = tables.debt.alias("owed")
AGENT_LISTS = {
    "hostnames": Elements(
        tables.agent_address,
        tables.agent_address.c.agentUuid,
        {"hostnames": Field("hostnames", tables.agent_address.c.hostname, Kind.TEXT)},
        whole=True,
    ),
    "backupStorageUuids": Elements(
        tables.host,
        _BEHIND.agentUuid,
        {"backupStorageUuids": Field("backupStorageUuids", _BEHIND.backupStorageUuid, Kind.UUID)},
        (_BEHIND.agentUuid.is_not(None),),
        whole=True,
    ),
}
_AGENT = Elements(
    _OWED.join(tables.agent, tables.agent.c.uuid == _OWED.c.agentUuid),
    _OWED.c.uuid,
    _fields(tables.agent, AgentInventory),
)


def _backup_storage(inventory: type[Inventory], kinds: Mapping[str, type[Inventory]]) -> Resource:
    expands = {name: {"zone": _ZONES, "mons": _MONS}[name] for kind in kinds.values() for name in kind.expands}
    return Resource(
        inventory,
        tables.backup_storage,
        tables.backup_storage.c.uuid,
        _fields(tables.backup_storage, *kinds.values()),
        kinds,
        {"attachedZoneUuids": ZONE_UUIDS, **TAGS},
        expands,
    )


def _plain(
    inventory: type[Inventory], table: Table, *holds: ColumnElement[bool], until: ColumnElement[int] | None = None
) -> Resource:
    """Return a resource of one kind; every resource may be asked for by its tags."""
    return Resource(
        inventory, table, table.c.uuid, _fields(table, inventory), lists=dict(TAGS), holds=holds, until=until
    )


RESOURCES: dict[type[Inventory], Resource] = {
    resource.inventory: resource
    for resource in (
        _backup_storage(BackupStorageInventory, BACKUP_STORAGE_KINDS),
        _backup_storage(ImageStoreBackupStorageInventory, {IMAGESTORE: ImageStoreBackupStorageInventory}),
        _backup_storage(CephBackupStorageInventory, {CEPH: CephBackupStorageInventory}),
        _plain(ZoneInventory, tables.zone),
        _plain(SystemTagInventory, tables.tag, tables.tag.c.type == "System"),
        _plain(UserTagInventory, tables.tag, tables.tag.c.type == "User"),
        _plain(AccountInventory, tables.account),
        _plain(AccessKeyInventory, tables.access_key),
        _plain(OpenSessionInventory, tables.session, until=tables.session.c.expiredDate),
        _plain(JobInventory, tables.job),
        _plain(EventInventory, event),
        replace(_plain(AgentInventory, tables.agent), lists=TAGS | AGENT_LISTS),
        replace(_plain(DebtInventory, tables.debt), expands={"agent": _AGENT}),
    )
}
