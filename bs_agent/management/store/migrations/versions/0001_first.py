"""The first tables: accounts with what they log in by, zones, storages, their hosts, agents, tags, jobs and hooks."""

import sqlalchemy as sa
from alembic import op

from bs_agent.management.store.migrations.columns import index_sorted, refers, text
from bs_agent.management.store.migrations.past import make_events, make_history

revision = "0001"
down_revision = None
oldest = "0001"  # whose programs go on with these tables


def upgrade() -> None:
    """Make the tables."""
    make_compatible()
    make_resources()
    make_accounts()
    make_zones()
    make_storages()
    make_attachments()
    make_nodes()
    make_agents()
    make_hosts()
    make_the_rest()
    make_hooks()
    make_events()
    make_history()


def make_compatible() -> None:
    """Make compatible."""
    op.create_table(
        "compatible",
        sa.Column("oldest", text(32), nullable=False),
        sa.PrimaryKeyConstraint("oldest", name="pk_compatible"),
    )


def make_resources() -> None:
    """Make resource."""
    op.create_table(
        "resource",
        sa.Column("uuid", text(32), nullable=False),
        sa.Column("type", text(64), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name="pk_resource"),
    )


def make_accounts() -> None:
    """Make account, session, access_key, used_signature, scrape_token."""
    op.create_table(
        "account",
        sa.Column("uuid", text(32), nullable=False),
        sa.Column("name", text(255), nullable=False),
        sa.Column("type", text(16), nullable=False),
        sa.Column("passwordHash", text(), nullable=False),
        sa.Column("createDate", sa.BigInteger(), nullable=False),
        sa.Column("lastOpDate", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name="pk_account"),
        sa.UniqueConstraint("name", name="uq_account_name"),
    )
    op.create_table(
        "session",
        sa.Column("hash", text(64), nullable=False),
        sa.Column("uuid", text(32), nullable=False),
        sa.Column("accountUuid", text(32), nullable=False),
        sa.Column("expiredDate", sa.BigInteger(), nullable=False),
        sa.Column("createDate", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name="pk_session"),
        sa.UniqueConstraint("uuid", name="uq_session_uuid"),
        refers("session", "accountUuid", "account", cascade=True),
    )
    op.create_index("ix_session_accountUuid", "session", ["accountUuid"])
    op.create_index("ix_session_expiredDate", "session", ["expiredDate"])
    op.create_table(
        "access_key",
        sa.Column("uuid", text(32), nullable=False),
        sa.Column("accountUuid", text(32), nullable=False),
        sa.Column("description", text(), nullable=True),
        sa.Column("AccessKeyID", text(20), nullable=False),
        sa.Column("keySecret", text(), nullable=False),
        sa.Column("createDate", sa.BigInteger(), nullable=False),
        sa.Column("lastOpDate", sa.BigInteger(), nullable=False),
        refers("access_key", "accountUuid", "account", cascade=True),
        sa.PrimaryKeyConstraint("uuid", name="pk_access_key"),
        sa.UniqueConstraint("AccessKeyID", name="uq_access_key_AccessKeyID"),
    )
    op.create_index("ix_access_key_accountUuid", "access_key", ["accountUuid"])
    op.create_table(
        "used_signature",
        sa.Column("hash", text(64), nullable=False),
        sa.Column("usedDate", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name="pk_used_signature"),
    )
    op.create_index("ix_used_signature_usedDate", "used_signature", ["usedDate"])
    op.create_table(
        "scrape_token",
        sa.Column("uuid", text(32), nullable=False),
        sa.Column("label", text(200), nullable=False),
        sa.Column("hash", text(64), nullable=False),
        sa.Column("createDate", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name="pk_scrape_token"),
        sa.UniqueConstraint("hash", name="uq_scrape_token_hash"),
    )


