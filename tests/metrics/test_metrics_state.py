"""Declared state against a real server: applied once, found drifted, refused where rows would be at risk."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from metrics_rows import NOW, Readings, address, all_rows
from psycopg.conninfo import conninfo_to_dict

from lake.errors import AccessDenied, PermanentError, TransientError
from metrics import spec, state, upkeep
from metrics.load import load, watermark
from metrics.server import connected, require_version


def run(dsn: str, *statements: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)  # type: ignore[arg-type]


def drift(dsn: str, declared: spec.Spec) -> list[str]:
    with connected(dsn) as connection:
        return [str(change) for change in state.drift(connection, declared)]


def test_applying_twice_changes_nothing_the_second_time(store: str, declared: spec.Spec) -> None:
    with connected(store) as connection:
        again = state.apply(connection, declared)
    assert [change for change in again if not change.is_note] == []
    assert drift(store, declared) == []


def test_a_plan_changes_nothing(bare_dsn: str, declared: spec.Spec) -> None:
    run(bare_dsn, "CREATE EXTENSION timescaledb")
    with connected(bare_dsn) as connection:
        first = [str(change) for change in state.plan(connection, declared)]
        assert first == [str(change) for change in state.plan(connection, declared)]
        assert connection.execute("SELECT to_regnamespace('metrics')").fetchone() == (None,)
    assert "metrics.sensor_readings: create hypertable with key (read_at, device_id) and chunks of 1 day" in first


@pytest.mark.edition("apache")
def test_what_the_edition_lacks_is_said_in_plan_and_status(store: str, declared: spec.Spec) -> None:
    says = "compression: not available in the Apache-2 edition (rows older than 7 days would be compressed)"
    with connected(store) as connection:
        notes = [change.what for change in state.plan(connection, declared) if change.is_note]
    assert notes == [says] * len(declared.hypertables)
    assert all(says in one.policies for one in state.status(store, declared, NOW))


def test_the_server_has_keys_types_chunks_and_comments_as_declared(store: str) -> None:
    with psycopg.connect(store) as connection:
        chunks = connection.execute(
            "SELECT hypertable_name, time_interval FROM timescaledb_information.dimensions"
            " WHERE hypertable_name IN ('sensor_readings', 'sales_hourly', 'pipeline_runs')"
        ).fetchall()
        kinds = connection.execute(
            "SELECT column_name, data_type, numeric_precision, numeric_scale FROM information_schema.columns"
            " WHERE table_schema = 'metrics' AND table_name = 'sales_hourly_1d' AND column_name LIKE '%amount_sum'"
        ).fetchall()
        comment = connection.execute("SELECT col_description('metrics.sensor_readings'::regclass, 4)").fetchone()
    assert dict(chunks) == {
        "sensor_readings": timedelta(days=1), "sales_hourly": timedelta(days=7), "pipeline_runs": timedelta(days=7),
    }  # fmt: skip
    assert sorted(kinds) == [(f"{name}_amount_sum", "numeric", 38, 2) for name in ("discount", "net", "sales")]
    assert comment == ("Air temperature. Unit: °C.",)


@pytest.mark.edition("apache")
@pytest.mark.parametrize(
    ("by_hand", "says"),
    [
        ("SELECT set_chunk_time_interval('metrics.sensor_readings', interval '3 days')",
         "metrics.sensor_readings: chunks of 1 day instead of 3 days, from the next one on"),
        ("DROP INDEX metrics.sensor_readings_device_id_read_at_idx",
         "metrics.sensor_readings: create index on (device_id, read_at)"),
        ("COMMENT ON COLUMN metrics.sensor_readings.pressure_hpa IS 'x'",
         "metrics.sensor_readings: write descriptions and units"),
        ("ALTER TABLE metrics.sensor_readings DROP COLUMN pressure_hpa",
         "metrics.sensor_readings: add column pressure_hpa (double precision)"),
        ("ALTER TABLE metrics.sales_hourly_1d DROP COLUMN quantity_sum",
         "metrics.sales_hourly_1d: add column quantity_sum (bigint)"),
        ("ALTER TABLE metrics.sales_hourly ADD COLUMN note text",
         "metrics.sales_hourly: drop column note, which is not declared"),
        ("ALTER TABLE metrics.sales_hourly DROP CONSTRAINT sales_hourly_pkey",
         "metrics.sales_hourly: key (sold_at, store_id) instead of none"),
        ("ALTER TABLE metrics.sales_hourly ALTER COLUMN quantity TYPE integer",
         "metrics.sales_hourly: column quantity becomes bigint instead of integer"),
        ("ALTER TABLE metrics.sales_hourly ALTER COLUMN quantity SET NOT NULL",
         "metrics.sales_hourly: column quantity may be NULL"),
        ("DROP TABLE metrics._dirty", "metrics._dirty: create the table in which the platform keeps its books"),
    ],
)  # fmt: skip
def test_drift_is_found_and_mended(store: str, declared: spec.Spec, by_hand: str, says: str) -> None:
    run(store, by_hand)
    assert says in drift(store, declared)
    with connected(store) as connection:
        state.apply(connection, declared)
    assert drift(store, declared) == []


@pytest.mark.edition("community")
@pytest.mark.parametrize(
    ("by_hand", "says"),
    [
        ("ALTER TABLE metrics.sales_hourly SET (timescaledb.orderby = 'sold_at')",
         "metrics.sales_hourly: columnstore by (store_id) in the order (sold_at DESC), of chunks compressed from now"),
        ("COMMENT ON COLUMN metrics.sales_hourly_1h.quantity_sum IS 'x'",
         "metrics.sales_hourly_1h: write descriptions and units"),
        ("SELECT remove_retention_policy('metrics.sales_hourly_1d')", "metrics.sales_hourly_1d: drop rows older than"),
        ("ALTER TABLE metrics.sales_hourly DROP COLUMN quantity CASCADE",
         "metrics.sales_hourly: add column quantity (bigint)"),
        ("DROP MATERIALIZED VIEW metrics.sales_hourly_1d", "metrics.sales_hourly_1d: create continuous aggregate"),
    ],
)  # fmt: skip
def test_drift_of_native_state_is_found_and_mended(store: str, declared: spec.Spec, by_hand: str, says: str) -> None:
    run(store, by_hand)
    assert [line for line in drift(store, declared) if line.startswith(says)]
    with connected(store) as connection:
        state.apply(connection, declared)
    assert drift(store, declared) == []


@pytest.mark.edition("community")
def test_a_policy_that_somebody_added_is_told_and_left_alone(store: str, declared: spec.Spec) -> None:
    run(store, "SELECT add_reorder_policy('metrics.sales_hourly', 'sales_hourly_pkey')")
    (told,) = drift(store, declared)
    assert told.startswith("metrics.sales_hourly: has a policy that is not declared, reorder (job ")
    with connected(store) as connection:
        state.apply(connection, declared, allow_data_loss=True)
    assert drift(store, declared) == [told]
    run(store, told.split("`")[1])
    assert drift(store, declared) == []


@pytest.mark.edition("apache")
def test_a_roll_up_lost_by_hand_is_filled_again_from_the_rows(
    store: str, declared: spec.Spec, readings: Readings
) -> None:
    load(store, readings.hypertable, readings.table(NOW - timedelta(days=3), 300).to_reader(), now=NOW)
    upkeep.run(store, declared, NOW)
    before = all_rows(store, "sensor_readings_1h")
    run(store, "DROP TABLE metrics.sensor_readings_1h")
    with connected(store) as connection:
        state.apply(connection, declared)
    upkeep.run(store, declared, NOW)
    assert len(before) > 100
    assert all_rows(store, "sensor_readings_1h") == before


@pytest.mark.edition("apache")
@pytest.mark.parametrize(
    ("by_hand", "says"),
    [
        ("DROP TABLE metrics.sales_hourly; CREATE TABLE metrics.sales_hourly (sold_at timestamptz)",
         "is a plain table, not a hypertable"),
        ("DROP TABLE metrics.sales_hourly; CREATE VIEW metrics.sales_hourly AS SELECT 1", "is a view, not a table"),
    ],
)  # fmt: skip
def test_a_table_of_another_shape_is_refused_and_left_as_it_is(
    store: str, declared: spec.Spec, by_hand: str, says: str
) -> None:
    run(store, by_hand)
    before = all_columns(store)
    with (
        connected(store) as connection,
        pytest.raises(PermanentError, match=rf"metrics\.sales_hourly: {says}.*; rename"),
    ):
        state.apply(connection, declared)
    assert all_columns(store) == before


def all_columns(dsn: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(
            "SELECT table_name, column_name, data_type FROM information_schema.columns"
            " WHERE table_schema = 'metrics' ORDER BY 1, 2"
        ).fetchall()


@pytest.mark.edition("apache")
def test_the_status_counts_rows_chunks_and_what_waits(store: str, declared: spec.Spec, readings: Readings) -> None:
    load(store, readings.hypertable, readings.table(NOW - timedelta(days=3), 300).to_reader(), now=NOW, watermark="w1")
    found = state.status(store, declared, NOW)[0]
    assert (found.name, found.edition, found.rows, found.is_exact) == ("metrics.sensor_readings", "apache", 900, True)
    assert found.chunks == 3
    assert found.bytes > 0
    assert found.oldest == NOW - timedelta(days=3)
    assert found.newest == NOW - timedelta(days=3) + timedelta(minutes=10) * 299
    assert (found.watermark, watermark(store, "sensor_readings")) == ("w1", "w1")
    assert [one.waiting for one in found.rollups] == [51, 3]
    assert found.rollups[0].waiting_from == datetime(2026, 6, 12, 10, tzinfo=UTC)
    upkeep.run(store, declared, NOW)
    assert [one.waiting for one in state.status(store, declared, NOW)[0].rollups] == [0, 0]


def test_a_store_that_was_never_applied_says_so(bare_dsn: str, declared: spec.Spec) -> None:
    run(bare_dsn, "CREATE EXTENSION timescaledb")
    found = state.status(bare_dsn, declared, NOW)
    assert [one.is_applied for one in found] == [False] * len(declared.hypertables)
    assert watermark(bare_dsn, "sales_hourly") is None


def test_a_database_without_the_extension_is_one_sentence(bare_dsn: str, declared: spec.Spec) -> None:
    with connected(bare_dsn) as connection, pytest.raises(PermanentError, match="has no TimescaleDB; let an admin"):
        state.plan(connection, declared)


def test_a_server_that_is_too_old_is_one_sentence() -> None:
    require_version("2.19.3")
    require_version("3.0.0-dev")
    with pytest.raises(PermanentError, match=r"TimescaleDB 2\.18\.2 is too old; update it to 2\.19"):
        require_version("2.18.2")


def test_no_server_wrong_password_and_unknown_database_are_told_apart(store: str, declared: spec.Spec) -> None:
    secret = str(conninfo_to_dict(store)["password"])
    for dsn, kind, says in (
        (address(store, port="1"), TransientError, "does not answer"),
        (address(store, password="wr0ng-secret"), AccessDenied, "refuses user or password"),
        (address(store, dbname="t_no_such"), PermanentError, "the database does not exist"),
    ):
        with pytest.raises(kind, match=says) as caught:
            state.status(dsn, declared, NOW)
        assert secret not in str(caught.value)
        assert "wr0ng" not in str(caught.value)
    with pytest.raises(PermanentError, match="is not a PostgreSQL address") as caught:
        state.status(f"postgresql://a:{secret}@[", declared, NOW)
    assert secret not in str(caught.value)


@pytest.mark.edition("apache")
def test_a_missing_right_is_one_sentence(store: str, declared: spec.Spec) -> None:
    run(store, "REVOKE ALL ON SCHEMA metrics FROM CURRENT_USER")
    try:
        with pytest.raises(AccessDenied, match="permission denied for schema metrics; grant the user"):
            upkeep.run(store, declared, NOW)
    finally:
        run(store, "GRANT ALL ON SCHEMA metrics TO CURRENT_USER")
