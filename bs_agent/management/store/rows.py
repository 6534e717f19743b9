"""Rows of the tables as the records of `records.py`, and back; and how many of them one statement takes."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import Row, Table

from bs_agent.contract.reasons import Reason
from bs_agent.management.model.health import Health
from bs_agent.management.model.records import AgentRecord, Debt, HostRecord, StorageRecord
from bs_agent.management.store import tables

T = TypeVar("T")
R = TypeVar("R", AgentRecord, HostRecord, StorageRecord, Debt)

_BATCH = 500
_REASONS = ("statusReason", "lastReason")
_TABLES: dict[type[Any], Table] = {
    AgentRecord: tables.agent,
    HostRecord: tables.host,
    StorageRecord: tables.backup_storage,
    Debt: tables.debt,
}


def columns_of(record: type[R]) -> list[Any]:
    """Return the columns that make up a record, in the order of its fields."""
    table = _TABLES[record]
    return [table.c[field.name] for field in dataclasses.fields(record)]


def to_record(record: type[R], row: Row[Any]) -> R:
    """Build the record from a row of just its columns."""
    build: Callable[..., R] = record
    made = build(*row)
    told = {name: getattr(made, name, None) for name in _REASONS}
    changes: dict[str, Any] = {name: Reason.model_validate(reason) for name, reason in told.items() if reason}
    return dataclasses.replace(made, **changes) if changes else made


def to_values(record: AgentRecord | HostRecord | StorageRecord | Debt) -> dict[str, Any]:
    """Return what to write for a record, by column."""
    values = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    return values | {name: to_json(values[name]) for name in _REASONS if name in values}


def to_json(reason: Reason | None) -> dict[str, str] | None:
    """Return a reason as its column holds it."""
    return {"code": reason.code.value, "details": reason.details} if reason else None


def to_health(status: Any, reason: Any, fresh: Any) -> Health:  # noqa: ANN401 RUF100  three columns of a row
    """Return the health that three columns hold."""
    return Health(status, Reason.model_validate(reason) if reason else None, bool(fresh))


def batched(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cut a list into pieces that fit into one statement."""
    return (items[start : start + _BATCH] for start in range(0, len(items), _BATCH))
