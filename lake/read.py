"""What the lake holds: relations for DuckDB and facts from the Delta log, without reading the data."""

import datetime
import functools
import os
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from lake import commit, duck
from lake.layout import DAY_COLUMNS, Address, Lake


@dataclass(frozen=True)
class TableFacts:
    """The live version of one table as its log tells it; `columns` as the function of that name gives them."""

    version: int
    rows: int
    bytes: int
    files: int
    committed_at: datetime.datetime
    columns: dict[str, pa.DataType]
    rows_per_day: dict[datetime.date, int] = field(default_factory=dict)
    bytes_per_day: dict[datetime.date, int] = field(default_factory=dict)


def relation(lake: Lake, address: Address, at: DeltaTable | None = None) -> str:
    """The SQL that reads one table in DuckDB (extensions delta, and httpfs on S3): live, or at the version of `at`."""
    version = "" if at is None else f", version => {at.version()}"
    return f"delta_scan({duck.literal(lake.uri(address))}{version})"


def connect(lake: Lake, memory_limit: str = "1GB") -> duckdb.DuckDBPyConnection:
    """A DuckDB connection of its own that can read `lake`; beyond `memory_limit` it spills to a temporary folder."""
    connection = _instance(lake.on_s3, memory_limit).cursor()
    if lake.on_s3:
        with _giving:
            _give(connection, memory_limit, tuple(duck.s3_secret()))
    return connection


@functools.cache
def _instance(on_s3: bool, memory_limit: str) -> duckdb.DuckDBPyConnection:
    # One instance a process: loading the delta extension costs 0.3 CPU-seconds, more than reading most tables.
    connection = duck.connect(extensions=("delta", "httpfs") if on_s3 else ("delta",))
    connection.execute(f"SET memory_limit = {duck.literal(memory_limit)}; SET preserve_insertion_order = false")
    spill = Path(tempfile.gettempdir()) / f"watershed-{os.getpid()}"
    connection.execute(f"SET temp_directory = {duck.literal(str(spill))}")  # made only when needed, removed at exit
    return connection


_given: dict[str, tuple[str, ...]] = {}
_giving = threading.Lock()


def _give(connection: duckdb.DuckDBPyConnection, memory_limit: str, secret: tuple[str, ...]) -> None:
    """Let an instance have the keys that hold now: temporary ones change while a process lives."""
    if _given.get(memory_limit) != secret:
        for statement in secret:
            connection.execute(statement)
        _given[memory_limit] = secret


def facts(lake: Lake, address: Address) -> TableFacts | None:
    """What the log says of a table; None if nothing was ever committed there."""
    delta = commit.table(lake, address)
    if delta is None:
        return None
    actions = pa.table(delta.get_add_actions(flatten=True))
    rows_per_day, bytes_per_day = _per_day(actions)
    return TableFacts(
        version=delta.version(),
        rows=_total(actions, "num_records"),
        bytes=_total(actions, "size_bytes"),
        files=actions.num_rows,
        committed_at=_committed_at(delta),
        columns=columns(delta),
        rows_per_day=rows_per_day,
        bytes_per_day=bytes_per_day,
    )


def columns(delta: DeltaTable | None) -> dict[str, pa.DataType]:
    """Names and Arrow types of a table's columns, without the partition columns; empty if there is no table."""
    if delta is None:
        return {}
    schema = pa.schema(delta.schema().to_arrow())
    return {entry.name: entry.type for entry in schema if entry.name not in DAY_COLUMNS}


def _per_day(actions: pa.Table) -> tuple[dict[datetime.date, int], dict[datetime.date, int]]:
    names = [f"partition.{name}" for name in DAY_COLUMNS]
    if not set(names) <= set(actions.column_names) or actions.num_rows == 0:
        return {}, {}
    sums = actions.group_by(names).aggregate([("num_records", "sum"), ("size_bytes", "sum")])
    days = [
        datetime.date(int(year), int(month), int(day))
        for year, month, day in zip(*(sums[name].to_pylist() for name in names), strict=True)
    ]
    rows = dict(sorted(zip(days, sums["num_records_sum"].to_pylist(), strict=True)))
    return rows, dict(sorted(zip(days, sums["size_bytes_sum"].to_pylist(), strict=True)))


def _total(actions: pa.Table, column: str) -> int:
    total: Any = pc.sum(actions[column]).as_py()
    return int(total or 0)


def _committed_at(delta: DeltaTable) -> datetime.datetime:
    # Not `history` if it can be helped: it keeps Python's lock, and so all threads, while it waits for an S3 server.
    newest = commit.entries(delta, delta.version() - 1) or delta.history(1)
    milliseconds = int(newest[0]["timestamp"])
    return datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC)
