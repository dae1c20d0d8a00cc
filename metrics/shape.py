"""What a declared hypertable looks like on the server, and what the server has: columns, key, indexes, chunks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import LiteralString

from psycopg import sql

from lake.errors import PermanentError
from metrics.rollup import rollup_columns
from metrics.server import Connection, listed, table
from metrics.spec import SCHEMA, Bucket, Hypertable

ROLLUP_CHUNK = timedelta(days=30)  # 13 chunks in 400 days; retention of a roll-up is late by at most this


@dataclass(frozen=True)
class Shape:
    """A table's columns with their SQL types, its key, further indexes and chunk interval."""

    name: str
    time: str
    columns: Mapping[str, str]
    key: tuple[str, ...]
    required: frozenset[str]
    chunk_interval: timedelta | None
    indexes: frozenset[tuple[str, ...]]
    comments: Mapping[str, str]
    description: str
    space: tuple[str, int] | None = None
    """Column and number of parts of the second dimension."""
    index_names: Mapping[tuple[str, ...], str] = field(default_factory=dict)
    """Names of the indexes that were found, the key's not among them."""
    odd_indexes: tuple[str, ...] = ()
    """Names of indexes that no declaration makes: unique, partial, over an expression, descending."""
    key_index: str = ""
    is_constraint: bool = False
    """Whether the key's index belongs to a constraint of the same name."""


def declared(hypertable: Hypertable) -> Shape:
    """The shape that the declaration asks for."""
    return Shape(
        name=hypertable.name,
        time=hypertable.time,
        columns={name: column.type for name, column in hypertable.columns.items()},
        key=hypertable.key,
        required=frozenset(hypertable.key),
        chunk_interval=hypertable.chunk_interval,
        indexes=frozenset(hypertable.indexes),
        comments={name: column.comment for name, column in hypertable.columns.items()},
        description=hypertable.description,
        space=(hypertable.space.by, hypertable.space.partitions) if hypertable.space else None,
    )


def declared_rollup(hypertable: Hypertable, bucket: Bucket) -> Shape:
    """The shape of the roll-up table that the platform's own jobs keep."""
    columns = rollup_columns(hypertable)
    by = hypertable.rollups.by if hypertable.rollups else ()
    return Shape(
        name=hypertable.rollup_names[bucket],
        time="bucket_at",
        columns={column.name: column.type for column in columns},
        key=("bucket_at", *by),
        required=frozenset({"bucket_at"}),
        chunk_interval=ROLLUP_CHUNK,
        indexes=frozenset(),
        comments={column.name: column.comment for column in columns},
        description=f"{hypertable.name} in buckets of {bucket} (UTC). {hypertable.description}",
    )


def found(connection: Connection, name: str) -> Shape | None:
    """The shape of table `name` on the server, None if there is none; PermanentError if it is no table."""
    kind = connection.execute(
        "SELECT relkind, coalesce(obj_description(oid, 'pg_class'), '') FROM pg_class WHERE oid = to_regclass(%s)",
        (f"{SCHEMA}.{name}",),
    ).fetchone()
    if kind is None:
        return None
    if kind[0] not in ("r", b"r"):
        raise differs(name, "is a view, not a table")
    rows = connection.execute(_COLUMNS, (f"{SCHEMA}.{name}",)).fetchall()
    indexes = connection.execute(_INDEXES, (f"{SCHEMA}.{name}",)).fetchall()
    dimensions = connection.execute(_DIMENSIONS, (SCHEMA, name)).fetchall()
    key = next((one for one in indexes if one[2] and one[3]), None)
    plain = {
        tuple(columns): str(name) for name, columns, is_unique, is_plain, _ in indexes if is_plain and not is_unique
    }
    odd = [str(one[0]) for one in indexes if one is not key and (one[2] or not one[3])]
    return Shape(
        name=name,
        time=str(dimensions[0][0]) if dimensions else "",
        columns={str(row[0]): str(row[1]) for row in rows},
        key=tuple(key[1]) if key else (),
        required=frozenset(str(row[0]) for row in rows if row[2]),
        chunk_interval=dimensions[0][1] if dimensions else None,
        indexes=frozenset(plain),
        comments={str(row[0]): str(row[3]) for row in rows},
        description=str(kind[1]),
        space=(str(dimensions[1][0]), int(dimensions[1][2])) if len(dimensions) > 1 else None,
        index_names=plain,
        odd_indexes=tuple(odd),
        key_index=str(key[0]) if key else "",
        is_constraint=bool(key and key[4]),
    )


