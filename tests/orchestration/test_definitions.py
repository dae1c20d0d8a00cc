"""What Dagster shows: the graph as kept in git, names that agree everywhere, schedules and sensors switched on."""

import datetime
import os
import subprocess
import sys
from pathlib import Path

import asset_graph
import dagster as dg
import pytest

from ingestion.spec import sources
from orchestration import jobs
from orchestration.models import POOL
from warehouse import build

WRITE_ANEW = (
    "if the change is meant: .venv/bin/python tests/orchestration/asset_graph.py > tests/golden/asset_graph.txt"
)


def test_definitions_load_with_nothing_in_the_environment_and_are_those_kept_in_git(tmp_path):
    bare = {"HOME": str(tmp_path), "WATERSHED_HOME": str(tmp_path / "data")}
    done = subprocess.run(
        [sys.executable, asset_graph.__file__], env=bare, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == asset_graph.GOLDEN.read_text(), WRITE_ANEW


def test_every_asset_has_a_description_an_owner_a_stage_and_a_kind(definitions):
    stages = {"raw", "processed", "staging", "intermediate", "marts", "metrics"}
    for node in assets(definitions):
        assert len(node.description or "") > 20, node.key
        assert node.owners, node.key
        assert node.group_name in stages, node.key
        assert node.kinds, node.key


def test_no_description_shows_sql(definitions):
    assert [node.key for node in assets(definitions) if "select" in node.description.lower().split()] == []


def test_every_check_says_what_it_checks(definitions):
    graph = definitions.resolve_asset_graph()
    silent = [key for key in graph.asset_check_keys if not graph.get_check_spec(key).description]
    assert silent == []


def test_declared_tables_raw_and_processed_assets_dbt_sources_and_staging_models_are_the_same_names(definitions):
    keys = {node.key for node in assets(definitions)}
    declared = {(source.name, table.name) for source in sources() for table in source.tables}
    histories = {(s.name, f"{t.name}_history") for s in sources() for t in s.tables if t.history}
    names = {source.name for source in sources()}
    assert {tuple(key.path[1:]) for key in keys if key.path[0] == "raw"} == declared
    assert {tuple(key.path) for key in keys if key.path[0] in names} == declared | histories
    manifest = build.manifest()
    of_dbt = {(it["source_name"], it["name"]) for it in manifest["sources"].values()}
    assert of_dbt == declared | histories
    models = [it for it in manifest["nodes"].values() if it["resource_type"] == "model"]
    staged = {it["name"] for it in models if it["schema"] == "staging"}
    assert staged == {f"stg_{source}__{table}" for source, table in declared | histories}


def test_every_staging_model_rests_on_the_processed_asset_of_its_name(definitions):
    for node in assets(definitions):
        name = node.key.path[-1]
        if name.startswith("stg_"):
            source, table = name.removeprefix("stg_").split("__")
            assert node.parent_keys == {dg.AssetKey([source, table])}


def test_assets_by_day_can_be_backfilled_over_any_range_as_one_run(definitions):
    by_day = [node for node in assets(definitions) if node.is_partitioned]
    assert len(by_day) == 2 * sum(bool(table.partition) for source in sources() for table in source.tables)
    for node in by_day:
        assert node.backfill_policy == dg.BackfillPolicy.single_run(), node.key
        assert isinstance(node.partitions_def, dg.DailyPartitionsDefinition)


def test_today_is_a_partition_and_a_moved_clock_ends_them(definitions, monkeypatch):
    from orchestration import days

    source = sources()[0]
    assert days.partitions(source).get_last_partition_key() == f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}"
    monkeypatch.setenv("WATERSHED_NOW", "2026-03-01T12:00:00+00:00")
    monkeypatch.setenv("WATERSHED_FIRST_DAY", "2026-02-27")
    assert days.partitions(source).get_partition_keys() == ["2026-02-27", "2026-02-28", "2026-03-01"]


