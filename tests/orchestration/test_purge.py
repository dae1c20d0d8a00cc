"""Old records of Dagster are removed; what its UI answers about partitions, checks and the runs of the window stays."""

import datetime
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.storage.event_log import ConsolidatedSqliteEventLogStorage
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

from lake.errors import SpecError
from orchestration import purge, site
from orchestration.event_log import OPEN_SHARDS, EventLog

KEY, OTHER = dg.AssetKey(["shop", "orders"]), dg.AssetKey(["shop", "dim"])
CHECK = dg.AssetCheckKey(KEY, "is_whole")
PARTITIONS = dg.DailyPartitionsDefinition("2026-01-01", end_date="2026-02-10")
DAYS = PARTITIONS.get_partition_keys()
NOW = datetime.datetime.now(datetime.UTC)
HORIZON = NOW - datetime.timedelta(days=30)


@dg.asset(
    key=KEY,
    partitions_def=PARTITIONS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    check_specs=[dg.AssetCheckSpec("is_whole", asset=KEY)],
)
def by_day(context: dg.AssetExecutionContext):
    context.log.info("a line of the log")
    if context.run.tags.get("fails"):
        raise ValueError("it failed")
    context.log_event(dg.AssetObservation(KEY, partition=DAYS[5], metadata={"seen": 1}))
    return dg.MaterializeResult(
        metadata={"run": context.run.tags["name"]},
        data_version=dg.DataVersion(context.run.tags["name"]),
        check_results=[dg.AssetCheckResult(passed="bad" not in context.run.tags, check_name="is_whole")],
    )


@dg.asset(key=OTHER, deps=[KEY])
def plain(context: dg.AssetExecutionContext):
    return dg.MaterializeResult(metadata={"run": context.run.tags["name"]})


@pytest.fixture(scope="module")
def aged(tmp_path_factory) -> Path:
    """A home with runs of which some are 90 days old: overtaken ones, a last one, a failed one; and three of today."""
    home = tmp_path_factory.mktemp("aged")
    (home / "dagster.yaml").write_text(site.DAGSTER % f'"{home / "history" / "runs"}"')
    with dg.DagsterInstance.from_config(str(home)) as instance:
        for name in ("first", "second", "third"):
            run(instance, name, DAYS[0], DAYS[9])
        run(instance, "only", DAYS[10], DAYS[14], bad="yes")
        run(instance, "failed", DAYS[20], DAYS[24], fails="yes")
        run(instance, "other", DAYS[0], DAYS[1], assets=[plain, by_day])
        instance.add_backfill(backfill("old"))
        age(home)
        instance.add_backfill(backfill("new"))
        run(instance, "today", DAYS[30], DAYS[32])
        run(instance, "today failed", DAYS[2], DAYS[2], fails="yes")
        run(instance, "today again", DAYS[5], DAYS[6], bad="yes")
    return home


@pytest.fixture
def home(tmp_path, aged) -> Path:
    """A copy of it, for one test."""
    place = tmp_path / "home"
    shutil.copytree(aged, place)
    text = (place / "dagster.yaml").read_text()
    (place / "dagster.yaml").write_text(text.replace(str(aged), str(place)))
    return place


@pytest.fixture
def instance(home) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


def test_partitions_checks_and_the_runs_of_the_window_are_as_before(instance):
    before = answers(instance)
    assert before["materialized"] == {*DAYS[:15], *DAYS[30:33]}
    assert before["failed"] == {*DAYS[20:25], DAYS[2]}
    done = purge.purge(instance, HORIZON)
    assert answers(instance) == before
    assert done.events > 50
    assert done.evaluations == 5  # of the successes all but that of `today`, of the failures all but `today again`
    assert done.bytes_after < done.bytes_before


def test_runs_that_no_partition_needs_are_gone_and_the_others_have_lost_only_their_logs(instance):
    names = {it.tags["name"]: it.run_id for it in instance.get_runs()}
    done = purge.purge(instance, HORIZON)
    left = {it.tags["name"]: it for it in instance.get_runs()}
    assert set(names) - set(left) == {"first", "second"}
    assert (done.runs, done.run_logs) == (2, 6)
    assert instance.all_logs(names["third"]) == []
    assert instance.get_run_stats(names["third"]).materializations == 0
    assert all(instance.all_logs(run_id) for name, run_id in names.items() if name.startswith("today"))


def test_a_second_purge_finds_nothing_but_the_log_that_a_look_at_an_old_run_has_left(instance):
    purge.purge(instance, HORIZON)
    again = purge.purge(instance, HORIZON)
    assert (again.events, again.evaluations, again.runs, again.run_logs, again.ticks) == (0, 0, 0, 0, 0)
    (old,) = [it for it in instance.get_runs() if it.tags["name"] == "third"]
    instance.all_logs(old.run_id)
    assert purge.purge(instance, HORIZON).run_logs == 1


