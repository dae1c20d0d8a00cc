"""One behaviour on every edition: what is loaded is rolled up, late or not, kept as declared, and asked in one way."""

import random
from datetime import datetime, timedelta

import psycopg
import pytest
from probe import (
    DAY,
    DECLARED,
    HOUR,
    NOW,
    PROBE,
    UNITS,
    asked,
    keep,
    plain,
    put,
    rolled,
    rows,
    run_job,
    table,
    written,
)

from lake.errors import ContractBroken
from metrics import spec, state
from metrics.load import oldest_kept
from metrics.rollup import finest_first, rollup_columns
from metrics.server import connected

STEP = timedelta(minutes=20)
LATE = (None, "anna", 1, 1234.5, 7, 1, True)


@pytest.fixture
def probed(metrics_dsn: str) -> str:
    """The DSN of a database in which the probe's hypertable is applied and empty."""
    with connected(metrics_dsn) as connection:
        connection.execute("DROP SCHEMA IF EXISTS metrics CASCADE")
        connection.commit()
        state.apply(connection, DECLARED)
    return metrics_dsn


def equal_to_plain_sql(dsn: str) -> None:
    for bucket in finest_first(PROBE):
        expected, held = plain(dsn, bucket), rolled(dsn, bucket)
        assert [row[:3] for row in held] == [row[:3] for row in expected], bucket
        for left, right in zip(held, expected, strict=True):
            for one, other in zip(left, right, strict=True):
                assert one == (pytest.approx(other, rel=1e-9, abs=1e-9) if isinstance(other, float) else other), bucket


def floored(at: datetime, bucket: spec.Bucket) -> datetime:
    at = at.replace(second=0, microsecond=0)
    return at if bucket == "1m" else at.replace(minute=0) if bucket == "1h" else at.replace(minute=0, hour=0)


def test_roll_ups_equal_plain_sql_over_the_rows(probed: str) -> None:
    put(probed, rows(NOW - 3 * DAY, 216, STEP))
    keep(probed)
    assert len(plain(probed, "1m")) == 432
    equal_to_plain_sql(probed)


def test_roll_ups_have_the_same_names_and_types_on_every_edition(probed: str) -> None:
    for bucket in finest_first(PROBE):
        found = asked(
            probed,
            "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped"
            f" AND attrelid = 'metrics.probe_{bucket}'::regclass ORDER BY attnum",
        )
        spoken = {"timestamp with time zone": "timestamptz", "numeric": "numeric(38,2)"}
        held = [(name, spoken.get(str(kind), kind)) for name, kind in found]
        declared = [(column.name, column.type.replace("(18,2)", "(38,2)")) for column in rollup_columns(PROBE)]
        assert held == declared


def test_late_rows_change_exactly_the_buckets_that_they_fall_in(probed: str) -> None:
    put(probed, rows(NOW - 20 * DAY, 1440, STEP))
    keep(probed)
    before = {bucket: set(written(probed, bucket)) for bucket in finest_first(PROBE)}
    late = [NOW - 19 * DAY + timedelta(seconds=17), NOW - 9 * DAY + timedelta(seconds=23)]
    put(probed, table(*((at, *LATE[1:]) for at in late)))
    keep(probed)
    for bucket, held in before.items():
        renewed = {at for at, _, _ in set(written(probed, bucket)) - held}
        assert renewed == {floored(at, bucket) for at in late}, bucket
        assert len(held) > 20
    equal_to_plain_sql(probed)


def test_the_oldest_row_that_a_load_takes_in_is_in_the_roll_ups(probed: str) -> None:
    put(probed, rows(NOW - 5 * DAY, 20, STEP))
    keep(probed)
    put(probed, table((oldest_kept(PROBE, NOW), *LATE[1:]), (oldest_kept(PROBE, NOW) - HOUR, *LATE[1:])))
    keep(probed)
    assert asked(probed, "SELECT min(seen_at) FROM metrics.probe") == [(oldest_kept(PROBE, NOW),)]
    equal_to_plain_sql(probed)


def test_a_replay_writes_nothing_anew(probed: str) -> None:
    source = rows(NOW - 12 * DAY, 400, STEP)
    put(probed, source)
    keep(probed)
    before = [set(written(probed, bucket)) for bucket in finest_first(PROBE)]
    assert put(probed, source).changed == 0
    keep(probed)
    assert [set(written(probed, bucket)) for bucket in finest_first(PROBE)] == before