@pytest.mark.parametrize("name", ["changes", "settle_day"])
def test_both_jobs_run_every_asset_so_that_nothing_is_skipped_on_the_way(definitions, name):
    job = definitions.resolve_job_def(name)
    assert set(job.asset_layer.executable_asset_keys) == {node.key for node in assets(definitions)}
    assert job.executor_def == dg.in_process_executor
    assert job.description


def test_reconciliation_is_a_job_of_its_own_and_no_part_of_the_others(definitions):
    steps = {name: definitions.resolve_job_def(name).nodes for name in ("reconcile", "changes", "settle_day")}
    checks = {name: {step.name for step in of if step.name.endswith("_reconciled")} for name, of in steps.items()}
    tables = {f"{source.name}__{table.name}_reconciled" for source in sources() for table in source.tables}
    assert checks["changes"] == checks["settle_day"] == set()
    assert checks["reconcile"] == {step.name for step in steps["reconcile"]} > tables | {"marts__fct_sales_reconciled"}


def test_schedules_and_sensors_are_switched_on(definitions):
    schedules = {it.name: it.default_status for it in definitions.schedules}
    assert schedules == dict.fromkeys(
        (
            "hourly",
            "daily",
            "nightly_upkeep",
            "nightly_purge",
            "nightly_reconcile",
            "watch_metrics",
            "metrics_upkeep",
            "find_anomalies",
        ),
        dg.DefaultScheduleStatus.RUNNING,
    )
    sensors = {it.name: it.default_status for it in definitions.sensors}
    assert sensors == dict.fromkeys(("alert", "record_runs", "bury_killed_runs"), dg.DefaultSensorStatus.RUNNING)
    assert all(it.description for it in (*definitions.schedules, *definitions.sensors))


@pytest.mark.parametrize(
    ("name", "at", "job", "key", "day"),
    [
        ("hourly", "2026-11-07T10:15", "changes", "hourly-2026-11-07T10", "2026-11-07"),
        ("hourly", "2026-11-07T00:15", "changes", "hourly-2026-11-07T00", "2026-11-07"),
        ("daily", "2026-11-07T02:30", "settle_day", "daily-2026-11-06", "2026-11-06"),
        ("daily", "2026-03-01T02:30", "settle_day", "daily-2026-02-28", "2026-02-28"),
    ],
)
def test_a_schedule_asks_for_its_day_once(definitions, instance, name, at, job, key, day):
    schedule = definitions.resolve_schedule_def(name)
    instant = datetime.datetime.fromisoformat(at).replace(tzinfo=datetime.UTC)
    context = dg.build_schedule_context(instance=instance, scheduled_execution_time=instant)
    (request,) = schedule.evaluate_tick(context).run_requests
    assert (schedule.job_name, request.run_key) == (job, key)
    assert request.tags.items() >= jobs.days(datetime.date.fromisoformat(day), datetime.date.fromisoformat(day)).items()


def test_two_runs_never_build_at_once(definitions, instance):
    """Neither of the queue's making nor by hand: one run at a time, and one pool for what opens the build file."""
    config = instance.get_concurrency_config()
    assert config.run_queue_config.max_concurrent_runs == 1
    assert config.pool_config.default_pool_limit == 1
    pools = {key: definitions.resolve_assets_def(key).op.pool for key in (dg.AssetKey(["warehouse", "published"]),)}
    assert set(pools.values()) == {POOL}
    (dbt,) = {it.op for it in definitions.resolve_asset_graph().assets_defs if it.keys & {SALES}}
    assert dbt.pool == POOL


def test_loading_the_code_location_leaves_telemetry_off_and_writes_only_below_its_home(site, instance):
    assert instance.telemetry_enabled is False
    assert Path(os.environ["DAGSTER_HOME"]).is_relative_to(site.home)
    assert Path(os.environ["LAKE_ROOT"]).is_relative_to(site.home)


SALES = dg.AssetKey(["marts", "fct_sales"])


def assets(definitions):
    """The nodes of all assets that the platform makes itself."""
    graph = definitions.resolve_asset_graph()
    return [graph.get(key) for key in graph.get_all_asset_keys() if graph.get(key).is_materializable]
