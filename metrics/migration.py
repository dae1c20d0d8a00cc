"""What brings a table of another shape to the declared one: columns, types, key, dimensions, indexes, comments.

Every step is found by looking at the server, so that a second time finds none. A step that would lose data says what
is lost; one that cannot be taken without making up data is refused in words.
"""

from collections.abc import Iterator
from typing import LiteralString

from psycopg import sql

from metrics.applied import Applied
from metrics.change import Change
from metrics.server import Connection, listed, one, table
from metrics.shape import (
    Shape,
    adorned,
    bare,
    commenting,
    creation,
    declared,
    declared_rollup,
    differs,
    found,
    index,
    unique,
)
from metrics.spec import BUCKETS, SCHEMA, Bucket, Hypertable
from metrics.widening import is_wider, misfits
from metrics.words import counted, span

_MOVED = "_moved_"  # prefix of the table that takes the rows while they are moved


def of_table(connection: Connection, hypertable: Hypertable, before: Applied | None) -> Iterator[Change]:
    """The steps that make the hypertable's table as declared, or create it; `before` is what was applied last."""
    want, have = declared(hypertable), found(connection, hypertable.name)
    if have is None:
        yield _created(want)
        return
    _require_hypertable(want, have)
    if _divided(want) != _divided(have):
        yield _moved(connection, want, have)
        return
    yield from _columns(connection, want, have)
    yield from _key(connection, want, have)
    yield from _details(want, have, before.indexes if before else frozenset())


def of_rollup(connection: Connection, hypertable: Hypertable, bucket: Bucket) -> Iterator[Change]:
    """The same for a roll-up that the platform's own jobs keep; who calls has its buckets summed up anew."""
    want, have = declared_rollup(hypertable, bucket), found(connection, hypertable.rollup_names[bucket])
    if have is None:
        yield _created(want)
        return
    _require_hypertable(want, have)
    rows = found(connection, hypertable.name)
    is_other = set(have.key) != set(want.key) or (rows is not None and rows.time != hypertable.time)
    is_less = bool(have.columns.keys() - want.columns.keys())
    lost = beyond_rows(connection, want.name, bucket, rows) if is_other or is_less else ""
    if is_other:
        statements = (sql.SQL("DROP TABLE {}").format(table(want.name)), *creation(want))
        what = f"create it anew, by {hypertable.time} and grouped by ({', '.join(want.key[1:])})"
        yield Change(f"{SCHEMA}.{want.name}", what, statements, lost)
        return
    yield from _columns(connection, want, have, lost)
    yield from _details(want, have, frozenset())


def beyond_rows(connection: Connection, roll_up: str, bucket: Bucket, rows: Shape | None) -> str:
    """How many buckets of a roll-up cannot be summed up again, since their rows were dropped; "" if none."""
    query = sql.SQL("SELECT count(DISTINCT bucket_at), min(bucket_at) FROM {} WHERE bucket_at < {}")
    start = oldest_bucket(bucket, rows)
    buckets, first = connection.execute(query.format(table(roll_up), start)).fetchone() or (0, None)
    return f"{counted(buckets, 'bucket')} since {first:%Y-%m-%d} whose rows are no longer there" if buckets else ""


def oldest_bucket(bucket: Bucket, rows: Shape | None) -> sql.Composable:
    """The expression for the start of the first bucket that has rows; infinity if there are none."""
    if rows is None or not rows.time:
        return sql.SQL("'infinity'::timestamptz")
    return sql.SQL("coalesce((SELECT time_bucket({}, min({})) FROM {}), 'infinity')").format(
        BUCKETS[bucket], sql.Identifier(rows.time), table(rows.name)
    )


def _require_hypertable(want: Shape, have: Shape) -> None:
    if not have.time:
        raise differs(want.name, "is a plain table, not a hypertable")


def _divided(shape: Shape) -> tuple[object, ...]:
    """What decides in which chunk a row lies, but for the interval: it changes only by moving the rows."""
    return (shape.time, shape.columns.get(shape.time), shape.space, shape.space and shape.columns.get(shape.space[0]))