def test_rows_that_go_leave_their_buckets_as_they_are(probed: str) -> None:
    """Loaded as of forty days ago; what is past its time by now goes, in whatever order and how often jobs run."""
    before = NOW - 40 * DAY
    put(probed, rows(before - 10 * DAY, 1000, STEP), now=before)
    if asked(probed, "SHOW timescaledb.license") == [("timescale",)]:
        with psycopg.connect(probed, autocommit=True) as connection:
            for name in PROBE.rollup_names.values():
                connection.execute(f"CALL refresh_continuous_aggregate('metrics.{name}', NULL, NULL)")  # type: ignore[arg-type]
    else:
        keep(probed, before)
    equal_to_plain_sql(probed)
    hours, days = rolled(probed, "1h"), rolled(probed, "1d")
    put(probed, rows(NOW - 3 * DAY, 216, STEP, seed=2))
    keep(probed)
    keep(probed)
    kept = asked(probed, "SELECT min(seen_at), count(*) FROM metrics.probe")
    assert kept == [(NOW - 3 * DAY, 864)]
    assert rolled(probed, "1h")[: len(hours)] == hours
    assert rolled(probed, "1d")[: len(days)] == days
    assert len(plain(probed, "1d")) + len(days) == len(rolled(probed, "1d"))


def test_rows_within_their_time_are_never_dropped(probed: str) -> None:
    put(probed, rows(oldest_kept(PROBE, NOW), 700, HOUR))
    keep(probed)
    assert asked(probed, "SELECT count(*) FROM metrics.probe") == [(2800,)]


@pytest.mark.parametrize("seed", range(2))
def test_any_order_of_loads_and_jobs_ends_in_the_same_roll_ups(probed: str, seed: int) -> None:
    chance = random.Random(seed)
    for turn in range(6):
        first = NOW - timedelta(hours=chance.randrange(24, 24 * 29))
        put(probed, rows(first, chance.randrange(1, 60), timedelta(minutes=chance.choice([7, 20, 60])), turn))
        if chance.random() < 0.5:
            keep(probed)
    keep(probed)
    equal_to_plain_sql(probed)


def test_percentiles_are_at_most_one_percent_off_the_rows(probed: str) -> None:
    put(probed, rows(NOW - 6 * DAY, 432, STEP))
    keep(probed)
    for bucket, unit in UNITS.items():
        for share in (0, 0.01, 0.25, 0.5, 0.95, 0.999, 1):
            exact = asked(
                probed,
                f"SELECT percentile_disc({share}) WITHIN GROUP (ORDER BY pull) FROM metrics.probe"
                f" GROUP BY date_trunc('{unit}', seen_at, 'UTC'), machine"
                f" ORDER BY date_trunc('{unit}', seen_at, 'UTC'), machine",
            )
            read = asked(
                probed,
                f"SELECT metrics.percentile(pull_sketch, {share}) FROM metrics.probe_{bucket}"
                " ORDER BY bucket_at, machine",
            )
            assert read == [(row[0] if row[0] is None else pytest.approx(row[0], rel=0.01 + 1e-9),) for row in exact]


def test_sketches_of_hours_merge_into_that_of_all_rows(probed: str) -> None:
    put(probed, rows(NOW - 6 * DAY, 432, STEP))
    keep(probed)
    whole = asked(probed, "SELECT metrics.sketch(metrics.bin(pull)) FROM metrics.probe")
    for bucket in UNITS:
        assert asked(probed, f"SELECT metrics.merge(pull_sketch) FROM metrics.probe_{bucket}") == whole


def test_a_sketch_takes_every_number_and_leaves_out_what_is_none(probed: str) -> None:
    numbers = [-1.7976931348623157e308, -3.0, -1e-300, 0.0, 5e-324, 1e-9, 1.0, 1.0201, 7e11, 1.7976931348623157e308]
    values = ", ".join(f"({number!r}::double precision)" for number in numbers)
    values += ", ('NaN'), ('-Infinity'), (NULL)"
    spread = f"SELECT metrics.sketch(metrics.bin(v)) AS sketch FROM (VALUES {values}) AS t (v)"
    for rank, number in enumerate(numbers, 1):
        ((read,),) = asked(probed, f"SELECT metrics.percentile(sketch, {rank / len(numbers)}) FROM ({spread}) AS s")
        assert read == pytest.approx(number, rel=0.01 + 1e-9)
    assert asked(probed, "SELECT metrics.percentile(metrics.sketch(metrics.bin(NULL)), 0.5)") == [(None,)]
    assert asked(probed, "SELECT metrics.merge(s) FROM (SELECT NULL::bigint[]) AS t (s)") == [(None,)]


