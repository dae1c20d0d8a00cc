"""Loading: idempotent, whole or not at all, alone or beside others."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from metrics_rows import NOW, Readings, all_rows

from lake.errors import ContractBroken, PermanentError, TransientError
from metrics import record, spec, upkeep
from metrics.batches import SLICE, arrow_schema
from metrics.load import load, oldest_kept, watermark

START = NOW - timedelta(days=5)


def count(dsn: str, relation: str = "sensor_readings") -> int:
    return len(all_rows(dsn, relation))


def test_loading_twice_is_as_loading_once(store: str, readings: Readings) -> None:
    table = readings.table(START, 200)
    first = load(store, readings.hypertable, table.to_reader(), now=NOW)
    rows = all_rows(store, "sensor_readings")
    again = load(store, readings.hypertable, table.to_reader(), now=NOW)
    assert (first.rows, first.changed) == (600, 600)
    assert (first.touched_from, first.touched_to) == (START, START + timedelta(minutes=10) * 199)
    assert (again.rows, again.changed, again.touched_from, again.touched_to) == (600, 0, None, None)
    assert all_rows(store, "sensor_readings") == rows
    assert rows == sorted(tuple(row.values()) for row in table.to_pylist())


def test_two_halves_are_as_the_whole_in_any_order(store: str, readings: Readings) -> None:
    table = readings.table(START, 100)
    for part in (table.slice(150), table.slice(0, 200)):
        load(store, readings.hypertable, part.to_reader(max_chunksize=7), now=NOW)
    assert all_rows(store, "sensor_readings") == sorted(tuple(row.values()) for row in table.to_pylist())


def test_a_changed_row_is_changed_and_the_others_are_not_touched(store: str, readings: Readings) -> None:
    load(store, readings.hypertable, readings.table(START, 50).to_reader(), now=NOW)
    table = readings.table(START, 50)
    values = table.column("humidity_percent").to_pylist()
    values[7] = None
    other = table.set_column(4, "humidity_percent", pa.array(values, pa.float64()))
    loaded = load(store, readings.hypertable, other.to_reader(), now=NOW)
    assert (loaded.changed, loaded.touched_from) == (1, table.column("read_at")[7].as_py())


def test_of_rows_with_one_key_the_last_counts(store: str, readings: Readings) -> None:
    table = readings.rows(*((START, 1, 1, float(value), 50.0, 1000.0) for value in range(9)))
    assert load(store, readings.hypertable, table.to_reader(), now=NOW).changed == 1
    assert all_rows(store, "sensor_readings") == [(START, 1, 1, 8.0, 50.0, 1000.0)]


def test_batches_larger_than_a_slice_arrive_whole(store: str, readings: Readings) -> None:
    table = readings.table(START, SLICE // 3 + 100, step=timedelta(seconds=10)).combine_chunks()
    assert table.num_rows > SLICE
    assert load(store, readings.hypertable, table.to_reader(), now=NOW).changed == table.num_rows
    assert count(store) == table.num_rows


def test_amounts_keep_every_digit_in_every_type_they_come_in(store: str, declared: spec.Spec) -> None:
    amount = Decimal("9999999999999999.99")
    schema = arrow_schema(declared["sales_hourly"])
    for kind in (pa.decimal128(18, 2), pa.decimal128(38, 2), pa.decimal128(38, 6), pa.decimal256(40, 2)):
        wide = pa.schema([pa.field(f.name, kind if pa.types.is_decimal(f.type) else f.type) for f in schema])
        row = [NOW, 1, 2, 3, 4, amount, -amount, Decimal("0.01")]
        table = pa.Table.from_pylist([dict(zip(schema.names, row, strict=True))], wide)
        load(store, declared["sales_hourly"], table.to_reader(), now=NOW)
        assert all_rows(store, "sales_hourly") == [tuple(row)]


def test_whole_numbers_local_zones_and_other_strings_convert(store: str, declared: spec.Spec) -> None:
    table = pa.table({
        "asset": pa.array(["shop/orders"]).dictionary_encode(),
        "finished_at": pa.array([NOW], pa.timestamp("ns", "America/New_York")),
        "run_id": pa.array(["r1"], pa.large_string()),
        "partition_range": pa.array([None], pa.null()),
        "row_count": pa.array([5], pa.uint8()),
        "bytes": pa.array([2**40], pa.uint64()),
        "duration_s": pa.array([2], pa.int32()),
        "is_success": pa.array([True]),
    })  # fmt: skip
    load(store, declared["pipeline_runs"], table.to_reader(), now=NOW)
    assert all_rows(store, "pipeline_runs") == [(NOW, "shop/orders", "r1", None, 5, 2**40, 2.0, True)]


def test_rows_older_than_the_retention_are_left_out_and_counted(store: str, readings: Readings) -> None:
    horizon = oldest_kept(readings.hypertable, NOW)
    assert horizon == datetime(2026, 5, 16, tzinfo=UTC)
    table = readings.table(horizon - timedelta(minutes=20), 4, devices=1)
    loaded = load(store, readings.hypertable, table.to_reader(), now=NOW)
    assert (loaded.rows, loaded.expired, loaded.touched_from) == (2, 2, horizon)


def test_nan_becomes_null_and_is_counted(store: str, readings: Readings) -> None:
    nan = float("nan")
    loaded = load(store, readings.hypertable, readings.rows((NOW, 1, 1, nan, nan, None)).to_reader(), now=NOW)
    assert (loaded.blanked, loaded.set_aside) == (2, 0)
    assert all_rows(store, "sensor_readings") == [(NOW, 1, 1, None, None, None)]


def broken(table: pa.Table, column: str, values: Any) -> pa.Table:
    return table.set_column(table.schema.get_field_index(column), column, values)


@pytest.mark.parametrize(
    ("column", "values", "says"),
    [
        ("device_id", pa.array([1, None, 1]), "row 2: device_id is NULL, but part of the key"),
        ("read_at", pa.array([None] * 3, pa.timestamp("us", "UTC")), "row 1: read_at is NULL, but part of the key"),
        ("read_at", pa.array([NOW] * 3, pa.timestamp("us")), r"comes as timestamp\[us\], declared is timestamptz"),
        ("store_id", pa.array(["1", "2", "x"]), "column store_id comes as string, declared is bigint"),
        ("store_id", pa.array([1.0, 2.0, 3.0]), "column store_id comes as double, declared is bigint"),
        ("store_id", pa.array([1, 2, 2**63], pa.uint64()), "row 3: store_id does not fit bigint"),
        ("read_at", pa.array([1] * 3, pa.timestamp("ns", "UTC")), "row 1: read_at does not fit timestamptz"),
        ("pressure_hpa", pa.array([Decimal(1)] * 3), r"comes as decimal128\(1, 0\), declared is double precision"),
    ],
)  # fmt: skip
def test_rows_that_break_the_contract_are_refused_whole(
    store: str, readings: Readings, column: str, values: Any, says: str
) -> None:
    good = readings.table(NOW - timedelta(hours=1), 3, devices=1)
    bad = broken(good, column, values)
    with pytest.raises(ContractBroken, match=rf"metrics\.sensor_readings: .*{says}.*nothing was loaded"):
        load(store, readings.hypertable, bad.to_reader(), now=NOW, watermark="not this")
    assert count(store) == 0
    assert watermark(store, "sensor_readings") is None


def test_a_null_key_in_a_later_batch_takes_the_earlier_ones_back(store: str, readings: Readings) -> None:
    good = readings.table(START, 100)
    bad = broken(good.slice(0, 1), "device_id", pa.array([None], pa.int64()))
    with pytest.raises(ContractBroken, match="part of the key"):
        load(store, readings.hypertable, pa.concat_tables([good, bad]).to_reader(), now=NOW)
    assert count(store) == 0


def test_missing_unknown_and_double_columns_are_refused(store: str, readings: Readings) -> None:
    good = readings.table(START, 3)
    cases = {
        "the rows have no column store_id": good.drop_columns(["store_id"]),
        "a column colour that is not declared": good.append_column("colour", pa.nulls(9)),
        "column store_id comes twice": good.append_column("store_id", good.column("store_id")),
    }
    for says, table in cases.items():
        with pytest.raises(ContractBroken, match=says):
            load(store, readings.hypertable, table.to_reader(), now=NOW)


def test_a_hypertable_that_is_not_there_is_one_sentence(store: str, readings: Readings) -> None:
    other = readings.hypertable.model_copy(update={"name": "elsewhere"})
    with pytest.raises(PermanentError, match=r"metrics\.elsewhere: is not on the server; apply metrics/hypertables"):
        load(store, other, readings.table(START, 1).to_reader(), now=NOW)


def test_the_watermark_is_kept_with_the_rows(store: str, readings: Readings) -> None:
    load(store, readings.hypertable, readings.table(START, 1).to_reader(), now=NOW, watermark="7")
    assert watermark(store, "sensor_readings") == "7"
    load(store, readings.hypertable, readings.table(START, 2).to_reader(), now=NOW)
    assert watermark(store, "sensor_readings") == "7"
    load(store, readings.hypertable, readings.table(START, 0 + 1).to_reader(), now=NOW, watermark="8")
    assert watermark(store, "sensor_readings") == "8"


def sales(declared: spec.Spec, *hours: int, amount: str = "10.00") -> pa.Table:
    schema = arrow_schema(declared["sales_hourly"])
    rows = [
        (NOW.replace(minute=0) - timedelta(hours=hour), store, 1, 2, 3, Decimal(amount), Decimal(0), Decimal(amount))
        for hour in hours
        for store in (1, 2)
    ]
    return pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema)


def test_hours_that_vanished_are_removed_from_the_given_instant_on(store: str, declared: spec.Spec) -> None:
    table = declared["sales_hourly"]
    load(store, table, sales(declared, 1, 2, 3, 50).to_reader(), now=NOW)
    upkeep.run(store, declared, NOW)
    since = NOW - timedelta(hours=10)
    loaded = load(store, table, sales(declared, 1, 3).to_reader(), now=NOW, replace_from=since)
    assert (loaded.removed, loaded.changed) == (2, 0)
    assert loaded.touched_from == loaded.touched_to == NOW.replace(minute=0) - timedelta(hours=2)
    assert all_rows(store, "sales_hourly") == sorted(tuple(r.values()) for r in sales(declared, 1, 3, 50).to_pylist())
    upkeep.run(store, declared, NOW)
    assert [row[0] for row in all_rows(store, "sales_hourly_1h")] == [
        NOW.replace(minute=0) - timedelta(hours=hour) for hour in (50, 50, 3, 3, 1, 1)
    ]


def test_nothing_new_with_an_instant_to_replace_from_leaves_nothing_from_there(store: str, declared: spec.Spec) -> None:
    load(store, declared["sales_hourly"], sales(declared, 1, 2, 50).to_reader(), now=NOW)
    empty = sales(declared).to_reader()
    assert load(store, declared["sales_hourly"], empty, now=NOW, replace_from=NOW - timedelta(hours=10)).removed == 4
    assert count(store, "sales_hourly") == 2


def test_the_platforms_runs_are_recorded_once(store: str) -> None:
    rows = [
        record.Run(NOW, "shop/orders", "run-1", "2026-06-14", 10, 2048, 1.5),
        record.Run(NOW, "fct_sales", "run-1", is_success=False),
    ]
    assert record.runs(store, rows, now=NOW).changed == 2
    assert record.runs(store, [replace(rows[0], row_count=11)], now=NOW).changed == 1
    assert all_rows(store, "pipeline_runs") == [
        (NOW, "fct_sales", "run-1", None, None, None, None, False),
        (NOW, "shop/orders", "run-1", "2026-06-14", 11, 2048, 1.5, True),
    ]


LOADER = """
    import sys, time
    from datetime import datetime
    import pyarrow as pa
    from metrics import spec
    from metrics.batches import arrow_schema
    from metrics.load import load

    table = spec.read()["sensor_readings"]
    now = datetime.fromisoformat(sys.argv[2])
    batch = pa.Table.from_pylist([dict(zip(table.columns, (now, n, 1, 1.0, 1.0, 1.0))) for n in range(50_000)],
                                 arrow_schema(table)).to_batches()[0]
    def batches():
        yield batch
        print("half way", flush=True)
        time.sleep(600)
        yield batch
    load(sys.argv[1], table, pa.RecordBatchReader.from_batches(batch.schema, batches()), now=now)
