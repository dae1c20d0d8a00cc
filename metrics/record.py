"""The platform's own doings as metrics: materializations, checks, the lake's tables, and the servers it talks to."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from metrics.batches import arrow_schema
from metrics.load import Loaded, load
from metrics.spec import Spec, read


@dataclass(frozen=True)
class Run:
    """One materialization: when it ended (with time zone), of which asset, by which run, and what it took."""

    finished_at: datetime
    asset: str
    run_id: str
    partition_range: str | None = None
    row_count: int | None = None
    bytes: int | None = None
    duration_s: float | None = None
    is_success: bool = True


@dataclass(frozen=True)
class LakeTable:
    """One table of the lake after its upkeep at `kept_at` (with time zone): what it holds, and what upkeep has done."""

    kept_at: datetime
    zone: str
    source: str
    table_name: str
    files: int
    files_before: int
    bytes: int
    bytes_before: int
    small_files: int
    row_count: int
    versions: int
    removed_files: int = 0
    removed_bytes: int = 0


@dataclass(frozen=True)
class CheckResult:
    """One evaluation of an asset check: when (with time zone), of which asset, by which run, and what it said.

    `severity` is ERROR or WARN, of a failure; `message` says what is wrong, without secrets.
    """

    finished_at: datetime
    asset: str
    check_name: str
    run_id: str
    is_passed: bool
    severity: str
    duration_s: float | None = None
    message: str | None = None


@dataclass(frozen=True)
class TableFreshness:
    """How old a table of the lake was at `measured_at` (with time zone): see the columns' descriptions."""

    measured_at: datetime
    source: str
    table_name: str
    newest_at: datetime | None
    loaded_at: datetime | None
    lag_s: float | None
    allowed_lag_s: float | None
    row_count: int
    is_fresh: bool | None


@dataclass(frozen=True)
class ServerStat:
    """One server at `measured_at` (with time zone); None is a figure that it has not or does not let us see."""

    measured_at: datetime
    server: str
    kind: str
    is_up: bool
    response_s: float
    version: str | None = None
    connections: int | None = None
    max_connections: int | None = None
    queries: int | None = None
    query_time_s: float | None = None
    query_source: str | None = None
    cache_hit_ratio: float | None = None
    disk_bytes: int | None = None
    disk_free_bytes: int | None = None
    problem: str | None = None


def lake_tables(dsn: str, rows: Iterable[LakeTable], *, now: datetime, spec: Spec | None = None) -> Loaded:
    """Record `rows`; the same table at the same instant again replaces the row. Errors as `metrics.load.load`."""
    return _record(dsn, "lake_tables", rows, now, spec)


def runs(dsn: str, rows: Iterable[Run], *, now: datetime, spec: Spec | None = None) -> Loaded:
    """Record `rows`; the same (finished_at, asset, run_id) again replaces the row. Errors as `metrics.load.load`."""
    return _record(dsn, "pipeline_runs", rows, now, spec)


def check_results(dsn: str, rows: Iterable[CheckResult], *, now: datetime, spec: Spec | None = None) -> Loaded:
    """Record `rows`; the same evaluation again replaces the row. Errors as `metrics.load.load`."""
    return _record(dsn, "check_results", rows, now, spec)


def table_freshness(dsn: str, rows: Iterable[TableFreshness], *, now: datetime, spec: Spec | None = None) -> Loaded:
    """Record `rows`; the same table at the same instant again replaces the row. Errors as `metrics.load.load`."""
    return _record(dsn, "table_freshness", rows, now, spec)


def server_stats(dsn: str, rows: Iterable[ServerStat], *, now: datetime, spec: Spec | None = None) -> Loaded:
    """Record `rows`; the same server at the same instant again replaces the row. Errors as `metrics.load.load`."""
    return _record(dsn, "server_stats", rows, now, spec)


def _record(dsn: str, name: str, rows: Iterable[Any], now: datetime, spec: Spec | None) -> Loaded:
    hypertable = (spec or read())[name]
    table = pa.Table.from_pylist([asdict(row) for row in rows], schema=arrow_schema(hypertable))
    return load(dsn, hypertable, table.to_reader(), now=now)
