"""Roll-ups: their columns, the query that fills them, and the refresh of just the buckets that changed.

The finest roll-up of a hypertable is summed up from the rows, each coarser one from the next finer one. A load marks
the buckets it changed in `metrics._dirty`, in its own transaction; `refresh` takes marks away and sums these buckets up
anew, in one transaction too, so that a crash leaves both or neither.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, LiteralString

from psycopg import sql

from metrics.server import Connection, lock, table
from metrics.spec import BUCKETS, SCHEMA, Bucket, Column, Hypertable, Measure
from metrics.vocabulary import COLUMN_OF, held

_ALWAYS = sql.SQL("true")
BATCH = 2000  # buckets per transaction: bounds the time for which loads wait
NEAR = timedelta(hours=1)  # to read over the rows between is cheaper than a further statement


@dataclass(frozen=True)
class RollupColumn:
    """A column of a roll-up, with the expressions that fill it from the rows and from a finer roll-up."""

    name: str
    type: str
    of_rows: sql.Composed
    of_rollup: sql.Composed
    comment: str


def rollup_columns(hypertable: Hypertable) -> list[RollupColumn]:
    """`by` columns, `sample_count`, then `<column>_<measure>`, the same on both editions; `bucket_at` stands first.

    An average comes with its sum and count, of which the averages of longer times are made.
    """
    if not hypertable.rollups:
        return []
    kept = [
        RollupColumn(name, hypertable.columns[name].type, _plain(name), _plain(name), hypertable.columns[name].comment)
        for name in hypertable.rollups.by
    ]
    measured = [
        _measured(hypertable, name, measure)
        for name, measures in hypertable.rollups.measures.items()
        for measure in held(measures)
    ]
    return [
        RollupColumn(
            "bucket_at", "timestamptz", _plain(hypertable.time), _plain("bucket_at"), "Start of the bucket, UTC."
        ),
        *kept,
        RollupColumn(
            "sample_count",
            "bigint",
            sql.SQL("count(*)").format(),
            sql.SQL("sum(sample_count)::bigint").format(),
            "Rows in the bucket. Unit: rows.",
        ),
        *measured,
    ]


def finest_first(hypertable: Hypertable) -> list[Bucket]:
    """The buckets of the hypertable's roll-ups in the order in which they are to be refreshed."""
    return list(hypertable.rollup_names)


def finer(hypertable: Hypertable, bucket: Bucket) -> Bucket | None:
    """The bucket of the roll-up that this one is summed up from, None for the rows."""
    below = [one for one in finest_first(hypertable) if BUCKETS[one] < BUCKETS[bucket]]
    return below[-1] if below else None


def selection(hypertable: Hypertable, bucket: Bucket, condition: sql.Composable = _ALWAYS) -> sql.Composed:
    """The query that sums up into buckets what lies under `condition`, which is on `source`'s column of time."""
    name, _ = source(hypertable, bucket)
    is_rows = name == hypertable.name
    first, *others = [
        (column.name, column.of_rows if is_rows else column.of_rollup) for column in rollup_columns(hypertable)
    ]
    outputs = [sql.SQL("time_bucket({}, {}) AS bucket_at").format(BUCKETS[bucket], first[1])]
    outputs += [sql.SQL("{} AS {}").format(expression, sql.Identifier(name)) for name, expression in others]
    groups = range(1, len(hypertable.rollups.by if hypertable.rollups else ()) + 2)
    return sql.SQL("SELECT {} FROM {} WHERE {} GROUP BY {}").format(
        sql.SQL(", ").join(outputs), table(name), condition, sql.SQL(", ").join(map(sql.Literal, groups))
    )


def source(hypertable: Hypertable, bucket: Bucket) -> tuple[str, str]:
    """The relation that the roll-up is summed up from, and its column of time."""
    below = finer(hypertable, bucket)
    return (hypertable.rollup_names[below], "bucket_at") if below else (hypertable.name, hypertable.time)


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
    """The statement that marks every bucket that has rows: for a roll-up that is new, or has a new column.

    Not what a finer roll-up holds of dropped rows: it lacks the new column too, and would take others back to nothing.
    """
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
    """The same for at most `BATCH` buckets, in the caller's transaction; the caller holds the hypertable's lock.

    To be called for the finer roll-ups first; what it changes is marked for the next coarser one, whose mark may have
    been taken before these marks came.
    """
    taken = connection.execute(_TAKE, (hypertable.name, bucket, hypertable.name, bucket, BATCH)).fetchall()
    starts = sorted(row[0] for row in taken)
    written = sum(_rewrite(connection, hypertable, bucket, near) for near in _together(starts, BUCKETS[bucket]))
    for above in finest_first(hypertable):
        if finer(hypertable, above) == bucket and starts:
            connection.execute(_MARK, (hypertable.name, above, BUCKETS[above], starts))
    return len(starts), written


