"""12,000 partitions of one table: recorded, listed and backfilled by as many statements as a few hundred."""

import datetime
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import dagster as dg
import pytest
import sqlalchemy
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.workspace.load_target import PythonFileTarget
from dagster._daemon.backfill import execute_backfill_iteration
from long_table import DAYS, defs

from orchestration import days, site

BY_DAY = dg.AssetKey("by_day")
MANY, FEW = DAYS.get_partition_keys(), DAYS.get_partition_keys()[:1200]
BATCH = 1000  # as a site sets it


class Filled:
    """A run over many days and one over few, and how many statements and commits each of them took."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.taken = {}
        for keys in (FEW, MANY):
            with self.instance() as instance, counted() as counts:
                self.run(instance, keys)
            self.taken[len(keys)] = dict(counts)

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            yield instance

    def run(self, instance: dg.DagsterInstance, keys: list[str]) -> None:
        tags = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        job = defs().resolve_job_def("fill_by_day")
        assert job.execute_in_process(instance=instance, tags=tags, run_config=quiet).success


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> Iterator[Filled]:
    home = tmp_path_factory.mktemp("long")
    (home / "dagster.yaml").write_text(site.DAGSTER % f'"{home / "history" / "runs"}"')
    with patch.dict("os.environ", {"DAGSTER_EVENT_BATCH_SIZE": str(BATCH)}):
        yield Filled(home)


@pytest.fixture
def instance(filled) -> Iterator[dg.DagsterInstance]:
    with filled.instance() as instance:
        yield instance


def test_each_of_12000_days_is_recorded_with_its_own_metadata(instance):
    assert len(MANY) == 12_000
    assert instance.get_materialized_partitions(BY_DAY) == set(MANY)
    newest = instance.get_latest_materialization_event(BY_DAY)
    assert newest.asset_materialization.metadata["dagster/partition_row_count"].value == 11_999
    assert newest.asset_materialization.metadata["bytes"].value == 9
    status = get_and_update_asset_status_cache_value(instance, BY_DAY, DAYS)
    assert len(status.deserialize_materialized_partition_subsets(DAYS)) == 12_000
    assert len(status.deserialize_failed_partition_subsets(DAYS)) == 0


def test_recording_takes_statements_and_commits_by_the_batch_not_by_the_day(filled):
    few, many = filled.taken[len(FEW)], filled.taken[len(MANY)]
    batches = 2 * (len(MANY) - len(FEW)) / BATCH  # planned and made
    assert many["commits"] - few["commits"] <= 3 * batches
    assert many["statements"] - few["statements"] <= 8 * batches


def test_days_outside_of_the_run_are_reported_by_the_batch_too(filled, instance):
    @dg.asset(name="late", partitions_def=DAYS)
    def late(context: dg.AssetExecutionContext) -> None:
        days.report(context, {key: {"dagster/partition_row_count": 1} for key in FEW})

    with counted() as counts:
        assert dg.materialize([late], instance=instance, partition_key=MANY[-1]).success
    assert instance.get_materialized_partitions(late.key) == {*FEW, MANY[-1]}
    assert counts["commits"] < 100


def test_a_check_of_a_range_is_recorded_once_not_for_each_day(instance):
    check = dg.AssetCheckKey(BY_DAY, "is_whole")
    history = instance.event_log_storage.get_asset_check_execution_history(check, limit=100)
    assert [it.status.value for it in history] == ["SUCCEEDED", "SUCCEEDED"]


def test_listing_12000_days_takes_a_handful_of_statements(instance):
    instance.event_log_storage.wipe_asset_cached_status(BY_DAY)
    with counted() as counts:
        get_and_update_asset_status_cache_value(instance, BY_DAY, DAYS)
        kind = dg.DagsterEventType.ASSET_MATERIALIZATION
        assert len(instance.event_log_storage.get_latest_storage_id_by_partition(BY_DAY, kind)) == 12_000
    assert counts["statements"] < 20


def test_a_backfill_of_12000_days_through_the_daemon_is_one_run(instance):
    code = PythonFileTarget(str(Path(__file__).with_name("long_table.py")), None, None, "here")
    with create_test_daemon_workspace_context(code, instance) as workspace:
        graph = workspace.create_request_context().asset_graph
        backfill = PartitionBackfill.from_asset_partitions(
            backfill_id="all",
            asset_graph=graph,
            partition_names=MANY,
            asset_selection=[BY_DAY],
            backfill_timestamp=datetime.datetime.now(datetime.UTC).timestamp(),
            tags={},
            dynamic_partitions_store=instance,
            all_partitions=False,
            title=None,
            description=None,
            run_config=None,
        )
        instance.add_backfill(backfill)
        with counted() as counts:
            list(execute_backfill_iteration(workspace, logging.getLogger(__name__)))
        (run,) = [it for it in instance.get_runs() if it.tags.get("dagster/backfill") == "all"]
        assert (run.tags["dagster/asset_partition_range_start"], run.tags["dagster/asset_partition_range_end"]) == (
            MANY[0],
            MANY[-1],
        )
        assert counts["statements"] < 300
        instance.report_run_failed(run)
        list(execute_backfill_iteration(workspace, logging.getLogger(__name__)))
        assert instance.get_backfill("all").status == BulkActionStatus.COMPLETED_FAILED


@contextmanager
def counted() -> Iterator[dict[str, int]]:
    """How many statements and commits SQLAlchemy sends meanwhile."""
    counts = {"statements": 0, "commits": 0}

    def statement(*_: object) -> None:
        counts["statements"] += 1

    def commit(*_: object) -> None:
        counts["commits"] += 1

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", statement)
    sqlalchemy.event.listen(sqlalchemy.Engine, "commit", commit)
    try:
        yield counts
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", statement)
        sqlalchemy.event.remove(sqlalchemy.Engine, "commit", commit)
