"""The tables. Columns carry the names of the public API's fields, so a query's field is its column.

Dates are Unix seconds (UTC), capacities bytes. Columns that end in `Secret` hold what `secrets.py` encrypted.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Computed,
    Float,
    ForeignKey,
    Index,
    Table,
    UniqueConstraint,
    func,
)

from bs_agent.management.store.columns import dates, index_sorted, indexed, metadata, text_of, uuid_column


def _resource_uuid() -> Column[str]:
    return Column("uuid", ForeignKey("resource.uuid", ondelete="CASCADE"), primary_key=True)


compatible = Table(
    "compatible",
    metadata,
    Column("oldest", text_of(32), primary_key=True),
    comment="the oldest revision of the tables whose programs go on with them as they are",
)

resource = Table(
    "resource",
    metadata,
    uuid_column(primary_key=True),
    Column("type", text_of(64), nullable=False, comment="BackupStorageVO or ZoneVO"),
    comment="the resources whose uuid a caller may choose: no two of them have one uuid",
)

account = Table(
    "account",
    metadata,
    uuid_column(primary_key=True),
    Column("name", text_of(255), nullable=False, unique=True),
    Column("type", text_of(16), nullable=False),
    Column("passwordHash", text_of(), nullable=False),
    *dates(),
)

session = Table(
    "session",
    metadata,
    Column(
        "hash", text_of(64), primary_key=True, comment="SHA-256 of the session's uuid, which is the bearer's secret"
    ),
    Column("uuid", text_of(32), nullable=False, unique=True, comment="names the session; is not its secret"),
    Column("accountUuid", ForeignKey("account.uuid", ondelete="CASCADE"), nullable=False, index=True),
    Column("expiredDate", BigInteger, nullable=False, index=True),
    Column("createDate", BigInteger, nullable=False),
)

access_key = Table(
    "access_key",
    metadata,
    uuid_column(primary_key=True),
    Column("accountUuid", ForeignKey("account.uuid", ondelete="CASCADE"), nullable=False, index=True),
    Column("description", text_of()),
    Column("AccessKeyID", text_of(20), nullable=False, unique=True),
    Column("keySecret", text_of(), nullable=False),
    *dates(),
)

used_signature = Table(
    "used_signature",
    metadata,
    Column("hash", text_of(64), primary_key=True, comment="SHA-256 of the signature"),
    Column("usedDate", Float, nullable=False, index=True, comment="of its first use"),
    comment="what access keys have signed, for as long as the dates in it could count",
)

scrape_token = Table(
    "scrape_token",
    metadata,
    uuid_column(primary_key=True),
    Column("label", text_of(200), nullable=False),
    Column("hash", text_of(64), nullable=False, unique=True, comment="SHA-256 of the token"),
    Column("createDate", BigInteger, nullable=False),
    comment="by which metrics are scraped",
)

zone = Table(
    "zone",
    metadata,
    _resource_uuid(),
    Column("name", text_of(255), nullable=False),
    Column("description", text_of()),
    Column("state", text_of(16), nullable=False),
    Column("type", text_of(64), nullable=False),
    Column("isDefault", Boolean, nullable=False),
    *dates(),
)
Index(
    "uq_zone_isDefault", zone.c.isDefault, unique=True, sqlite_where=zone.c.isDefault, postgresql_where=zone.c.isDefault
)

URGENCY = """
100 * CASE WHEN status = 'Disconnected' THEN 3 WHEN status <> 'Connected' THEN 2
  WHEN "statusReason" IS NOT NULL OR "capacityStale" OR "availableCapacity" < "totalCapacity" / 20 THEN 1 ELSE 0 END
