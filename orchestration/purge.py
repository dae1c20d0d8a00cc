"""Dagster's own records kept to a window: old events, runs, ticks and logs go, what the UI answers from stays.

Kept whatever its age: the newest event of each kind for each asset and partition, the newest evaluation of each status
for each check and partition, the newest run of each job, and every run that one of these belongs to. Such a run is
still listed; its log is gone. Each step is a transaction of its own and can be done again, so a kill in between costs
nothing. Statements are those of Dagster's SQL storages on SQLite and PostgreSQL; MySQL refuses them.
"""

import datetime
import os
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as sql
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetEventTagsTable,
    AssetKeyTable,
    SqlEventLogStorageTable,
)
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.runs.schema import BackfillTagsTable, BulkActionsTable, RunsTable, RunTagsTable
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage
from dagster._core.storage.schedules.schema import JobTickTable
from dagster._core.storage.schedules.sql_schedule_storage import SqlScheduleStorage

from lake.errors import SpecError
from orchestration import nightly

KEEP_DAYS = 30
# Ids per transaction: other processes wait for a writer of SQLite for 30 seconds at most.
BATCH = 20_000
# SQLite gives free pages back only when the file is written anew, which is worth it from a share of the file on.
FREE_SHARE = 0.25


@dataclass(frozen=True)
class Purged:
    """What a purge has removed, and the bytes that the records take before and after it."""

    events: int
    evaluations: int
    runs: int
    run_logs: int
    backfills: int
    ticks: int
    bytes_before: int
    bytes_after: int


def keep_days() -> int:
    """WATERSHED_KEEP_DAYS, or 30. Raises SpecError if it is no number of days."""
    given = os.environ.get("WATERSHED_KEEP_DAYS") or str(KEEP_DAYS)
    if not given.isdecimal() or int(given) < 1:
        raise SpecError("WATERSHED_KEEP_DAYS", f"{given!r} is no number of days", "give a whole number from 1 on")
    return int(given)


def purge(instance: dg.DagsterInstance, before: datetime.datetime) -> Purged:
    """Remove what is older than `before` (an instant with a time zone) and not needed for what the UI shows today.

    Raises SpecError if the instance keeps its records in something else than SQL.
    """
    events, runs, ticks = _storages(instance)
    moment = before.astimezone(datetime.UTC).replace(tzinfo=None)  # as the storages write it
    size = _size(events, runs, ticks)
    alive = _unfinished(runs)
    gone_events = _purge_events(events, moment, alive)
    gone_evaluations = _purge_evaluations(events, moment, alive)
    old = _old_runs(runs, moment)
    gone_runs = _purge_runs(runs, old - _needed_runs(events, runs, moment))
    gone_logs = _purge_logs(instance, events, runs, old, before)
    gone_backfills = _purge_backfills(runs, moment)
    gone_ticks = _purge_ticks(ticks, moment)
    ticks.purge_asset_evaluations(before.timestamp())
    for path in _files(events, runs, ticks):
        _give_back(path)
    return Purged(
        gone_events,
        gone_evaluations,
        gone_runs,
        gone_logs,
        gone_backfills,
        gone_ticks,
        size,
        _size(events, runs, ticks),
    )


def job() -> dg.JobDefinition:
    """The job `purge_records`: one step, which says what it has removed."""

    @dg.op(description="Removes old events, runs, ticks and logs of Dagster; the state of every partition stays.")
    def purge_old_records(context: dg.OpExecutionContext) -> None:
        days = keep_days()
        done = purge(context.instance, datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=days))
        context.log.info(sentence(done, days))
        context.add_output_metadata({"days_kept": days, **asdict(done)})

    @dg.job(
        name="purge_records",
        executor_def=dg.in_process_executor,
        description="Keeps Dagster's own records to the last WATERSHED_KEEP_DAYS (30) days.",
    )
    def purge_records() -> None:
        purge_old_records()

    return purge_records


