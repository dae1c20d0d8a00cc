"""The first load of a table: staged rows written to Parquet once, by day, for raw and processed alike.

What is new to the lake needs no comparison. The files are committed to raw as they lie; the first fold gives them a
second name in processed. Memory holds one bucket of days and a part of each staged run, not the table. (Files mapped
into memory would do as well, but the kernel maps whole folios of the page cache: 0.7 GB were counted as ours.)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow as pa

from lake import checksum, commit, days, intake
from lake.access import told
from lake.duck import literal
from lake.errors import Busy
from lake.intake import Load, Taken
from lake.layout import Lake
from lake.parquet import Writer

BUCKET_BYTES = 32 << 20


@dataclass(frozen=True)
class Sorted:
    """A file of staged rows (Arrow IPC), as it was told when it was written.

    It holds runs, each sorted by day and cut into parts: `runs` tells how many record batches each has. `days` counts
    the rows of each day (days since 1970-01-01); empty for a table without days. `is_clean`: every row has its key and
    its day. `sum` is the sum of the rows' checksums, None if it is not known.
    """

    path: Path
    rows: int
    bytes: int
    days: dict[int, int] = field(default_factory=dict)
    runs: tuple[int, ...] = ()
    is_clean: bool = True
    sum: int | None = None


def write(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    load: Load,
    files: Sequence[Sorted],
    schema: pa.Schema,
    cursor: str | None,
) -> Taken:
    """Write staged rows, which DuckDB sees as `staged`, and commit them to raw; there must be no table yet.

    Raises Busy if another process has made one since: Overtaken, if that was a load of other days.
    """
    subject = load.subject
    constants = {
        "_op": pa.scalar("i"),
        "_loaded_at": pa.scalar(load.loaded_at, pa.timestamp("us", "UTC")),
        "_load_id": pa.scalar(load.id),
    }
    address = subject.at("raw")
    writer = Writer(lake, address, load.id, subject.told, constants, partition=load.loaded_at.date())
    with told(lake):
        if subject.partition is None:
            writer.rows_of(None, _all(files))
        else:
            _by_day(writer, files, subject.partition)
        whole = pa.schema([*schema, *(pa.field(name, value.type) for name, value in constants.items())])
        state = intake.state(load, cursor, _sum(connection, files, schema)) | {commit.BULK: True}
        try:
            rows = commit.add(lake, address, whole, writer.written, state, base=None, by_day=True).rows
        except Busy as busy:
            raise intake.overtaken(load, commit.table(lake, address), -1, busy) from None
    return Taken(rows_read=rows, inserted=rows)


def _sum(connection: duckdb.DuckDBPyConnection, files: Sequence[Sorted], schema: pa.Schema) -> checksum.Sum:
    known = [one.sum for one in files if one.sum is not None]
    if len(known) == len(files):
        rows = {"i": sum(one.rows for one in files)}
        return checksum.Sum(rows, sum(known) % checksum.MODULUS, tuple(sorted(schema.names)))
    return checksum.of(connection, "staged", literal("i"))


def _all(files: Sequence[Sorted]) -> Iterator[pa.Table]:
    for file in files:
        with pa.OSFile(str(file.path)) as source:
            reader = pa.ipc.open_file(source)
            for number in range(reader.num_record_batches):
                yield pa.Table.from_batches([reader.get_batch(number)])


def _by_day(writer: Writer, files: Sequence[Sorted], column: str) -> None:
    runs = [run for file in files for run in _runs(file, column)]
    for first, last in _buckets(files):
        if first == last:  # one day, perhaps larger than memory
            writer.rows_of(days.date(first), (piece for run in runs for piece in run.until(last)))
            continue
        bucket = pa.concat_tables(piece for run in runs for piece in run.until(last)).combine_chunks()
        found = days.numbers(bucket[column].combine_chunks())
        order = days.order(found)
        bucket = bucket.take(pa.array(order))
        for day, start, end in days.stretches(found[order]):
            writer.rows_of(days.date(day), [bucket.slice(start, end - start)])


def _buckets(files: Sequence[Sorted]) -> Iterator[tuple[int, int]]:
    """First and last day of stretches of days that are small enough to hold, in order."""
    rows: dict[int, int] = {}
    for file in files:
        for day, count in file.days.items():
            rows[day] = rows.get(day, 0) + count
    width = sum(file.bytes for file in files) / max(1, sum(rows.values()))
    limit = BUCKET_BYTES / max(width, 1)
    held: list[int] = []
    size = 0
    for day in sorted(rows):
        if held and size + rows[day] > limit:
            yield held[0], held[-1]
            held, size = [], 0
        held.append(day)
        size += rows[day]
    if held:
        yield held[0], held[-1]


def _runs(file: Sorted, column: str) -> Iterator["_Run"]:
    reader = pa.ipc.open_file(pa.OSFile(str(file.path)))
    start = 0
    for parts in file.runs:
        yield _Run(reader, range(start, start + parts), column)
        start += parts


class _Run:
    """A sorted run, read part by part; each part once."""

    def __init__(self, reader: pa.ipc.RecordBatchFileReader, numbers: range, column: str) -> None:
        self.reader, self.numbers, self.column = reader, iter(numbers), column
        self.part: pa.RecordBatch | None = None
        self.days: days.Numbers | None = None
        self.place = 0

    def until(self, last: int) -> Iterator[pa.Table]:
        """The rows up to the day `last` that were not given yet."""
        while self._has_part() and self.part is not None and self.days is not None:
            end = int(self.days.searchsorted(last, side="right"))
            if end > self.place:
                yield pa.Table.from_batches([self.part.slice(self.place, end - self.place)])
            self.place = end
            if end < len(self.days):
                return
            self.part = None

    def _has_part(self) -> bool:
        if self.part is None:
            number = next(self.numbers, None)
            if number is None:
                return False
            self.part = self.reader.get_batch(number)
            self.days = days.numbers(self.part.column(self.column))
            self.place = 0
        return True
