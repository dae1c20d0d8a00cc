"""What a database says of its own tables: columns, keys, indexes, statistics, rights. Reads catalogues, never rows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lake.errors import AccessDenied, PermanentError, PlatformError, SourceUnavailable, SpecError, redact

if TYPE_CHECKING:
    import psycopg

    from ingestion.spec import Source

SQL = Path(__file__).with_name("catalogue.sql")
TIMEOUT_S = 120
OPTIONS = (
    f"-c statement_timeout={TIMEOUT_S * 1000} -c timezone=UTC -c datestyle=ISO -c default_transaction_read_only=on"
)
SCHEMAS = """
    select n.nspname, count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'v', 'm', 'f') and c.relpersistence <> 't'
        and n.nspname !~ '^(pg_|information_schema$|_?timescaledb)'
        and not exists (select from pg_inherits i where i.inhrelid = c.oid)
        and not exists (select from pg_depend d where d.objid = c.oid and d.classid = 'pg_class'::regclass
            and d.deptype = 'e')
    group by 1 order by 2 desc, 1
"""


@dataclass(frozen=True)
class FoundColumn:
    """A column of a database. `kind` is the bare name of its type, `type` the full one as the database writes it.

    `nulls` (share of rows), `distinct` (below 0: share of rows, as in pg_stats), `correlation` with the order on disk,
    `first` and `last` come from statistics and are None where there are none. `set_by` names what sets the
    column at each update.
    """

    name: str
    type: str
    kind: str
    is_nullable: bool = True
    default: str | None = None
    description: str = ""
    nulls: float | None = None
    distinct: float | None = None
    correlation: float | None = None
    first: str | None = None
    last: str | None = None
    set_by: str | None = None


@dataclass(frozen=True)
class FoundTable:
    """A table or view of a database; of a partitioned one the whole.

    `rows` is an estimate, None if the table was never analysed. `keys` are the columns of unique indexes without NULLs,
    the primary key first. `indexed` are columns that lead an index. `inserted`, `updated`, `deleted` count rows since
    the database's statistics began, None where that is not counted.
    """

    schema: str
    name: str
    kind: str
    columns: tuple[FoundColumn, ...]
    rows: int | None = None
    bytes: int = 0
    description: str = ""
    keys: tuple[tuple[str, ...], ...] = ()
    has_primary: bool = False
    indexed: frozenset[str] = frozenset()
    is_readable: bool = True
    is_filtered: bool = False
    partitioned_by: str | None = None
    inserted: int | None = None
    updated: int | None = None
    deleted: int | None = None

    @property
    def is_view(self) -> bool:
        """Whether it has no rows of its own."""
        return self.kind == "view"

    def column(self, name: str) -> FoundColumn | None:
        """The column called `name`."""
        return next((column for column in self.columns if column.name == name), None)


def connection_of(source: Source) -> str:
    """The connection that a source's variable holds. Raises SpecError if it is not set."""
    dsn = os.environ.get(source.connection, "")
    if not dsn:
        mend = f"set {source.connection} to a connection URI, e.g. postgresql://user@host/database"
        raise SpecError(f"source {source.name}", f"{source.connection} is not set", mend)
    return dsn


@contextmanager
def connected(dsn: str, where: str) -> Iterator[psycopg.Connection[Any]]:
    """A read-only session on a PostgreSQL database, in UTC; its errors become sentences that begin with `where`.

    Raises SpecError, AccessDenied, SourceUnavailable, PermanentError.
    """
    import psycopg

    try:
        with psycopg.connect(
            dsn, options=OPTIONS, connect_timeout=10, autocommit=True, application_name="watershed-catalogue"
        ) as session:
            yield session
    except psycopg.Error as error:
        raise _explained(where, error) from None


def schemas(session: psycopg.Connection[Any]) -> dict[str, int]:
    """Schemas that hold tables or views, and how many; the fullest first."""
    return dict(session.execute(SCHEMAS).fetchall())


def tables(session: psycopg.Connection[Any], schema: str) -> tuple[FoundTable, ...]:
    """All tables and views of one schema, by name; partitions, children, extensions' tables are left out."""
    rows = session.execute(SQL.read_text(), {"schema": schema}).fetchall()
    return tuple(_table(*row) for row in rows)


def _table(
    facts: dict[str, Any], columns: list[dict[str, Any]], keys: list[list[str]], indexed: list[str]
) -> FoundTable:
    rows = facts.pop("rows")
    return FoundTable(
        columns=tuple(FoundColumn(**column) for column in columns),
        keys=tuple(tuple(key) for key in keys),
        indexed=frozenset(indexed),
        rows=None if rows is None or rows < 0 else int(rows),
        **facts,
    )


def _explained(where: str, error: psycopg.Error) -> PlatformError:
    """What an error of the driver means for a person; the connection itself is never shown."""
    import psycopg

    text = str(error).strip()
    if isinstance(error, psycopg.ProgrammingError) and error.sqlstate is None:  # its text may quote the password
        mend = "write postgresql://user@host:port/database, special characters in a password as %XX"
        return SpecError(where, "that is no connection URI", mend)
    first = redact(text.splitlines()[0]).split("FATAL: ")[-1] if text else type(error).__name__
    if any(sign in text for sign in ("password authentication failed", "no password supplied", "pg_hba", "role ")):
        return AccessDenied(where, "the server refuses the user or its password", "correct the connection")
    if "does not exist" in text:
        return PermanentError(where, first, "correct the connection")
    if isinstance(error, psycopg.OperationalError):
        return SourceUnavailable(where, "the server does not answer", "start it, or correct the connection")
    return PermanentError(where, first, "mend the cause and run again")
