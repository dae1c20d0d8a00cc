"""What runs in a process of its own when the lake is measured: making rows, writing, scanning, reading a day.

`python -m benchmarks.lake_steps <step> '<its words as JSON>'`; each answers what the measuring process is to know.
"""

import datetime
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from benchmarks import cpu
from lake import commit, duck, parquet, read, upkeep
from lake.layout import DAY_COLUMNS, Address, Lake

TABLE = Address("processed", "bench", "sales")
SMALL = Address("raw", "bench", "small")
FIRST = datetime.date(2025, 1, 1)
TOLD = ("sale_id", "sold_at", "updated_at")
BATCH_ROWS = 50_000
# 12 columns as a shop has them: numbers that go on, numbers that repeat, money, a rate, codes, texts that are all
# different, instants. Rows come by day, within a day as they were made.
SALES = """
    SELECT i AS sale_id, (hash(i) % 1_000_000)::INTEGER AS customer_id, (hash(i, 2) % 20_000)::INTEGER AS product_id,
        (hash(i, 3) % 200)::SMALLINT AS store_id, (1 + hash(i, 4) % 9)::SMALLINT AS quantity,
        ((hash(i, 5) % 10_000) / 100)::DECIMAL(9, 2) AS price, ((hash(i, 5) % 90_000) / 100)::DECIMAL(12, 2) AS amount,
        (hash(i, 6) % 1_000_003) / 1_000_003 AS rate,
        ['new', 'paid', 'sent', 'back'][1 + (hash(i, 7) % 4)::INTEGER] AS status,
        'customer' || (hash(i) % 1_000_000) || '@example.org' AS email,
        {begin} + to_microseconds(i * {step}) AS sold_at,
        {begin} + to_microseconds(i * {step} + (hash(i, 8) % 86_400_000_000)::BIGINT) AS updated_at,
        (DATE '{first}' + (i * {step} // 86_400_000_000)::INTEGER) AS _day
    FROM range({start}, {end}) t(i)"""
SUMS = """count(*), sum(sale_id), sum(customer_id), sum(product_id), sum(store_id), sum(quantity), sum(price),
    sum(amount), round(sum(rate), 3), sum(strlen(status)), sum(strlen(email)), sum(epoch_us(sold_at)::HUGEINT),
    sum(epoch_us(updated_at)::HUGEINT)"""


def made(file: str, rows: int, days: int) -> Mapping[str, Any]:
    """Rows of as many days in an Arrow file, by day."""
    step = days * 86_400_000_000 // rows
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        writer = None
        for start in range(0, rows, 1_000_000):
            begin, end = f"TIMESTAMPTZ '{FIRST} 00:00:00+00'", min(rows, start + 1_000_000)
            query = SALES.format(begin=begin, first=FIRST, step=step, start=start, end=end)
            for batch in connection.execute(query).to_arrow_reader(BATCH_ROWS):
                writer = writer or pa.ipc.new_file(file, batch.schema)
                writer.write_batch(batch)
        if writer is not None:
            writer.close()
    return {"bytes": Path(file).stat().st_size}


def by_lake(file: str, root: str) -> Mapping[str, Any]:
    """Written as a load writes: sorted rows, a file a day, statistics, one commit."""
    writer = parquet.Writer(Lake(root), TABLE, "0bea", TOLD)
    writer.sorted_by("_day", _batches(file))
    schema = pa.schema([entry for entry in _schema(file) if entry.name != "_day"])
    commit.add(Lake(root), TABLE, schema, writer.written, {}, base=None, by_day=True)
    return _files(root)