+ ("totalCapacity" - "availableCapacity") / ("totalCapacity" / 100 + 1)
"""
"""See `BackupStorageInventory.urgency`; what is nearly full (a twentieth is left) is not well."""

backup_storage = Table(
    "backup_storage",
    metadata,
    _resource_uuid(),
    Column("name", text_of(255), nullable=False),
    Column("description", text_of()),
    Column("url", text_of(), nullable=False),
    Column("type", text_of(64), nullable=False),
    Column("state", text_of(16), nullable=False),
    Column("status", text_of(16), nullable=False),
    Column("statusReason", JSON(none_as_null=True)),
    Column("totalCapacity", BigInteger, nullable=False),
    Column("availableCapacity", BigInteger, nullable=False),
    Column("capacityDate", BigInteger),
    Column("capacityStale", Boolean, nullable=False),
    Column("urgency", BigInteger, Computed(URGENCY.strip(), persisted=True), nullable=False),
    *dates(),
    # ImageStore
    Column("hostname", text_of(255)),
    Column("username", text_of(255)),
    Column("sshPort", BigInteger),
    Column("servicePort", BigInteger),
    # Ceph
    Column("fsid", text_of(36)),
    Column("poolName", text_of(255)),
    Column("poolId", BigInteger, comment="the number that the cluster has given to the pool, and to no other"),
    Column("poolCreated", Boolean, comment="whether the add call made the pool"),
    Column("capacityPolicy", text_of(16)),
    Column("poolAvailableCapacity", BigInteger),
    Column("poolUsedCapacity", BigInteger),
    Column("poolReplicatedSize", BigInteger),
    Column("poolDiskUtilization", Float),
    Column("poolSecurityPolicy", text_of(16)),
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
    uuid_column(primary_key=True),
    Column("leaseDate", Float, nullable=False, index=True, comment="until when it lives, unless it renews that"),
    comment="a management node that runs, or ran; what it holds in other tables names it as leaseOwner",
)

operation = Table(
    "operation",
    metadata,
    Column("key", text_of(64), primary_key=True, comment="storage:<uuid> or agent:<uuid>"),
    uuid_column(),
    Column("number", BigInteger, nullable=False, comment="greater than that of each operation on the key before"),
    Column("kind", text_of(16), nullable=False),
    Column("variant", text_of(), nullable=False, comment="what a second call must have in common to join"),
    Column("leaseOwner", text_of(32), index=True, comment="the management node that does it; null when it has ended"),
    Column("problem", JSON(none_as_null=True), comment="the error that it has ended with"),
    Column("lastOpDate", BigInteger, nullable=False),
    UniqueConstraint("uuid"),
    comment="the latest operation on a storage or an agent; one at a time",
)

agent = Table(
    "agent",
    metadata,
    uuid_column(primary_key=True),
    Column("hostname", text_of(255), nullable=False, comment="where it is reached now"),
    Column("port", BigInteger, nullable=False),
    Column("fingerprint", text_of(64), nullable=False, unique=True),
    Column("nextFingerprint", text_of(64), unique=True, comment="what it will show after its next rotation"),
    Column("bootId", text_of(64), comment="of its last report"),
    Column("version", text_of(255), comment="of its last report"),
    Column("certificateEndDate", BigInteger),
    Column("enrollmentId", text_of(32), nullable=False, index=True),
    Column("tokenSecret", text_of(), nullable=False),
    Column("leaving", Boolean, nullable=False, comment="whether its enrolment is being taken from it"),
    Column("leaseOwner", text_of(32), index=True, comment="the management node that polls it"),
    Column("lookDate", Float, comment="when another node was told that there is something new; null: nothing is"),
    Column("status", text_of(16), nullable=False, default="Connecting", comment="whether it answers polls"),
    Column("statusReason", JSON(none_as_null=True), comment="why it missed the last one"),
    Column("missedPolls", BigInteger, nullable=False, default=0, comment="in a row"),
    Column("lastPollDate", BigInteger, comment="changes with each poll, so no index holds it"),
    Column("lastPushDate", BigInteger),
    Column("clockSkew", Float, comment="seconds that its clock is ahead of a management node's"),
    Column("createDate", BigInteger, nullable=False),
    comment="one machine is one agent",
)

agent_address = Table(
    "agent_address",
    metadata,
    Column("hostname", text_of(255), primary_key=True),
    Column("port", BigInteger, primary_key=True, autoincrement=False),
    Column("agentUuid", ForeignKey("agent.uuid", ondelete="CASCADE"), nullable=False, index=True),
    comment="every name and address by which an agent is reached",
)

host = Table(
    "host",
    metadata,
    uuid_column("monUuid", primary_key=True),
    Column("backupStorageUuid", ForeignKey("backup_storage.uuid", ondelete="CASCADE"), nullable=False, index=True),
    Column("agentUuid", ForeignKey("agent.uuid"), index=True),
    Column("hostname", text_of(255), nullable=False),
    Column("monAddr", text_of(255)),
    Column("monPort", BigInteger),
    Column("sshPort", BigInteger, nullable=False),
    Column("sshUsername", text_of(255)),
    Column("sshPasswordSecret", text_of()),
    Column("sshHostKey", text_of(), comment="the pinned key, as in a known_hosts line"),
    Column("status", text_of(16), nullable=False),
    Column("statusReason", JSON(none_as_null=True)),
    Column("capacityFresh", Boolean, nullable=False, default=False, comment="whether its last numbers are"),
    *dates(),
    UniqueConstraint("backupStorageUuid", "agentUuid"),
    comment="the host of an ImageStore, or a mon host of a Ceph storage",
)

debt = Table(
    "debt",
    metadata,
    uuid_column(primary_key=True),
    Column("type", text_of(16), nullable=False, comment="Cleanup or Forgetting"),
    Column("agentUuid", ForeignKey("agent.uuid"), nullable=False, index=True),
    Column("operationUuid", text_of(32), nullable=False, index=True, comment="it is due when this one is gone"),
    Column("commandUuid", text_of(32), nullable=False, comment="of the command by which it is paid"),
    Column("backupStorageUuid", text_of(32), index=True, comment="the storage that is to be cleaned from its host"),
    Column("backupStorageName", text_of(255), comment="that of the storage, which may be gone"),
    Column("hostOnly", Boolean, nullable=False, comment="whether the storage lives on through other hosts"),
    Column("removePool", JSON(none_as_null=True), comment="the connect command after which the pool goes too"),
    Column("enrollmentId", text_of(32), comment="the enrolment that is to be forgotten, when it is no clean-up"),
    Column("tokenSecret", text_of(), comment="the token of that enrolment"),
    Column("lastReason", JSON(none_as_null=True), comment="why it could not be paid the last time"),
    Column("lastTryDate", BigInteger),
    Column("nextTryDate", BigInteger, comment="before when it is not tried again"),
    Column("createDate", BigInteger, nullable=False),
    comment="a clean-up or a forgetting that is owed to an agent",
)

tag = Table(
    "tag",
    metadata,
    uuid_column(primary_key=True),
    Column("type", text_of(8), nullable=False, comment="System or User"),
    Column("resourceUuid", ForeignKey("resource.uuid", ondelete="CASCADE"), nullable=False, index=True),
    Column("resourceType", text_of(64), nullable=False),
    Column("tag", text_of(2048), nullable=False),
    *dates(),
)

job = Table(
    "job",
    metadata,
    uuid_column(primary_key=True),
    Column("apiName", text_of(64), nullable=False),
    Column("accountUuid", text_of(32), nullable=False),
    Column("state", text_of(16), nullable=False, comment="Running, Done or Failed"),
    Column("resourceUuid", text_of(32), comment="what the call is about; of a creation, once that is done"),
    Column("result", text_of(), comment="the JSON that the client gets"),
    Column("errorCode", text_of(64)),
    Column("leaseOwner", text_of(32), comment="the management node that runs it"),
    Column("endDate", BigInteger),
    *dates(),
    Index("ix_job_accountUuid", "accountUuid", "createDate"),
)

hook = Table(
    "hook",
    metadata,
    Column("jobUuid", ForeignKey("job.uuid", ondelete="CASCADE"), primary_key=True),
    Column("url", text_of(2048), nullable=False),
    Column("receiver", text_of(2048), nullable=False, comment="scheme, host and port of the URL"),
    Column("withSchema", Boolean, nullable=False),
    Column("tries", BigInteger, nullable=False),
    Column("dueDate", Float, nullable=False, index=True, comment="when it is sent next"),
    Column("leaseOwner", text_of(32), comment="the management node that sends it"),
    comment="an address that is told how a job ended",
)

index_sorted(
    backup_storage,
    (
        *("name", "type", "state", "status", "totalCapacity", "availableCapacity"),
        *("urgency", "capacityDate", "capacityStale", "lastOpDate", "hostname", "username", "fsid", "poolName"),
        "poolSecurityPolicy",
    ),
)
index_sorted(zone, ("name",))
index_sorted(agent, ("hostname", "port", "bootId", "version", "certificateEndDate", "status", "missedPolls"))
index_sorted(agent, ("lastPushDate", "createDate"))
index_sorted(debt, ("type", "backupStorageName", "createDate", "nextTryDate"))
index_sorted(job, ("apiName", "state", "resourceUuid", "errorCode", "createDate", "endDate"))

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
Index("ix_agent_address_hostname", func.lower(agent_address.c.hostname), agent_address.c.agentUuid)
Index("ix_agent_lookDate", agent.c.leaseOwner, sqlite_where=_asked, postgresql_where=_asked)
Index("ix_tag_tag", tag.c.type, indexed(tag.c.tag), tag.c.resourceUuid)
Index("ix_tag_type", tag.c.type, tag.c.uuid)