def schedule() -> dg.ScheduleDefinition:
    """Every night, after the day before has been settled; switched on."""
    return nightly.schedule("purge_records", "45 3 * * *", "Old records of Dagster itself.", name="nightly_purge")


def sentence(done: Purged, days: int) -> str:
    """What a purge has done, for a person."""
    return (
        f"records older than {days} days: {done.events:,} events, {done.evaluations:,} evaluations of checks, "
        f"{done.runs:,} runs, {done.run_logs:,} logs of runs, {done.backfills:,} backfills and {done.ticks:,} ticks "
        f"removed; {done.bytes_before:,} bytes before, {done.bytes_after:,} after"
    )


def _storages(instance: dg.DagsterInstance) -> tuple[SqlEventLogStorage, SqlRunStorage, SqlScheduleStorage]:
    events, runs, ticks = instance.event_log_storage, instance.run_storage, instance.schedule_storage
    if (
        isinstance(events, SqlEventLogStorage)
        and isinstance(runs, SqlRunStorage)
        and isinstance(ticks, SqlScheduleStorage)
    ):
        return events, runs, ticks
    where = f"{type(events).__name__}, {type(runs).__name__}, {type(ticks).__name__}"
    raise SpecError(where, "is no SQL storage of Dagster", "keep its records by the means of that storage")


def _unfinished(runs: SqlRunStorage) -> list[str]:
    with runs.connect() as connection:
        query = sql.select(RunsTable.c.run_id).where(RunsTable.c.status.not_in(_names(FINISHED_STATUSES)))
        return [name for (name,) in connection.execute(query)]


def _purge_events(events: SqlEventLogStorage, before: datetime.datetime, alive: list[str]) -> int:
    table, newer = SqlEventLogStorageTable, SqlEventLogStorageTable.alias("newer")
    same = sql.and_(
        newer.c.asset_key == table.c.asset_key,
        newer.c.dagster_event_type == table.c.dagster_event_type,
        newer.c.id > table.c.id,
    )
    rule = sql.and_(
        table.c.timestamp < before,
        table.c.run_id.not_in(alive),
        sql.or_(table.c.asset_key.is_(None), table.c.dagster_event_type.is_(None), *_overtaken(table, newer, same)),
    )
    return _in_batches(events, table, rule, and_tags=True)


def _purge_evaluations(events: SqlEventLogStorage, before: datetime.datetime, alive: list[str]) -> int:
    table, newer = AssetCheckExecutionsTable, AssetCheckExecutionsTable.alias("newer")
    same = sql.and_(
        newer.c.asset_key == table.c.asset_key,
        newer.c.check_name == table.c.check_name,
        newer.c.execution_status == table.c.execution_status,
        newer.c.id > table.c.id,
    )
    old = sql.and_(table.c.create_timestamp < before, table.c.run_id.not_in(alive))
    return _in_batches(events, table, sql.and_(old, sql.or_(*_overtaken(table, newer, same))))


def _overtaken(table: Any, newer: Any, same: Any) -> list[Any]:
    """That there is a newer row of the same partition, or of none; in two parts so that an index finds either."""
    of_partition = sql.and_(same, newer.c.partition == table.c.partition)
    of_none = sql.and_(same, newer.c.partition.is_(None))
    return [
        sql.exists(sql.select(newer.c.id).where(of_partition)),
        sql.and_(table.c.partition.is_(None), sql.exists(sql.select(newer.c.id).where(of_none))),
    ]


