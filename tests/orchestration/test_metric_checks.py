"""The watchdog's job: each look judges store and servers, tells the mend, and is written down; upkeep only when due."""

import datetime

import dagster as dg
import psycopg
import pytest
from psycopg import sql

from metrics import state
from metrics.finding import OF_HYPERTABLE
from metrics.server import connected
from metrics.spec import read
from orchestration import metric_assets, metric_checks, metric_upkeep

STORE = dg.AssetKey(["metrics", "rollups"])
PASSWORD = "pass-me-not"
DEAD = f"postgresql://watershed:{PASSWORD}@127.0.0.1:1/shop"


@pytest.fixture(scope="module")
def applied(site):
    """The site's metrics store as declared."""
    with connected(site.metrics_dsn) as connection:
        state.apply(connection, read())
    return site


@pytest.fixture
def look(definitions, instance):
    """Run the job once and close its books; the failed checks with what they say."""

    def looked() -> dict[tuple[str, str], str]:
        done = definitions.resolve_job_def("watch_metrics").execute_in_process(instance=instance)
        assert done.success
        metric_assets.close_books(instance, done.run_id)
        looked.run_id = done.run_id
        evaluations = done.get_asset_check_evaluations()
        return {
            (one.asset_key.path[-1], one.check_name): one.description or "" for one in evaluations if not one.passed
        }

    return looked


