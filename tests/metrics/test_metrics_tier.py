"""Tiering: rows leave the server only once the lake has them, checked, and the roll-ups have them, too."""

from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from metrics_rows import NOW, Readings, all_rows
from tier_cases import DAY, LATER, RANGES, START, book, cold_files, fill, hot, in_lake, moving, of, prepared, tiered

from lake import cold, commit, read
from lake.errors import PermanentError
from lake.layout import Lake
from metrics import spec, state, tier, tier_reload, upkeep
from metrics.batches import arrow_schema
from metrics.load import load
from metrics.server import connected

ROLLED = """
    SELECT string_agg(concat_ws(' ', bucket_at, device_id, sample_count, round(temperature_celsius_avg::numeric, 9)),
        ',' ORDER BY bucket_at, device_id) FROM metrics.sensor_readings_1h
"""


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def test_what_is_past_its_time_lies_in_the_lake_exactly_and_no_longer_in_the_server(
    store: str, declared: spec.Spec, readings: Readings, lake: Lake
) -> None:
    rows = fill(store, readings)
    before = all_rows(store, "sensor_readings")
    done = [str(one) for one in upkeep.run(store, tiered(declared), LATER, lake) if "moved" in one.what]
    first = "2026-06-10 00:00 to 2026-06-11 00:00 UTC"
    assert done[0] == f"metrics.sensor_readings: {first}: 144 rows older than 30 days moved to the lake"
    assert len(done) == 4
    assert book(store) == [(range.start, 144, True) for range in RANGES[:4]]
    assert (hot(store)[0], in_lake(lake)) == (rows - 576, 576)
    with read.connect(lake) as connection:
        relation = read.relation(lake, cold.address("sensor_readings"))
        columns = ", ".join(readings.hypertable.columns)
        found = connection.execute(f"SELECT {columns} FROM {relation} ORDER BY read_at, device_id").fetchall()
    assert found + all_rows(store, "sensor_readings") == before
    again = [one for one in upkeep.run(store, tiered(declared), LATER, lake) if "lake" in one.what]
    assert again == []


def test_cold_files_are_zstd_sorted_by_segment_and_time_and_lie_under_their_year(
    store: str, declared: spec.Spec, readings: Readings, lake: Lake
) -> None:
    fill(store, readings)
    tier.run(store, lake, tiered(declared).hypertables[0], LATER)
    path = cold_files(lake)[0].path
    assert path.startswith("year=2026/part-")
    file = pq.ParquetFile(f"{lake.root}/metrics_cold/sensor_readings/{path}")
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    rows = file.read(columns=["device_id", "read_at"]).to_pylist()
    assert rows == sorted(rows, key=lambda row: (row["device_id"], -row["read_at"].timestamp()))


def test_every_type_comes_back_as_it_was(store: str, declared: spec.Spec, lake: Lake) -> None:
    columns = {
        "at": {"type": "timestamptz", "description": "x"},
        "n": {"type": "integer", "description": "x"},
        "big": {"type": "bigint", "description": "x"},
        "amount": {"type": "numeric(30,4)", "description": "x"},
        "value": {"type": "double precision", "description": "x"},
        "is_on": {"type": "boolean", "description": "x"},
        "said": {"type": "text", "description": "x"},
    }
    one = spec.Hypertable(
        name="kinds", description="x", time="at", key=("at", "n"), segment_by=("n",), columns=columns,
        chunk_interval="1 day", compress_after="7 days", drop_after="30 days", tier=True,
    )  # fmt: skip
    with connected(store) as connection:
        state.apply(connection, spec.Spec(hypertables=(one,)))
    values = [
        (START, 1, 2**62, Decimal("99999999999999999999999999.9999"), 0.1, True, "é\n'\"\\"),
        (START + timedelta(microseconds=1), 2, -(2**62), Decimal("-0.0001"), -0.0, False, ""),
        (START + timedelta(hours=23), 3, None, None, None, None, None),
    ]
    rows = pa.Table.from_pylist([dict(zip(columns, row, strict=True)) for row in values], arrow_schema(one))
    load(store, one, rows.to_reader(), now=NOW)
    (done,) = tier.run(store, lake, one, LATER)
    assert done.count == 1
    assert all_rows(store, "kinds") == []
    tier_reload.run(store, lake, one, START.date(), START.date(), LATER)
    assert all_rows(store, "kinds") == values


def test_without_a_lake_nothing_is_dropped_and_a_sentence_says_so(
    store: str, declared: spec.Spec, readings: Readings
) -> None:
    rows = fill(store, readings)
    said = [str(one) for one in upkeep.run(store, tiered(declared), LATER) if "lake" in one.what]
    assert said == [
        "metrics.sensor_readings: 4 ranges past their time are not dropped: they go to the lake first, and LAKE_ROOT is"
        " not set"
    ]
    assert hot(store)[0] == rows


