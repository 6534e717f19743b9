"""How the steps declare columns and indexes; a step that was released stays as it was, so this only ever grows."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine


def text(length: int | None = None) -> TypeEngine[str]:
    """Text that both databases order by its bytes."""
    on_postgresql = sa.String(length, collation="C") if length else sa.Text(collation="C")
    return (sa.String(length) if length else sa.Text()).with_variant(on_postgresql, "postgresql")


def refers(table: str, column: str, to: str, *, cascade: bool) -> sa.ForeignKeyConstraint:
    """Return the constraint that a column holds the uuid of a row of another table."""
    name = f"fk_{table}_{column}"
    return sa.ForeignKeyConstraint([column], [f"{to}.uuid"], name, ondelete="CASCADE" if cascade else None)


def index_sorted(table: str, *names: str, lower: bool = False, null: bool = False) -> None:
    """Make an index of each column, by which conditions and pages in its order find their rows."""
    # PostgreSQL has nulls last, unless told, and queries want them first; SQLite knows no such words in an index.
    nulls = " NULLS FIRST" if null and op.get_bind().dialect.name != "sqlite" else ""
    for name in names:
        column = name if name.islower() else f'"{name}"'
        value = sa.text((f"lower({column})" if lower else column) + nulls)
        op.create_index(f"ix_{table}_{name}", table, [value, "uuid"])
