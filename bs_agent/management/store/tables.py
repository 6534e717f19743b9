"""The tables. Columns carry the names of the public API's fields, so a query's field is its column.

Dates are Unix seconds (UTC), capacities bytes. Columns that end in `Secret` hold what `secrets.py` encrypted.
Text is ordered by its bytes in both databases; queries compare it in lower case, and the indexes hold it so.
"""

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Float,
    ForeignKey,
    Index,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    func,
    literal_column,
)
from sqlalchemy.types import TypeEngine

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _text(length: int | None = None) -> TypeEngine[str]:
    on_postgresql = String(length, collation="C") if length else Text(collation="C")
    return (String(length) if length else Text()).with_variant(on_postgresql, "postgresql")


def _uuid(name: str = "uuid", *, primary_key: bool = False) -> Column[str]:
    return Column(name, _text(32), primary_key=primary_key, nullable=False)


def _resource_uuid() -> Column[str]:
    return Column("uuid", ForeignKey("resource.uuid", ondelete="CASCADE"), primary_key=True)


def _dates() -> tuple[Column[int], Column[int]]:
    return Column("createDate", BigInteger, nullable=False), Column("lastOpDate", BigInteger, nullable=False)


resource = Table(
    "resource",
    metadata,
    _uuid(primary_key=True),
    Column("type", _text(64), nullable=False, comment="BackupStorageVO or ZoneVO"),
    comment="the resources whose uuid a caller may choose: no two of them have one uuid",
)

account = Table(
    "account",
    metadata,
    _uuid(primary_key=True),
    Column("name", _text(255), nullable=False, unique=True),
    Column("type", _text(16), nullable=False),
    Column("passwordHash", _text(), nullable=False),
    *_dates(),
)

session = Table(
    "session",
    metadata,
    Column("hash", _text(64), primary_key=True, comment="SHA-256 of the session's uuid, which is the bearer's secret"),
    Column("uuid", _text(32), nullable=False, unique=True, comment="names the session; is not its secret"),
    Column("accountUuid", ForeignKey("account.uuid", ondelete="CASCADE"), nullable=False, index=True),
    Column("expiredDate", BigInteger, nullable=False, index=True),
    Column("createDate", BigInteger, nullable=False),
)

access_key = Table(
    "access_key",
    metadata,
    _uuid(primary_key=True),
    Column("accountUuid", ForeignKey("account.uuid", ondelete="CASCADE"), nullable=False, index=True),
    Column("description", _text()),
    Column("AccessKeyID", _text(20), nullable=False, unique=True),
    Column("keySecret", _text(), nullable=False),
    *_dates(),
)

used_signature = Table(
    "used_signature",
    metadata,
    Column("hash", _text(64), primary_key=True, comment="SHA-256 of the signature"),
    Column("usedDate", Float, nullable=False, index=True, comment="of its first use"),
    comment="what access keys have signed, for as long as the dates in it could count",
)

scrape_token = Table(
    "scrape_token",
    metadata,
    _uuid(primary_key=True),
    Column("label", _text(200), nullable=False),
    Column("hash", _text(64), nullable=False, unique=True, comment="SHA-256 of the token"),
    Column("createDate", BigInteger, nullable=False),
    comment="by which metrics are scraped",
)

zone = Table(
    "zone",
    metadata,
    _resource_uuid(),
    Column("name", _text(255), nullable=False),
    Column("description", _text()),
    Column("state", _text(16), nullable=False),
    Column("type", _text(64), nullable=False),
    Column("isDefault", Boolean, nullable=False),
    *_dates(),
)
Index(
    "uq_zone_isDefault", zone.c.isDefault, unique=True, sqlite_where=zone.c.isDefault, postgresql_where=zone.c.isDefault
)

backup_storage = Table(
    "backup_storage",
    metadata,
    _resource_uuid(),
    Column("name", _text(255), nullable=False),
    Column("description", _text()),
    Column("url", _text(), nullable=False),
    Column("type", _text(64), nullable=False),
    Column("state", _text(16), nullable=False),
    Column("status", _text(16), nullable=False),
    Column("statusReason", JSON(none_as_null=True)),
    Column("totalCapacity", BigInteger, nullable=False),
    Column("availableCapacity", BigInteger, nullable=False),
    Column("capacityDate", BigInteger),
    Column("capacityStale", Boolean, nullable=False),
    *_dates(),
    # ImageStore
    Column("hostname", _text(255)),
    Column("username", _text(255)),
    Column("sshPort", BigInteger),
    Column("servicePort", BigInteger),
    # Ceph
    Column("fsid", _text(36)),
    Column("poolName", _text(255)),
    Column("poolId", BigInteger, comment="the number that the cluster has given to the pool, and to no other"),
    Column("poolCreated", Boolean, comment="whether the add call made the pool"),
    Column("capacityPolicy", _text(16)),
    Column("poolAvailableCapacity", BigInteger),
    Column("poolUsedCapacity", BigInteger),
    Column("poolReplicatedSize", BigInteger),
    Column("poolDiskUtilization", Float),
    Column("poolSecurityPolicy", _text(16)),
    Column("poolMaxAvail", BigInteger),
    Column("poolStored", BigInteger),
    Column("poolCapacityDate", BigInteger, comment="when the numbers of the pool were measured"),
    Index("ix_backup_storage_createDate", "createDate", "uuid"),
    UniqueConstraint("fsid", "poolName"),
    UniqueConstraint("fsid", "poolId"),
)

