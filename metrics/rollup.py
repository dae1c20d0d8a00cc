"""Roll-ups: their columns, the query that fills them, and the refresh of just the buckets that changed.

A load marks the buckets it changed in `metrics._dirty`, in its own transaction; `refresh` takes marks away and sums
these buckets up anew from the rows, in one transaction too, so that a crash leaves both or neither.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg import sql

from metrics.server import Connection, lock, table
from metrics.spec import BUCKETS, Bucket, Column, Hypertable, Measure

_ALWAYS = sql.SQL("true")
BATCH = 2000  # buckets per transaction: bounds the time for which loads wait


@dataclass(frozen=True)
class RollupColumn:
    """A column of a roll-up, with the expression over the rows that fills it."""

    name: str
    type: str
    expression: sql.Composed
    comment: str


def rollup_columns(hypertable: Hypertable) -> list[RollupColumn]:
    """`by` columns, `sample_count`, then `<column>_<measure>`, the same on both editions; `bucket_at` stands first."""
    if not hypertable.rollups:
        return []
    kept = [
        RollupColumn(name, hypertable.columns[name].type, _plain(name), hypertable.columns[name].comment)
        for name in hypertable.rollups.by
    ]
    measured = [
        _measured(name, hypertable.columns[name], measure)
        for name, measures in hypertable.rollups.measures.items()
        for measure in measures
    ]
    bucket = RollupColumn("bucket_at", "timestamptz", _plain(hypertable.time), "Start of the bucket, UTC.")
    count = RollupColumn("sample_count", "bigint", sql.SQL("count(*)").format(), "Rows in the bucket. Unit: rows.")
    return [bucket, *kept, count, *measured]


def selection(hypertable: Hypertable, bucket: Bucket, condition: sql.Composable = _ALWAYS) -> sql.Composed:
    """The query that sums the rows under `condition` up into buckets."""
    first, *others = rollup_columns(hypertable)
    start = sql.SQL("time_bucket({}, {})").format(BUCKETS[bucket], first.expression)
    outputs = [sql.SQL("{} AS bucket_at").format(start)]
    outputs += [sql.SQL("{} AS {}").format(column.expression, sql.Identifier(column.name)) for column in others]
    groups = range(1, len(hypertable.rollups.by if hypertable.rollups else ()) + 2)
    return sql.SQL("SELECT {} FROM {} WHERE {} GROUP BY {}").format(
        sql.SQL(", ").join(outputs), table(hypertable.name), condition, sql.SQL(", ").join(map(sql.Literal, groups))
    )


def marking(hypertable: Hypertable, changed: sql.Composable) -> sql.Composed:
    """CTEs that mark the buckets of relation `changed (bucket_at)`, one per roll-up, to follow after a comma."""
    parts = [
        sql.SQL(
            "{} AS (INSERT INTO metrics._dirty SELECT DISTINCT {}, {}, time_bucket({}, bucket_at) FROM {}"
            " ON CONFLICT DO NOTHING)"
        ).format(sql.Identifier(f"marked_{bucket}"), hypertable.name, bucket, BUCKETS[bucket], changed)
        for bucket in hypertable.rollup_names
    ]
    return sql.SQL("").join(sql.SQL(", ") + part for part in parts)


def mark_all(hypertable: Hypertable, bucket: Bucket) -> sql.Composed:
    """The statement that marks every bucket that has rows: for a roll-up that is new."""
    return sql.SQL(
        "INSERT INTO metrics._dirty SELECT DISTINCT {}, {}, time_bucket({}, {}) FROM {} ON CONFLICT DO NOTHING"
    ).format(hypertable.name, bucket, BUCKETS[bucket], sql.Identifier(hypertable.time), table(hypertable.name))


def refresh(connection: Connection, hypertable: Hypertable, bucket: Bucket) -> tuple[int, int]:
    """Sum up anew the buckets that changed; (buckets, roll-up rows written). Buckets without rows lose theirs."""
    buckets, written = 0, 0
    while True:
        with connection.transaction():
            lock(connection, hypertable.name)
            taken, rows = refresh_some(connection, hypertable, bucket)
        buckets, written = buckets + taken, written + rows
        if taken < BATCH:
            return buckets, written


def refresh_some(connection: Connection, hypertable: Hypertable, bucket: Bucket) -> tuple[int, int]:
    """The same for at most `BATCH` buckets, in the caller's transaction; the caller holds the hypertable's lock."""
    taken = connection.execute(_TAKE, (hypertable.name, bucket, hypertable.name, bucket, BATCH)).fetchall()
    starts = sorted(row[0] for row in taken)
    written = sum(_rewrite(connection, hypertable, bucket, *part) for part in _ranges(starts, BUCKETS[bucket]))
    return len(starts), written


def _rewrite(connection: Connection, hypertable: Hypertable, bucket: Bucket, start: datetime, end: datetime) -> int:
    target = table(hypertable.rollup_names[bucket])
    connection.execute(sql.SQL("DELETE FROM {} WHERE bucket_at >= %s AND bucket_at < %s").format(target), (start, end))
    between = sql.SQL("{time} >= {start} AND {time} < {end}").format(
        time=sql.Identifier(hypertable.time), start=start, end=end
    )
    names = sql.SQL(", ").join(sql.Identifier(column.name) for column in rollup_columns(hypertable))
    statement = sql.SQL("INSERT INTO {} ({}) {}").format(target, names, selection(hypertable, bucket, between))
    return connection.execute(statement).rowcount


def _ranges(starts: Iterable[datetime], width: timedelta) -> Iterator[tuple[datetime, datetime]]:
    """Neighbouring buckets as one range: one statement for a month of hours instead of 720."""
    first = last = None
    for start in starts:
        if first is not None and last is not None and start != last + width:
            yield first, last + width
            first = start
        first, last = first or start, start
    if first is not None and last is not None:
        yield first, last + width


def _plain(name: str) -> sql.Composed:
    return sql.SQL("{}").format(sql.Identifier(name))


def _measured(name: str, column: Column, measure: Measure) -> RollupColumn:
    kind = _type(column.type, measure)
    call = "count(*) FILTER (WHERE {})" if measure == "count_true" else f"{measure}({{}})"
    # The cast holds the type: sum(bigint) is numeric, and a numeric without scale turns into a double in DuckDB.
    expression = sql.SQL(f"({call})::{kind}").format(sql.Identifier(name))
    said = {"count": "Values that are not NULL", "count_true": "Rows in which it is true"}
    unit = " Unit: rows." if measure in said else f" Unit: {column.unit}." if column.unit else ""
    words = {"avg": "Average", "min": "Smallest", "max": "Largest", "sum": "Sum"} | said
    return RollupColumn(f"{name}_{measure}", kind, expression, f"{words[measure]}: {column.description}{unit}")


def _type(kind: str, measure: Measure) -> str:
    if measure in ("count", "count_true"):
        return "bigint"
    if measure == "avg":
        return "double precision"
    if measure == "sum" and kind.startswith("numeric"):
        return f"numeric(38,{kind.split(',')[1]}"
    return "bigint" if measure == "sum" and kind == "integer" else kind


_TAKE = """
    DELETE FROM metrics._dirty WHERE hypertable = %s AND rollup = %s AND bucket_at IN
        (SELECT bucket_at FROM metrics._dirty WHERE hypertable = %s AND rollup = %s ORDER BY bucket_at LIMIT %s)
    RETURNING bucket_at
"""