def _rewrite(connection: Connection, hypertable: Hypertable, bucket: Bucket, starts: Sequence[datetime]) -> int:
    target, (_, time) = table(hypertable.rollup_names[bucket]), source(hypertable, bucket)
    width = BUCKETS[bucket]
    has_holes = starts[-1] - starts[0] >= width * len(starts)
    delete = "DELETE FROM {} WHERE bucket_at >= {} AND bucket_at <= {} AND bucket_at = ANY ({})"
    connection.execute(sql.SQL(delete).format(target, starts[0], starts[-1], list(starts)))
    hit = sql.SQL(" AND time_bucket({}, {}) = ANY ({})").format(width, sql.Identifier(time), list(starts))
    between = sql.SQL("{time} >= {start} AND {time} < {end}").format(
        time=sql.Identifier(time), start=starts[0], end=starts[-1] + width
    ) + (hit if has_holes else sql.SQL(""))
    names = sql.SQL(", ").join(sql.Identifier(column.name) for column in rollup_columns(hypertable))
    statement = sql.SQL("INSERT INTO {} ({}) {}").format(target, names, selection(hypertable, bucket, between))
    return connection.execute(statement).rowcount


def _together(starts: Iterable[datetime], width: timedelta) -> Iterator[list[datetime]]:
    """Buckets that lie near each other: one statement for a month of hours instead of 720."""
    near: list[datetime] = []
    for start in starts:
        if near and start - near[-1] > max(width, NEAR):
            yield near
            near = []
        near.append(start)
    if near:
        yield near


def _plain(name: str) -> sql.Composed:
    return sql.SQL("{}").format(sql.Identifier(name))


def _measured(hypertable: Hypertable, name: str, measure: Measure) -> RollupColumn:
    column = hypertable.columns[name]
    kind, called = _type(column.type, measure), f"{name}_{COLUMN_OF.get(measure, measure)}"
    key = [_plain(one) for one in (hypertable.time, *(one for one in hypertable.key if one != hypertable.time))]
    parts = {
        "kind": sql.SQL(kind),
        "value": sql.Identifier(name),
        "held": sql.Identifier(called),
        "sum": sql.Identifier(f"{name}_sum"),
        "count": sql.Identifier(f"{name}_count"),
        "time": sql.Identifier(hypertable.time),
        "order": sql.SQL(", ").join(key),
        "backwards": sql.SQL(", ").join(one + sql.SQL(" DESC") for one in key),
    }
    # The cast holds the type: sum(bigint) is numeric, and a numeric without scale turns into a double in DuckDB.
    of_rows, of_rollup = (sql.SQL(f"({call})::{{kind}}").format(**parts) for call in _calls(hypertable, measure))
    words, unit = _WORDS[measure], _unit(column, measure)
    return RollupColumn(called, kind, of_rows, of_rollup, f"{words}: {column.description}{unit}")


def _calls(hypertable: Hypertable, measure: Measure) -> tuple[LiteralString, LiteralString]:
    """What a measure is over the rows, and over what a finer roll-up holds of it."""
    match measure:
        case "count_true":
            return "count(*) FILTER (WHERE {value})", "sum({held})"
        case "count":
            return "count({value})", "sum({held})"
        case "avg":
            return "avg({value})", "sum({sum})::double precision / nullif(sum({count}), 0)"
        case "first" | "last":
            return _ends(hypertable, measure), f"{measure}({{held}}, bucket_at) FILTER (WHERE {{held}} IS NOT NULL)"
        case "percentiles":
            return f"{SCHEMA}.sketch({SCHEMA}.bin({{value}}))", f"{SCHEMA}.merge({{held}})"
        case "sum" | "min" | "max":
            return f"{measure}({{value}})", f"{measure}({{held}})"


def _ends(hypertable: Hypertable, measure: Literal["first", "last"]) -> LiteralString:
    """The first or last value by time; by the key, too, where several rows of a group can share an instant.

    Not `first(value, ROW(…))` then: what parallel workers find of it cannot be put together (0A000).
    """
    by = hypertable.rollups.by if hypertable.rollups else ()
    if set(hypertable.key) - {hypertable.time} <= set(by):
        return f"{measure}({{value}}, {{time}}) FILTER (WHERE {{value}} IS NOT NULL)"
    order = "{order}" if measure == "first" else "{backwards}"
    return f"(array_agg({{value}} ORDER BY {order}) FILTER (WHERE {{value}} IS NOT NULL))[1]"


def _type(kind: str, measure: Measure) -> str:
    match measure:
        case "count" | "count_true":
            return "bigint"
        case "avg":
            return "double precision"
        case "percentiles":
            return "bigint[]"
        case "sum" if kind.startswith("numeric"):
            return f"numeric(38,{kind.split(',')[1]}"
        case "sum" if kind == "integer":
            return "bigint"
    return kind


def _unit(column: Column, measure: Measure) -> str:
    if measure in ("count", "count_true"):
        return " Unit: rows."
    return f" Unit: {column.unit}." if column.unit else ""


_WORDS: dict[Measure, str] = {
    "avg": "Average",
    "sum": "Sum",
    "count": "Values that are not NULL",
    "count_true": "Rows in which it is true",
    "min": "Smallest",
    "max": "Largest",
    "first": "First value that is not NULL",
    "last": "Last value that is not NULL",
    "percentiles": "Sketch, read by metrics.percentile(…, 0.95)",
}
_TAKE = """
    DELETE FROM metrics._dirty WHERE hypertable = %s AND rollup = %s AND bucket_at IN
        (SELECT bucket_at FROM metrics._dirty WHERE hypertable = %s AND rollup = %s ORDER BY bucket_at LIMIT %s)
    RETURNING bucket_at
"""
_MARK = """
    INSERT INTO metrics._dirty SELECT DISTINCT %s, %s, time_bucket(%s, start) FROM unnest(%s::timestamptz[]) AS start
    ON CONFLICT DO NOTHING
"""
