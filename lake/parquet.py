"""Rows to Parquet files of a table, one or more per day, in memory that does not grow with the number of days.

Rows come sorted by day, so one file is open at a time. Measured on 6 M TPC-H lines in 2,526 days: 8 CPU-seconds, where
a writer that keeps a file open per day took 48 and 1.1 GB.
"""

import datetime
import json
import re
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lake import objects
from lake.days import date, numbers, stretches
from lake.layout import DAY_COLUMNS, Address, Lake

FILE_ROWS = 4_000_000
GROUP_ROWS = 500_000
GROUP_BYTES = 48 << 20
PAGE_ROWS = 100_000  # pyarrow's 20,000 cost DuckDB a tenth of a scan
SAMPLE_ROWS = 50_000
SMALL_ROWS = 20_000  # below this no reader gains by the bounds of single columns, which cost a tenth of the writing
# zstd 1: level 3 costs a fifth more CPU for 3 % of the size (6 M TPC-H lines: 141 and 145 MB). See decision 0021.
LEVEL = 1


@dataclass(frozen=True)
class Written:
    """One file: its path below the table, size, rows, day (None: the table has none), and Delta's statistics.

    `year` is that of a file in a table that is divided by years only.
    """

    path: str
    bytes: int
    rows: int
    day: datetime.date | None
    stats: str
    year: int | None = None

    @property
    def partition(self) -> dict[str, str | None]:
        """The values of the partition columns; none for a table that is not divided."""
        if self.year is not None:
            return {"year": f"{self.year:04}"}
        return partition_values(self.day)


@dataclass
class Writer:
    """Writes the files of one commit; `constants` are columns that have one value in all rows.

    `told` names the columns whose least and greatest value go into the table's log. Files are named after `load_id`,
    their day and a number, and lie in the partition of their day; in that of `partition`, if it is given, or of `year`
    in a table that is divided by years.
    """

    lake: Lake
    address: Address
    load_id: str
    told: Collection[str] = ()
    constants: dict[str, pa.Scalar] = field(default_factory=dict)
    partition: datetime.date | None = None
    year: int | None = None
    written: list[Written] = field(default_factory=list)
    dictionary: list[str] | None = None
    repeated: dict[str, pa.DictionaryArray] = field(default_factory=dict)

    def rows_of(self, day: datetime.date | None, rows: Iterable[pa.Table]) -> None:
        """Write all rows of a day (or of a table that has none): row groups of bounded size, files too."""
        open_file: _File | None = None
        for group in _groups(rows):
            whole = self._whole(group)
            if open_file is None or open_file.rows >= FILE_ROWS:
                if open_file is not None:
                    self.written.append(open_file.close())
                open_file = self._open(day, group, whole.schema)
            open_file.add(whole)
        if open_file is not None:
            self.written.append(open_file.close())

    def sorted_by(self, column: str, batches: Iterable[pa.RecordBatch]) -> None:
        """Write rows that come sorted by the date column `column`, which is not written itself."""
        for day, pieces in groupby(by_day(column, batches), key=itemgetter(0)):
            self.rows_of(date(day), (rows for _, rows in pieces))

    def _open(self, day: datetime.date | None, sample: pa.Table, schema: pa.Schema) -> "_File":
        if self.dictionary is None:
            found = _repetitive(sample)
            if sample.num_rows < 1000:  # too few to tell; asked again with the next file
                return self._file(day, sample, schema, found)
            self.dictionary = found
        return self._file(day, sample, schema, self.dictionary)

    def _file(self, day: datetime.date | None, sample: pa.Table, schema: pa.Schema, dictionary: list[str]) -> "_File":
        place = self.partition or day
        folder = "" if place is None else f"{day_folder(place)}/"
        folder = folder if self.year is None else f"year={self.year:04}/"
        name = f"part-{self.load_id}-{day.isoformat() if day else 'all'}-{len(self.written):05}.parquet"
        return _File(self, place, f"{folder}{name}", schema, [*dictionary, *self.constants], sample.num_rows)

    def _whole(self, rows: pa.Table) -> pa.Table:
        for name, value in self.constants.items():
            known = self.repeated.get(name)
            if known is None or len(known) < rows.num_rows:
                places = pa.repeat(pa.scalar(0, pa.int8()), max(rows.num_rows, 8192))
                known = self.repeated[name] = pa.DictionaryArray.from_arrays(places, pa.array([value]))
            rows = rows.append_column(name, known.slice(0, rows.num_rows))
        return rows


