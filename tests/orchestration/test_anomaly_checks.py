"""The job that finds anomalies: a warning while an incident is open, and one alert for it, however often it runs."""

import datetime

import dagster as dg
import pyarrow as pa
import pytest

from metrics import state, upkeep
from metrics.batches import arrow_schema
from metrics.load import load
from metrics.server import connected
from metrics.spec import read
from orchestration import anomaly_checks, metric_assets

HOUR = datetime.timedelta(hours=1)
STORE = dg.AssetKey(["metrics", "rollups"])
CHECKED = {("metrics", name) for name in ("rollups", "sales_hourly", "sensor_readings", "pipeline_runs")}


@pytest.fixture(scope="module")
def late(site):
    """Three weeks of freshness, in which ten tables of one source have been late for the last three hours."""
    end = datetime.datetime.now(datetime.UTC).replace(minute=0, second=0, microsecond=0)
    spec = read()
    table = spec["table_freshness"]
    rows = [
        {"measured_at": at, "source": source, "table_name": f"t{number}", "lag_s": lag + at.hour, "row_count": 1}
        for at in (end - HOUR * n for n in range(21 * 24))
        for source, lag in (("shop", 1800.0 if at < end - 3 * HOUR else 90_000.0), ("weather", 1800.0))
        for number in range(10)
    ]
    with connected(site.metrics_dsn) as connection:
        state.apply(connection, spec)
    load(site.metrics_dsn, table, pa.Table.from_pylist(rows, arrow_schema(table)).to_reader(), now=end + HOUR)
    upkeep.run(site.metrics_dsn, spec, end)
    return site


@pytest.fixture
def sent(monkeypatch):
    """The alerts that were sent."""
    alerts: list[dict[str, str]] = []
    monkeypatch.setattr(anomaly_checks, "post", alerts.append)
    return alerts


def run(definitions, instance):
    done = definitions.resolve_job_def("find_anomalies").execute_in_process(instance=instance)
    assert done.success
    return done, {tuple(one.asset_key.path): one for one in done.get_asset_check_evaluations()}


def test_an_incident_warns_at_every_look_and_alerts_once(definitions, instance, late, sent):
    _, found = run(definitions, instance)
    assert set(found) == CHECKED
    assert {key for key, one in found.items() if not one.passed} == {("metrics", "rollups")}
    said = found["metrics", "rollups"]
    assert said.severity == dg.AssetCheckSeverity.WARN
    assert said.description.startswith("shop: odd since ")
    assert said.metadata["incidents"].value == 1
    assert said.metadata["values_odd"].value == 30
    assert len(said.metadata["odd"].records) == 10
    assert [(one["event"], one["cause"], one["series"]) for one in sent] == [("anomaly", "shop", "10")]
    done, found = run(definitions, instance)
    assert not found["metrics", "rollups"].passed
    assert len(sent) == 1
    metric_assets.close_books(instance, done.run_id)
    with connected(late.metrics_dsn, read_only=True) as connection:
        recorded = connection.execute(
            "SELECT asset, severity, is_passed, message IS NOT NULL FROM metrics.check_results"
            " WHERE check_name = 'no_anomalies' AND NOT is_passed"
        ).fetchall()
    assert recorded == [("metrics/rollups", "WARN", False, True)]


def test_an_alert_that_cannot_be_sent_does_not_fail_the_job(definitions, instance, late, monkeypatch):
    with connected(late.metrics_dsn) as connection:
        connection.execute("UPDATE metrics._incidents SET began_told_at = NULL")
        connection.commit()

    def refuse(alert):
        raise OSError("connection refused")

    monkeypatch.setattr(anomaly_checks, "post", refuse)
    run(definitions, instance)
    with connected(late.metrics_dsn, read_only=True) as connection:
        assert connection.execute("SELECT began_told_at FROM metrics._incidents").fetchall() == [(None,)]


def test_a_store_that_does_not_answer_is_the_watchdogs_to_tell(definitions, instance, sent, monkeypatch):
    monkeypatch.setenv("METRICS_DSN", "postgresql://watershed@127.0.0.1:1/shop")
    _, found = run(definitions, instance)
    assert all(one.passed and one.description.startswith("cannot be judged: ") for one in found.values())
    assert sent == []


def test_the_checks_are_no_part_of_the_loads(definitions):
    for name in ("changes", "settle_day", "reconcile", "watch_metrics"):
        assert not [node for node in definitions.resolve_job_def(name).nodes if node.name == "anomalies"]