def _created(want: Shape) -> Change:
    parts = f", each divided into {want.space[1]} by {want.space[0]}" if want.space else ""
    what = f"create hypertable with key ({', '.join(want.key)}) and chunks of {span(want.chunk_interval)}{parts}"
    return Change(f"{SCHEMA}.{want.name}", what, tuple(creation(want)))


def _columns(connection: Connection, want: Shape, have: Shape, beyond: str | None = None) -> Iterator[Change]:
    """Columns to add, to change, to drop. `beyond`: what a roll-up loses with a column; None for rows."""
    where = f"{SCHEMA}.{want.name}"
    for column, kind in want.columns.items():
        if column not in have.columns:
            if column in want.required:
                _refuse_rows(connection, want, column)
            statement = _altered(want, "ADD COLUMN {column} {kind}", column, kind)
            yield Change(where, f"add column {column} ({kind})", (statement,))
        elif have.columns[column] != kind:
            lost = _refused_or_lost(connection, want, have, column)
            what = f"column {column} becomes {kind} instead of {have.columns[column]}"
            statement = _altered(want, "ALTER COLUMN {column} TYPE {kind} USING {column}::{kind}", column, kind)
            yield Change(where, what, (statement,), lost, is_structural=True)
    for column in have.columns:
        if column not in want.columns:
            lost = _values(connection, want, column) if beyond is None else beyond
            statement = _altered(want, "DROP COLUMN {column}", column)
            yield Change(where, f"drop column {column}, which is not declared", (statement,), lost)


def _key(connection: Connection, want: Shape, have: Shape) -> Iterator[Change]:
    where = f"{SCHEMA}.{want.name}"
    if have.key != want.key:
        _refuse_rows_without_key(connection, want, have)
        drops = {"constraint": "ALTER TABLE {table} DROP CONSTRAINT {name}", "index": "DROP INDEX {index}"}
        drop = sql.SQL(drops["constraint" if have.is_constraint else "index"]).format(
            table=table(want.name), name=sql.Identifier(have.key_index), index=table(have.key_index or "_")
        )
        was = f"({', '.join(have.key)})" if have.key else "none"
        statements = (*([drop] if have.key else []), unique(want, want.name))
        yield Change(where, f"key ({', '.join(want.key)}) instead of {was}", statements)
    elif loose := sorted(want.required - have.required):
        raise differs(want.name, f"column {loose[0]} may be NULL, but the key needs it")
    for column in sorted((have.required - want.required) & want.columns.keys()):
        statement = _altered(want, "ALTER COLUMN {column} DROP NOT NULL", column)
        yield Change(where, f"column {column} may be NULL", (statement,))


def _details(want: Shape, have: Shape, earlier: frozenset[tuple[str, ...]]) -> Iterator[Change]:
    where = f"{SCHEMA}.{want.name}"
    if have.chunk_interval != want.chunk_interval:
        statement = sql.SQL("SELECT set_chunk_time_interval({}, {})").format(where, want.chunk_interval)
        what = f"chunks of {span(want.chunk_interval)} instead of {span(have.chunk_interval)}, from the next one on"
        yield Change(where, what, (statement,))
    for columns in sorted(want.indexes - have.indexes):
        yield Change(where, f"create index on ({', '.join(columns)})", (index(want.name, columns),))
    for columns in sorted(have.indexes - want.indexes):
        name, said = have.index_names[columns], f"index on ({', '.join(columns)}), which is not declared"
        if columns in earlier:
            yield Change(where, f"drop {said} any more", (sql.SQL("DROP INDEX {}").format(table(name)),))
        else:
            yield Change(where, f"has an {said}", mend=f"declare it, or run `DROP INDEX {SCHEMA}.{name}`")
    for name in have.odd_indexes:
        yield Change(where, f"has an index {name} of its own", mend=f"`DROP INDEX {SCHEMA}.{name}` if nobody needs it")
    if have.description != want.description or any(have.comments.get(c) != it for c, it in want.comments.items()):
        yield Change(where, "write descriptions and units", tuple(commenting(want)))


