"""The watchdog: whatever is done to the store behind its back is found at the next look, and its mend mends it."""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from metrics_rows import Readings, address, emptied

from lake.errors import TransientError
from lake.layout import Lake
from metrics import due, spec, state, tier, upkeep, watch
from metrics.finding import BACKLOG, CLOCK, DRIFT, ERRORS, LAG, MEMORY, OF_HYPERTABLE, POLICIES, Finding, Limits
from metrics.load import load
from metrics.server import connected

NOW = datetime.now(UTC).replace(microsecond=0)  # policies go by the server's clock, so these tests do, too
DAY = timedelta(days=1)
MIDNIGHT = NOW.replace(hour=0, minute=0, second=0)  # rows from here on fill as many chunks at any hour of the day
APPLY = "mend it with `watershed metrics apply`, after a look at `watershed metrics plan`"

Look = Callable[..., dict[str, Finding]]


@pytest.fixture(scope="session")
def sensors(declared: spec.Spec) -> spec.Spec:
    """The declaration of sensor_readings, whose chunks are just dropped; tests of tiering say so."""
    return declared.model_copy(
        update={"hypertables": (declared["sensor_readings"].model_copy(update={"tier": False}),)}
    )


@pytest.fixture
def store(metrics_dsn: str, sensors: spec.Spec) -> str:
    return emptied(metrics_dsn, sensors)


@pytest.fixture
def look(store: str, sensors: spec.Spec) -> Look:
    """One look at the store: the findings on sensor_readings and on the clock, by check."""

    def looked(now: datetime = NOW, **options: object) -> dict[str, Finding]:
        options.setdefault("clock", datetime.now(UTC))
        found = watch.findings(store, sensors, now, **options)  # type: ignore[arg-type]
        return {one.check: one for one in found if one.hypertable or one.check == CLOCK}

    return looked


def failing(found: dict[str, Finding]) -> list[str]:
    return [check for check, finding in found.items() if not finding.ok]


def run(dsn: str, *statements: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)  # type: ignore[arg-type]


def mend(dsn: str, finding: Finding) -> None:
    """Run the SQL that the finding names."""
    statements = re.findall(r"`((?:SELECT|CALL) [^`]+)`", finding.mend)
    assert statements, finding.mend
    run(dsn, *statements)


def keep(dsn: str, sensors: spec.Spec, now: datetime = NOW) -> None:
    """What the schedules do: the platform's upkeep, and the server's policies where it has them."""
    upkeep.run(dsn, sensors, now)
    with psycopg.connect(dsn, autocommit=True) as connection:
        query = "SELECT job_id FROM timescaledb_information.jobs WHERE hypertable_schema = 'metrics' ORDER BY 1"
        for job in connection.execute(query).fetchall():
            connection.execute("CALL run_job(%s)", job)


def job_of(dsn: str, procedure: str, relation: str = "sensor_readings") -> int:
    with psycopg.connect(dsn) as connection:
        query = "SELECT job_id FROM timescaledb_information.jobs WHERE proc_name = %s AND hypertable_name = %s"
        (job,) = connection.execute(query, (procedure, relation)).fetchone() or (0,)
        return int(job)


def test_a_store_that_is_kept_has_nothing_to_mend(
    store: str, sensors: spec.Spec, readings: Readings, look: Look
) -> None:
    load(store, readings.hypertable, readings.table(MIDNIGHT - 5 * DAY, 700).to_reader(), now=NOW)
    keep(store, sensors)
    found = look()
    assert failing(found) == []
    assert set(found) == {*OF_HYPERTABLE, CLOCK}
    assert found[MEMORY].what.startswith("5 chunks, the newest with ")


def test_what_was_never_applied_is_told_once(store: str, look: Look) -> None:
    run(store, "DROP SCHEMA metrics CASCADE")
    found = look()
    assert failing(found) == [DRIFT]
    assert "create hypertable" in found[DRIFT].what


