"""What a declared hypertable looks like on the server, and what the server has: columns, key, indexes, chunks."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from psycopg import sql

from lake.errors import PermanentError
from metrics.rollup import rollup_columns
from metrics.server import Connection, table
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
    dimension = connection.execute(_DIMENSION, (SCHEMA, name)).fetchone()
    keys = [tuple(columns) for is_unique, columns in indexes if is_unique]
    return Shape(
        name=name,
        time=str(dimension[0]) if dimension else "",
        columns={str(row[0]): str(row[1]) for row in rows},
        key=keys[0] if keys else (),
        required=frozenset(str(row[0]) for row in rows if row[2]),
        chunk_interval=dimension[1] if dimension else None,
        indexes=frozenset(tuple(columns) for is_unique, columns in indexes if not is_unique),
        comments={str(row[0]): str(row[3]) for row in rows},
        description=str(kind[1]),
    )


def refuse_difference(want: Shape, have: Shape) -> None:
    """PermanentError if `have` differs from `want` in a way that only moving data could mend."""
    if not have.time:
        raise differs(want.name, "is a plain table, not a hypertable")
    if have.time != want.time:
        raise differs(want.name, f"is divided by {have.time}, declared is {want.time}")
    for column, kind in want.columns.items():
        if column not in have.columns and column in want.required:
            raise differs(want.name, f"has no column {column}, which the key needs")
        if have.columns.get(column, kind) != kind:
            raise differs(want.name, f"column {column} is {have.columns[column]}, declared is {kind}")
    if extra := [column for column in have.columns if column not in want.columns]:
        raise differs(want.name, f"has a column {extra[0]} that is not declared")
    if have.key != want.key:
        raise differs(want.name, f"has the key ({', '.join(have.key)}), declared is ({', '.join(want.key)})")
    if loose := sorted(want.required - have.required):
        raise differs(want.name, f"column {loose[0]} may be NULL, but the key needs it")


def differs(name: str, what: str) -> PermanentError:
    """The error for a relation of another shape; nothing of it has been touched."""
    mend = "rename it (its rows are left as they are) and apply again, or correct metrics/hypertables.yml"
    return PermanentError(f"{SCHEMA}.{name}", what, mend)


def creation(shape: Shape) -> list[sql.Composed]:
    """The statements that create the hypertable of that shape, with key, indexes and comments."""
    columns = [
        sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind + (" NOT NULL" if name in shape.required else "")))
        for name, kind in shape.columns.items()
    ]
    return [
        sql.SQL("CREATE TABLE {} ({})").format(table(shape.name), sql.SQL(", ").join(columns)),
        sql.SQL("SELECT create_hypertable({}, by_range({}, {}), create_default_indexes => false)").format(
            f"{SCHEMA}.{shape.name}", shape.time, shape.chunk_interval
        ),
        _unique(shape),
        *(index(shape.name, columns) for columns in sorted(shape.indexes)),
        *commenting(shape),
    ]


def index(name: str, columns: tuple[str, ...]) -> sql.Composed:
    """The statement that creates a further index; PostgreSQL names it."""
    return sql.SQL("CREATE INDEX ON {} ({})").format(table(name), _list(columns))


def commenting(shape: Shape) -> list[sql.Composed]:
    """The statements that put descriptions and units where an analyst's tool shows them."""
    return [
        sql.SQL("COMMENT ON TABLE {} IS {}").format(table(shape.name), shape.description),
        *(
            sql.SQL("COMMENT ON COLUMN {} IS {}").format(sql.Identifier(SCHEMA, shape.name, column), comment)
            for column, comment in shape.comments.items()
        ),
    ]


def _unique(shape: Shape) -> sql.Composed:
    """The key; roll-ups group by columns that may be NULL, and two such groups are the same group."""
    if set(shape.key) <= shape.required:
        return sql.SQL("ALTER TABLE {} ADD PRIMARY KEY ({})").format(table(shape.name), _list(shape.key))
    return sql.SQL("CREATE UNIQUE INDEX ON {} ({}) NULLS NOT DISTINCT").format(table(shape.name), _list(shape.key))


def _list(columns: tuple[str, ...]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


_COLUMNS = """
    SELECT attname, replace(replace(format_type(atttypid, atttypmod),
               'timestamp with time zone', 'timestamptz'), ' without time zone', ''),
           attnotnull, coalesce(col_description(attrelid, attnum), '')
    FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
_INDEXES = """
    SELECT indisunique, (SELECT array_agg(attname::text ORDER BY position)
                         FROM unnest(indkey::int2[]) WITH ORDINALITY AS part (number, position)
                         JOIN pg_attribute ON attrelid = indrelid AND attnum = number)
    FROM pg_index WHERE indrelid = %s::regclass ORDER BY indisprimary DESC, indisunique DESC
"""
_DIMENSION = """
    SELECT column_name, time_interval FROM timescaledb_information.dimensions
    WHERE hypertable_schema = %s AND hypertable_name = %s AND dimension_number = 1
"""
