"""The cold zone: rows that have left the metrics store, `metrics_cold/<hypertable>/year=YYYY/*.parquet`.

A table is made of ranges of time, each copied as a whole in one commit; column `_range_start` says of each row to which
range it belongs. Upkeep may put the files of several ranges together. Which ranges count is not told here but by the
metrics store: a range that was copied and not dropped there yet lies in both.
"""

import datetime
import json
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from lake import access, commit, compaction, duck, read
from lake.commit import Committed
from lake.digest import Digest, of
from lake.errors import SpecError
from lake.layout import DAY_COLUMNS, Address, Lake
from lake.parquet import Writer, Written

RANGE = "_range_start"
INSTANT = pa.timestamp("us", "UTC")
NONE = Digest(0, None, None, 0)

Rows = Callable[[datetime.datetime, datetime.datetime], pa.RecordBatchReader]


@dataclass(frozen=True, order=True)
class Range:
    """From `start` up to, not including, `end` (with time zone)."""

    start: datetime.datetime
    end: datetime.datetime

    def __str__(self) -> str:
        """As people write it, UTC."""
        return f"{self.start:%Y-%m-%d %H:%M} to {self.end:%Y-%m-%d %H:%M} UTC"

    @property
    def years(self) -> Iterator[tuple[int, datetime.datetime, datetime.datetime]]:
        """The parts that lie in one year (UTC) each."""
        start = self.start.astimezone(datetime.UTC)
        while start < self.end:
            end = min(self.end, datetime.datetime(start.year + 1, 1, 1, tzinfo=datetime.UTC))
            yield start.year, start, end
            start = end


def address(hypertable: str) -> Address:
    """Where the cold rows of a hypertable lie."""
    return Address("metrics_cold", "", hypertable)


def copy(
    lake: Lake,
    hypertable: str,
    range: Range,
    rows: Rows,
    schema: pa.Schema,
    told: Collection[str],
    state: Mapping[str, Any],
) -> tuple[Committed, int]:
    """Make the rows of a range those that `rows` gives for each part of it, sorted; the commit, and the bytes written.

    What an earlier copy has left of the range is replaced in the same commit. Columns that are new are NULL in older
    ranges; where a column was made wider the other files are written anew. The bounds of the columns `told` go into
    the log. Raises SpecError for a column whose name the zone needs for itself.
    """
    if taken := {RANGE, *DAY_COLUMNS} & set(schema.names):
        mend = "rename it in metrics/hypertables.yml, or set `tier: false`"
        raise SpecError(f"hypertable {hypertable}", f"column {min(taken)} is one of the lake's own", mend)
    place, id = address(hypertable), secrets.token_hex(8)
    constants = {RANGE: pa.scalar(range.start, INSTANT)}
    written: list[Written] = []
    for year, start, end in range.years:
        writer = Writer(lake, place, id, {*told, RANGE}, constants, year=year)
        batches = (pa.Table.from_batches([batch]).cast(schema) for batch in rows(start, end) if batch.num_rows)
        with access.told(lake):
            writer.rows_of(None, batches)
        written += writer.written
    whole = schema.append(pa.field(RANGE, INSTANT))
    done = commit.persistently(lambda: _put(lake, place, range, whole, written, state))
    return done, sum(one.bytes for one in written)


def relation(lake: Lake, hypertable: str, range: Range) -> str:
    """The SQL of a range's rows as they lie in the lake now, for DuckDB."""
    return (
        f"(SELECT * EXCLUDE ({commit.YEAR}) FROM {read.relation(lake, address(hypertable))}"
        f" WHERE {RANGE} >= {_instant(range.start)} AND {RANGE} < {_instant(range.end)})"
    )


def digest(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    hypertable: str,
    range: Range,
    columns: Mapping[str, pa.DataType],
) -> Digest:
    """Rows and checksum of a range, read back from the lake. Raises a PlatformError if a file cannot be read."""
    delta = commit.table(lake, address(hypertable))
    if delta is None or not set(columns) <= set(read.columns(delta)):
        return NONE  # without a column that was added later it is another table
    with access.told(lake):
        found = of(connection, relation(lake, hypertable, range), key=(), columns=columns, day=None)
    return found.get(None, NONE)


def _put(
    lake: Lake, place: Address, range: Range, schema: pa.Schema, written: list[Written], state: Mapping[str, Any]
) -> Committed:
    base = commit.table(lake, place)
    known = read.columns(base)
    fields = [pa.field(name, kind) for name, kind in known.items() if name not in schema.names]
    schema = pa.schema([*schema, *fields])
    is_retyped = any(known[entry.name] != entry.type for entry in schema if entry.name in known)
    live = commit.files(base) if base is not None else []
    touched = live if is_retyped else [one for one in live if _lies(one, range)[0]]
    if not written and not touched:
        return Committed(-1 if base is None else base.version(), 0, 0)
    rest = _rest(lake, place, range, schema, touched)
    removed = [] if is_retyped else [commit.removal(one) for one in touched]
    done = commit.add(
        lake, place, schema, [*written, *rest], state,
        base=base, by_day=False, by_year=True, removed=removed, retype=is_retyped and base is not None,
    )  # fmt: skip
    return Committed(done.version, sum(one.rows for one in written), len(written))


def _rest(lake: Lake, place: Address, range: Range, schema: pa.Schema, touched: Collection[Written]) -> list[Written]:
    """Write anew what files hold of other ranges. What is all of this range is not even read: it may be broken."""
    found: list[Written] = []
    for one in touched:
        if _lies(one, range)[1]:
            continue
        writer = Writer(lake, place, secrets.token_hex(8), set(json.loads(one.stats)["nullCount"]), year=one.year)
        with access.told(lake):
            writer.rows_of(None, _others(compaction.rows_of(lake, place, one, schema), range))
        found += writer.written
    return found


def _others(tables: Iterator[pa.Table], range: Range) -> Iterator[pa.Table]:
    start, end = pa.scalar(range.start, INSTANT), pa.scalar(range.end, INSTANT)
    for rows in tables:
        others = rows.filter(pc.or_(pc.less(rows[RANGE], start), pc.greater_equal(rows[RANGE], end)))
        if others.num_rows:
            yield others


def _lies(file: Written, range: Range) -> tuple[bool, bool]:
    """Whether some of a file's rows may be of the range, and whether surely all are."""
    stats = json.loads(file.stats)
    ends = [stats[part].get(RANGE) for part in ("minValues", "maxValues")]
    if None in ends:
        return True, False
    low, high = (datetime.datetime.fromisoformat(end) for end in ends)
    return high >= range.start and low < range.end, low >= range.start and high < range.end


def _instant(at: datetime.datetime) -> str:
    return f"TIMESTAMPTZ {duck.literal(at.astimezone(datetime.UTC).isoformat())}"