def make_zones() -> None:
    """Make zone."""
    op.create_table(
        "zone",
        sa.Column("uuid", text(32), nullable=False),
        sa.Column("name", text(255), nullable=False),
        sa.Column("description", text(), nullable=True),
        sa.Column("state", text(16), nullable=False),
        sa.Column("type", text(64), nullable=False),
        sa.Column("isDefault", sa.Boolean(), nullable=False),
        sa.Column("createDate", sa.BigInteger(), nullable=False),
        sa.Column("lastOpDate", sa.BigInteger(), nullable=False),
        refers("zone", "uuid", "resource", cascade=True),
        sa.PrimaryKeyConstraint("uuid", name="pk_zone"),
    )
    default = sa.text('"isDefault"')
    op.create_index(
        "uq_zone_isDefault", "zone", ["isDefault"], unique=True, sqlite_where=default, postgresql_where=default
    )
    index_sorted("zone", "name", lower=True)


URGENCY = """
100 * CASE WHEN status = 'Disconnected' THEN 3 WHEN status <> 'Connected' THEN 2
  WHEN "statusReason" IS NOT NULL OR "capacityStale" OR "availableCapacity" < "totalCapacity" / 20 THEN 1 ELSE 0 END
+ ("totalCapacity" - "availableCapacity") / ("totalCapacity" / 100 + 1)
"""


