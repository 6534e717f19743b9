"""The tables. Columns carry the names of the public API's fields, so a query's field is its column.

Dates are Unix seconds (UTC), capacities bytes. Columns that end in `Secret` hold what `secrets.py` encrypted.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _uuid(name: str = "uuid", *, primary_key: bool = False) -> Column[str]:
    return Column(name, String(32), primary_key=primary_key, nullable=False)


def _dates() -> tuple[Column[int], Column[int]]:
    return Column("createDate", BigInteger, nullable=False), Column("lastOpDate", BigInteger, nullable=False)


account = Table(
    "account",
    metadata,
    _uuid(primary_key=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("passwordHash", Text, nullable=False),
    *_dates(),
)

session = Table(
    "session",
    metadata,
    Column("hash", String(64), primary_key=True, comment="SHA-256 of the session's uuid, which is the bearer's secret"),
    _uuid(),
    Column("accountUuid", ForeignKey("account.uuid", ondelete="CASCADE"), nullable=False, index=True),
    Column("expiredDate", BigInteger, nullable=False, index=True),
    Column("createDate", BigInteger, nullable=False),
)

zone = Table(
    "zone",
    metadata,
    _uuid(primary_key=True),
    Column("name", String(255), nullable=False, index=True),
    Column("description", Text),
    Column("state", String(16), nullable=False),
    Column("type", String(64), nullable=False),
    Column("isDefault", Boolean, nullable=False),
    *_dates(),
)

backup_storage = Table(
    "backup_storage",
    metadata,
    _uuid(primary_key=True),
    Column("name", String(255), nullable=False, index=True),
    Column("description", Text),
    Column("url", Text, nullable=False),
    Column("type", String(64), nullable=False, index=True),
    Column("state", String(16), nullable=False, index=True),
    Column("status", String(16), nullable=False, index=True),
    Column("statusReason", JSON(none_as_null=True)),
    Column("totalCapacity", BigInteger, nullable=False),
    Column("availableCapacity", BigInteger, nullable=False),
    Column("capacityDate", BigInteger),
    Column("capacityStale", Boolean, nullable=False),
    *_dates(),
    # ImageStore
    Column("hostname", String(255), index=True),
    Column("username", String(255)),
    Column("sshPort", Integer),
    Column("servicePort", Integer),
    # Ceph
    Column("fsid", String(36), index=True),
    Column("poolName", String(255)),
    Column("poolCreated", Boolean, comment="whether the add call made the pool"),
    Column("capacityPolicy", String(16)),
    Column("poolAvailableCapacity", BigInteger),
    Column("poolUsedCapacity", BigInteger),
    Column("poolReplicatedSize", Integer),
    Column("poolDiskUtilization", Float),
    Column("poolSecurityPolicy", String(16)),
    Column("poolMaxAvail", BigInteger),
    Column("poolStored", BigInteger),
    Index("ix_backup_storage_createDate", "createDate"),
)

backup_storage_zone = Table(
    "backup_storage_zone",
    metadata,
    Column("backupStorageUuid", ForeignKey("backup_storage.uuid", ondelete="CASCADE"), primary_key=True),
    Column("zoneUuid", ForeignKey("zone.uuid", ondelete="CASCADE"), primary_key=True, index=True),
)

agent = Table(
    "agent",
    metadata,
    _uuid(primary_key=True),
    Column("hostname", String(255), nullable=False, index=True),
    Column("port", Integer, nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("enrollmentId", String(32), nullable=False),
    Column("tokenSecret", Text, nullable=False),
    Column("dueDate", Float, nullable=False, index=True, comment="when it is polled next"),
    Column("leaseOwner", String(32), comment="the management node that polls it"),
    Column("leaseDate", Float, nullable=False, comment="until when the lease holds"),
    Column("createDate", BigInteger, nullable=False),
)

host = Table(
    "host",
    metadata,
    _uuid("monUuid", primary_key=True),
    Column("backupStorageUuid", ForeignKey("backup_storage.uuid", ondelete="CASCADE"), nullable=False, index=True),
    Column("agentUuid", ForeignKey("agent.uuid"), index=True),
    Column("hostname", String(255), nullable=False, index=True),
    Column("monAddr", String(255)),
    Column("monPort", Integer),
    Column("sshPort", Integer, nullable=False),
    Column("sshUsername", String(255)),
    Column("sshPasswordSecret", Text),
    Column("sshHostKey", Text, comment="the pinned key, as in a known_hosts line"),
    Column("status", String(16), nullable=False, index=True),
    Column("statusReason", JSON(none_as_null=True)),
    *_dates(),
    comment="the host of an ImageStore, or a mon host of a Ceph storage",
)

tombstone = Table(
    "tombstone",
    metadata,
    _uuid("commandUuid", primary_key=True),
    _uuid("backupStorageUuid"),
    Column("agentUuid", ForeignKey("agent.uuid"), nullable=False, index=True),
    Column("expiredDate", BigInteger, nullable=False),
    Column("lastError", Text),
    Column("createDate", BigInteger, nullable=False),
    comment="a cleanup that is owed to a host which could not be reached when its storage was deleted by force",
)

tag = Table(
    "tag",
    metadata,
    _uuid(primary_key=True),
    Column("kind", String(8), nullable=False, comment="system or user"),
    Column("resourceUuid", String(32), nullable=False, index=True),
    Column("resourceType", String(64), nullable=False),
    Column("tag", Text, nullable=False),
    *_dates(),
)

job = Table(
    "job",
    metadata,
    _uuid(primary_key=True),
    Column("apiName", String(64), nullable=False),
    Column("accountUuid", String(32), nullable=False),
    Column("state", String(16), nullable=False, index=True, comment="running, done or failed"),
    Column("result", Text, comment="the JSON that the client gets"),
    Column("leaseOwner", String(32)),
    Column("leaseDate", Float, nullable=False),
    Column("finishedDate", BigInteger, index=True),
    *_dates(),
)
