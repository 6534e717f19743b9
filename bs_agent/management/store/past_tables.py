"""The tables of what has been: events, and how capacities were. Rows of them are only added, and forgotten in time."""

from sqlalchemy import BigInteger, Column, ForeignKey, Table

from bs_agent.management.store.columns import index_sorted, metadata, text_of, uuid_column

event = Table(
    "event",
    metadata,
    uuid_column(primary_key=True),  # greater than those of earlier events
    Column("type", text_of(32), nullable=False),
    Column("createDate", BigInteger, nullable=False),
    Column("resourceUuid", text_of(32), comment="what it happened to, which may be gone"),
    Column("resourceName", text_of(255)),
    Column("resourceType", text_of(32)),
    Column("accountUuid", text_of(32), comment="whose doing it is, who may be gone"),
    Column("accountName", text_of(255)),
    Column("address", text_of(64), comment="from where a log-in was tried"),
    Column("oldValue", text_of(16)),
    Column("newValue", text_of(16)),
    Column("operation", text_of(16)),
    Column("operationUuid", text_of(32)),
    Column("outcome", text_of(16)),
    Column("code", text_of(64)),
    Column("details", text_of(1000)),
    comment="what has happened",
)
index_sorted(event, ("type", "createDate", "resourceUuid", "resourceName", "accountUuid", "accountName", "address"))
index_sorted(event, ("newValue", "operation", "operationUuid", "outcome", "code"))

capacity_history = Table(
    "capacity_history",
    metadata,
    Column("backupStorageUuid", ForeignKey("backup_storage.uuid", ondelete="CASCADE"), primary_key=True),
    Column("resolution", BigInteger, primary_key=True, autoincrement=False, comment="seconds of a slot"),
    Column("slot", BigInteger, primary_key=True, autoincrement=False, comment="when it begins"),
    Column("totalCapacity", BigInteger, nullable=False),
    Column("availableCapacity", BigInteger, nullable=False),
    Column("poolStored", BigInteger),
    Column("poolUsedCapacity", BigInteger),
    Column("poolMaxAvail", BigInteger),
    Column("lostDate", BigInteger, comment="since when nothing is known, if that begins before the next slot that is"),
    comment="how the capacities of a storage were; see store/history.py",
    sqlite_with_rowid=False,  # the key alone is the table: half the size
)