def make_storages() -> None:
    """Make backup_storage."""
    op.create_table(
        "backup_storage",
        sa.Column("uuid", text(32), nullable=False),
        sa.Column("name", text(255), nullable=False),
        sa.Column("description", text(), nullable=True),
        sa.Column("url", text(), nullable=False),
        sa.Column("type", text(64), nullable=False),
        sa.Column("state", text(16), nullable=False),
        sa.Column("status", text(16), nullable=False),
        sa.Column("statusReason", sa.JSON(), nullable=True),
        sa.Column("totalCapacity", sa.BigInteger(), nullable=False),
        sa.Column("availableCapacity", sa.BigInteger(), nullable=False),
        sa.Column("capacityDate", sa.BigInteger(), nullable=True),
        sa.Column("capacityStale", sa.Boolean(), nullable=False),
        sa.Column("urgency", sa.BigInteger(), sa.Computed(URGENCY.strip(), persisted=True), nullable=False),
        sa.Column("createDate", sa.BigInteger(), nullable=False),
        sa.Column("lastOpDate", sa.BigInteger(), nullable=False),
        sa.Column("hostname", text(255), nullable=True),
        sa.Column("username", text(255), nullable=True),
        sa.Column("sshPort", sa.BigInteger(), nullable=True),
        sa.Column("servicePort", sa.BigInteger(), nullable=True),
        sa.Column("fsid", text(36), nullable=True),
        sa.Column("poolName", text(255), nullable=True),
        sa.Column("poolId", sa.BigInteger(), nullable=True),
        sa.Column("poolCreated", sa.Boolean(), nullable=True),
        sa.Column("capacityPolicy", text(16), nullable=True),
        sa.Column("poolAvailableCapacity", sa.BigInteger(), nullable=True),
        sa.Column("poolUsedCapacity", sa.BigInteger(), nullable=True),
        sa.Column("poolReplicatedSize", sa.BigInteger(), nullable=True),
        sa.Column("poolDiskUtilization", sa.Float(), nullable=True),
        sa.Column("poolSecurityPolicy", text(16), nullable=True),
        sa.Column("poolMaxAvail", sa.BigInteger(), nullable=True),
        sa.Column("poolStored", sa.BigInteger(), nullable=True),
        sa.Column("poolCapacityDate", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("uuid", name="pk_backup_storage"),
        sa.UniqueConstraint("fsid", "poolName", name="uq_backup_storage_fsid_poolName"),
        sa.UniqueConstraint("fsid", "poolId", name="uq_backup_storage_fsid_poolId"),
        refers("backup_storage", "uuid", "resource", cascade=True),
    )
    index_storages()


def index_storages() -> None:
    """Make an index for each field of a backup storage that a condition may name."""
    op.create_index("ix_backup_storage_createDate", "backup_storage", ["createDate", "uuid"])
    index_sorted("backup_storage", "availableCapacity", "capacityStale", "lastOpDate", "totalCapacity", "urgency")
    index_sorted("backup_storage", "name", "state", "status", "type", lower=True)
    index_sorted("backup_storage", "capacityDate", "fsid", null=True)
    index_sorted("backup_storage", "hostname", "username", "poolName", "poolSecurityPolicy", lower=True, null=True)
    for name in ("description", "url"):
        op.create_index(
            f"ix_backup_storage_{name}", "backup_storage", [sa.text(f"substr(lower({name}), 1, 200)"), "uuid"]
        )
    plain = ("poolAvailableCapacity", "poolDiskUtilization", "poolMaxAvail", "poolReplicatedSize", "poolStored")
    for name in (*plain, "poolUsedCapacity", "sshPort"):
        there = sa.text(f'"{name}" IS NOT NULL')
        columns = [name, "uuid"]
        op.create_index(
            f"ix_backup_storage_{name}", "backup_storage", columns, sqlite_where=there, postgresql_where=there
        )


def make_attachments() -> None:
    """Make backup_storage_zone."""
    op.create_table(
        "backup_storage_zone",
        sa.Column("backupStorageUuid", text(32), nullable=False),
        sa.Column("zoneUuid", text(32), nullable=False),
        refers("backup_storage_zone", "backupStorageUuid", "backup_storage", cascade=True),
        refers("backup_storage_zone", "zoneUuid", "zone", cascade=True),
        sa.PrimaryKeyConstraint("backupStorageUuid", "zoneUuid", name="pk_backup_storage_zone"),
    )
    op.create_index("ix_backup_storage_zone_zoneUuid", "backup_storage_zone", ["zoneUuid"])


def make_nodes() -> None:
    """Make node, operation."""
    op.create_table(
        "node",
        sa.Column("uuid", text(32), nullable=False),
        sa.Column("leaseDate", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name="pk_node"),
    )
    op.create_index("ix_node_leaseDate", "node", ["leaseDate"])
    op.create_table(
        "operation",
        sa.Column("key", text(64), nullable=False),
        sa.Column("uuid", text(32), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("kind", text(16), nullable=False),
        sa.Column("variant", text(), nullable=False),
        sa.Column("leaseOwner", text(32), nullable=True),
        sa.Column("problem", sa.JSON(), nullable=True),
        sa.Column("lastOpDate", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_operation"),
        sa.UniqueConstraint("uuid", name="uq_operation_uuid"),
    )
    op.create_index("ix_operation_leaseOwner", "operation", ["leaseOwner"])


def make_agents() -> None:
    """Make agent, agent_address."""
    op.create_table(
        "agent",
        sa.Column("uuid", text(32), nullable=False),
        sa.Column("hostname", text(255), nullable=False),
        sa.Column("port", sa.BigInteger(), nullable=False),
        sa.Column("fingerprint", text(64), nullable=False),
        sa.Column("nextFingerprint", text(64), nullable=True),
        sa.Column("bootId", text(64), nullable=True),
        sa.Column("version", text(255), nullable=True),
        sa.Column("certificateEndDate", sa.BigInteger(), nullable=True),
        sa.Column("enrollmentId", text(32), nullable=False),
        sa.Column("tokenSecret", text(), nullable=False),
        sa.Column("leaving", sa.Boolean(), nullable=False),
        sa.Column("leaseOwner", text(32), nullable=True),
        sa.Column("lookDate", sa.Float(), nullable=True),
        sa.Column("status", text(16), nullable=False),
        sa.Column("statusReason", sa.JSON(), nullable=True),
        sa.Column("missedPolls", sa.BigInteger(), nullable=False),
        sa.Column("lastPollDate", sa.BigInteger(), nullable=True),
        sa.Column("lastPushDate", sa.BigInteger(), nullable=True),
        sa.Column("clockSkew", sa.Float(), nullable=True),
        sa.Column("createDate", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name="pk_agent"),
        sa.UniqueConstraint("fingerprint", name="uq_agent_fingerprint"),
        sa.UniqueConstraint("nextFingerprint", name="uq_agent_nextFingerprint"),
    )
    op.create_index("ix_agent_enrollmentId", "agent", ["enrollmentId"])
    index_sorted("agent", "hostname", "status", lower=True)
    index_sorted("agent", "version", lower=True, null=True)
    index_sorted("agent", "createDate", "missedPolls", "port")
    index_sorted("agent", "bootId", "certificateEndDate", "lastPushDate", null=True)
    op.create_index("ix_agent_leaseOwner", "agent", ["leaseOwner"])
    asked = sa.text('"lookDate" IS NOT NULL')
    op.create_index("ix_agent_lookDate", "agent", ["leaseOwner"], sqlite_where=asked, postgresql_where=asked)
    op.create_table(
        "agent_address",
        sa.Column("hostname", text(255), nullable=False),
        sa.Column("port", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("agentUuid", text(32), nullable=False),
        refers("agent_address", "agentUuid", "agent", cascade=True),
        sa.PrimaryKeyConstraint("hostname", "port", name="pk_agent_address"),
    )
    op.create_index("ix_agent_address_agentUuid", "agent_address", ["agentUuid"])
    op.create_index("ix_agent_address_hostname", "agent_address", [sa.text("lower(hostname)"), "agentUuid"])


def make_hosts() -> None:
    """Make host, debt."""
    op.create_table(
        "host",
        sa.Column("monUuid", text(32), nullable=False),
        sa.Column("backupStorageUuid", text(32), nullable=False),
        sa.Column("agentUuid", text(32), nullable=True),
        sa.Column("hostname", text(255), nullable=False),
        sa.Column("monAddr", text(255), nullable=True),
        sa.Column("monPort", sa.BigInteger(), nullable=True),
        sa.Column("sshPort", sa.BigInteger(), nullable=False),
        sa.Column("sshUsername", text(255), nullable=True),
        sa.Column("sshPasswordSecret", text(), nullable=True),
        sa.Column("sshHostKey", text(), nullable=True),
        sa.Column("status", text(16), nullable=False),
        sa.Column("statusReason", sa.JSON(), nullable=True),
        sa.Column("capacityFresh", sa.Boolean(), nullable=False),
        sa.Column("createDate", sa.BigInteger(), nullable=False),
        sa.Column("lastOpDate", sa.BigInteger(), nullable=False),
        sa.UniqueConstraint("backupStorageUuid", "agentUuid", name="uq_host_backupStorageUuid_agentUuid"),
        refers("host", "backupStorageUuid", "backup_storage", cascade=True),
        refers("host", "agentUuid", "agent", cascade=False),
        sa.PrimaryKeyConstraint("monUuid", name="pk_host"),
    )
    op.create_index("ix_host_agentUuid", "host", ["agentUuid"])
    op.create_index("ix_host_backupStorageUuid", "host", ["backupStorageUuid"])
    for name, value in (("hostname", "hostname"), ("monAddr", '"monAddr"'), ("status", "status")):
        op.create_index(f"ix_host_{name}", "host", [sa.text(f"lower({value})"), "backupStorageUuid"])
    op.create_table(
        "debt",
        sa.Column("uuid", text(32), nullable=False),
        sa.Column("type", text(16), nullable=False),
        sa.Column("agentUuid", text(32), nullable=False),
        sa.Column("operationUuid", text(32), nullable=False),
        sa.Column("commandUuid", text(32), nullable=False),
        sa.Column("backupStorageUuid", text(32), nullable=True),
        sa.Column("backupStorageName", text(255), nullable=True),
        sa.Column("hostOnly", sa.Boolean(), nullable=False),
        sa.Column("removePool", sa.JSON(), nullable=True),
        sa.Column("enrollmentId", text(32), nullable=True),
        sa.Column("tokenSecret", text(), nullable=True),
        sa.Column("lastReason", sa.JSON(), nullable=True),
        sa.Column("lastTryDate", sa.BigInteger(), nullable=True),
        sa.Column("nextTryDate", sa.BigInteger(), nullable=True),
        sa.Column("createDate", sa.BigInteger(), nullable=False),
        refers("debt", "agentUuid", "agent", cascade=False),
        sa.PrimaryKeyConstraint("uuid", name="pk_debt"),
    )
    op.create_index("ix_debt_agentUuid", "debt", ["agentUuid"])
    op.create_index("ix_debt_backupStorageUuid", "debt", ["backupStorageUuid"])
    index_sorted("debt", "type", lower=True)
    index_sorted("debt", "createDate")
    index_sorted("debt", "nextTryDate", null=True)
    index_sorted("debt", "backupStorageName", lower=True, null=True)
    op.create_index("ix_debt_operationUuid", "debt", ["operationUuid"])


def make_the_rest() -> None:
    """Make tag, job."""
    op.create_table(
        "tag",
        sa.Column("uuid", text(32), nullable=False),
        sa.Column("type", text(8), nullable=False),
        sa.Column("resourceUuid", text(32), nullable=False),
        sa.Column("resourceType", text(64), nullable=False),
        sa.Column("tag", text(2048), nullable=False),
        sa.Column("createDate", sa.BigInteger(), nullable=False),
        sa.Column("lastOpDate", sa.BigInteger(), nullable=False),
        refers("tag", "resourceUuid", "resource", cascade=True),
        sa.PrimaryKeyConstraint("uuid", name="pk_tag"),
    )
    op.create_index("ix_tag_resourceUuid", "tag", ["resourceUuid"])
    op.create_index("ix_tag_tag", "tag", ["type", sa.text("substr(lower(tag), 1, 200)"), "resourceUuid"])
    op.create_index("ix_tag_type", "tag", ["type", "uuid"])
    op.create_table(
        "job",
        sa.Column("uuid", text(32), nullable=False),
        sa.Column("apiName", text(64), nullable=False),
        sa.Column("accountUuid", text(32), nullable=False),
        sa.Column("state", text(16), nullable=False),
        sa.Column("resourceUuid", text(32), nullable=True),
        sa.Column("result", text(), nullable=True),
        sa.Column("errorCode", text(64), nullable=True),
        sa.Column("leaseOwner", text(32), nullable=True),
        sa.Column("endDate", sa.BigInteger(), nullable=True),
        sa.Column("createDate", sa.BigInteger(), nullable=False),
        sa.Column("lastOpDate", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name="pk_job"),
    )
    op.create_index("ix_job_accountUuid", "job", ["accountUuid", "createDate"])
    index_sorted("job", "apiName", "state", lower=True)
    index_sorted("job", "createDate")
    index_sorted("job", "resourceUuid", "endDate", null=True)
    index_sorted("job", "errorCode", lower=True, null=True)


def make_hooks() -> None:
    """Make hook."""
    op.create_table(
        "hook",
        sa.Column("jobUuid", text(32), nullable=False),
        sa.Column("url", text(2048), nullable=False),
        sa.Column("receiver", text(2048), nullable=False),
        sa.Column("withSchema", sa.Boolean(), nullable=False),
        sa.Column("tries", sa.BigInteger(), nullable=False),
        sa.Column("dueDate", sa.Float(), nullable=False),
        sa.Column("leaseOwner", text(32), nullable=True),
        refers("hook", "jobUuid", "job", cascade=True),
        sa.PrimaryKeyConstraint("jobUuid", name="pk_hook"),
    )
    op.create_index("ix_hook_dueDate", "hook", ["dueDate"])
