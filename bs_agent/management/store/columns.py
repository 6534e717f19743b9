"""How columns are declared, compared and indexed, the same in all tables.

Text is ordered by its bytes in both databases; queries compare it in lower case, and the indexes hold it so.
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Index,
    MetaData,
    String,
    Table,
    Text,
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

KEY_OF_LONG = 200
"""Characters of a long text that its index holds: PostgreSQL's take no entry of more than 2.7 KB."""


def text_of(length: int | None = None) -> TypeEngine[str]:
    """Return the type of a text, of so many characters at most."""
    on_postgresql = String(length, collation="C") if length else Text(collation="C")
    return (String(length) if length else Text()).with_variant(on_postgresql, "postgresql")


def uuid_column(name: str = "uuid", *, primary_key: bool = False) -> Column[str]:
    """Return a column that holds a uuid in its one form."""
    return Column(name, text_of(32), primary_key=primary_key, nullable=False)


def dates() -> tuple[Column[int], Column[int]]:
    """Return the columns of when a row was made, and when it was changed."""
    return Column("createDate", BigInteger, nullable=False), Column("lastOpDate", BigInteger, nullable=False)


def is_in_one_way(column: Column[Any]) -> bool:
    """Tell whether a text is stored in one way only, in lower case: a uuid, or a fingerprint."""
    return column.name.lower().endswith(("uuid", "fingerprint")) or column.name in {"fsid", "bootId"}


def comparable(column: Column[Any]) -> ColumnElement[Any]:
    """Return a column as queries compare and order it: text in lower case, but what is written in one way only."""
    return func.lower(column) if isinstance(column.type, String) and not is_in_one_way(column) else column


def is_long(column: Column[Any]) -> bool:
    """Tell whether a text may be longer than an index takes."""
    return isinstance(column.type, String) and not 0 < (column.type.length or 0) <= 255


def indexed(column: Column[Any]) -> ColumnElement[Any]:
    """Return a column as its index holds it: of a long text the beginning."""
    whole = comparable(column)
    if not is_long(column):
        return whole
    return func.substr(whole, literal_column("1"), literal_column(str(KEY_OF_LONG)))


def index_sorted(table: Table, names: Iterable[str]) -> None:
    """Make an index of each column, by which conditions and pages in its order find their rows.

    With the key within, a page of equal rows is read in the order of the index. What is ordered with nulls first must
    lie so on PostgreSQL; SQLite has them there by itself.
    """
    for column in (table.c[name] for name in names):
        of = comparable(column), *table.primary_key.columns
        name = f"ix_{table.name}_{column.name}"
        if column.nullable:
            Index(name, *of).ddl_if(dialect="sqlite")
            Index(name, of[0].nulls_first(), *of[1:]).ddl_if(dialect="postgresql")
        else:
            Index(name, *of)
