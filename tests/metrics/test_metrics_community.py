"""The community edition: the server's own policies do what the platform's jobs do elsewhere.

Run where METRICS_COMMUNITY_DSN is given: Debian has no package of that edition. Policies go by the server's clock, so
these tests do too.
"""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from metrics_rows import Readings, all_rows

from lake.errors import PermanentError
from metrics import spec, state, upkeep
from metrics.load import load
from metrics.server import connected

pytestmark = pytest.mark.edition("community")
NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def community(store: str) -> str:
    """No job runs by itself there: each runs when the test says so."""
    return store


def run_job(dsn: str, procedure: str, relation: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        jobs = connection.execute(
            "SELECT job_id FROM timescaledb_information.jobs WHERE proc_name = %s AND hypertable_name = %s",
            (procedure, relation),
        ).fetchall()
        assert len(jobs) == 1
        connection.execute("CALL run_job(%s)", jobs[0])


def overdue(dsn: str, declared: spec.Spec) -> int:
    done = upkeep.run(dsn, declared, NOW)
    return next(one.count for one in done if one.what.startswith("native columnstore after 7 days: "))


def drift(dsn: str, declared: spec.Spec) -> list[str]:
    with connected(dsn) as connection:
        return [str(change) for change in state.drift(connection, declared)]


def test_applying_twice_changes_nothing_and_leaves_no_note(community: str, declared: spec.Spec) -> None:
    with connected(community) as connection:
        assert state.apply(connection, declared) == []


def test_old_chunks_are_compressed_and_loading_into_them_is_idempotent(
    community: str, declared: spec.Spec, readings: Readings
) -> None:
    table = readings.table(NOW - timedelta(days=20), 2500)
    load(community, readings.hypertable, table.to_reader(), now=NOW)
    assert overdue(community, declared) in (10, 11)
    run_job(community, "policy_compression", "sensor_readings")
    assert overdue(community, declared) == 0
    assert load(community, readings.hypertable, table.to_reader(), now=NOW).changed == 0
    other = readings.table(NOW - timedelta(days=20), 5, shift=1.0)
    assert load(community, readings.hypertable, other.to_reader(), now=NOW).changed == 15
    assert len(all_rows(community, "sensor_readings")) == table.num_rows


@pytest.mark.parametrize(
    ("by_hand", "says"),
    [
        ("SELECT remove_retention_policy('metrics.sales_hourly')",
         "metrics.sales_hourly: drop rows older than 30 days (retention policy, 2 days late so that all is summed up)"),
        ("SELECT alter_job(job_id, config => config || '{\"drop_after\": \"90 days\"}') FROM"
         " timescaledb_information.jobs WHERE proc_name = 'policy_retention' AND hypertable_name = 'sales_hourly'",
         "metrics.sales_hourly: drop rows older than 30 days (retention policy, 2 days late so that all is summed up)"),
        ("CALL remove_columnstore_policy('metrics.sales_hourly')",
         "metrics.sales_hourly: compress rows older than 7 days (columnstore policy)"),
        ("SELECT remove_continuous_aggregate_policy('metrics.sales_hourly_1d')",
         "metrics.sales_hourly_1d: refresh every 20 minutes (continuous aggregate policy)"),
        ("DROP MATERIALIZED VIEW metrics.sales_hourly_1d",
         "metrics.sales_hourly_1d: create continuous aggregate in buckets of 1d"),
    ],
)  # fmt: skip
def test_a_policy_changed_by_hand_is_found_and_mended(
    community: str, declared: spec.Spec, by_hand: str, says: str
) -> None:
    with psycopg.connect(community, autocommit=True) as connection:
        connection.execute(by_hand)  # type: ignore[arg-type]
    assert says in drift(community, declared)
    with connected(community) as connection:
        state.apply(connection, declared)
    assert drift(community, declared) == []


def test_roll_ups_kept_by_the_platforms_own_jobs_are_refused_not_replaced(community: str, declared: spec.Spec) -> None:
    with psycopg.connect(community, autocommit=True) as connection:
        connection.execute("DROP MATERIALIZED VIEW metrics.sales_hourly_1d")
        connection.execute("CREATE TABLE metrics.sales_hourly_1d (bucket_at timestamptz)")
    with pytest.raises(PermanentError, match=r"metrics\.sales_hourly_1d: is kept by the platform's own jobs"):
        drift(community, declared)


def test_the_status_names_the_edition_and_what_the_policies_left_undone(community: str, declared: spec.Spec) -> None:
    found = next(one for one in state.status(community, declared, NOW) if one.name == "metrics.sales_hourly")
    assert found.edition == "community"
    assert found.policies == (
        "native retention after 30 days: 0 chunks overdue",
        "native columnstore after 7 days: 0 chunks overdue",
        "roll-up 1h: continuous aggregate with a refresh policy",
        "roll-up 1d: continuous aggregate with a refresh policy",
    )
