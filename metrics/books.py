"""The tables in which the platform keeps its books, in the schema of the metrics: made, and given what they lack."""

from collections.abc import Iterator
from dataclasses import dataclass

from psycopg import sql

from metrics.change import Change
from metrics.server import Connection, listed, one, table
from metrics.spec import SCHEMA


@dataclass(frozen=True)
class Book:
    """Columns with their types and defaults, and the key."""

    columns: dict[str, str]
    key: tuple[str, ...]


BOOKS = {
    # One row per hypertable. Rows before dropped_before were dropped once, and are not taken in again, since a part of
    # them would replace the roll-up of all of them. upkeep_s: seconds that the last upkeep took.
    "_state": Book(
        {
            "hypertable": "text",
            "watermark": "text",
            "loaded_at": "timestamptz",
            "dropped_before": "timestamptz",
            "refreshed_at": "timestamptz",
            "upkeep_s": "double precision",
            "failed_at": "timestamptz",
            "failure": "text",
        },
        ("hypertable",),
    ),
    # Buckets whose roll-up is out of date, each since the first change that is not in it.
    "_dirty": Book(
        {
            "hypertable": "text",
            "rollup": "text",
            "bucket_at": "timestamptz",
            "marked_at": "timestamptz NOT NULL DEFAULT now()",
        },
        ("hypertable", "rollup", "bucket_at"),
    ),
    # What was applied last: which hypertables, roll-ups and indexes are the platform's, and how long rows were kept.
    "_applied": Book(
        {
            "hypertable": "text",
            "drop_after": "interval NOT NULL",
            "rollups": "text[] NOT NULL",
            "lives": "jsonb NOT NULL DEFAULT '{}'",
            "indexes": "jsonb NOT NULL",
            "applied_at": "timestamptz NOT NULL",
        },
        ("hypertable",),
    ),
    # Ranges of rows that were copied to the lake and compared. columns: that the checksum is of; bytes: of the Parquet
    # files; dropped_at: since when the lake's rows count and not the server's; left_at: set while the server still has
    # them, until nobody reads them any more; hold_until: what was loaded back is not dropped before.
    "_cold": Book(
        {
            "hypertable": "text",
            "range_start": "timestamptz",
            "range_end": "timestamptz NOT NULL",
            "rows": "bigint NOT NULL",
            "checksum": "numeric(20,0) NOT NULL",
            "columns": "text[] NOT NULL",
            "bytes": "bigint NOT NULL",
            "delta_version": "bigint NOT NULL",
            "copied_at": "timestamptz NOT NULL",
            "dropped_at": "timestamptz",
            "left_at": "timestamptz",
            "hold_until": "timestamptz",
        },
        ("hypertable", "range_start"),
    ),
    # What was odd, by cause: one row per incident, which is open until ended_at is there. series: what was odd of it.
    "_incidents": Book(
        {
            "id": "bigint GENERATED ALWAYS AS IDENTITY",
            "cause": "text NOT NULL",
            "first_at": "timestamptz NOT NULL",
            "last_at": "timestamptz NOT NULL",
            "ended_at": "timestamptz",
            "began_told_at": "timestamptz",
            "end_told_at": "timestamptz",
            "series": "jsonb NOT NULL",
        },
        ("id",),
    ),
}


def steps(connection: Connection) -> Iterator[Change]:
    """What the server lacks of the schema and the books; columns that no book has any more are left alone."""
    if one(connection, "SELECT to_regnamespace(%s)", (SCHEMA,)) is None:
        yield Change(SCHEMA, "create the schema", (sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(SCHEMA)),))
    for name, book in BOOKS.items():
        have = {row[0] for row in connection.execute(_COLUMNS, (SCHEMA, name)).fetchall()}
        if not have:
            what = "create the table in which the platform keeps its books"
            yield Change(f"{SCHEMA}.{name}", what, (_creation(name, book),))
        elif lacking := {column: kind for column, kind in book.columns.items() if column not in have}:
            add = sql.SQL("ALTER TABLE {} ADD COLUMN {} {}")
            statements = [
                add.format(table(name), sql.Identifier(column), sql.SQL(kind)) for column, kind in lacking.items()
            ]
            yield Change(f"{SCHEMA}.{name}", f"add {', '.join(lacking)} to the platform's books", tuple(statements))


def _creation(name: str, book: Book) -> sql.Composed:
    columns = [sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(kind)) for column, kind in book.columns.items()]
    key = sql.SQL("PRIMARY KEY ({})").format(listed(book.key))
    return sql.SQL("CREATE TABLE {} ({})").format(table(name), sql.SQL(", ").join([*columns, key]))


_COLUMNS = "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s"
