"""Roll-ups and retention on the Apache-2 edition: exact, incremental, and never at each other's cost."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import psycopg
import pyarrow as pa
import pytest
from metrics_rows import NOW, Readings, all_rows

from metrics import spec, upkeep
from metrics.batches import arrow_schema
from metrics.load import load, oldest_kept

pytestmark = pytest.mark.edition("apache")
START = NOW - timedelta(days=5)
DAY = timedelta(days=1)

PLAIN = {
    "1h": "SELECT date_trunc('hour', read_at, 'UTC'), device_id, store_id, count(*), avg(temperature_celsius),"
    " min(temperature_celsius), max(temperature_celsius), count(temperature_celsius)"
    " FROM metrics.sensor_readings GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
}
PLAIN["1d"] = PLAIN["1h"].replace("'hour'", "'day'")


def equal_to_plain_sql(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        for bucket, query in PLAIN.items():
            plain = connection.execute(query).fetchall()  # type: ignore[arg-type]
            rolled = connection.execute(
                f"SELECT bucket_at, device_id, store_id, sample_count, temperature_celsius_avg,"  # type: ignore[arg-type]
                f" temperature_celsius_min, temperature_celsius_max, temperature_celsius_count"
                f" FROM metrics.sensor_readings_{bucket} ORDER BY 1, 2, 3"
            ).fetchall()
            assert len(plain) == len(rolled) > 0
            for expected, held in zip(plain, rolled, strict=True):
                assert held[:4] == expected[:4]
                for left, right in zip(held[4:], expected[4:], strict=True):
                    assert left is right is None or left == pytest.approx(right, rel=1e-9, abs=1e-9)


def versions(dsn: str, relation: str) -> dict[tuple[object, ...], object]:
    """Bucket and device → the transaction that wrote the row."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(f"SELECT bucket_at, device_id, xmin::text FROM metrics.{relation}")  # type: ignore[arg-type]
        return {row[:2]: row[2] for row in rows}


def test_roll_ups_equal_plain_sql_over_the_rows(store: str, declared: spec.Spec, readings: Readings) -> None:
    table = readings.table(START, 700)
    values = table.column("temperature_celsius").to_pylist()
    values[::5] = [None] * len(values[::5])
    stores = [None if n % 50 == 0 else value for n, value in enumerate(table.column("store_id").to_pylist())]
    table = table.set_column(3, "temperature_celsius", pa.array(values)).set_column(2, "store_id", pa.array(stores))
    load(store, readings.hypertable, table.to_reader(), now=NOW)
    done = [str(one) for one in upkeep.run(store, declared, NOW)]
    assert done[0].startswith("metrics.sensor_readings_1h: 118 changed buckets of 1h summed up anew, ")
    equal_to_plain_sql(store)
    assert upkeep.run(store, declared, NOW) == []


def test_sums_of_amounts_are_exact(store: str, declared: spec.Spec) -> None:
    table = declared["sales_hourly"]
    schema = arrow_schema(table)
    rows = [
        (NOW.replace(minute=0) - timedelta(hours=n), 1, 1, 2, 3, Decimal("0.10"), Decimal("0.01"), Decimal("0.09"))
        for n in range(10)
    ]
    source = pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema)
    load(store, table, source.to_reader(), now=NOW)
    upkeep.run(store, declared, NOW)
    day = datetime(2026, 6, 15, tzinfo=UTC)
    assert all_rows(store, "sales_hourly_1d") == [
        (day, 1, 10, 10, 20, 30, Decimal("1.00"), Decimal("0.10"), Decimal("0.90"))
    ]


def test_a_late_row_renews_its_own_buckets_only(store: str, declared: spec.Spec, readings: Readings) -> None:
    load(store, readings.hypertable, readings.table(START, 700).to_reader(), now=NOW)
    upkeep.run(store, declared, NOW)
    before = {name: versions(store, name) for name in ("sensor_readings_1h", "sensor_readings_1d")}
    late = START + timedelta(days=2, minutes=3)
    load(store, readings.hypertable, readings.rows((late, 2, 1, 99.0, 1.0, 1.0)).to_reader(), now=NOW)
    done = [str(one) for one in upkeep.run(store, declared, NOW)]
    assert [line.split(" summed")[0] for line in done] == [
        "metrics.sensor_readings_1h: 1 changed bucket of 1h", "metrics.sensor_readings_1d: 1 changed bucket of 1d",
    ]  # fmt: skip
    for name, held in before.items():
        after = versions(store, name)
        renewed = {bucket for (bucket, _), version in after.items() if held.get((bucket, _)) != version}
        width = "hour" if name.endswith("1h") else "day"
        assert renewed == {late.replace(minute=0, **({"hour": 0} if width == "day" else {}))}
    equal_to_plain_sql(store)


def test_a_replay_renews_nothing(store: str, declared: spec.Spec, readings: Readings) -> None:
    for _ in range(2):
        load(store, readings.hypertable, readings.table(START, 100).to_reader(), now=NOW)
        done = upkeep.run(store, declared, NOW)
    assert done == []


