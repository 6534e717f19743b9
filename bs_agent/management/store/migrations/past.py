"""The first tables of what has been."""

import sqlalchemy as sa
from alembic import op

from bs_agent.management.store.migrations.columns import index_sorted, refers, text


def make_events() -> None:
    """Make event."""
    op.create_table(
        "event",
        sa.Column("uuid", text(32), nullable=False),
        sa.Column("type", text(32), nullable=False),
        sa.Column("createDate", sa.BigInteger(), nullable=False),
        sa.Column("resourceUuid", text(32), nullable=True),
        sa.Column("resourceName", text(255), nullable=True),
        sa.Column("resourceType", text(32), nullable=True),
        sa.Column("accountUuid", text(32), nullable=True),
        sa.Column("accountName", text(255), nullable=True),
        sa.Column("address", text(64), nullable=True),
        sa.Column("oldValue", text(16), nullable=True),
        sa.Column("newValue", text(16), nullable=True),
        sa.Column("operation", text(16), nullable=True),
        sa.Column("operationUuid", text(32), nullable=True),
        sa.Column("outcome", text(16), nullable=True),
        sa.Column("code", text(64), nullable=True),
        sa.Column("details", text(1000), nullable=True),
        sa.PrimaryKeyConstraint("uuid", name="pk_event"),
    )
    index_sorted("event", "type", lower=True)
    index_sorted("event", "createDate")
    index_sorted("event", "resourceUuid", "accountUuid", "operationUuid", null=True)
    names = ("resourceName", "accountName", "address", "newValue", "operation", "outcome", "code")
    index_sorted("event", *names, lower=True, null=True)


def make_history() -> None:
    """Make capacity_history."""
    op.create_table(
        "capacity_history",
        sa.Column("backupStorageUuid", text(32), nullable=False),
        sa.Column("resolution", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("slot", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("totalCapacity", sa.BigInteger(), nullable=False),
        sa.Column("availableCapacity", sa.BigInteger(), nullable=False),
        sa.Column("poolStored", sa.BigInteger(), nullable=True),
        sa.Column("poolUsedCapacity", sa.BigInteger(), nullable=True),
        sa.Column("poolMaxAvail", sa.BigInteger(), nullable=True),
        sa.Column("lostDate", sa.BigInteger(), nullable=True),
        refers("capacity_history", "backupStorageUuid", "backup_storage", cascade=True),
        sa.PrimaryKeyConstraint("backupStorageUuid", "resolution", "slot", name="pk_capacity_history"),
        sqlite_with_rowid=False,
    )