def rows(dsn: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(query)
        return cursor.fetchall() if cursor.description else []


NOTHING_YET = {("rollups", "servers_answer")}  # nothing is loaded or published in this site


def test_a_look_passes_on_a_store_as_declared_and_is_written_down(applied, look):
    failed = look()
    assert set(failed) == NOTHING_YET
    found = rows(
        applied.metrics_dsn,
        f"SELECT asset, check_name, is_passed FROM metrics.check_results WHERE run_id = '{look.run_id}'",
    )
    assert len(found) == 4 * len(OF_HYPERTABLE) + 2
    assert {one[:2] for one in found if not one[2]} == {("metrics/rollups", "servers_answer")}
    assert rows(applied.metrics_dsn, "SELECT DISTINCT server, kind, is_up FROM metrics.server_stats ORDER BY 1") == [
        ("lake", "folder", False),
        ("metrics", "postgres", True),
        ("run_storage", "sqlite", True),
        ("shop", "postgres", True),
        ("warehouse", "file", False),
    ]


def test_recording_a_look_again_adds_nothing(applied, look, instance):
    look()
    before = rows(applied.metrics_dsn, "SELECT count(*) FROM metrics.check_results")
    metric_assets.close_books(instance, look.run_id)
    assert rows(applied.metrics_dsn, "SELECT count(*) FROM metrics.check_results") == before


def test_what_is_changed_by_hand_fails_at_the_next_look_and_passes_after_its_mend(applied, look):
    index = "sensor_readings_device_id_read_at_idx"
    with psycopg.connect(applied.metrics_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP INDEX metrics.{}").format(sql.Identifier(index)))
    failed = look()
    assert set(failed) == {*NOTHING_YET, ("sensor_readings", "as_declared")}
    said = failed["sensor_readings", "as_declared"]
    assert "create index on (device_id, read_at)" in said
    assert "`watershed metrics apply`" in said
    with connected(applied.metrics_dsn) as connection:
        state.apply(connection, read())
    assert set(look()) == NOTHING_YET


def test_a_server_that_is_down_is_a_row_and_a_failed_check_without_its_password(applied, look, monkeypatch):
    monkeypatch.setenv("SHOP_DSN", DEAD)
    said = look()["rollups", "servers_answer"]
    assert "shop does not answer (connection failed: " in said
    assert "shop: start it (`watershed up` starts the local ones), or check SHOP_DSN" in said
    assert PASSWORD not in said
    (problem,) = rows(
        applied.metrics_dsn, "SELECT problem FROM metrics.server_stats WHERE server = 'shop' AND NOT is_up"
    )[0]
    assert "Connection refused" in problem
    assert PASSWORD not in problem


def test_what_is_newly_wrong_is_told_in_one_alert_once_and_again_when_it_is_well(applied, look, monkeypatch):
    sent: list[dict[str, str]] = []
    monkeypatch.setattr("orchestration.metric_alerts.post", sent.append)
    look()  # what an earlier look found
    sent.clear()
    monkeypatch.setenv("METRICS_DSN", DEAD)
    look()
    (alert,) = sent
    assert (alert["event"], alert["job"], alert["run_id"]) == ("checks_failed", "watch_metrics", look.run_id)
    assert alert["message"].startswith(
        "sensor_readings: cannot be judged: metrics server 127.0.0.1:1/shop does not answer"
    )
    assert PASSWORD not in alert["message"]
    look()
    assert len(sent) == 1
    monkeypatch.setenv("METRICS_DSN", applied.metrics_dsn)
    look()
    assert [one["event"] for one in sent] == ["checks_failed", "checks_passed"]
    look()
    assert len(sent) == 2


def test_an_alert_that_could_not_be_sent_is_sent_after_the_next_look(applied, look, monkeypatch):
    sent: list[dict[str, str]] = []

    def refuse(_: dict[str, str]) -> None:
        raise OSError("nobody listens")

    look()
    monkeypatch.setenv("SHOP_DSN", DEAD)
    monkeypatch.setenv("METRICS_DSN", DEAD)
    monkeypatch.setattr("orchestration.metric_alerts.post", refuse)
    look()
    monkeypatch.setattr("orchestration.metric_alerts.post", sent.append)
    look()
    assert [one["event"] for one in sent] == ["checks_failed"]


def test_a_metrics_store_that_is_down_fails_every_check_in_one_sentence(applied, look, monkeypatch):
    monkeypatch.setenv("METRICS_DSN", DEAD)
    failed = look()
    assert len(failed) == 4 * len(OF_HYPERTABLE) + 2
    assert (
        "cannot be judged: metrics server 127.0.0.1:1/shop does not answer" in failed["sensor_readings", "no_backlog"]
    )
    assert not any(PASSWORD in said for said in failed.values())


def test_the_checks_are_no_part_of_the_loads(definitions):
    for name in ("changes", "settle_day", "reconcile"):
        assert not [node for node in definitions.resolve_job_def(name).nodes if node.name == "watchdog"]
    assert [node.name for node in definitions.resolve_job_def("watch_metrics").nodes] == ["watchdog"]


def test_a_look_is_asked_for_every_ten_minutes_unless_one_waits(definitions, instance, applied):
    schedule = definitions.resolve_schedule_def("watch_metrics")
    assert schedule.cron_schedule == "*/10 * * * *"
    context = dg.build_schedule_context(instance=instance, scheduled_execution_time=datetime.datetime.now(datetime.UTC))
    assert len(schedule.evaluate_tick(context).run_requests) == 1
    run = instance.create_run_for_job(definitions.resolve_job_def("watch_metrics"))
    assert schedule.evaluate_tick(context).skip_message == "the last look has not ended yet"
    instance.delete_run(run.run_id)


def test_upkeep_between_the_loads_starts_only_when_something_is_due(definitions, instance, applied):
    schedule = definitions.resolve_schedule_def("metrics_upkeep")
    context = dg.build_schedule_context(instance=instance, scheduled_execution_time=datetime.datetime.now(datetime.UTC))
    metric_assets.keep()
    assert schedule.evaluate_tick(context).skip_message == "nothing is due"
    rows(
        applied.metrics_dsn,
        "INSERT INTO metrics._dirty VALUES ('sales_hourly', '1h', '2026-01-01', now() - INTERVAL '55 minutes')",
    )
    (request,) = schedule.evaluate_tick(context).run_requests
    assert request.tags["due"] == "sales_hourly_1h: 1 changed bucket"
    assert definitions.resolve_job_def("metrics_upkeep").execute_in_process(instance=instance).success
    assert schedule.evaluate_tick(context).skip_message == "nothing is due"


def test_the_schedules_serve_every_refresh_lag_that_is_declared(definitions):
    """What is due within two ticks is begun at the next one: lags of a tick and the time of a run are kept."""
    lags = [kept.refresh_lag for table in read().hypertables if table.rollups for kept in table.rollups.every.values()]
    assert min(lags) >= 1.5 * metric_upkeep.EVERY
    assert definitions.resolve_schedule_def("metrics_upkeep").cron_schedule == "5-55/10 * * * *"


def test_findings_of_hypertables_without_an_asset_are_told_together():
    from metrics.finding import BACKLOG, Finding

    found = [
        Finding(BACKLOG, "lake_tables", False, "1 chunk waits", "mend it", "WARN"),
        Finding(BACKLOG, "server_stats", False, "2 chunks wait", "mend it too", "WARN"),
        Finding(BACKLOG, "sales_hourly", True, "no chunk waits"),
    ]
    told = {(one.asset_key, one.check_name): one for one in metric_checks.results(found)}
    store = told[STORE, BACKLOG]
    assert (store.passed, store.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert store.description == "lake_tables: 1 chunk waits; mend it; server_stats: 2 chunks wait; mend it too"
    assert told[dg.AssetKey(["metrics", "sales_hourly"]), BACKLOG].passed