def _in_batches(events: SqlEventLogStorage, table: Any, rule: Any, *, and_tags: bool = False) -> int:
    """Delete the rows of a rule, some thousands in a transaction.

    The newest row stays in any case: SQLite would give its id once more, and the sensors' cursors would be ahead of it.
    With `and_tags` the tags of rows that are gone go in the same transaction.
    """
    with events.index_connection() as connection:
        first, last = connection.execute(sql.select(sql.func.min(table.c.id), sql.func.max(table.c.id))).one()
    gone = 0
    for start in range(first or 0, last or 0, BATCH):
        part = table.c.id.between(start, min(start + BATCH, last) - 1)
        with events.index_connection() as connection:
            gone += connection.execute(sql.delete(table).where(part, rule)).rowcount
            if and_tags:
                tags = AssetEventTagsTable
                of_part = tags.c.event_id.between(start, min(start + BATCH, last) - 1)
                orphan = ~sql.exists(sql.select(table.c.id).where(table.c.id == tags.c.event_id))
                connection.execute(sql.delete(tags).where(of_part, orphan))
    return gone


def _old_runs(runs: SqlRunStorage, before: datetime.datetime) -> set[str]:
    is_old = [RunsTable.c.status.in_(_names(FINISHED_STATUSES)), RunsTable.c.update_timestamp < before]
    with runs.connect() as connection:
        return {name for (name,) in connection.execute(sql.select(RunsTable.c.run_id).where(*is_old))}


def _needed_runs(events: SqlEventLogStorage, runs: SqlRunStorage, before: datetime.datetime) -> set[str]:
    """The runs that something kept belongs to, the newest of each job, and those that a run of the window repeats."""
    index = [
        sql.select(SqlEventLogStorageTable.c.run_id).where(SqlEventLogStorageTable.c.asset_key.is_not(None)),
        sql.select(AssetCheckExecutionsTable.c.run_id),
        sql.select(AssetKeyTable.c.last_run_id),
    ]
    repeated = (
        sql.select(RunTagsTable.c.value)
        .join(RunsTable, RunsTable.c.run_id == RunTagsTable.c.run_id)
        .where(RunTagsTable.c.key.in_(["dagster/root_run_id", "dagster/parent_run_id"]))
        .where(RunsTable.c.update_timestamp >= before)
    )
    newest = sql.select(sql.func.max(RunsTable.c.id)).group_by(RunsTable.c.pipeline_name)
    of_jobs = sql.select(RunsTable.c.run_id).where(RunsTable.c.id.in_(newest))
    with events.index_connection() as connection:
        needed = {name for query in index for (name,) in connection.execute(query.distinct())}
    with runs.connect() as connection:
        return needed | {name for query in (repeated, of_jobs) for (name,) in connection.execute(query)}


def _purge_runs(runs: SqlRunStorage, names: set[str]) -> int:
    for some in _portions(sorted(names)):
        with runs.connect() as connection:
            connection.execute(sql.delete(RunTagsTable).where(RunTagsTable.c.run_id.in_(some)))
            connection.execute(sql.delete(RunsTable).where(RunsTable.c.run_id.in_(some)))
    return len(names)


def _purge_logs(
    instance: dg.DagsterInstance,
    events: SqlEventLogStorage,
    runs: SqlRunStorage,
    old: set[str],
    before: datetime.datetime,
) -> int:
    """Remove what the steps of old runs have printed and, where each run has a file of events, that file.

    Files of runs that nobody knows any more go too: a purge was killed before it came to them, or a person has deleted
    the run in the UI.
    """
    for name in old:
        with suppress(FileNotFoundError):
            instance.compute_log_manager.delete_logs(prefix=[name])
    if not isinstance(events, SqliteEventLogStorage):
        return 0
    with runs.connect() as connection:
        known = {name for (name,) in connection.execute(sql.select(RunsTable.c.run_id))}
    gone = 0
    for name in events.get_all_run_ids():
        path = Path(events.path_for_shard(name))
        if name in old or (name not in known and _is_old(path, before)):
            _forget(events, name)
            for file in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
                file.unlink(missing_ok=True)
            gone += 1
    return gone


def _is_old(path: Path, before: datetime.datetime) -> bool:
    with suppress(FileNotFoundError):
        return path.stat().st_mtime < before.timestamp()
    return False