def test_a_store_of_an_older_version_is_to_be_applied_and_no_error(store: str, look: Look) -> None:
    run(store, "ALTER TABLE metrics._dirty DROP COLUMN marked_at", "ALTER TABLE metrics._state DROP COLUMN upkeep_s")
    assert set(failing(look())) <= {DRIFT}
    assert all(one.mend == APPLY for one in look().values() if not one.ok)


@pytest.mark.parametrize(
    ("by_hand", "says"),
    [
        ("DROP INDEX metrics.sensor_readings_device_id_read_at_idx", "create index on (device_id, read_at)"),
        ("SELECT set_chunk_time_interval('metrics.sensor_readings', INTERVAL '9 days')", "chunks of 1 day instead of"),
    ],
)
def test_a_change_by_hand_is_found_and_applying_mends_it(
    store: str, sensors: spec.Spec, look: Look, by_hand: str, says: str
) -> None:
    assert failing(look()) == []
    run(store, by_hand)
    found = look()
    assert failing(found) == [DRIFT]
    assert says in found[DRIFT].what
    assert found[DRIFT].mend == APPLY
    with connected(store) as connection:
        state.apply(connection, sensors)
    assert failing(look()) == []


@pytest.mark.edition("apache")
def test_roll_ups_that_are_behind_are_found_and_upkeep_mends_it(
    store: str, sensors: spec.Spec, readings: Readings, look: Look
) -> None:
    load(store, readings.hypertable, readings.table(MIDNIGHT - 5 * DAY, 700).to_reader(), now=NOW)
    assert failing(look()) == []
    assert due.due(store, sensors, NOW, timedelta(minutes=20)) == []
    run(store, "UPDATE metrics._dirty SET marked_at = marked_at - INTERVAL '61 minutes' WHERE rollup = '1h'")
    found = look()
    assert failing(found) == [LAG]
    assert re.match(r"roll-up 1h lacks 11[78] changed buckets, the first since ", found[LAG].what)
    assert "`watershed metrics upkeep`" in found[LAG].mend
    (said,) = due.due(store, sensors, NOW, timedelta(minutes=20))
    assert re.fullmatch(r"sensor_readings_1h: 11[78] changed buckets", said)
    upkeep.run(store, sensors, NOW)
    assert failing(look()) == []


@pytest.mark.edition("apache")
def test_upkeep_that_stopped_is_found_with_its_last_success_and_duration(
    store: str, sensors: spec.Spec, readings: Readings, look: Look
) -> None:
    upkeep.run(store, sensors, NOW)
    load(store, readings.hypertable, readings.table(NOW - DAY, 10).to_reader(), now=NOW)
    run(
        store,
        "UPDATE metrics._dirty SET marked_at = marked_at - INTERVAL '3 hours'",
        "UPDATE metrics._state SET refreshed_at = refreshed_at - INTERVAL '4 hours', upkeep_s = 1.5",
    )
    found = look()
    assert failing(found) == [POLICIES, LAG]
    assert re.match(
        r"the platform's upkeep last ran \S+ \S+ UTC, in 1.5 s; something is due since", found[POLICIES].what
    )
    upkeep.run(store, sensors, NOW)
    found = look()
    assert failing(found) == []
    assert 0 < float(found[POLICIES].figures["duration_s"]) < 60


@pytest.mark.edition("apache")
def test_upkeep_that_failed_is_told_with_its_error_until_it_succeeds(
    store: str, sensors: spec.Spec, readings: Readings, look: Look
) -> None:
    load(store, readings.hypertable, readings.table(NOW - DAY, 10).to_reader(), now=NOW)
    run(store, "ALTER TABLE metrics.sensor_readings_1h RENAME TO away")
    with pytest.raises(Exception, match="sensor_readings_1h"):
        upkeep.run(store, sensors, NOW)
    run(store, "ALTER TABLE metrics.away RENAME TO sensor_readings_1h")
    found = look()
    assert failing(found) == [ERRORS]
    assert 'relation "metrics.sensor_readings_1h" does not exist' in found[ERRORS].what
    upkeep.run(store, sensors, NOW)
    assert failing(look()) == []