def test_a_purge_that_is_killed_at_any_statement_is_made_good_by_the_next(home, instance, monkeypatch):
    monkeypatch.setattr(purge, "BATCH", 25)
    before = answers(instance)
    step = 0
    while interrupted(instance, monkeypatch, at=step):
        assert answers(instance) == before, step
        step += 7
    assert step > 20
    again = purge.purge(instance, HORIZON)
    assert (again.events, again.evaluations, again.runs, again.run_logs) == (0, 0, 0, 0)


def test_numbers_of_events_are_not_given_twice(home, instance):
    highest = max(it for it, _ in rows(home))
    purge.purge(instance, NOW + datetime.timedelta(days=1))  # everything is old
    run(instance, "next", DAYS[0], DAYS[0])
    assert min(it for it, name in rows(home) if name == instance.get_runs()[0].run_id) > highest


def test_a_run_that_has_not_ended_keeps_everything(home, instance):
    (first,) = [it.run_id for it in instance.get_runs() if it.tags["name"] == "first"]
    with sqlite3.connect(home / "history" / "runs.db") as runs:
        runs.execute("update runs set status = 'STARTED' where run_id = ?", [first])
    events = [it for it, name in rows(home) if name == first]
    purge.purge(instance, HORIZON)
    assert [it for it, name in rows(home) if name == first] == events
    assert instance.all_logs(first)


def test_tags_go_with_their_events(home, instance):
    purge.purge(instance, HORIZON)
    query = "select count(*), count(e.id) from asset_event_tags t left join event_logs e on e.id = t.event_id"
    with sqlite3.connect(home / "history" / "runs" / "index.db") as index:
        tags, with_event = index.execute(query).fetchone()
    assert tags == with_event > 0


def test_old_ticks_go_but_for_the_newest_and_so_do_backfills_without_runs(home, instance):
    from dagster._core.definitions.run_request import InstigatorType
    from dagster._core.scheduler.instigation import TickData, TickStatus

    for number in range(3):
        at = (NOW - datetime.timedelta(days=100 - number)).timestamp()
        kind, status = InstigatorType.SCHEDULE, TickStatus.SKIPPED
        instance.create_tick(TickData("origin", "nothing", kind, status, at, end_timestamp=at, selector_id="s"))
    done = purge.purge(instance, HORIZON)
    assert (done.ticks, done.backfills) == (2, 1)
    assert len(instance.get_ticks("origin", "s")) == 1
    assert [it.backfill_id for it in instance.get_backfills()] == ["new"]


def test_a_process_that_had_an_old_run_open_reads_an_empty_log_afterwards(home, instance):
    other = EventLog(str(home / "history" / "runs"))
    (old,) = [it.run_id for it in instance.get_runs() if it.tags["name"] == "third"]
    assert other.get_logs_for_run(old)
    purge.purge(instance, HORIZON)
    for number in range(OPEN_SHARDS + 1):
        other.get_logs_for_run(f"run-{number}")
    assert other.get_logs_for_run(old) == []


def test_files_of_runs_that_nobody_knows_are_removed_once_they_are_old(home, instance):
    folder = home / "history" / "runs"
    for name, days in (("lost", 40), ("starting", 0)):
        log = EventLog(str(folder))
        log.get_logs_for_run(name)
        log.forget(name)
        at = (NOW - datetime.timedelta(days=days)).timestamp()
        os.utime(folder / f"{name}.db", (at, at))
    purge.purge(instance, HORIZON)
    assert not (folder / "lost.db").exists()
    assert (folder / "starting.db").exists()


def test_one_table_for_all_runs_as_on_a_server_is_purged_by_the_same_rules(tmp_path):
    """Dagster's PostgreSQL storage is of this kind: runs have no files, all events are in one table."""
    home = tmp_path / "one"
    home.mkdir()
    (home / "dagster.yaml").write_text(
        "telemetry: {enabled: false}\nevent_log_storage:\n  module: dagster._core.storage.event_log\n"
        f"  class: ConsolidatedSqliteEventLogStorage\n  config: {{base_dir: {home}}}\n"
    )
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert isinstance(instance.event_log_storage, ConsolidatedSqliteEventLogStorage)
        for name in ("first", "second"):
            run(instance, name, DAYS[0], DAYS[4])
        age(home)
        run(instance, "today", DAYS[3], DAYS[7])
        before = answers(instance)
        done = purge.purge(instance, HORIZON)
        assert answers(instance) == before
        left = {it.tags["name"]: len(instance.all_logs(it.run_id)) for it in instance.get_runs()}
    assert done.runs == 1
    assert set(left) == {"second", "today"}
    assert 0 < left["second"] < left["today"]  # the events of days 0 to 2


def test_the_job_says_what_it_removed(instance, monkeypatch):
    monkeypatch.setenv("WATERSHED_KEEP_DAYS", "30")
    result = purge.job().execute_in_process(instance=instance)
    (output,) = [it for it in result.all_events if it.event_type == dg.DagsterEventType.STEP_OUTPUT]
    metadata = {name: value.value for name, value in output.step_output_data.metadata.items()}
    assert metadata["days_kept"] == 30
    assert metadata["runs"] == 2
    assert metadata["bytes_after"] < metadata["bytes_before"]