def test_retention_by_a_moved_clock_drops_chunks_and_keeps_roll_ups(
    store: str, declared: spec.Spec, readings: Readings
) -> None:
    load(store, readings.hypertable, readings.table(START, 700).to_reader(), now=NOW)
    upkeep.run(store, declared, NOW)
    hours, days = all_rows(store, "sensor_readings_1h"), all_rows(store, "sensor_readings_1d")
    done = [str(one) for one in upkeep.run(store, declared, NOW + 28 * DAY)]
    assert done == ["metrics.sensor_readings: 3 chunks with 1,107 rows older than 30 days dropped"]
    left = all_rows(store, "sensor_readings")
    assert left[0][0] == datetime(2026, 6, 13, tzinfo=UTC)
    assert len(left) == 2100 - 1107
    upkeep.run(store, declared, NOW + 60 * DAY)
    assert all_rows(store, "sensor_readings") == []
    assert all_rows(store, "sensor_readings_1h") == hours
    assert all_rows(store, "sensor_readings_1d") == days
    upkeep.run(store, declared, NOW + 460 * DAY)
    assert all_rows(store, "sensor_readings_1h") == []
    assert all_rows(store, "sensor_readings_1d") == days


def test_what_was_never_rolled_up_is_rolled_up_before_it_is_dropped(
    store: str, declared: spec.Spec, readings: Readings
) -> None:
    load(store, readings.hypertable, readings.table(START, 700).to_reader(), now=NOW)
    upkeep.run(store, declared, NOW + 60 * DAY)
    assert all_rows(store, "sensor_readings") == []
    assert len(all_rows(store, "sensor_readings_1h")) == 118 * 3


def test_a_clock_set_back_does_not_bring_dropped_rows_back(store: str, declared: spec.Spec, readings: Readings) -> None:
    """A part of a dropped day would replace the roll-up of the whole day."""
    load(store, readings.hypertable, readings.table(START, 700).to_reader(), now=NOW)
    upkeep.run(store, declared, NOW + 28 * DAY)
    days = all_rows(store, "sensor_readings_1d")
    loaded = load(store, readings.hypertable, readings.table(START, 10, shift=5.0).to_reader(), now=NOW)
    assert (loaded.rows, loaded.expired) == (0, 30)
    upkeep.run(store, declared, NOW)
    assert all_rows(store, "sensor_readings_1d") == days


def test_chunks_dropped_while_the_source_of_a_load_begins_stay_dropped(
    store: str, declared: spec.Spec, readings: Readings
) -> None:
    table = readings.table(START, 700)
    load(store, readings.hypertable, table.to_reader(), now=NOW)
    upkeep.run(store, declared, NOW)
    days = all_rows(store, "sensor_readings_1d")

    def batches() -> Iterator[pa.RecordBatch]:
        upkeep.run(store, declared, NOW + 28 * DAY)
        yield from readings.table(START, 10, shift=5.0).to_batches()
        yield from readings.table(NOW, 1).to_batches()

    loaded = load(store, readings.hypertable, pa.RecordBatchReader.from_batches(readings.schema, batches()), now=NOW)
    assert (loaded.rows, loaded.expired) == (3, 30)
    upkeep.run(store, declared, NOW)
    assert all_rows(store, "sensor_readings_1d")[: len(days) - 3] == days[:-3]


@pytest.mark.parametrize("seed", range(3))
def test_any_order_of_loads_replacements_and_upkeep_ends_in_the_same_roll_ups(
    store: str, declared: spec.Spec, seed: int
) -> None:
    """The model: the last accepted value of every hour, kept in a dict; its sums must be the roll-ups."""
    chance, table = random.Random(seed), declared["sales_hourly"]
    schema, model, now = arrow_schema(table), dict[tuple[datetime, int], int](), NOW
    dropped = datetime.min.replace(tzinfo=UTC)
    for _ in range(25):
        now += timedelta(hours=chance.randrange(60))
        horizon = max(oldest_kept(table, now), dropped)
        keys = {
            (now.replace(minute=0) - timedelta(hours=chance.randrange(900)), chance.randrange(3))
            for _ in range(chance.randrange(1, 40))
        }
        new = {key: chance.randrange(1000) for key in keys}
        since = now - timedelta(hours=chance.randrange(900)) if chance.random() < 0.3 else None
        rows = [(*key, 1, 1, value, Decimal(value), Decimal(0), Decimal(value)) for key, value in new.items()]
        source = pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema)
        load(store, table, source.to_reader(), now=now, replace_from=since)
        accepted = {key: value for key, value in new.items() if key[0] >= horizon}
        if since is not None:
            gone = [key for key in model if key[0] >= max(since, horizon) and key not in accepted]
            for key in gone:
                del model[key]
        model |= accepted
        if chance.random() < 0.4:
            upkeep.run(store, declared, now)
            with psycopg.connect(store) as connection:
                found = connection.execute(
                    "SELECT dropped_before FROM metrics._state WHERE hypertable = 'sales_hourly'"
                )
                dropped = (found.fetchone() or (None,))[0] or dropped
    upkeep.run(store, declared, now)
    days: dict[tuple[datetime, int], list[int]] = {}
    for (at, shop), value in model.items():
        days.setdefault((at.replace(hour=0), shop), []).append(value)
    assert [(row[0], row[1], row[2], row[5]) for row in all_rows(store, "sales_hourly_1d")] == [
        (*key, len(values), sum(values)) for key, values in sorted(days.items())
    ]
    assert len(all_rows(store, "sales_hourly_1h")) == len(model)