def test_rows_that_change_after_the_copy_keep_their_range_until_it_is_copied_again(
    store: str, declared: spec.Spec, readings: Readings, lake: Lake
) -> None:
    fill(store, readings)
    prepared(store, tiered(declared))
    with moving(store, lake, tiered(declared)) as mover:
        mover.checked(RANGES[0])
        mover.sum_up(RANGES[0])
        late = readings.rows((START + timedelta(minutes=7), 9, 1, 1.0, 1.0, 1.0))
        load(store, readings.hypertable, late.to_reader(), now=NOW)
        mover.sum_up(RANGES[0])
        assert mover.leave(RANGES[0]) == "its rows changed since they were copied (144 then, 145 now)"
        assert book(store) == [(START, 144, False)]
        assert mover.move(RANGES[0]).count == 1
    assert book(store) == [(START, 145, True)]
    assert in_lake(lake) == 145


@pytest.mark.edition("apache")
def test_the_server_itself_refuses_to_drop_what_is_not_in_the_roll_ups_or_not_copied(
    store: str, declared: spec.Spec, readings: Readings, lake: Lake
) -> None:
    fill(store, readings)
    prepared(store, tiered(declared))
    ends = f"'{RANGES[0].start}', '{RANGES[0].end}', '{LATER}'"
    assert of(store, f"SELECT metrics._leave('sensor_readings', {ends})") == (
        "it has no copy in the lake that waits for this",
    )
    with moving(store, lake, tiered(declared)) as mover:
        mover.checked(RANGES[0])
    assert of(store, f"SELECT metrics._leave('sensor_readings', {ends})") == ("its roll-ups are not up to date",)
    assert hot(store)[0] == 720


def test_roll_ups_hold_what_was_dropped_also_of_rows_that_came_in_just_before(
    store: str, declared: spec.Spec, readings: Readings, lake: Lake
) -> None:
    rows = fill(store, readings)
    upkeep.run(store, tiered(declared), LATER, lake)
    assert of(store, "SELECT sum(sample_count) FROM metrics.sensor_readings_1d") == (rows,)
    assert of(store, "SELECT sum(sample_count) FROM metrics.sensor_readings_1h") == (rows,)


def test_a_truncated_or_altered_copy_is_never_the_reason_to_drop(
    store: str, declared: spec.Spec, readings: Readings, lake: Lake
) -> None:
    rows = fill(store, readings)
    one = tiered(declared).hypertables[0]
    prepared(store, tiered(declared))
    with moving(store, lake, tiered(declared)) as mover:
        mover.checked(RANGES[0])
    (path,) = Path(lake.root).rglob("*.parquet")
    content = path.read_bytes()
    middle = len(content) // 2
    flipped = bytes(byte ^ 0xFF for byte in content[middle : middle + 40])
    path.write_bytes(content[:middle] + flipped + content[middle + 40 :])
    assert [done.count for done in tier.run(store, lake, one, LATER - 3 * DAY)] == [1]  # copied anew, then dropped
    whole = [path.read_bytes() for path in Path(lake.root).rglob("*.parquet")]
    assert len(whole) == 2
    assert (hot(store)[0], book(store)) == (rows - 144, [(START, 144, True)])
    with read.connect(lake) as connection:
        columns = {field.name: field.type for field in readings.schema}
        assert cold.digest(connection, lake, "sensor_readings", RANGES[0], columns).rows == 144