def by_pyarrow(file: str, root: str, tuned: bool = False) -> Mapping[str, Any]:
    """Plain files: one `ParquetWriter` a day, zstd; nothing is committed.

    All else is as pyarrow has it by default; `tuned`: columns are encoded as the lake does it.
    """
    options: dict[str, Any] = {}
    for day, pieces in groupby(parquet.by_day("_day", _batches(file)), key=itemgetter(0)):
        folder = Path(root, parquet.day_folder(FIRST + datetime.timedelta(days=day - _number(FIRST))))
        folder.mkdir(parents=True)
        table = pa.concat_tables(rows for _, rows in pieces)
        if tuned and not options:
            options = {"max_rows_per_page": parquet.PAGE_ROWS}
            options |= parquet.encoded(table.schema, parquet._repetitive(table))
        with pq.ParquetWriter(folder / "part-0.parquet", table.schema, compression="zstd", **options) as writer:
            writer.write_table(table)
    return _files(root)


def by_dataset(file: str, root: str) -> Mapping[str, Any]:
    """Plain files: pyarrow's `write_dataset`, which sorts rows into partitions itself; zstd."""
    schema = pa.schema([(name, pa.string()) for name in DAY_COLUMNS])

    def parted() -> Iterator[pa.RecordBatch]:
        for day, rows in parquet.by_day("_day", _batches(file)):
            values = parquet.partition_values(FIRST + datetime.timedelta(days=day - _number(FIRST)))
            for name, value in values.items():
                rows = rows.append_column(name, pa.repeat(pa.scalar(value), rows.num_rows))
            yield from rows.to_batches()

    whole = pa.schema([*(entry for entry in _schema(file) if entry.name != "_day"), *schema])
    ds.write_dataset(
        parted(), root, schema=whole, format="parquet", partitioning=ds.partitioning(schema, flavor="hive"),
        file_options=ds.ParquetFileFormat().make_write_options(compression="zstd"),
        max_open_files=2000, max_partitions=2000, use_threads=False,
    )  # fmt: skip
    return _files(root)


def scanned(root: str, way: str, times: int = 3) -> Mapping[str, Any]:
    """All columns of all rows summed up by DuckDB: seconds, CPU-seconds (the least of `times`), and the sums."""
    connection = read.connect(Lake(root))
    seconds, cpu_seconds = [], []
    row: Any = None
    for _ in range(times):
        began, used = time.perf_counter(), time.process_time()
        row = connection.execute(f"SELECT {SUMS} FROM {_relation(root, way)}").fetchone()
        seconds.append(time.perf_counter() - began)
        cpu_seconds.append(time.process_time() - used)
    return {"s": min(seconds), "cpu_s": min(cpu_seconds), "sums": [str(value) for value in row or ()]}


def a_day(root: str, way: str, days: int, times: int = 21) -> Mapping[str, Any]:
    """One day of many, asked for by its partition and by its instants: milliseconds, median; another day each time."""
    connection = read.connect(Lake(root))
    connection.execute(f"SELECT count(*) FROM {_relation(root, way)}").fetchall()
    found: dict[str, list[float]] = {"partition": [], "instants": []}
    chance = random.Random(4)
    for _ in range(times):
        day = FIRST + datetime.timedelta(days=chance.randrange(days))
        for how, condition in _conditions(day).items():
            began = time.perf_counter()
            row = connection.execute(f"SELECT {SUMS} FROM {_relation(root, way)} WHERE {condition}").fetchone()
            found[how].append((time.perf_counter() - began) * 1000)
            if not row or not row[0]:
                raise SystemExit(f"{day}: no rows")
    return {how: statistics.median(of) for how, of in found.items()}


