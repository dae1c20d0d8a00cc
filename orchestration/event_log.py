"""Dagster's SQLite event log with connections kept open and batches written in one transaction.

The stock storage opens a new engine for every event and commits each event three times: 22 ms an event here, so that
a first run over a year of days spent 100 of its 125 seconds on bookkeeping. Same tables, same files, so `dagster`
tools and an instance made with the stock storage keep working.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from dagster import EventLogEntry
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned
from dagster._core.events import ASSET_EVENTS
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, SqlEventLogStorageTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME, SqliteEventLogStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._serdes import ConfigurableClassData, serialize_value
from sqlalchemy import Connection, create_engine, event, func, select
from sqlalchemy.engine import Engine
from sqlalchemy.pool import StaticPool

OPEN_SHARDS = 8


class EventLog(SqliteEventLogStorage):
    """SqliteEventLogStorage, faster: connections are kept, batches are one transaction on each file."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        super().__init__(base_dir, inst_data)

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> "EventLog":
        """As the instance file configures it."""
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            engine = self._engine(shard)
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.connect() as connection, connection.begin():
                yield connection

    def _engine(self, shard: str) -> Engine:
        if shard not in self._engines:
            if not Path(self.path_for_shard(shard)).exists():
                self._initialized_dbs.discard(shard)  # another process has purged it
            engine = create_engine(
                self.conn_string_for_shard(shard),
                poolclass=StaticPool,
                connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
            )
            # In WAL mode NORMAL cannot corrupt the file; a power cut may lose the newest events, not the data.
            event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous=NORMAL").close())
            self._engines[shard] = engine
            if len(self._engines) > OPEN_SHARDS:
                oldest = next(name for name in self._engines if name not in (INDEX_SHARD_NAME, shard))
                self._engines.pop(oldest).dispose()
        self._engines.move_to_end(shard)
        return self._engines[shard]

    def forget(self, run_id: str) -> None:
        """Close a run's file because it is about to be removed; asked for once more, it begins as an empty one."""
        with self._db_lock:
            engine = self._engines.pop(run_id, None)
            if engine:
                engine.dispose()
            self._initialized_dbs.discard(run_id)

    def has_table(self, table_name: str) -> bool:
        """Whether the index file has a table; every file this class opens was made by a current Dagster."""
        return True

    def _has_asset_key_index_cols_on_connection(self, conn: Connection) -> bool:
        return True

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store asset events of one run together; all others one by one."""
        together = [entry for entry in events if entry.is_dagster_event and entry.dagster_event_type in ASSET_EVENTS]
        for run_id in {entry.run_id for entry in together}:
            self._store_asset_events(run_id, [entry for entry in together if entry.run_id == run_id])
        for entry in events:
            if not (entry.is_dagster_event and entry.dagster_event_type in ASSET_EVENTS):
                self.store_event(entry)

    def _store_asset_events(self, run_id: str, entries: Sequence[EventLogEntry]) -> None:
        table, rows = SqlEventLogStorageTable, [self._event_to_row(entry) for entry in entries]
        with self.run_connection(run_id) as connection:
            connection.execute(table.insert(), rows)
        newest: dict[tuple[Any, Any], tuple[EventLogEntry, int]] = {}
        with self.index_transaction() as connection:
            connection.execute(table.insert(), rows)
            # The insert holds the file's only lock for writers, and SQLite numbers rows one after the other.
            last = int(connection.execute(select(func.max(table.c.id))).scalar_one())
            ids = list(range(last - len(rows) + 1, last + 1))
            self._store_asset_event_tags(connection, entries, ids)
            for entry, number in zip(entries, ids, strict=True):
                step = entry.get_dagster_event()
                newest[(step.asset_key, step.event_type_value)] = (entry, number)
            for entry, number in newest.values():
                self._store_asset_event(connection, entry, number)

    def _store_asset_check_evaluation_planned(self, event: EventLogEntry, event_id: int | None) -> None:
        """Say of a check that it is going to look at many partitions once, not once for each of them.

        The evaluation of a range names no partition, so that the stock storage's row for each of 12,000 stays planned
        for ever, and is listed by the UI before what the check has found.
        """
        planned = cast(AssetCheckEvaluationPlanned, event.get_dagster_event().event_specific_data)
        if planned.partitions_subset is None or len(planned.partitions_subset) == 1:
            super()._store_asset_check_evaluation_planned(event, event_id)
            return
        row = {
            "asset_key": planned.asset_key.to_string(),
            "check_name": planned.check_name,
            "partition": None,
            "run_id": event.run_id,
            "execution_status": AssetCheckExecutionRecordStatus.PLANNED.value,
            "evaluation_event": serialize_value(event),
            "evaluation_event_timestamp": self._event_to_row(event)["timestamp"],
            "evaluation_event_storage_id": event_id,
        }
        with self.index_connection() as connection:
            connection.execute(AssetCheckExecutionsTable.insert(), row)