def test_a_copy_that_never_verifies_drops_nothing_and_says_which(
    store: str, declared: spec.Spec, readings: Readings, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = fill(store, readings)

    def spoilt(*given: object, **named: object) -> object:
        done = copied(*given, **named)  # type: ignore[arg-type]
        for path in Path(lake.root).rglob("*.parquet"):
            path.write_bytes(path.read_bytes()[:-100])
        return done

    copied = cold.copy
    monkeypatch.setattr(cold, "copy", spoilt)
    said = [one for one in upkeep.run(store, tiered(declared), LATER, lake) if "dropped" in one.what]
    assert [one.count for one in said] == [0]
    assert said[0].what.startswith("nothing is dropped: lake table metrics_cold/sensor_readings: file year=2026/part-")
    assert hot(store)[0] == rows
    assert book(store) == []


def test_rows_put_by_hand_into_a_range_that_has_gone_do_not_replace_it(
    store: str, declared: spec.Spec, readings: Readings, lake: Lake
) -> None:
    fill(store, readings)
    one = tiered(declared).hypertables[0]
    tier.run(store, lake, one, LATER)
    of(store, f"INSERT INTO metrics.sensor_readings VALUES ('{START}', 99, 1, 1, 1, 1) RETURNING 1")
    (done,) = tier.run(store, lake, one, LATER)
    assert done.count == 0
    assert "`watershed metrics reload sensor_readings --from 2026-06-10 --to 2026-06-11`" in done.what
    tier_reload.run(store, lake, one, START.date(), START.date(), LATER)
    assert [done.count for done in tier.run(store, lake, one, LATER + 8 * DAY) if "06-10" in done.what[:24]] == [1]
    assert book(store)[0] == (START, 145, True)


def test_a_range_loaded_back_is_as_it_was_is_kept_and_leaves_again_without_a_copy(
    store: str, declared: spec.Spec, readings: Readings, lake: Lake
) -> None:
    fill(store, readings)
    before = all_rows(store, "sensor_readings")
    one = tiered(declared).hypertables[0]
    upkeep.run(store, tiered(declared), LATER, lake)
    rolled = of(store, ROLLED)
    said = tier_reload.run(store, lake, one, RANGES[0].start.date(), RANGES[3].start.date(), LATER)
    assert [done.count for done in said] == [144] * 4
    assert all_rows(store, "sensor_readings") == before
    version = commit.table(lake, cold.address("sensor_readings")).version()  # type: ignore[union-attr]
    upkeep.run(store, tiered(declared), LATER + 6 * DAY, lake)
    assert [gone for _, _, gone in book(store)][:4] == [False] * 4
    later = LATER + 8 * DAY
    upkeep.run(store, tiered(declared), later, lake)
    assert all(gone for _, _, gone in book(store))
    assert hot(store)[0] == 0
    assert commit.table(lake, cold.address("sensor_readings")).version() == version + 1  # type: ignore[union-attr]
    assert of(store, ROLLED) == rolled


def test_a_reload_of_what_the_lake_no_longer_holds_as_copied_loads_nothing(
    store: str, declared: spec.Spec, readings: Readings, lake: Lake
) -> None:
    fill(store, readings)
    one = tiered(declared).hypertables[0]
    tier.run(store, lake, one, LATER)
    nothing = lambda *_: readings.schema.empty_table().to_batches()  # noqa: E731
    cold.copy(lake, "sensor_readings", RANGES[0], nothing, readings.schema, ["read_at"], {})
    with pytest.raises(PermanentError, match=r"the lake no longer holds 2026-06-10 00:00 to .* nothing was loaded"):
        tier_reload.run(store, lake, one, START.date(), START.date(), LATER)
    with pytest.raises(PermanentError, match="no range between 2020-01-01 and 2020-01-02 is in the lake only"):
        tier_reload.run(store, lake, one, date(2020, 1, 1), date(2020, 1, 2), LATER)
    assert book(store)[0] == (START, 144, True)
    assert hot(store)[0] == 144


def test_chunks_smaller_than_a_bucket_of_a_roll_up_leave_together(
    store: str, declared: spec.Spec, readings: Readings, lake: Lake
) -> None:
    hourly = declared["sensor_readings"].model_copy(update={"tier": True, "chunk_interval": timedelta(hours=5)})
    with connected(store) as connection:
        connection.execute("SELECT set_chunk_time_interval('metrics.sensor_readings', interval '5 hours')")
        connection.commit()
    rows = fill(store, readings)
    tier.run(store, lake, hourly, LATER)
    starts = [start for start, _, gone in book(store) if gone]
    assert starts
    assert all(start.hour == 0 for start in starts)
    assert hot(store)[0] + in_lake(lake) == rows
    assert of(store, "SELECT sum(sample_count) FROM metrics.sensor_readings_1d") == (rows,)


def test_a_reader_that_does_not_end_delays_the_drop_and_not_the_loads(
    store: str, declared: spec.Spec, readings: Readings, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, readings)
    monkeypatch.setattr(tier, "PATIENCE", "100 milliseconds")
    with psycopg.connect(store) as reader:
        reader.execute("SELECT count(*) FROM metrics.sensor_readings")
        said = tier.run(store, lake, tiered(declared).hypertables[0], LATER - 3 * DAY)
    assert said[0].what.endswith("the server drops it once the queries that run now have ended")
    assert [done.count for done in tier.run(store, lake, tiered(declared).hypertables[0], LATER - 3 * DAY)] == [1]


def test_a_copy_that_breaks_while_its_range_is_on_its_way_brings_the_servers_rows_back(
    store: str, declared: spec.Spec, readings: Readings, lake: Lake
) -> None:
    rows = fill(store, readings)
    one = tiered(declared).hypertables[0]
    prepared(store, tiered(declared))
    with moving(store, lake, tiered(declared)) as mover:
        mover.checked(RANGES[0])
        mover.sum_up(RANGES[0])
        assert mover.leave(RANGES[0]) is None
    (path,) = Path(lake.root).rglob("*.parquet")
    path.write_bytes(path.read_bytes()[:-50])
    assert book(store) == [(START, 144, True)]
    assert [done.count for done in tier.run(store, lake, one, LATER - 3 * DAY)] == [1]
    assert (hot(store)[0], in_lake(lake)) == (rows - 144, 144)
