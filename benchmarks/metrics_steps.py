"""The steps of the metrics store's benchmark, each a process of its own: `… -m benchmarks.metrics_steps STEP WORDS`.

What a step answers as `cpu_s` is its own CPU without interpreter and imports.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy
import psycopg
import pyarrow as pa

from benchmarks import cpu
from lake import duck
from lake.layout import Lake
from metrics import load, rollup, spec, state, tier
from metrics.batches import arrow_schema
from metrics.encoded import encode
from metrics.server import Connection, connected, edition, one

FIRST = datetime(2026, 6, 1, tzinfo=UTC)
DAYS = 28  # the rows' span, whatever their number: within the retention of 30 days
DEVICES = 50
SLICE = 65_536
DAY = timedelta(days=1)
TABLE = "metrics.sensor_readings"


def hypertable() -> spec.Hypertable:
    """The declared `sensor_readings`, with its two indexes and roll-ups, and moved to the lake when it is old."""
    found: spec.Hypertable = spec.read()["sensor_readings"].model_copy(update={"tier": True})
    return found


def batches(rows: int, *, some: bool = False) -> Iterator[pa.RecordBatch]:
    """Readings of every device each minute, in order; `some`: only every second, and each tenth of these is another."""
    schema, devices = arrow_schema(hypertable()), _devices(rows)
    for start in range(0, rows, SLICE):
        number = numpy.arange(start, min(start + SLICE, rows), dtype="int64")
        chance = numpy.random.default_rng(start)
        device = number % devices + 1
        other = number % 20 == 0 if some else numpy.zeros(len(number), bool)
        values = {
            "read_at": pa.array(int(FIRST.timestamp()) * 1_000_000 + number // devices * 60_000_000),
            "device_id": pa.array(device),
            "store_id": pa.array(device % 10 + 1),
            "temperature_celsius": pa.array(numpy.round(chance.normal(20, 2, len(number)), 2)),
            "humidity_percent": pa.array(numpy.round(chance.normal(50, 5, len(number)), 1)),
            "pressure_hpa": pa.array(numpy.round(chance.normal(1013, 3, len(number)) - other, 1)),
        }
        whole = pa.RecordBatch.from_arrays([values[entry.name].cast(entry.type) for entry in schema], schema=schema)
        yield whole.filter(pa.array(number % 2 == 0)) if some else whole


def after(rows: int) -> datetime:
    """The platform's clock for so many rows: the minute after the last."""
    return FIRST + timedelta(minutes=rows // _devices(rows) + 1)


def _devices(rows: int) -> int:
    return max(DEVICES, rows // (DAYS * 24 * 60))


def made(file: str, rows: int) -> dict[str, Any]:
    """The rows as a stream of Arrow, and as a file of COPY's binary format."""
    table, size = hypertable(), 0
    with pa.OSFile(f"{file}.arrow", "wb") as arrow, Path(f"{file}.copy").open("wb") as copy:
        with pa.ipc.new_stream(arrow, arrow_schema(table)) as writer:
            for number, batch in enumerate(batches(rows)):
                writer.write_batch(batch)
                header, body, end = encode(table, batch).stream
                copy.write((header if number == 0 else b"") + body)
        size = copy.write(end) and copy.tell()
    return {"bytes": size}


def fresh(dsn: str) -> dict[str, Any]:
    """The hypertable with its books, empty; answers the server's versions."""
    only = spec.read().model_copy(update={"hypertables": (hypertable(),)})
    with connected(dsn) as connection:
        connection.execute("DROP SCHEMA IF EXISTS metrics CASCADE")
        connection.commit()
        state.apply(connection, only)
        version = one(connection, "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'")
        postgres = one(connection, "SHOW server_version")
        return {"edition": edition(connection), "timescaledb": version, "postgres": str(postgres).split()[0]}


def copied(dsn: str, file: str) -> dict[str, Any]:
    """The limit: one COPY of the file into the hypertable, by the server from its disk or, where it may not, piped."""
    path = Path(f"{file}.copy")
    with psycopg.connect(dsn) as connection:
        by = "server"
        try:
            with connection.transaction():
                connection.execute(f"COPY {TABLE} FROM '{path}' (FORMAT binary)")
        except psycopg.errors.Error:
            by = "pipe"
            with connection.cursor().copy(f"COPY {TABLE} FROM STDIN (FORMAT binary)") as copy, path.open("rb") as rows:
                while data := rows.read(1024 * 1024):
                    copy.write(data)
    return {"by": by}


def loaded(dsn: str, file: str, rows: int) -> dict[str, Any]:
    """The rows of the file by `metrics.load`."""
    with pa.OSFile(f"{file}.arrow") as source, pa.ipc.open_stream(source) as stream:
        done = load.load(dsn, hypertable(), stream, now=after(rows))
    return {"rows": done.rows, "changed": done.changed, "s": done.seconds}


def generated(dsn: str, rows: int, some: bool = False) -> dict[str, Any]:
    """The rows by `metrics.load`, made as they are taken."""
    source = pa.RecordBatchReader.from_batches(arrow_schema(hypertable()), batches(rows, some=some))
    done = load.load(dsn, hypertable(), source, now=after(rows))
    return {"rows": done.rows, "changed": done.changed, "s": done.seconds}


def settled(dsn: str) -> dict[str, Any]:
    """Vacuum and checkpoint, which the server would else do by itself while another step is measured."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"VACUUM (ANALYZE) {TABLE}")
        with suppress(psycopg.errors.InsufficientPrivilege):
            connection.execute("CHECKPOINT")
    return {}


def refreshed(dsn: str, rows: int, times: int = 20) -> dict[str, Any]:
    """CPU-seconds, client and backend, of a refresh of all buckets, and of one after one late row (mean of `times`)."""
    with connected(dsn) as connection:
        connection.autocommit = True
        connection.execute("SET max_parallel_workers_per_gather = 0")  # a worker's time would not be counted
        full, buckets = _refresh(connection)
        late = [_late(dsn, connection, rows, number) for number in range(times)]
    return {"full": full, "buckets": buckets, "late": sum(late) / times}


def _late(dsn: str, connection: Connection, rows: int, number: int) -> float:
    middle = FIRST + (after(rows) - FIRST) / 2 + timedelta(seconds=1 + number)
    row = next(batches(1)).to_pylist()[0] | {"read_at": middle}
    table = pa.Table.from_pylist([row], schema=arrow_schema(hypertable()))
    load.load(dsn, hypertable(), table.to_reader(), now=after(rows))
    cost, buckets = _refresh(connection)
    if buckets not in (0, len(hypertable().rollup_names)):
        raise SystemExit(f"a late row changed {buckets} buckets")
    return cost


def _refresh(connection: Connection) -> tuple[float, int]:
    """CPU-seconds and buckets; the community edition does not tell how many it summed up."""
    table, pid, kind = hypertable(), connection.info.backend_pid, edition(connection)
    began, buckets = time.process_time() + cpu.process_cpu_s(pid), 0
    for bucket in rollup.finest_first(table):
        if kind == "community":  # as its refresh policy does, but for all times
            name = f"metrics.{table.rollup_names[bucket]}"
            connection.execute("CALL refresh_continuous_aggregate(%s::regclass, NULL, NULL)", (name,))
        else:
            buckets += rollup.refresh(connection, table, bucket)[0]
    return time.process_time() + cpu.process_cpu_s(pid) - began, buckets


def tiered(dsn: str, root: str, rows: int, days: int) -> dict[str, Any]:
    """All but the last `days` days moved to the lake; answers the bytes of its Parquet files."""
    table = hypertable()
    began = time.perf_counter()
    done = tier.run(dsn, Lake(root), table, after(rows) + table.drop_after - days * DAY)
    files = list(Path(root).glob(f"metrics_cold/{table.name}/**/*.parquet"))
    return {"bytes": sum(file.stat().st_size for file in files), "moved": len(done), "s": time.perf_counter() - began}


def queried(dsn: str, root: str, rows: int, times: int = 5) -> dict[str, Any]:
    """One day, the first (cold) and the last whole one (hot), through the view over both: milliseconds by the wall."""
    from warehouse import metrics_all, metrics_store

    os.environ["METRICS_READER_DSN"] = dsn
    connection = duck.connect(extensions=("delta", "postgres_scanner"))
    connection.execute("SET TimeZone = 'UTC'")
    if reason := metrics_store.attach(connection):
        raise reason
    metrics_all.add(connection, Lake(root))
    last = FIRST + (after(rows) - FIRST) // DAY * DAY - DAY  # the last whole day
    answers: dict[str, Any] = {}
    for side, start in (("cold", FIRST), ("hot", last)):
        query = f"""SELECT count(*), avg(temperature_celsius) FROM metrics_all.sensor_readings
            WHERE read_at >= TIMESTAMPTZ '{start}' AND read_at < TIMESTAMPTZ '{start + DAY}'"""
        took = []
        for _ in range(times):
            began = time.perf_counter()
            count, _mean = connection.execute(query).fetchone() or (0, None)
            took.append((time.perf_counter() - began) * 1000)
        answers[side] = {"ms": sorted(took)[times // 2], "rows": count}
    return answers


def compressed(dsn: str) -> dict[str, Any]:
    """Bytes of the hypertable with its indexes before and after the community edition has compressed every chunk."""
    with connected(dsn) as connection:
        connection.autocommit = True
        before = one(connection, "SELECT hypertable_size('metrics.sensor_readings')")
        connection.execute("SELECT compress_chunk(c, true) FROM show_chunks('metrics.sensor_readings') AS c")
        return {"before": before, "after": one(connection, "SELECT hypertable_size('metrics.sensor_readings')")}


_ALL = (made, fresh, copied, loaded, generated, settled, refreshed, tiered, queried, compressed)
STEPS: dict[str, Callable[..., dict[str, Any]]] = {step.__name__: step for step in _ALL}


def main() -> None:
    """Run one step and answer what it says, with its CPU-seconds."""
    name, words = sys.argv[1], json.loads(sys.argv[2])
    began = time.process_time()
    said = STEPS[name](**words)
    cpu.answer({**said, "cpu_s": time.process_time() - began})


if __name__ == "__main__":
    main()
