"""The platform's event log against Dagster's stock one: the same events in, the same answers out, the same files."""

import itertools
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage

from orchestration.event_log import OPEN_SHARDS, EventLog

KEY, OTHER = dg.AssetKey(["raw", "shop", "orders"]), dg.AssetKey(["plain"])
PARTITIONS = dg.DailyPartitionsDefinition("2026-01-01", end_date="2026-01-31")
DAYS = PARTITIONS.get_partition_keys()


@dg.asset(
    key=KEY,
    partitions_def=PARTITIONS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    check_specs=[dg.AssetCheckSpec("is_whole", asset=KEY)],
)
def by_day(context: dg.AssetExecutionContext):
    context.log.info("a line of the log")
    context.log_event(dg.AssetMaterialization(KEY, partition=DAYS[3], metadata={"why": "late rows"}))
    context.log_event(dg.AssetObservation(KEY, partition=DAYS[5], metadata={"seen": 1}))
    return dg.MaterializeResult(
        metadata={"rows": 7}, check_results=[dg.AssetCheckResult(passed=True, check_name="is_whole")]
    )


@dg.asset(key=OTHER, deps=[KEY])
def plain():
    return dg.MaterializeResult(metadata={"bytes": 9}, tags={"colour": "blue"})


@pytest.fixture(scope="module")
def events() -> list[dg.EventLogEntry]:
    """All that two runs over ranges of days record, as Dagster hands it over."""
    with dg.DagsterInstance.ephemeral() as instance:
        for first, last in ((DAYS[0], DAYS[19]), (DAYS[15], DAYS[-1])):
            tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
            assert dg.materialize([by_day, plain], instance=instance, tags=tags).success
        runs = reversed(instance.get_runs())
        return [entry for run in runs for entry in instance.all_logs(run.run_id)]


@pytest.fixture
def ours(tmp_path, events) -> EventLog:
    storage = EventLog(str(tmp_path / "ours"))
    for batch in batches(events):
        storage.store_event_batch(batch)
    return storage


@pytest.fixture
def stock(tmp_path, events) -> SqliteEventLogStorage:
    storage = SqliteEventLogStorage(str(tmp_path / "stock"))
    for entry in events:
        storage.store_event(entry)
    return storage


def test_batches_give_the_same_answers_as_the_stock_storage_fed_one_by_one(ours, stock, events):
    assert answers(ours, events) == answers(stock, events)


def test_the_answers_are_those_of_the_runs(ours, events):
    found = answers(ours, events)
    assert found["materialized days"] == {KEY: set(DAYS), OTHER: set()}
    assert found["materializations"][KEY] == 20 + 15 + 2
    assert found["newest day"] == DAYS[-1]
    assert {run for run, _, status in found["checked"] if status == "SUCCEEDED"} == set(found["logs"])


def test_the_stock_storage_reads_and_continues_what_the_platform_wrote(tmp_path, ours, stock, events):
    for storage in (reopened := SqliteEventLogStorage(str(tmp_path / "ours")), stock):
        for entry in renamed(events, "later"):
            storage.store_event(entry)
    assert answers(reopened, events) == answers(stock, events)
    assert answers(ours, events) == answers(stock, events)


def test_the_platform_reads_and_continues_what_the_stock_storage_wrote(tmp_path, ours, stock, events):
    reopened = EventLog(str(tmp_path / "stock"))
    for storage in (reopened, ours):
        for batch in batches(renamed(events, "later")):
            storage.store_event_batch(batch)
    assert answers(reopened, events) == answers(ours, events)


def test_the_files_have_the_tables_and_revision_of_the_stock_storage(tmp_path, ours, stock, events):
    for name in ("index.db", f"{events[0].run_id}.db"):
        assert layout(tmp_path / "ours" / name) == layout(tmp_path / "stock" / name)


def test_more_runs_than_files_kept_open_are_all_there(tmp_path, events):
    storage = EventLog(str(tmp_path / "many"))
    names = [f"run-{n}" for n in range(2 * OPEN_SHARDS)]
    for _ in range(2):
        for name in names:
            storage.store_event_batch(renamed(events[:1], name))
    assert [len(storage.get_logs_for_run(f"{events[0].run_id}-{name}")) for name in names] == [2] * len(names)


