"""Cold ranges back into their hypertable, each in one transaction with its mark in the book."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta

import pyarrow as pa
from psycopg import sql

from lake import access, cold, commit, duck, read
from lake.cold import Range
from lake.errors import PermanentError
from lake.layout import Lake
from metrics import tier_books, tier_sql
from metrics.done import Done
from metrics.encoded import encode, sent
from metrics.server import connected, listed, lock, table
from metrics.spec import SCHEMA, Hypertable
from metrics.staging import create_temporary
from metrics.tier import BATCH_ROWS, Mover
from metrics.words import counted

KEPT = timedelta(days=7)
_STAGED = sql.Identifier("pg_temp", "staged_back")


def run(
    dsn: str, lake: Lake, hypertable: Hypertable, first: date, last: date, now: datetime, keep: timedelta = KEPT
) -> list[Done]:
    """Load the cold ranges that hold a part of the days (UTC) from `first` to `last` back; one line for each.

    They stay for `keep` after `now`; then the next upkeep drops them again, without a new copy if they are as they
    were. Roll-ups are left as they are: they were made of these rows. Rows that came into such a range by another way
    stay, and win where they have the key of a cold one.

    Raises PermanentError if no cold range holds a part of these days, or if what comes back is not what was copied:
    nothing of that range is loaded then.
    """
    asked = Range(datetime.combine(first, time(), UTC), datetime.combine(last, time(), UTC) + timedelta(days=1))
    with connected(dsn) as connection:
        connection.autocommit = True
        tier_sql.prepare(connection, hypertable)
        known = tier_books.copies(connection, hypertable.name)
        wanted = [
            copy for copy in known if copy.dropped_at and copy.range.start < asked.end and copy.range.end > asked.start
        ]
        if not wanted:
            what = f"no range between {first} and {last} is in the lake only"
            raise PermanentError(f"{SCHEMA}.{hypertable.name}", what, "see `watershed metrics cold` for what is")
        with closing(Mover(dsn, lake, hypertable, connection, now)) as mover:
            return [_loaded_back(mover, copy, now + keep) for copy in wanted]


def _loaded_back(mover: Mover, copy: tier_books.Copy, until: datetime) -> Done:
    connection, name = mover.connection, mover.hypertable.name
    with connection.transaction():
        lock(connection, name)
        still = connection.execute(_STILL, (name, copy.range.start)).fetchone()
        if still is None:  # another process was first
            return Done(f"{SCHEMA}.{name}", f"{copy.range}: is in the server already", 0)
        if still[0]:  # the server has not dropped it yet
            connection.execute(_BACK, (until, name, copy.range.start))
            return Done(f"{SCHEMA}.{name}", f"{copy.range}: had not left yet, kept until {until:%Y-%m-%d %H:%M} UTC", 1)
        _require(mover, copy)
        others = mover.here(copy.range)[0]
        _stage(mover, copy.range)
        added = connection.execute(_inserted(mover.hypertable)).rowcount
        there = mover.here(copy.range)
        is_same = there == (copy.rows, copy.checksum) or copy.columns != tuple(mover.columns)
        if not others and (there[0] != copy.rows or not is_same):
            raise _wrong(mover.hypertable, copy)
        connection.execute(_BACK, (until, name, copy.range.start))
    what = f"{copy.range}: {counted(added, 'row')} loaded back, kept until {until:%Y-%m-%d %H:%M} UTC"
    return Done(f"{SCHEMA}.{name}", what, added)


def _stage(mover: Mover, range: Range) -> None:
    """COPY the cold rows into a staging table; memory holds a batch of them."""
    create_temporary(mover.connection, _STAGED, mover.hypertable)
    for batch in _cold_rows(mover, range):
        sent(mover.connection, _STAGED, mover.hypertable, encode(mover.hypertable, batch))


def _cold_rows(mover: Mover, range: Range) -> Iterator[pa.RecordBatch]:
    held = read.columns(commit.table(mover.lake, cold.address(mover.hypertable.name)))
    names = ", ".join(duck.quoted(name) if name in held else "NULL" for name in mover.hypertable.columns)
    query = f"SELECT {names} FROM {cold.relation(mover.lake, mover.hypertable.name, range)}"
    with access.told(mover.lake):
        for batch in mover.reader.execute(query).to_arrow_reader(BATCH_ROWS):
            rows = pa.Table.from_batches([batch]).rename_columns(mover.schema.names)
            yield rows.cast(mover.schema).combine_chunks().to_batches()[0]


def _require(mover: Mover, copy: tier_books.Copy) -> None:
    """The lake must hold what was copied; a column that is new since then is none of it, and NULL."""
    if mover.there(copy.range, copy.columns) != (copy.rows, copy.checksum):
        raise _wrong(mover.hypertable, copy)


def _wrong(hypertable: Hypertable, copy: tier_books.Copy) -> PermanentError:
    what = f"the lake no longer holds {copy.range} as it was copied ({counted(copy.rows, 'row')})"
    place = cold.address(hypertable.name)
    mend = f"nothing was loaded; run `watershed lake check {place} --deep`, then `watershed lake restore {place}`"
    return PermanentError(f"{SCHEMA}.{hypertable.name}", what, mend)


def _inserted(hypertable: Hypertable) -> sql.Composed:
    names = listed(hypertable.columns)
    return sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {} ON CONFLICT DO NOTHING").format(
        table(hypertable.name), names, names, _STAGED
    )


_STILL = """
    SELECT left_at FROM metrics._cold
    WHERE hypertable = %s AND range_start = %s AND dropped_at IS NOT NULL FOR UPDATE
"""
_BACK = """
    UPDATE metrics._cold SET dropped_at = NULL, left_at = NULL, hold_until = %s
    WHERE hypertable = %s AND range_start = %s
"""
