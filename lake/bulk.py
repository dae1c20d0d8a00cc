"""The first load of a table: staged rows written to Parquet once, by day, for raw and processed alike.

What is new to the lake needs no comparison. The files are committed to raw as they lie; the first fold gives them a
second name in processed. Memory holds one bucket of days, not the table: the staged runs are sorted by day, so that
a bucket is a stretch of each.
"""

import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from lake import checksum, commit, days, intake
from lake.access import told
from lake.duck import literal
from lake.intake import Load, Taken
from lake.layout import Lake
from lake.parquet import Writer

BUCKET_BYTES = 32 << 20


def is_clean(files: Sequence[Path], key: Sequence[str], partition: str | None) -> bool:
    """Whether all staged rows have a key and a day; uniqueness is the source's promise."""
    with _Runs(files, None) as runs:
        for batch in runs.batches():
            if any(batch.column(name).null_count for name in key):
                return False
            if partition is None or not batch.num_rows:
                continue
            column = batch.column(partition)
            found = days.numbers(column)
            if column.null_count or found[0] < days.FIRST or found[-1] > days.LAST:
                return False
    return True


def write(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    load: Load,
    files: Sequence[Path],
    schema: pa.Schema,
    cursor: str | None,
) -> Taken:
    """Write staged rows, which DuckDB sees as `staged`, and commit them to raw; there must be no table yet.

    Raises Busy if another process has made one since.
    """
    subject = load.subject
    constants = {
        "_op": pa.scalar("i"),
        "_loaded_at": pa.scalar(load.loaded_at, pa.timestamp("us", "UTC")),
        "_load_id": pa.scalar(load.id),
    }
    address = subject.at("raw")
    writer = Writer(lake, address, load.id, subject.told, constants, partition=load.loaded_at.date())
    with told(lake), _Runs(files, subject.partition) as runs:
        if subject.partition is None:
            writer.rows_of(None, (pa.Table.from_batches([batch]) for batch in runs.batches()))
        else:
            _by_day(writer, runs)
        whole = pa.schema([*schema, *(pa.field(name, value.type) for name, value in constants.items())])
        total = checksum.of(connection, "staged", literal("i"))
        state = intake.state(load, cursor, total) | {commit.BULK: True}
        rows = commit.add(lake, address, whole, writer.written, state, base=None, by_day=True).rows
    return Taken(rows_read=rows, inserted=rows)


def _by_day(writer: Writer, runs: "_Runs") -> None:
    for first, last in runs.buckets():
        pieces = [piece for piece in runs.between(first, last) if piece.num_rows]
        if first == last:  # one day, perhaps larger than memory
            writer.rows_of(days.date(first), pieces)
        else:
            bucket = pa.concat_tables(pieces).combine_chunks()
            found = days.numbers(bucket[runs.partition or ""].combine_chunks())
            order = np.argsort(found, kind="stable")
            bucket = bucket.take(pa.array(order))
            for day, start, end in days.stretches(found[order]):
                writer.rows_of(days.date(day), [bucket.slice(start, end - start)])
        del pieces
        runs.let_go()


class _Runs:
    """The runs of staged files, mapped into memory; pages that were read are let go when they are done with."""

    def __init__(self, files: Sequence[Path], partition: str | None) -> None:
        self.files, self.partition = files, partition
        self.maps: list[mmap.mmap] = []
        self.runs: list[pa.RecordBatch] = []
        self.stretches: list[tuple[np.ndarray, np.ndarray]] = []

    def __enter__(self) -> "_Runs":
        for path in self.files:
            for batch in self._open(path):
                self.runs.append(batch)
                if self.partition:
                    found = list(days.stretches(days.numbers(batch.column(self.partition))))
                    numbers = np.array([day for day, _, _ in found], dtype=np.int64)
                    starts = np.array([*(start for _, start, _ in found), batch.num_rows], dtype=np.int64)
                    self.stretches.append((numbers, starts))
            self.let_go()
        return self

    def __exit__(self, *_: object) -> None:
        self.runs.clear()
        self.maps.clear()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All runs, one after the other."""
        for batch in self.runs:
            yield batch
            self.let_go()

    def buckets(self) -> Iterator[tuple[int, int]]:
        """First and last day of stretches of days that are small enough to hold, in order."""
        rows: dict[int, int] = {}
        for numbers, starts in self.stretches:
            for day, count in zip(numbers.tolist(), np.diff(starts).tolist(), strict=True):
                rows[day] = rows.get(day, 0) + count
        total = sum(rows.values())
        width = sum(batch.nbytes for batch in self.runs) / max(total, 1)
        limit = BUCKET_BYTES / max(width, 1)
        first: int | None = None
        last, held = 0, 0
        for day in sorted(rows):
            if first is not None and held + rows[day] > limit:
                yield first, last
                first, held = None, 0
            first = day if first is None else first
            last, held = day, held + rows[day]
        if first is not None:
            yield first, last

    def between(self, first: int, last: int) -> Iterator[pa.Table]:
        """The rows of these days, one piece per run."""
        for batch, (numbers, starts) in zip(self.runs, self.stretches, strict=True):
            low, high = np.searchsorted(numbers, [first, last + 1])
            if low < high:
                start, end = int(starts[low]), int(starts[high])
                yield pa.Table.from_batches([batch.slice(start, end - start)])

    def let_go(self) -> None:
        """Give back the memory of mapped pages."""
        for mapped in self.maps:
            mapped.madvise(mmap.MADV_DONTNEED)

    def _open(self, path: Path) -> Iterator[pa.RecordBatch]:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.maps.append(mapped)
        reader = pa.ipc.open_file(pa.BufferReader(pa.py_buffer(mapped)))
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)