def differs(name: str, what: str) -> PermanentError:
    """The error for a relation of another shape; nothing of it has been touched."""
    mend = "rename it (its rows are left as they are) and apply again, or correct metrics/hypertables.yml"
    return PermanentError(f"{SCHEMA}.{name}", what, mend)


def creation(shape: Shape) -> list[sql.Composed]:
    """The statements that create the hypertable of that shape, with key, indexes and comments."""
    return [*bare(shape, shape.name), *adorned(shape)]


def bare(shape: Shape, name: str) -> list[sql.Composed]:
    """The statements that create the hypertable under `name`, with its key but without indexes and comments."""
    columns = [
        sql.SQL("{} {}").format(sql.Identifier(one), sql.SQL(kind + (" NOT NULL" if one in shape.required else "")))
        for one, kind in shape.columns.items()
    ]
    relation = f"{SCHEMA}.{name}"
    create = sql.SQL("SELECT create_hypertable({}, by_range({}, {}), create_default_indexes => false)")
    divide = sql.SQL("SELECT add_dimension({}, by_hash({}, {}))")
    return [
        sql.SQL("CREATE TABLE {} ({})").format(table(name), sql.SQL(", ").join(columns)),
        create.format(relation, shape.time, shape.chunk_interval),
        *([divide.format(relation, *shape.space)] if shape.space else []),
        unique(shape, name),
    ]


def adorned(shape: Shape) -> list[sql.Composed]:
    """The statements that add the further indexes and the comments."""
    return [*(index(shape.name, columns) for columns in sorted(shape.indexes)), *commenting(shape)]


def index(name: str, columns: tuple[str, ...]) -> sql.Composed:
    """The statement that creates a further index; PostgreSQL names it."""
    return sql.SQL("CREATE INDEX ON {} ({})").format(table(name), listed(columns))


def commenting(shape: Shape, kind: LiteralString = "TABLE") -> list[sql.Composed]:
    """The statements that put descriptions and units where an analyst's tool shows them; `kind`: TABLE or VIEW."""
    return [
        sql.SQL("COMMENT ON " + kind + " {} IS {}").format(table(shape.name), shape.description),
        *(
            sql.SQL("COMMENT ON COLUMN {} IS {}").format(sql.Identifier(SCHEMA, shape.name, column), comment)
            for column, comment in shape.comments.items()
        ),
    ]


def unique(shape: Shape, name: str) -> sql.Composed:
    """The statement for the key; roll-ups group by columns that may be NULL, and two such groups are the same group."""
    if set(shape.key) <= shape.required:
        return sql.SQL("ALTER TABLE {} ADD PRIMARY KEY ({})").format(table(name), listed(shape.key))
    return sql.SQL("CREATE UNIQUE INDEX ON {} ({}) NULLS NOT DISTINCT").format(table(name), listed(shape.key))


_COLUMNS = """
    SELECT attname, replace(replace(format_type(atttypid, atttypmod),
               'timestamp with time zone', 'timestamptz'), ' without time zone', ''),
           attnotnull, coalesce(col_description(attrelid, attnum), '')
    FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
# Name, columns, unique, of the plain kind that a declaration makes, of a constraint; the key first.
_INDEXES = """
    SELECT (SELECT relname FROM pg_class WHERE oid = indexrelid),
           coalesce((SELECT array_agg(attname::text ORDER BY position)
                     FROM unnest(indkey::int2[]) WITH ORDINALITY AS part (number, position)
                     JOIN pg_attribute ON attrelid = indrelid AND attnum = number), ARRAY[]::text[]),
           indisunique,
           indisvalid AND indpred IS NULL AND indexprs IS NULL AND 0 = ALL (indoption::int2[]) AND 'btree' =
               (SELECT amname FROM pg_class JOIN pg_am ON pg_am.oid = relam WHERE pg_class.oid = indexrelid),
           EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u'))
    FROM pg_index WHERE indrelid = %s::regclass ORDER BY indisprimary DESC, indisunique DESC, 1
"""
_DIMENSIONS = """
    SELECT column_name, time_interval, num_partitions FROM timescaledb_information.dimensions
    WHERE hypertable_schema = %s AND hypertable_name = %s ORDER BY dimension_number
"""