@pytest.mark.edition("apache")
def test_retention_that_did_not_run_is_found_and_upkeep_mends_it(
    store: str, sensors: spec.Spec, readings: Readings, look: Look
) -> None:
    load(store, readings.hypertable, readings.table(MIDNIGHT - 5 * DAY, 700).to_reader(), now=NOW)
    upkeep.run(store, sensors, NOW)
    later = NOW + 28 * DAY
    found = look(later)
    assert failing(found) == [BACKLOG]
    assert re.match(
        r"[23] chunks of metrics.sensor_readings should have been dropped after 30 days", found[BACKLOG].what
    )
    upkeep.run(store, sensors, later)
    assert failing(look(later)) == []


def test_a_tiered_range_that_did_not_go_is_found_and_tiering_mends_it(
    store: str, sensors: spec.Spec, readings: Readings, tmp_path: Path
) -> None:
    tiered = sensors.model_copy(update={"hypertables": (readings.hypertable.model_copy(update={"tier": True}),)})
    with connected(store) as connection:
        state.apply(connection, tiered)
    load(store, readings.hypertable, readings.table(NOW - 5 * DAY, 60).to_reader(), now=NOW)
    later = NOW + 40 * DAY

    def backlog() -> list[Finding]:
        found = watch.findings(store, tiered, later, clock=datetime.now(UTC))
        return [one for one in found if not one.ok and one.check in (BACKLOG, ERRORS)]

    (found,) = backlog()
    assert "should have gone to the lake after 30 days (0 of them copied)" in found.what
    assert "`watershed metrics tier`" in found.mend
    assert due.due(store, tiered, later, DAY)[0].endswith("to go to the lake")
    upkeep.run(store, tiered, later)  # without a lake
    assert [one.check for one in backlog()] == [ERRORS, BACKLOG]
    tier.run(store, Lake(str(tmp_path / "lake")), tiered["sensor_readings"], later)
    upkeep.run(store, tiered, later, Lake(str(tmp_path / "lake")))
    assert backlog() == []


def test_a_chunk_too_large_for_the_servers_memory_names_the_interval_that_fits(
    store: str, readings: Readings, look: Look
) -> None:
    load(store, readings.hypertable, readings.table(MIDNIGHT - DAY, 60).to_reader(), now=NOW)
    found = look(limits=Limits(memory_share=0.0001))
    assert failing(found) == [MEMORY]
    assert "its newest chunk has 0.1 MB with indexes" in found[MEMORY].what
    assert found[MEMORY].mend.startswith("raise shared_buffers to ")  # chunks of a day are the shortest there may be
    found = look(limits=Limits(lock_share=0))
    assert "shorten drop_after in metrics/hypertables.yml" in found[MEMORY].mend


def test_chunks_that_fit_one_by_one_but_not_together_are_found() -> None:
    found = [Finding(MEMORY, name, True, "", figures={"hot_bytes": size * 2**20, "memory_bytes": 100 * 2**20})
             for name, size in (("one", 40), ("two", 70))]  # fmt: skip
    told = watch.watch_chunks.together(found)
    assert not told.ok
    assert told.what == "the newest chunks of all hypertables have 110.0 MB of 100.0 MB"
    assert told.mend == "raise shared_buffers to 110 MB or more, or shorten chunk_interval, first of two"
    assert watch.watch_chunks.together(found[:1]).ok


def test_long_chunks_without_roll_ups_are_to_be_shorter() -> None:
    table = spec.read()["lake_tables"]
    assert "`chunk_interval: 14 days`" in watch.watch_chunks.smaller(table, 200, 100)


@pytest.mark.parametrize(("hours", "way"), [(1, "behind"), (-1, "ahead of")])
def test_a_clock_that_is_off_is_found(look: Look, hours: int, way: str) -> None:
    found = look(clock=datetime.now(UTC) + timedelta(hours=hours))
    assert failing(found) == [CLOCK]
    assert re.match(rf"the metrics server's clock is 3,(600|599|601) s {way} this machine's", found[CLOCK].what)
    assert "timedatectl" in found[CLOCK].mend