backup_storage_zone = Table(
    "backup_storage_zone",
    metadata,
    Column("backupStorageUuid", ForeignKey("backup_storage.uuid", ondelete="CASCADE"), primary_key=True),
    Column("zoneUuid", ForeignKey("zone.uuid", ondelete="CASCADE"), primary_key=True, index=True),
)

node = Table(
    "node",
    metadata,
    _uuid(primary_key=True),
    Column("leaseDate", Float, nullable=False, index=True, comment="until when it lives, unless it renews that"),
    comment="a management node that runs, or ran; what it holds in other tables names it as leaseOwner",
)

operation = Table(
    "operation",
    metadata,
    Column("key", _text(64), primary_key=True, comment="storage:<uuid> or agent:<uuid>"),
    _uuid(),
    Column("number", BigInteger, nullable=False, comment="greater than that of each operation on the key before"),
    Column("kind", _text(16), nullable=False),
    Column("variant", _text(), nullable=False, comment="what a second call must have in common to join"),
    Column("leaseOwner", _text(32), index=True, comment="the management node that does it; null when it has ended"),
    Column("problem", JSON(none_as_null=True), comment="the error that it has ended with"),
    Column("lastOpDate", BigInteger, nullable=False),
    UniqueConstraint("uuid"),
    comment="the latest operation on a storage or an agent; one at a time",
)

agent = Table(
    "agent",
    metadata,
    _uuid(primary_key=True),
    Column("hostname", _text(255), nullable=False, index=True, comment="where it is reached now"),
    Column("port", BigInteger, nullable=False),
    Column("fingerprint", _text(64), nullable=False, unique=True),
    Column("nextFingerprint", _text(64), unique=True, comment="what it will show after its next rotation"),
    Column("bootId", _text(64), comment="of its last report"),
    Column("enrollmentId", _text(32), nullable=False, index=True),
    Column("tokenSecret", _text(), nullable=False),
    Column("leaving", Boolean, nullable=False, comment="whether its enrolment is being taken from it"),
    Column("leaseOwner", _text(32), index=True, comment="the management node that polls it"),
    Column("lookDate", Float, comment="when another node was told that there is something new; null: nothing is"),
    Column("createDate", BigInteger, nullable=False),
    comment="one machine is one agent",
)

agent_address = Table(
    "agent_address",
    metadata,
    Column("hostname", _text(255), primary_key=True),
    Column("port", BigInteger, primary_key=True, autoincrement=False),
    Column("agentUuid", ForeignKey("agent.uuid", ondelete="CASCADE"), nullable=False, index=True),
    comment="every name and address by which an agent is reached",
)

host = Table(
    "host",
    metadata,
    _uuid("monUuid", primary_key=True),
    Column("backupStorageUuid", ForeignKey("backup_storage.uuid", ondelete="CASCADE"), nullable=False, index=True),
    Column("agentUuid", ForeignKey("agent.uuid"), index=True),
    Column("hostname", _text(255), nullable=False),
    Column("monAddr", _text(255)),
    Column("monPort", BigInteger),
    Column("sshPort", BigInteger, nullable=False),
    Column("sshUsername", _text(255)),
    Column("sshPasswordSecret", _text()),
    Column("sshHostKey", _text(), comment="the pinned key, as in a known_hosts line"),
    Column("status", _text(16), nullable=False),
    Column("statusReason", JSON(none_as_null=True)),
    Column("capacityFresh", Boolean, nullable=False, default=False, comment="whether its last numbers are"),
    *_dates(),
    UniqueConstraint("backupStorageUuid", "agentUuid"),
    comment="the host of an ImageStore, or a mon host of a Ceph storage",
)

debt = Table(
    "debt",
    metadata,
    _uuid(primary_key=True),
    Column("agentUuid", ForeignKey("agent.uuid"), nullable=False, index=True),
    Column("operationUuid", _text(32), nullable=False, index=True, comment="it is due when this one is gone"),
    Column("backupStorageUuid", _text(32), index=True, comment="the storage that is to be cleaned from its host"),
    Column("hostOnly", Boolean, nullable=False, comment="whether the storage lives on through other hosts"),
    Column("removePool", JSON(none_as_null=True), comment="the connect command after which the pool goes too"),
    Column("enrollmentId", _text(32), comment="the enrolment that is to be forgotten, when it is no clean-up"),
    Column("tokenSecret", _text(), comment="the token of that enrolment"),
    Column("lastError", _text()),
    Column("createDate", BigInteger, nullable=False, index=True),
    comment="a clean-up or a forgetting that is owed to an agent",
)