@pytest.mark.parametrize("given", ["0", "-1", "a week", "1.5"])
def test_days_to_keep_that_are_no_number_are_refused(monkeypatch, given):
    monkeypatch.setenv("WATERSHED_KEEP_DAYS", given)
    with pytest.raises(SpecError, match="WATERSHED_KEEP_DAYS"):
        purge.keep_days()


def run(instance: dg.DagsterInstance, name: str, first: str, last: str, assets=(by_day,), **tags: str) -> None:
    days = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    dg.materialize(list(assets), instance=instance, tags={**days, "name": name, **tags}, raise_on_error=False)


def backfill(name: str) -> PartitionBackfill:
    status, at = BulkActionStatus.COMPLETED_SUCCESS, NOW.timestamp()
    return PartitionBackfill(name, status=status, from_failure=False, tags={}, backfill_timestamp=at)


def age(home: Path) -> None:
    """Set everything recorded so far back by 90 days."""
    back = "datetime({0}, '-90 days')".format
    for path in home.rglob("*.db"):
        with sqlite3.connect(path) as connection:
            for table, columns in (
                ("event_logs", ["timestamp"]),
                ("asset_check_executions", ["create_timestamp"]),
                ("runs", ["create_timestamp", "update_timestamp"]),
                ("bulk_actions", ["timestamp"]),
            ):
                if connection.execute("select 1 from sqlite_master where name = ?", [table]).fetchone():
                    to = ", ".join(f"{column} = {back(column)}" for column in columns)
                    connection.execute(f"update {table} set {to}")
        os.utime(path, (HORIZON.timestamp() - 9, HORIZON.timestamp() - 9))


def answers(instance: dg.DagsterInstance) -> dict[str, object]:
    """What the UI asks: states of partitions, newest events, checks, and the runs of the window with their logs."""
    storage = instance.event_log_storage
    storage.wipe_asset_cached_status(KEY)  # computed from the events, not remembered
    status = get_and_update_asset_status_cache_value(instance, KEY, PARTITIONS)
    kinds = (dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.ASSET_OBSERVATION)
    newest = {kind: storage.get_latest_storage_id_by_partition(KEY, kind) for kind in kinds}
    numbers = [number for of_kind in newest.values() for number in of_kind.values()]
    events = storage.get_event_records(
        dg.EventRecordsFilter(dg.DagsterEventType.ASSET_MATERIALIZATION, KEY, storage_ids=numbers)
    )
    entries = [it.asset_entry for it in instance.get_asset_records()]
    summary = storage.get_asset_check_summary_records([CHECK])[CHECK]
    window = [it for it in instance.get_run_records() if it.update_timestamp > HORIZON]
    return {
        "materialized": set(status.deserialize_materialized_partition_subsets(PARTITIONS).get_partition_keys()),
        "failed": set(status.deserialize_failed_partition_subsets(PARTITIONS).get_partition_keys()),
        "in progress": set(status.deserialize_in_progress_partition_subsets(PARTITIONS).get_partition_keys()),
        "newest": newest,
        "metadata": {it.storage_id: it.event_log_entry for it in events},
        "versions": storage.get_latest_tags_by_partition(KEY, kinds[0], ["dagster/data_version"]),
        "records": {it.asset_key: it.last_materialization for it in entries},
        "last runs": {it.asset_key: instance.get_run_by_id(it.last_run_id) for it in entries},
        "other": storage.fetch_materializations(OTHER, limit=1).records,
        "check": summary,
        "checks": storage.get_latest_asset_check_execution_by_key([CHECK]),
        "checks by partition": storage.get_asset_check_partition_info([CHECK]),
        "runs": [(it.dagster_run, it.start_time, it.end_time) for it in window],
        "logs": [instance.all_logs(it.dagster_run.run_id) for it in window],
        "backfills": [it.backfill_id for it in instance.get_backfills() if it.backfill_id == "new"],
    }


def interrupted(instance: dg.DagsterInstance, monkeypatch, at: int) -> bool:
    """Purge, and cut it off before its statement number `at`; whether there was one."""
    import sqlalchemy

    seen, execute = [0], sqlalchemy.Connection.execute

    def cut(connection, statement, *args, **kwargs):
        if seen[0] == at:
            raise KeyboardInterrupt
        seen[0] += 1
        return execute(connection, statement, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(sqlalchemy.Connection, "execute", cut)
        try:
            purge.purge(instance, HORIZON)
        except KeyboardInterrupt:
            return True
    return False


def rows(home: Path) -> list[tuple[int, str]]:
    """Number and run of each event in the index."""
    with sqlite3.connect(home / "history" / "runs" / "index.db") as index:
        return index.execute("select id, run_id from event_logs").fetchall()