def _forget(events: SqliteEventLogStorage, run: str) -> None:
    """Let the storage open the run's file as a new one, should a person look at the run once more."""
    forget = getattr(events, "forget", None)
    if forget:
        forget(run)
    else:
        events._initialized_dbs.discard(run)


def _purge_backfills(runs: SqlRunStorage, before: datetime.datetime) -> int:
    """Remove ended backfills that no run belongs to any more."""
    table = BulkActionsTable
    used = sql.exists(sql.select(RunsTable.c.id).where(RunsTable.c.backfill_id == table.c.key))
    ended = table.c.status.in_(_names(BULK_ACTION_TERMINAL_STATUSES))
    with runs.connect() as connection:
        query = sql.select(table.c.key).where(ended, table.c.timestamp < before, ~used)
        keys = [key for (key,) in connection.execute(query)]
        for some in _portions(keys):
            connection.execute(sql.delete(BackfillTagsTable).where(BackfillTagsTable.c.backfill_id.in_(some)))
            connection.execute(sql.delete(table).where(table.c.key.in_(some)))
    return len(keys)


def _purge_ticks(ticks: SqlScheduleStorage, before: datetime.datetime) -> int:
    """Remove old ticks, also of schedules and sensors that are gone; a schedule goes on from its newest one."""
    table = JobTickTable
    newest = sql.select(sql.func.max(table.c.id)).group_by(table.c.job_origin_id, table.c.selector_id)
    with ticks.connect() as connection:
        rule = sql.and_(table.c.timestamp < before, table.c.id.not_in(newest))
        return int(connection.execute(sql.delete(table).where(rule)).rowcount)


def _names(statuses: Iterable[Any]) -> list[str]:
    return [status.value for status in statuses]


def _portions(names: list[str]) -> Iterable[list[str]]:
    return (names[start : start + 500] for start in range(0, len(names), 500))


def _files(*storages: Any) -> list[Path]:
    """The SQLite files of storages that all runs share; none where the records are in a server."""
    files = []
    for storage in storages:
        with storage.index_connection() if isinstance(storage, SqlEventLogStorage) else storage.connect() as connection:
            if connection.dialect.name == "sqlite":
                name = connection.execute(sql.text("select file from pragma_database_list where name = 'main'"))
                files.append(Path(str(name.scalar())))
    return [path for path in dict.fromkeys(files) if path.is_file()]


def _size(events: SqlEventLogStorage, runs: SqlRunStorage, ticks: SqlScheduleStorage) -> int:
    """Bytes of the records: of SQLite's files with those of single runs, or of the tables in PostgreSQL."""
    files = set(_files(events, runs, ticks))
    if isinstance(events, SqliteEventLogStorage):
        files |= {Path(events.path_for_shard(name)) for name in events.get_all_run_ids()}
    total = 0
    for path in files:
        for file in (path, path.with_name(f"{path.name}-wal")):
            with suppress(FileNotFoundError):
                total += file.stat().st_size
    tables = [SqlEventLogStorageTable, AssetEventTagsTable, AssetCheckExecutionsTable, RunsTable, JobTickTable]
    with events.index_connection() as connection:
        if connection.dialect.name == "postgresql":
            sizes = [sql.func.pg_total_relation_size(table.name) for table in tables]
            total += sum(connection.execute(sql.select(*sizes)).one())
    return total


def _give_back(path: Path) -> None:
    """Write a SQLite file anew if much of it is free; another process that holds it puts this off to the next night."""
    with suppress(sqlite3.OperationalError):
        connection = sqlite3.connect(path, timeout=5, isolation_level=None)
        try:
            pages = connection.execute("pragma page_count").fetchone()[0]
            free = connection.execute("pragma freelist_count").fetchone()[0]
            if free > pages * FREE_SHARE:
                connection.execute("vacuum")
            connection.execute("pragma wal_checkpoint(truncate)")
        finally:
            connection.close()