tag = Table(
    "tag",
    metadata,
    _uuid(primary_key=True),
    Column("type", _text(8), nullable=False, comment="System or User"),
    Column("resourceUuid", ForeignKey("resource.uuid", ondelete="CASCADE"), nullable=False, index=True),
    Column("resourceType", _text(64), nullable=False),
    Column("tag", _text(2048), nullable=False),
    *_dates(),
)

job = Table(
    "job",
    metadata,
    _uuid(primary_key=True),
    Column("apiName", _text(64), nullable=False),
    Column("accountUuid", _text(32), nullable=False),
    Column("state", _text(16), nullable=False, index=True, comment="running, done or failed"),
    Column("result", _text(), comment="the JSON that the client gets"),
    Column("leaseOwner", _text(32), comment="the management node that runs it"),
    Column("finishedDate", BigInteger, index=True),
    *_dates(),
    Index("ix_job_accountUuid", "accountUuid", "createDate"),
)

hook = Table(
    "hook",
    metadata,
    Column("jobUuid", ForeignKey("job.uuid", ondelete="CASCADE"), primary_key=True),
    Column("url", _text(2048), nullable=False),
    Column("receiver", _text(2048), nullable=False, comment="scheme, host and port of the URL"),
    Column("withSchema", Boolean, nullable=False),
    Column("tries", BigInteger, nullable=False),
    Column("dueDate", Float, nullable=False, index=True, comment="when it is sent next"),
    Column("leaseOwner", _text(32), comment="the management node that sends it"),
    comment="an address that is told how a job ended",
)

KEY_OF_LONG = 200
"""Characters of a long text that its index holds: PostgreSQL's take no entry of more than 2.7 KB."""


def comparable(column: Column[Any]) -> ColumnElement[Any]:
    """Return a column as queries compare and order it: text in lower case, but what is written in one way only."""
    in_one_way = column.name.lower().endswith("uuid") or column.name == "fsid"
    return func.lower(column) if isinstance(column.type, String) and not in_one_way else column


def is_long(column: Column[Any]) -> bool:
    """Tell whether a text may be longer than an index takes."""
    return isinstance(column.type, String) and not 0 < (column.type.length or 0) <= 255


def indexed(column: Column[Any]) -> ColumnElement[Any]:
    """Return a column as its index holds it: of a long text the beginning."""
    whole = comparable(column)
    if not is_long(column):
        return whole
    return func.substr(whole, literal_column("1"), literal_column(str(KEY_OF_LONG)))


# With the key within, a page of equal rows is read in the order of the index. What is ordered with nulls first must lie
# so on PostgreSQL; SQLite has them there by itself.
_SORTED: tuple[tuple[Table, tuple[str, ...]], ...] = (
    (
        backup_storage,
        (
            *("name", "type", "state", "status", "totalCapacity", "availableCapacity"),
            *("capacityDate", "capacityStale", "lastOpDate", "hostname", "username", "fsid", "poolName"),
            "poolSecurityPolicy",
        ),
    ),
    (zone, ("name",)),
)
for _table, _names in _SORTED:
    for _column in (_table.c[_name] for _name in _names):
        _of = comparable(_column), *_table.primary_key.columns
        _name = f"ix_{_table.name}_{_column.name}"
        if _column.nullable:
            Index(_name, *_of).ddl_if(dialect="sqlite")
            Index(_name, _of[0].nulls_first(), *_of[1:]).ddl_if(dialect="postgresql")
        else:
            Index(_name, *_of)

# What only some storages have is looked for, and rarely ordered by: the others need no entry.
for _name in (
    *("sshPort", "poolAvailableCapacity", "poolUsedCapacity", "poolReplicatedSize"),
    *("poolDiskUtilization", "poolMaxAvail", "poolStored"),
):
    _column = backup_storage.c[_name]
    _there = _column.is_not(None)
    Index(
        f"ix_backup_storage_{_name}", _column, backup_storage.c.uuid, sqlite_where=_there,
        postgresql_where=_there,
    )  # fmt: skip
for _name in ("url", "description"):
    Index(f"ix_backup_storage_{_name}", indexed(backup_storage.c[_name]), backup_storage.c.uuid)

for _name in ("hostname", "status", "monAddr"):
    Index(f"ix_host_{_name}", func.lower(host.c[_name]), host.c.backupStorageUuid)
_asked = agent.c.lookDate.is_not(None)
Index("ix_agent_lookDate", agent.c.leaseOwner, sqlite_where=_asked, postgresql_where=_asked)
Index("ix_tag_tag", tag.c.type, indexed(tag.c.tag), tag.c.resourceUuid)
Index("ix_tag_type", tag.c.type, tag.c.uuid)