def test_many_sketches_are_merged_without_growing(probed: str) -> None:
    merged = asked(
        probed,
        "WITH parts AS (SELECT part, metrics.sketch(metrics.bin(part * value)) AS sketch"
        " FROM generate_series(1, 300) AS part, generate_series(1, 100) AS value GROUP BY part)"
        " SELECT metrics.merge(sketch) = (SELECT metrics.sketch(metrics.bin(part * value)) FROM generate_series(1, 300)"
        " AS part, generate_series(1, 100) AS value) FROM parts",
    )
    assert merged == [(True,)]


def test_a_percentile_that_is_none_is_one_sentence(probed: str) -> None:
    with pytest.raises(ContractBroken, match="percentile 95: is not between 0 and 1"), connected(probed) as connection:
        connection.execute("SELECT metrics.percentile('{40001,1}', 95)")


def test_an_analyst_asks_both_editions_the_same(probed: str) -> None:
    """Roll-ups by name, time_bucket on them, averages and percentiles of a longer time than theirs."""
    put(probed, rows(NOW - 6 * DAY, 432, STEP))
    keep(probed)
    asks = {
        "SELECT time_bucket('6 hours', bucket_at) AS at, sum(hits_sum)::bigint, sum(cost_sum), max(pull_max),"
        " sum(pull_sum) / sum(pull_count), last(pull_last, bucket_at) FROM metrics.probe_1h WHERE machine = 'berta'"
        " GROUP BY 1 ORDER BY 1":
        "SELECT time_bucket('6 hours', seen_at) AS at, sum(hits)::bigint, sum(cost), max(pull), avg(pull),"
        " (array_agg(pull ORDER BY seen_at DESC, port DESC) FILTER (WHERE pull IS NOT NULL))[1]"
        " FROM metrics.probe WHERE machine = 'berta'"
        " GROUP BY 1 ORDER BY 1",
        "SELECT machine, round(metrics.percentile(metrics.merge(hits_sketch), 0.9)::numeric, -2) FROM metrics.probe_1d"
        " GROUP BY 1 ORDER BY 1":
        "SELECT machine, round((percentile_disc(0.9) WITHIN GROUP (ORDER BY hits))::numeric, -2) FROM metrics.probe"
        " GROUP BY 1 ORDER BY 1",
        "SELECT time_bucket('7 days', bucket_at, 'Europe/Berlin'), machine, sum(is_up_count_true)::bigint"
        " FROM metrics.probe_1h GROUP BY 1, 2 ORDER BY 1, 2":
        "SELECT time_bucket('7 days', seen_at, 'Europe/Berlin'), machine, count(*) FILTER (WHERE is_up)"
        " FROM metrics.probe GROUP BY 1, 2 ORDER BY 1, 2",
    }  # fmt: skip
    for of_rollup, of_rows in asks.items():
        held, expected = asked(probed, of_rollup), asked(probed, of_rows)
        assert len(held) > 1
        for left, right in zip(held, expected, strict=True):
            assert [pytest.approx(one, rel=1e-9) if isinstance(one, float) else one for one in left] == list(right)


@pytest.mark.parametrize("by_hand", [
    "DROP AGGREGATE metrics.merge(bigint[])",
    "CREATE OR REPLACE FUNCTION metrics.sketched(bins integer[]) RETURNS bigint[] LANGUAGE sql"
    " AS 'SELECT NULL::bigint[]'",
])  # fmt: skip
def test_functions_changed_by_hand_are_drift_and_mended(metrics_dsn: str, by_hand: str) -> None:
    bare = spec.Spec(hypertables=(PROBE.model_copy(update={"rollups": None}),))
    with connected(metrics_dsn) as connection:
        connection.execute("DROP SCHEMA IF EXISTS metrics CASCADE")
        connection.commit()
        state.apply(connection, bare)
        connection.execute(by_hand)  # type: ignore[arg-type]
        connection.commit()
        says = "metrics.percentile: create the functions that make, merge and read sketches"
        assert [str(change) for change in state.drift(connection, bare)] == [says]
        connection.commit()
        state.apply(connection, bare)
        assert state.drift(connection, bare) == []


