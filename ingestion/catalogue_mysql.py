"""What a MySQL or MariaDB database says of its own tables; reads information_schema, never rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from ingestion.catalogue import FoundColumn, FoundTable

if TYPE_CHECKING:
    from ingestion.connectors.mysql_session import Session

TABLES = """
    select table_name, table_type, coalesce(table_rows, -1), coalesce(data_length + index_length, 0), table_comment
    from information_schema.tables where table_schema = database() order by table_name
"""
COLUMNS = """
    select table_name, column_name, data_type, column_type, is_nullable, column_default, extra, column_comment
    from information_schema.columns where table_schema = database() order by table_name, ordinal_position
"""
INDEXES = """
    select table_name, index_name, non_unique, seq_in_index, column_name, nullable
    from information_schema.statistics where table_schema = database() and column_name is not null
        and sub_part is null order by table_name, index_name = 'PRIMARY' desc, index_name, seq_in_index
"""
# MySQL's names, where they mean another thing than PostgreSQL's: its timestamp is an instant, its datetime has no zone.
KINDS = {"timestamp": "timestamptz", "datetime": "timestamp"}


@contextmanager
def connected(variable: str) -> Iterator[Session]:
    """A session on the database whose URI is in `variable`. Raises SpecError, AccessDenied, SourceUnavailable."""
    from ingestion.connectors.mysql_session import Server
    from ingestion.spec import Source

    anything = {"name": "anything", "key": ["anything"], "load": "replace"}
    source = Source.model_validate(
        {"name": "drafted", "connector": "mysql", "connection": variable, "tables": [anything]}
    )
    with closing(Server(source)) as server, closing(server.session()) as session:
        yield session


def about(session: Session) -> tuple[str, str]:
    """The database's name, and the server with its version."""
    ((database, version),) = session.rows("select database(), version()")
    return str(database), f"{'MariaDB' if 'maria' in str(version).lower() else 'MySQL'} {str(version).split('-')[0]}"


def tables(session: Session) -> tuple[FoundTable, ...]:
    """All tables and views of the session's database that the user may see, by name."""
    columns: dict[str, list[FoundColumn]] = {}
    for table, *facts in session.rows(COLUMNS):
        columns.setdefault(str(table), []).append(_column(*facts))
    keys, indexed, primary = _indexes(session)
    return tuple(
        FoundTable(
            schema="",
            name=str(name),
            kind="view" if "VIEW" in str(kind) else "table",
            columns=tuple(columns.get(str(name), ())),
            rows=None if int(rows) < 0 else int(rows),
            bytes=int(size),
            description="" if "VIEW" in str(kind) else str(comment or ""),
            keys=tuple(keys.get(str(name), ())),
            has_primary=str(name) in primary,
            indexed=frozenset(indexed.get(str(name), ())),
        )
        for name, kind, rows, size, comment in session.rows(TABLES)
    )


def _column(name: Any, kind: Any, full: Any, is_nullable: Any, default: Any, extra: Any, comment: Any) -> FoundColumn:
    said = str(extra or "").lower()
    return FoundColumn(
        name=str(name),
        type=str(full),
        kind=KINDS.get(str(kind).lower(), str(kind).lower()),
        is_nullable=str(is_nullable) == "YES",
        default=None if default is None else str(default),
        description=str(comment or ""),
        set_by="the column's own `on update current_timestamp`" if "on update current_timestamp" in said else None,
    )


def _indexes(session: Session) -> tuple[dict[str, list[tuple[str, ...]]], dict[str, set[str]], set[str]]:
    """Per table the unique keys without NULLs (primary first) and the columns that lead an index; who has a primary."""
    parts: dict[tuple[str, str], list[tuple[str, bool]]] = {}
    indexed: dict[str, set[str]] = {}
    primary: set[str] = set()
    for table, index, non_unique, place, column, nullable in session.rows(INDEXES):
        if int(place) == 1:
            indexed.setdefault(str(table), set()).add(str(column))
        if index == "PRIMARY":
            primary.add(str(table))
        if not int(non_unique):
            parts.setdefault((str(table), str(index)), []).append((str(column), nullable == "YES"))
    keys: dict[str, list[tuple[str, ...]]] = {}
    for (table, _), members in parts.items():
        if not any(may_be_null for _, may_be_null in members):
            keys.setdefault(table, []).append(tuple(column for column, _ in members))
    return keys, indexed, primary
