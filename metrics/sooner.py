"""What a shorter `drop_after` costs: rows that the next upkeep, or the server's own policy, would drop at once."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from psycopg import sql

from metrics.applied import Applied
from metrics.change import Change
from metrics.server import Connection, one, table
from metrics.spec import SCHEMA, Hypertable
from metrics.words import counted, span


def sooner(connection: Connection, hypertable: Hypertable, before: Applied, now: datetime) -> Iterator[Change]:
    """One step for each relation whose rows are kept for a shorter time than was applied last, if any are older.

    Rows that go to the lake are not lost, which is a note. `now`: the clock by which they are dropped.
    """
    name, after = hypertable.name, hypertable.drop_after
    change = _shorter(connection, name, hypertable.time, before.drop_after, after, now)
    if change and hypertable.tier:
        yield Change(change.hypertable, f"{change.what}: {change.loses}, which go to the lake before")
    elif change:
        yield change
    for bucket, kept in hypertable.rollups.every.items() if hypertable.rollups else ():
        roll_up = hypertable.rollup_names[bucket]
        was = before.lives.get(roll_up, kept.drop_after)
        if change := _shorter(connection, roll_up, "bucket_at", was, kept.drop_after, now):
            yield change


def _shorter(
    connection: Connection, name: str, time: str, was: timedelta, after: timedelta, now: datetime
) -> Change | None:
    if after >= was or one(connection, "SELECT to_regclass(%s)", (f"{SCHEMA}.{name}",)) is None:
        return None
    chunks, end = connection.execute(_EXPIRED, (SCHEMA, name, SCHEMA, name, now - after)).fetchone() or (0, None)
    if not chunks:
        return None
    count = sql.SQL("SELECT count(*) FROM {} WHERE {} < %s").format(table(name), sql.Identifier(time))
    rows: int = one(connection, count, (end,))
    what = f"keep rows for {span(after)} instead of {span(was)}"
    return Change(
        f"{SCHEMA}.{name}", what, loses=f"{counted(chunks, 'chunk')} with {counted(rows, 'row')} at the next upkeep"
    )


# The chunks of a continuous aggregate are those of the table behind it.
_EXPIRED = """
    SELECT count(*), max(range_end) FROM timescaledb_information.chunks
    WHERE ((hypertable_schema, hypertable_name) = (%s, %s) OR (hypertable_schema, hypertable_name) IN (
        SELECT materialization_hypertable_schema, materialization_hypertable_name
        FROM timescaledb_information.continuous_aggregates WHERE view_schema = %s AND view_name = %s))
      AND range_end <= %s
"""