def _moved(connection: Connection, want: Shape, have: Shape) -> Change:
    """Rows into a new table that is divided as declared: no other way leads to another time column or space."""
    where = f"{SCHEMA}.{want.name}"
    _refuse_rows_without_key(connection, want, have)
    outputs, lost = [], []
    for column, kind in want.columns.items():
        if have.columns.get(column, kind) != kind:
            lost.append(_refused_or_lost(connection, want, have, column))
        value = sql.Identifier(column) if column in have.columns else sql.NULL
        outputs.append(sql.SQL("{}::{}").format(value, sql.SQL(kind)))
    lost += [_values(connection, want, column) for column in have.columns if column not in want.columns]
    moved, name = f"{_MOVED}{want.name}", want.name
    fill = sql.SQL("INSERT INTO {} SELECT {} FROM {}").format(table(moved), sql.SQL(", ").join(outputs), table(name))
    statements = [*bare(want, moved), fill, sql.SQL("DROP TABLE {}").format(table(name))]
    rename = "ALTER TABLE {} RENAME TO {}", "ALTER INDEX {} RENAME TO {}"
    statements.append(sql.SQL(rename[0]).format(table(moved), sql.Identifier(name)))
    statements.append(sql.SQL(rename[1]).format(table(f"{moved}_pkey"), sql.Identifier(f"{name}_pkey")))
    rows: int = one(connection, sql.SQL("SELECT count(*) FROM {}").format(table(name)))
    how = f"divided by {_spoken(want)} instead of {_spoken(have)}"
    what = f"move its {counted(rows, 'row')} into a new table, {how}"
    kept = "; ".join(part for part in lost if part)
    return Change(where, what, (*statements, *adorned(want)), kept, is_structural=True)


def _spoken(shape: Shape) -> str:
    return f"{shape.time} and {shape.space[0]} (into {shape.space[1]})" if shape.space else f"{shape.time} alone"


def _altered(want: Shape, what: LiteralString, column: str, kind: str = "") -> sql.Composed:
    return sql.SQL("ALTER TABLE {table} " + what).format(
        table=table(want.name),
        column=sql.Identifier(column),
        kind=sql.SQL(kind),
    )


def _refused_or_lost(connection: Connection, want: Shape, have: Shape, column: str) -> str:
    """What a change of type loses in words, "" if nothing; PermanentError if there are values that do not fit."""
    old, new = have.columns[column], want.columns[column]
    if is_wider(old, new):
        return ""
    bad, values = misfits(connection, want.name, column, old, new)
    if bad:
        what = f"column {column} is {old}, declared is {new}, and {bad:,} of {counted(values, 'value')} do not fit"
        raise differs(want.name, what)
    return f"the room of {old} in column {column}; its {counted(values, 'value')} fit" if values else ""


def _values(connection: Connection, want: Shape, column: str) -> str:
    count = sql.SQL("SELECT count({}) FROM {}").format(sql.Identifier(column), table(want.name))
    values: int = one(connection, count)
    return f"{counted(values, 'value')} of column {column}" if values else ""


def _refuse_rows(connection: Connection, want: Shape, column: str) -> None:
    if one(connection, sql.SQL("SELECT EXISTS (SELECT FROM {})").format(table(want.name))):
        raise differs(want.name, f"has no column {column}, which the key needs, and rows that would lack it")


def _refuse_rows_without_key(connection: Connection, want: Shape, have: Shape) -> None:
    for column in want.key:
        if column not in have.columns:
            _refuse_rows(connection, want, column)
            return
    names = listed(want.key)
    holes = sql.SQL("SELECT count(*) FROM {} WHERE num_nulls({}) > 0").format(table(want.name), names)
    if want.required and (empty := one(connection, holes)):
        raise differs(want.name, f"{counted(empty, 'row')} lack a column of the declared key ({', '.join(want.key)})")
    doubles = (
        "SELECT coalesce(sum(n - 1), 0)::bigint FROM (SELECT count(*) AS n FROM {} GROUP BY {} HAVING count(*) > 1)"
    )
    if twice := one(connection, sql.SQL(doubles).format(table(want.name), names)):
        raise differs(want.name, f"{counted(twice, 'row')} share the declared key ({', '.join(want.key)}) with another")