def test_threads_that_write_at_once_lose_nothing(tmp_path, events):
    storage = EventLog(str(tmp_path / "threads"))
    workers = [
        threading.Thread(target=storage.store_event_batch, args=(renamed(materialized(events), f"t{n}"),))
        for n in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert count(storage) == 4 * len(materialized(events))


def test_two_processes_that_write_at_once_lose_nothing(tmp_path, events):
    from dagster._serdes import serialize_value

    path = tmp_path / "processes"
    EventLog(str(path))
    processes = []
    for n in range(2):
        (tmp_path / f"{n}.json").write_text("\n".join(map(serialize_value, renamed(materialized(events), f"p{n}"))))
        command = [sys.executable, "-c", WRITE, str(path), str(tmp_path / f"{n}.json")]
        processes.append(subprocess.Popen(command))
    assert [process.wait(120) for process in processes] == [0, 0]
    assert count(EventLog(str(path))) == 2 * 3 * len(materialized(events))


WRITE = """
import sys
from pathlib import Path
from dagster import EventLogEntry
from dagster._serdes import deserialize_value
from orchestration.event_log import EventLog
events = [deserialize_value(line, EventLogEntry) for line in Path(sys.argv[2]).read_text().splitlines()]
storage = EventLog(sys.argv[1])
for _ in range(3):
    storage.store_event_batch(events)
"""


def answers(storage, events) -> dict[str, object]:
    """What Dagster asks of its event log: for the pages of runs, assets, partitions and checks."""
    runs = sorted({entry.run_id for entry in events})
    records = storage.get_asset_records([KEY, OTHER])
    entries = {record.asset_entry.asset_key: record.asset_entry for record in records}
    newest = storage.get_latest_storage_id_by_partition(KEY, dg.DagsterEventType.ASSET_MATERIALIZATION)
    pages = {
        key: storage.fetch_materializations(dg.AssetRecordsFilter(asset_key=key), limit=1000).records
        for key in (KEY, OTHER)
    }
    return {
        "logs": {run: [told(entry) for entry in storage.get_logs_for_run(run)] for run in runs},
        "stats": [storage.get_stats_for_run(run) for run in runs],
        "steps": [storage.get_step_stats_for_run(run) for run in runs],
        "keys": set(storage.all_asset_keys()),
        "last": {key: told(entry.last_materialization) for key, entry in entries.items()},
        "last run": {key: entry.last_run_id for key, entry in entries.items()},
        "materialized days": {key: storage.get_materialized_partitions(key) for key in (KEY, OTHER)},
        "order of days": sorted(newest, key=newest.__getitem__),
        "newest day": max(newest, key=newest.__getitem__),
        "materializations": {key: len(page) for key, page in pages.items()},
        "pages": {key: [told(record.event_log_entry) for record in page] for key, page in pages.items()},
        "tags": storage.get_event_tags_for_asset(OTHER),
        "observed": [told(record.event_log_entry) for record in storage.fetch_observations(KEY, limit=10).records],
        "checked": sorted(
            (record.run_id, record.partition or "", record.status.value)
            for record in storage.get_asset_check_execution_history(dg.AssetCheckKey(KEY, "is_whole"), limit=1000)
            if record.status.value != "PLANNED"  # the stock storage plans a check for each day, ours for the range
        ),
        "numbers": rows_of_index(storage),
    }


def told(entry: dg.EventLogEntry) -> tuple[object, ...]:
    return (
        entry.run_id,
        entry.step_key,
        entry.timestamp,
        entry.dagster_event_type,
        entry.user_message,
        entry.dagster_event,
    )


def rows_of_index(storage) -> list[tuple[object, ...]]:
    """The rows of the index file that say which asset, partition and run, in the order of their numbers."""
    with sqlite3.connect(Path(storage._base_dir) / "index.db") as connection:
        query = "select run_id, dagster_event_type, asset_key, partition, step_key from event_logs order by id"
        return connection.execute(query).fetchall()


def batches(events: list[dg.EventLogEntry]) -> list[list[dg.EventLogEntry]]:
    """As Dagster hands events over: neighbours of one kind together."""
    return [list(group) for _, group in itertools.groupby(events, key=lambda it: (it.run_id, it.dagster_event_type))]


def materialized(events: list[dg.EventLogEntry]) -> list[dg.EventLogEntry]:
    return [entry for entry in events if entry.dagster_event_type == dg.DagsterEventType.ASSET_MATERIALIZATION]


def renamed(events: list[dg.EventLogEntry], name: str) -> list[dg.EventLogEntry]:
    """The same events of another run."""
    return [entry._replace(run_id=f"{entry.run_id}-{name}") for entry in events]


def count(storage) -> int:
    return len(rows_of_index(storage))


def layout(path: Path) -> list[tuple[object, ...]]:
    with sqlite3.connect(path) as connection:
        tables = connection.execute("select name, sql from sqlite_master order by name").fetchall()
        return [*tables, *connection.execute("select * from alembic_version").fetchall()]