@pytest.mark.edition("community")
def test_what_is_declared_is_seen_among_the_servers_jobs(probed: str) -> None:
    found = asked(
        probed,
        "SELECT coalesce(view_name, job.hypertable_name), proc_name, schedule_interval,"
        " (config ->> 'drop_after')::interval, (config ->> 'compress_after')::interval,"
        " (config ->> 'start_offset')::interval, (config ->> 'end_offset')::interval"
        " FROM timescaledb_information.jobs AS job LEFT JOIN timescaledb_information.continuous_aggregates"
        " ON job.hypertable_name IN (materialization_hypertable_name, view_name) WHERE job_id >= 1000",
    )
    minutes = timedelta(minutes=1)
    assert {(row[0], row[1]): tuple(one for one in row[3:] if one is not None) for row in found} == {
        ("probe", "policy_compression"): (7 * DAY,),
        ("probe", "policy_retention"): (32 * DAY,),
        ("probe_1m", "policy_refresh_continuous_aggregate"): (32 * DAY, minutes),
        ("probe_1h", "policy_refresh_continuous_aggregate"): (32 * DAY + HOUR, HOUR),
        ("probe_1d", "policy_refresh_continuous_aggregate"): (33 * DAY + HOUR, DAY),
        ("probe_1m", "policy_retention"): (32 * DAY + HOUR,),
        ("probe_1h", "policy_retention"): (400 * DAY,),
        ("probe_1d", "policy_retention"): (1200 * DAY,),
    }
    assert {row[0]: row[2] for row in found if "refresh" in str(row[1])} == {
        "probe_1m": 5 * minutes, "probe_1h": 15 * minutes, "probe_1d": 15 * minutes,
    }  # fmt: skip


@pytest.mark.edition("community")
def test_late_rows_in_compressed_chunks_are_rolled_up_too(probed: str) -> None:
    source = rows(NOW - 20 * DAY, 720, STEP)
    put(probed, source)
    keep(probed)
    compressed = "SELECT count(*) FROM timescaledb_information.chunks WHERE is_compressed AND hypertable_name = 'probe'"
    assert asked(probed, compressed) > [(8,)]
    changed = rows(NOW - 20 * DAY, 5, STEP, seed=9)
    assert put(probed, changed).changed > 10
    put(probed, table((NOW - 15 * DAY - timedelta(seconds=1), *LATE[1:])))
    assert put(probed, source.slice(40)).changed == 0
    keep(probed)
    equal_to_plain_sql(probed)


@pytest.mark.edition("community")
def test_what_goes_to_the_lake_has_no_retention_policy(probed: str) -> None:
    tiered = spec.Spec(hypertables=(PROBE.model_copy(update={"tier": True}),))
    with connected(probed) as connection:
        says = "metrics.probe: no retention policy: chunks are dropped once they are in the lake"
        assert says in [str(change) for change in state.drift(connection, tiered)]
        connection.commit()
        state.apply(connection, tiered)
        assert state.drift(connection, tiered) == []
        jobs = "SELECT count(*) FROM timescaledb_information.jobs WHERE hypertable_name = 'probe' AND proc_name = %s"
        assert connection.execute(jobs, ("policy_retention",)).fetchone() == (0,)


@pytest.mark.edition("community")
def test_another_order_of_compressed_rows_is_drift(probed: str) -> None:
    with connected(probed) as connection:
        connection.execute("ALTER TABLE metrics.probe SET (timescaledb.orderby = 'seen_at')")
        connection.commit()
        says = (
            "metrics.probe: columnstore by (machine) in the order (port,seen_at DESC), of chunks compressed from now on"
        )
        assert [str(change) for change in state.drift(connection, DECLARED)] == [says]
        connection.commit()
        state.apply(connection, DECLARED)
        assert state.drift(connection, DECLARED) == []


@pytest.mark.edition("community")
def test_buckets_outlive_rows_that_were_dropped_by_hand(probed: str) -> None:
    """What the policies reach back to is what they keep; the job may run as often as it likes."""
    before = NOW - 34 * DAY
    put(probed, rows(before - 2 * DAY, 144, STEP), now=before)
    with psycopg.connect(probed, autocommit=True) as connection:
        for name in PROBE.rollup_names.values():
            connection.execute(f"CALL refresh_continuous_aggregate('metrics.{name}', NULL, NULL)")  # type: ignore[arg-type]
    days = rolled(probed, "1d")
    run_job(probed, "policy_retention", "probe")
    assert asked(probed, "SELECT count(*) FROM metrics.probe") < [(576,)]
    for bucket in finest_first(PROBE):
        run_job(probed, "policy_refresh_continuous_aggregate", f"probe_{bucket}")
    assert rolled(probed, "1d") == days