def test_a_metrics_server_that_is_down_is_one_sentence(metrics_dsn: str, sensors: spec.Spec) -> None:
    with pytest.raises(TransientError, match=r"does not answer .*; start the server or check METRICS_DSN"):
        watch.findings(address(metrics_dsn, port="1"), sensors, NOW)


@pytest.mark.edition("community")
@pytest.mark.parametrize(
    ("by_hand", "says"),
    [
        ("scheduled => false", "is switched off"),
        ("schedule_interval => INTERVAL '30 days'", "runs only every 30 days, more than 1 day apart"),
        ("next_start => now() + INTERVAL '1 year'", "is put off until"),
    ],
)
def test_a_job_that_was_stopped_is_found_and_the_sql_named_starts_it(
    store: str, look: Look, by_hand: str, says: str
) -> None:
    assert failing(look()) == []
    job = job_of(store, "policy_retention")
    run(store, f"SELECT alter_job({job}, {by_hand})")
    found = look()
    assert POLICIES in failing(found)
    assert says in found[POLICIES].what
    mend(store, found[POLICIES])
    assert failing(look()) == []


@pytest.mark.edition("community")
def test_a_policy_changed_by_hand_is_found_and_applying_mends_it(store: str, sensors: spec.Spec, look: Look) -> None:
    job = job_of(store, "policy_retention")
    changed = 'config => config || \'{"drop_after": "90 days"}\''
    run(store, f"SELECT alter_job(job_id, {changed}) FROM timescaledb_information.jobs WHERE job_id = {job}")
    found = look()
    assert failing(found) == [DRIFT]
    with connected(store) as connection:
        state.apply(connection, sensors)
    assert failing(look()) == []


@pytest.mark.edition("community")
def test_jobs_that_nobody_runs_are_found_and_well_again_once_the_workers_are_back(store: str, look: Look) -> None:
    job = job_of(store, "policy_retention")
    run(store, f"SELECT alter_job({job}, next_start => now() - INTERVAL '1 hour')")
    found = look()
    assert failing(found) == [POLICIES]
    assert "and has not run" in found[POLICIES].what
    try:
        mend(store, found[POLICIES])
        end = time.monotonic() + 60
        while failing(found := look()) and time.monotonic() < end:
            time.sleep(0.2)
        assert failing(found) == []
        assert "ran" in str(found[POLICIES].figures["retention_sensor_readings"])
    finally:
        run(store, "SELECT _timescaledb_functions.stop_background_workers()")


@pytest.mark.edition("community")
def test_chunks_that_policies_left_are_found_and_the_sql_named_mends_it(
    store: str, readings: Readings, look: Look
) -> None:
    load(store, readings.hypertable, readings.table(NOW - 69 * DAY, 60).to_reader(), now=NOW - 40 * DAY)
    found = look()
    assert BACKLOG in failing(found)
    assert "should have been dropped after" in found[BACKLOG].what
    mend(store, found[BACKLOG])
    assert look()[BACKLOG].ok


@pytest.mark.edition("community")
def test_late_rows_in_an_old_chunk_are_found_at_once_and_the_sql_named_mends_it(
    store: str, readings: Readings, look: Look
) -> None:
    load(store, readings.hypertable, readings.table(NOW - 20 * DAY, 300).to_reader(), now=NOW)
    run(store, f"CALL run_job({job_of(store, 'policy_compression')})")
    for bucket in ("1h", "1d"):
        job = job_of(store, "policy_refresh_continuous_aggregate", f"sensor_readings_{bucket}")
        run(store, f"CALL run_job({job})")
    assert failing(look()) == []
    late = readings.rows((NOW - 19 * DAY, 2, 1, 99.0, 1.0, 1.0))
    load(store, readings.hypertable, late.to_reader(), now=NOW)
    found = look()
    assert failing(found) == [LAG, BACKLOG]
    assert found[BACKLOG].severity == "WARN"
    assert found[BACKLOG].what.startswith("1 chunk took in late rows that are not compressed yet")
    mend(store, found[BACKLOG])
    mend(store, found[LAG])
    assert failing(look()) == []
