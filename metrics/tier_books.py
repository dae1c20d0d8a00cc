"""The book of what has left the metrics store for the lake: which ranges were copied, checked, dropped, loaded back."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from lake.cold import Range
from metrics.load import oldest_kept
from metrics.server import Connection, one
from metrics.spec import BUCKETS, SCHEMA, Hypertable

_ORIGIN = datetime.fromisoformat("2000-01-01T00:00:00+00:00")


@dataclass(frozen=True)
class Copy:
    """A range that lies in the lake, with what it held when it was checked.

    `dropped_at`: since when the lake's rows count; `left_at`: it waits for its last readers before the server drops it.
    """

    range: Range
    rows: int
    checksum: int
    columns: tuple[str, ...]
    bytes: int
    delta_version: int
    copied_at: datetime
    dropped_at: datetime | None = None
    left_at: datetime | None = None
    hold_until: datetime | None = None


def copies(connection: Connection, name: str) -> list[Copy]:
    """All copies of a hypertable, oldest first; none if the book was never made."""
    if one(connection, "SELECT to_regclass('metrics._cold')") is None:
        return []
    return [
        Copy(Range(row[0], row[1]), row[2], int(row[3]), tuple(row[4]), *row[5:])
        for row in connection.execute(_COPIES, (name,))
    ]


def note(connection: Connection, name: str, copy: Copy) -> None:
    """Write a copy down that was just checked, in the place of those of the same rows."""
    range = copy.range
    with connection.transaction():
        connection.execute(_FORGET, (name, range.end, range.start))
        values = (copy.rows, copy.checksum, list(copy.columns), copy.bytes, copy.delta_version, copy.copied_at)
        connection.execute(_NOTE, (name, range.start, range.end, *values))


def due(connection: Connection, hypertable: Hypertable, now: datetime) -> list[Range]:
    """The ranges past their time whose chunks are still there, oldest first.

    A range is a chunk's, or that of the fewest neighbours whose ends are ends of the widest roll-up's buckets: rows of
    one bucket leave together, else the bucket could be summed up anew from a part of them.
    """
    width = max((BUCKETS[bucket] for bucket in hypertable.rollup_names), default=None)
    merged: list[Range] = []
    for start, end in connection.execute(_CHUNKS, (SCHEMA, hypertable.name)).fetchall():
        one = _widened(Range(start, end), width)
        if merged and one.start < merged[-1].end:
            one = Range(merged[-1].start, max(one.end, merged.pop().end))
        merged.append(one)
    horizon = oldest_kept(hypertable, now)
    return [range for range in merged if range.end <= horizon]


def _widened(range: Range, width: timedelta | None) -> Range:
    if width is None:
        return range
    start, end = range.start - (range.start - _ORIGIN) % width, range.end + (_ORIGIN - range.end) % width
    return Range(start, end)


_COPIES = """
    SELECT range_start, range_end, rows, checksum, columns, bytes, delta_version, copied_at, dropped_at, left_at,
        hold_until
    FROM metrics._cold WHERE hypertable = %s ORDER BY range_start
"""
_CHUNKS = """
    SELECT DISTINCT range_start, range_end FROM timescaledb_information.chunks
    WHERE hypertable_schema = %s AND hypertable_name = %s ORDER BY 1
"""
_FORGET = """
    DELETE FROM metrics._cold WHERE hypertable = %s AND range_start < %s AND range_end > %s AND dropped_at IS NULL
"""
_NOTE = """
    INSERT INTO metrics._cold
        (hypertable, range_start, range_end, rows, checksum, columns, bytes, delta_version, copied_at)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