def small_commits(root: str, batches: int, rows: int) -> Mapping[str, Any]:
    """As many commits of as few rows: seconds, CPU, and milliseconds of a read before and after upkeep."""
    lake, schema = Lake(root), pa.schema([("sale_id", pa.int64()), ("status", pa.string())])
    base = None
    began, used = time.perf_counter(), time.process_time()
    for number in range(batches):
        ids = range(number * rows, number * rows + rows)
        writer = parquet.Writer(lake, SMALL, f"{number:08x}", TOLD)
        writer.rows_of(FIRST, [pa.table({"sale_id": list(ids), "status": ["new"] * rows}, schema=schema)])
        commit.add(lake, SMALL, schema, writer.written, {"n": number}, base=base, by_day=True)
        base = base or commit.table(lake, SMALL)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - used
    before, wanted = _read_small(lake)
    kept_from, kept_used = time.perf_counter(), time.process_time()
    kept = upkeep.keep(lake, SMALL)
    keeping = {"keep_s": time.perf_counter() - kept_from, "keep_cpu_s": time.process_time() - kept_used}
    after, found = _read_small(lake)
    if found != wanted or found[0] != batches * rows:
        raise SystemExit(f"upkeep changed the rows: {wanted} before, {found} after")
    files = {"files_before": kept.before.files, "files_after": kept.after.files}
    return {"s": seconds, "cpu_s": cpu_seconds, "before_ms": before, "after_ms": after, **keeping, **files}


def small_files(root: str, batches: int, rows: int) -> Mapping[str, Any]:
    """The same rows as plain files by pyarrow: what there is to pay without any commit."""
    Path(root).mkdir()
    began, used = time.perf_counter(), time.process_time()
    for number in range(batches):
        ids = range(number * rows, number * rows + rows)
        table = pa.table({"sale_id": pa.array(ids, pa.int64()), "status": ["new"] * rows})
        pq.write_table(table, f"{root}/part-{number}.parquet", compression="zstd")
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - used
    query = f"SELECT count(*), sum(sale_id), max(status) FROM read_parquet('{root}/*.parquet')"
    return {"s": seconds, "cpu_s": cpu_seconds, "before_ms": _timed(lambda: duckdb.execute(query).fetchall())[0]}


def _read_small(lake: Lake) -> tuple[float, Any]:
    query = f"SELECT count(*), sum(sale_id), max(status) FROM {read.relation(lake, SMALL)}"
    connection = read.connect(lake)
    return _timed(lambda: connection.execute(query).fetchone())


def _timed(step: Callable[[], Any], times: int = 5) -> tuple[float, Any]:
    """Milliseconds of a step, the median, and what it gave."""
    taken: list[float] = []
    found = None
    for _ in range(times):
        began = time.perf_counter()
        found = step()
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken), found


def _conditions(day: datetime.date) -> Mapping[str, str]:
    year, month, number = day.isoformat().split("-")
    after = day + datetime.timedelta(days=1)
    return {
        "partition": f"year = '{year}' AND month = '{month}' AND day = '{number}'",
        "instants": f"sold_at >= TIMESTAMPTZ '{day} 00:00:00+00' AND sold_at < TIMESTAMPTZ '{after} 00:00:00+00'",
    }


def _relation(root: str, way: str) -> str:
    if way == "lake":
        return read.relation(Lake(root), TABLE)
    kinds = ", ".join(f"'{name}': VARCHAR" for name in DAY_COLUMNS)
    pattern = duck.literal(f"{root}/**/*.parquet")
    return f"read_parquet({pattern}, hive_partitioning = true, hive_types = {{{kinds}}})"


def _batches(file: str) -> Iterator[pa.RecordBatch]:
    with pa.OSFile(file) as source:
        reader = pa.ipc.open_file(source)
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)


def _schema(file: str) -> pa.Schema:
    with pa.OSFile(file) as source:
        return pa.ipc.open_file(source).schema


def _number(day: datetime.date) -> int:
    return (day - datetime.date(1970, 1, 1)).days


def _files(root: str) -> Mapping[str, Any]:
    sizes = [path.stat().st_size for path in Path(root).rglob("*.parquet") if "_delta_log" not in path.parts]
    return {"files": len(sizes), "bytes": sum(sizes)}


STEPS = {
    step.__name__: step for step in (made, by_lake, by_pyarrow, by_dataset, scanned, a_day, small_commits, small_files)
}

if __name__ == "__main__":
    cpu.answer(STEPS[sys.argv[1]](**json.loads(sys.argv[2])))