"""


def test_a_loader_killed_in_the_middle_of_copy_leaves_nothing_half_loaded(store: str, readings: Readings) -> None:
    command = [sys.executable, "-c", textwrap.dedent(LOADER), store, NOW.isoformat()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half way\n"
        os.kill(process.pid, signal.SIGKILL)
    assert count(store) == 0
    assert load(store, readings.hypertable, readings.table(START, 10).to_reader(), now=NOW).changed == 30


def test_a_connection_cut_in_the_middle_of_copy_is_a_transient_error(store: str, readings: Readings) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        for batch in readings.table(START, 60_000, step=timedelta(seconds=5)).to_batches(max_chunksize=20_000):
            yield batch
            with psycopg.connect(store, autocommit=True) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE query LIKE 'COPY%' AND datname = current_database()"
                )

    cut = pa.RecordBatchReader.from_batches(readings.schema, batches())
    with pytest.raises(TransientError, match="metrics server 127"):
        load(store, readings.hypertable, cut, now=NOW)
    assert count(store) == 0


def test_an_error_of_the_source_takes_the_load_back_and_is_passed_on(store: str, readings: Readings) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield from readings.table(START, 10).to_batches()
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        load(store, readings.hypertable, pa.RecordBatchReader.from_batches(readings.schema, batches()), now=NOW)
    assert count(store) == 0


def test_loaders_and_upkeep_at_once_neither_deadlock_nor_lose_a_row(
    store: str, declared: spec.Spec, readings: Readings
) -> None:
    """Four loaders write the same keys, two of them in reverse order, while upkeep runs all the time."""
    table = readings.table(START, 700)
    failures: list[BaseException] = []
    stop = threading.Event()

    def loading(number: int) -> None:
        order = pa.array(range(table.num_rows)[:: -1 if number % 2 else 1])
        for turn in range(3):
            mine = readings.table(START, 700, shift=float(number * 10 + turn)).take(order)
            load(store, readings.hypertable, mine.to_reader(max_chunksize=500), now=NOW)

    def keeping() -> None:
        while not stop.is_set():
            upkeep.run(store, declared, NOW)
            time.sleep(0.01)

    def guarded(work: Any, *values: Any) -> None:
        try:
            work(*values)
        except BaseException as error:
            failures.append(error)

    loaders = [threading.Thread(target=guarded, args=(loading, number)) for number in range(4)]
    keeper = threading.Thread(target=guarded, args=(keeping,))
    for thread in (keeper, *loaders):
        thread.start()
    for thread in loaders:
        thread.join()
    stop.set()
    keeper.join()
    assert failures == []
    held = all_rows(store, "sensor_readings")
    assert len(held) == table.num_rows
    last = {
        round(float(str(row[3])) - base[3], 6)
        for row, base in zip(held, sorted(tuple(row.values()) for row in table.to_pylist()), strict=True)
    }
    assert len(last) == 1  # one load's rows as a whole, never two loads mixed
    upkeep.run(store, declared, NOW)
    with psycopg.connect(store) as connection:
        off = connection.execute(
            "SELECT count(*) FROM metrics.sensor_readings_1h AS rolled FULL JOIN (SELECT time_bucket('1 hour', read_at)"
            " AS bucket_at, device_id, store_id, avg(temperature_celsius) AS mean FROM metrics.sensor_readings"
            " GROUP BY 1, 2, 3) AS plain USING (bucket_at, device_id, store_id)"
            " WHERE abs(temperature_celsius_avg - mean) < 1e-9 IS NOT TRUE"
        ).fetchone()
    assert off == (0,)