class _File:
    """One Parquet file while it is written."""

    def __init__(
        self,
        writer: Writer,
        day: datetime.date | None,
        path: str,
        schema: pa.Schema,
        dictionary: list[str],
        sample_rows: int,
    ) -> None:
        self.writer, self.day, self.path, self.rows = writer, day, path, 0
        self.schema = schema
        self.sink = objects.sink(writer.lake, f"{writer.address}/{path}")
        self.parquet = pq.ParquetWriter(
            self.sink,
            schema,
            compression="zstd",
            compression_level=LEVEL,
            write_statistics=True if sample_rows >= SMALL_ROWS else list(writer.told),
            store_schema=False,
            max_rows_per_page=PAGE_ROWS,
            bloom_filter_options=_blooms(schema, dictionary, writer.told, sample_rows),
            **encoded(schema, dictionary),
        )

    def add(self, rows: pa.Table) -> None:
        self.parquet.write_table(rows, row_group_size=GROUP_ROWS)
        self.rows += rows.num_rows

    def close(self) -> Written:
        self.parquet.close()
        metadata = self.parquet.writer.metadata
        size = self.sink.tell()
        self.sink.close()
        stats = _stats(metadata, self.schema, self.writer.told)
        return Written(self.path, size, self.rows, self.day, stats, self.writer.year)


def encoded(schema: pa.Schema, dictionary: Collection[str]) -> dict[str, Any]:
    """How columns are encoded: those in `dictionary` by it, the others as their type asks for (decision 0021)."""
    # A name with a point may be the path of a nested value.
    plain = (entry for entry in schema if entry.name not in dictionary and "." not in entry.name)
    types = {entry.name: _encoding(entry.type) for entry in plain}
    return {
        "use_dictionary": list(dictionary),
        "column_encoding": {name: encoding for name, encoding in types.items() if encoding},
        "store_decimal_as_integer": True,
    }


def _blooms(
    schema: pa.Schema, dictionary: Collection[str], told: Collection[str], rows: int
) -> dict[str, dict[str, float]] | None:
    """Bloom filters for texts by which rows are looked up: their bounds tell little, numbers are found fast without."""
    if rows < SMALL_ROWS:
        return None
    names = [entry.name for entry in schema if entry.name in {*told} - {*dictionary} and _is_text(entry.type)]
    return {name: {"ndv": rows, "fpp": 0.01} for name in names} or None


def _encoding(kind: pa.DataType) -> str | None:
    """The encoding that suits a type and is known to all readers; None: values as they are."""
    # Not BYTE_STREAM_SPLIT, nor DELTA_BYTE_ARRAY: Daft reads neither, DuckDB and Polars the first of floats only.
    if _is_text(kind) or pa.types.is_binary(kind):
        return "DELTA_LENGTH_BYTE_ARRAY"
    if pa.types.is_integer(kind) or pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return "DELTA_BINARY_PACKED"
    return "DELTA_BINARY_PACKED" if pa.types.is_decimal128(kind) and kind.precision <= 18 else None


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def by_day(column: str, batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[int, pa.Table]]:
    """(day, rows without `column`) of each stretch of one day of the date column `column`."""
    for batch in batches:
        rows = pa.Table.from_batches([batch]).drop_columns([column])
        for day, start, end in stretches(numbers(batch.column(column))):
            yield day, rows.slice(start, end - start)


def named_day(path: str) -> datetime.date | None:
    """The day in the name of a file that a Writer made; None if its table has no days."""
    match = re.search(r"part-[0-9a-f]+-(\d{4}-\d\d-\d\d)-\d+\.parquet$", path)
    return datetime.date.fromisoformat(match[1]) if match else None


