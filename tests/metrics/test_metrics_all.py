"""One view over hot and cold rows: which rows it shows, when it reads the book, what it reads of the lake."""

import json
from pathlib import Path

import duckdb
import psycopg
import pytest
from metrics_rows import Readings
from tier_cases import DAY, LATER, RANGES, analyst, cold_files, fill, hot, of, prepared, tiered, whole

from lake.errors import PlatformError
from lake.layout import Lake
from metrics import spec, tier
from warehouse import access, catalogue


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.setenv("LAKE_ROOT", str(tmp_path / "lake"))
    return Lake(str(tmp_path / "lake"))


def test_hot_and_cold_are_one_table_before_between_and_after(
    store: str, declared: spec.Spec, readings: Readings, lake: Lake
) -> None:
    rows, one = fill(store, readings), tiered(declared).hypertables[0]
    prepared(store, tiered(declared))
    with analyst(store) as before:
        expected = whole(before)
        assert expected[0] == expected[2] == rows
        tier.run(store, lake, one, LATER - 2 * DAY)
        with pytest.raises(duckdb.InvalidInputException, match="rows have moved to the lake since this session began"):
            whole(before)
    with analyst(store) as after:
        assert whole(after) == expected
        tier.run(store, lake, one, LATER)
        assert hot(store)[0] == rows - 576
        assert whole(after) == expected
        assert whole(after, " WHERE device_id > ?", [0]) == expected
        types = [
            [row[:2] for row in after.execute(f"DESCRIBE {home}.sensor_readings").fetchall()]
            for home in ("metrics_all", "metrics_store")
        ]
        assert types[0] == types[1]
        listed = catalogue.tables(after, {}, "metrics_all.sensor_*")
        assert listed is not None
        assert ("metrics_all", "sensor_readings") in [row[:2] for row in listed.fetchall()]


def test_a_condition_on_the_time_reads_no_rows_of_other_times(
    store: str, declared: spec.Spec, readings: Readings, lake: Lake
) -> None:
    """Held by its effect: the rows of the other days' files are spoilt, and their footers are not."""
    fill(store, readings)
    tier.run(store, lake, tiered(declared).hypertables[0], LATER)
    for file in cold_files(lake):
        if "2026-06-11T" not in json.loads(file.stats)["minValues"]["read_at"]:
            with (Path(lake.root) / "metrics_cold" / "sensor_readings" / file.path).open("r+b") as spoilt:
                spoilt.seek(4)
                spoilt.write(b"\xff" * 200)
    with analyst(store) as session:
        day = f" WHERE read_at >= '{RANGES[1].start}' AND read_at < '{RANGES[1].end}'"
        assert whole(session, day)[0] == whole(session, day)[2] == 144
        with pytest.raises(duckdb.Error):
            whole(session)


@pytest.mark.parametrize("first", ["metrics_store", "metrics_all"])
def test_a_transaction_in_duckdb_is_one_snapshot_of_the_server_over_all_its_connections(
    store: str, declared: spec.Spec, readings: Readings, lake: Lake, first: str
) -> None:
    """Also what was only explained fixes it: the book is asked for while a statement is prepared."""
    rows = fill(store, readings)
    tier.run(store, lake, tiered(declared).hypertables[0], LATER - 3 * DAY)
    with psycopg.connect(store, autocommit=True) as writer:
        writer.execute(
            "CREATE TABLE metrics.wide AS SELECT n, repeat('x', 500) AS x FROM generate_series(1, 40000) AS n"
        )
        writer.execute("ANALYZE metrics.wide")
        with analyst(store) as session:
            session.execute("BEGIN")
            if first == "metrics_all":
                session.execute("EXPLAIN SELECT count(*) FROM metrics_all.sensor_readings").fetchall()
            else:
                session.execute("SELECT count(*) FROM metrics_store._cold").fetchall()
            writer.execute("DELETE FROM metrics.wide WHERE n % 2 = 0")
            writer.execute("DELETE FROM metrics.sensor_readings WHERE device_id = 1")
            wide = "SELECT count(*), max(length(x)) FROM metrics_store.wide"
            assert session.execute(wide).fetchall() == [(40000, 500)]
            used = of(
                store,
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'watershed-sql'"
                " AND datname = current_database()",
            )
            assert used[0] > 1  # type: ignore[operator]
            assert whole(session)[0] == rows
            session.execute("COMMIT")
            assert session.execute(wide).fetchall() == [(20000, 500)]
            assert whole(session)[0] == 144 + (rows - 144) // 3 * 2


def test_the_book_is_read_before_the_lake_is_opened(
    store: str, declared: spec.Spec, readings: Readings, lake: Lake
) -> None:
    """Held by its effect: where the lake cannot be opened, the server has been asked already."""
    fill(store, readings)
    tier.run(store, lake, tiered(declared).hypertables[0], LATER - 3 * DAY)
    asked = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%_cold%dropped_at%'"
    )
    with analyst(store) as session:
        log = Path(lake.root) / "metrics_cold" / "sensor_readings" / "_delta_log"
        session.execute("BEGIN")
        session.execute("SELECT count(*) FROM metrics_store.sales_hourly").fetchall()
        before = of(store, asked + " AND application_name = 'watershed-sql'")
        log.rename(log.with_name("away"))
        with pytest.raises(duckdb.Error):
            session.execute("EXPLAIN SELECT count(*) FROM metrics_all.sensor_readings")
        after = of(store, asked + " AND application_name = 'watershed-sql'")
        session.execute("ROLLBACK")
    assert (before, after) == ((0,), (1,))


def test_without_a_lake_hot_rows_are_shown_until_some_have_left(
    store: str, declared: spec.Spec, readings: Readings, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = fill(store, readings)
    prepared(store, tiered(declared))
    tier.run(store, lake, tiered(declared).hypertables[0], LATER - 3 * DAY)
    monkeypatch.delenv("LAKE_ROOT")
    with analyst(store, "lake") as session:
        with pytest.raises(duckdb.Error, match=r"a part of its rows lies in the lake .LAKE_ROOT: is not set.; set"):
            whole(session)
        assert session.execute("SELECT count(*) FROM metrics_store.sensor_readings").fetchall() == [(rows - 144,)]
        assert session.execute("SELECT count(*) FROM metrics_all.sales_hourly").fetchall() == [(0,)]


def test_a_server_that_is_down_is_said_of_both_names(monkeypatch: pytest.MonkeyPatch, lake: Lake) -> None:
    monkeypatch.setenv("METRICS_READER_DSN", "postgresql://nobody:none@127.0.0.1:1/none")
    connection = access.empty()
    _, missing = access.prepare(connection)
    connection.close()
    assert {name: str(error).split(";")[0] for name, error in missing.items()} == dict.fromkeys(
        ("metrics_store", "metrics_all"), "metrics store: does not answer"
    )
    assert all(isinstance(error, PlatformError) for error in missing.values())