def day_folder(day: datetime.date) -> str:
    """E.g. `year=2026/month=01/day=07`."""
    return "/".join(f"{name}={part}" for name, part in zip(DAY_COLUMNS, day.isoformat().split("-"), strict=True))


def partition_values(day: datetime.date | None) -> dict[str, str | None]:
    """The values of the partition columns for a day; none for a table without days."""
    return {} if day is None else dict(zip(DAY_COLUMNS, day.isoformat().split("-"), strict=True))


def _groups(rows: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The rows in pieces that make a row group each: large enough to compress, small enough to hold."""
    waiting: list[pa.Table] = []
    count, size = 0, 0
    for table in rows:
        waiting.append(table)
        count += table.num_rows
        size += table.nbytes if table.num_rows > SMALL_ROWS or len(waiting) > 1 else 0  # not free: 0.2 ms
        if count >= GROUP_ROWS or size >= GROUP_BYTES:
            yield pa.concat_tables(waiting)
            waiting, count, size = [], 0, 0
    if count:
        # Writing many small pieces of a column costs more than putting them together first.
        yield waiting[0] if len(waiting) == 1 else pa.concat_tables(waiting).combine_chunks()


def _repetitive(sample: pa.Table) -> list[str]:
    """Columns whose values repeat: a dictionary makes those smaller and faster to write, others slower."""
    head = sample.slice(0, SAMPLE_ROWS)
    names = []
    for entry in head.schema:
        if pa.types.is_nested(entry.type) or pa.types.is_boolean(entry.type):
            continue
        if pc.count_distinct(head[entry.name]).as_py() <= max(1, head.num_rows // 5):
            names.append(entry.name)
    return names


def _stats(metadata: pq.FileMetaData, schema: pa.Schema, told: Collection[str]) -> str:
    """Delta's statistics of a file: rows, and the bounds of a few columns."""
    least: dict[str, Any] = {}
    greatest: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    groups = range(metadata.num_row_groups)
    names = schema.names if metadata.num_columns == len(schema.names) else None  # else some are nested
    # The paths of one group tell those of all; nested columns have several leaves and are never told.
    first = metadata.row_group(0) if metadata.num_row_groups else None
    if first is None:
        return json.dumps({"numRecords": 0, "minValues": {}, "maxValues": {}, "nullCount": {}})
    for index in range(metadata.num_columns):
        name = names[index] if names is not None else first.column(index).path_in_schema
        if name not in told:
            continue
        found = [metadata.row_group(group).column(index).statistics for group in groups]
        if not all(one is not None and one.has_null_count for one in found):
            continue
        nulls[name] = sum(one.null_count for one in found)
        bounded = [one for one in found if one.has_min_max]
        kind = schema.field(name).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if bounded and _can_be_told(kind) and len(bounded) == len(found):
            low, high = bound(min(one.min for one in bounded)), bound(max(one.max for one in bounded), up=True)
            if low is not None and high is not None:
                least[name], greatest[name] = low, high
    return json.dumps({"numRecords": metadata.num_rows, "minValues": least, "maxValues": greatest, "nullCount": nulls})


def _can_be_told(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_date(kind) or pa.types.is_timestamp(kind) or pa.types.is_string(kind)
    )


def bound(value: Any, *, up: bool = False) -> Any:
    """A bound as Delta's log writes it; instants in milliseconds, rounded so that the bound holds. None: left out."""
    if isinstance(value, datetime.datetime):
        if up:
            if value > datetime.datetime(9999, 12, 31, tzinfo=value.tzinfo):
                return None
            value += datetime.timedelta(microseconds=-value.microsecond % 1000)
        text = value.replace(tzinfo=None).isoformat(timespec="milliseconds")
        return f"{text}Z" if value.tzinfo else text
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, str):
        return value if len(value) <= 64 else None
    return value


def now_ms() -> int:
    """Milliseconds since 1970, as the log wants them."""
    return int(time.time() * 1000)
