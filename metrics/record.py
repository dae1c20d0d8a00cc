"""The platform's own doings as metrics: its materializations, and the lake's tables after their upkeep."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime

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


def lake_tables(dsn: str, rows: Iterable[LakeTable], *, now: datetime, spec: Spec | None = None) -> Loaded:
    """Record `rows`; the same table at the same instant again replaces the row. Errors as `metrics.load.load`."""
    hypertable = (spec or read())["lake_tables"]
    table = pa.Table.from_pylist([asdict(row) for row in rows], schema=arrow_schema(hypertable))
    return load(dsn, hypertable, table.to_reader(), now=now)


def runs(dsn: str, rows: Iterable[Run], *, now: datetime, spec: Spec | None = None) -> Loaded:
    """Record `rows`; the same (finished_at, asset, run_id) again replaces the row. Errors as `metrics.load.load`."""
    hypertable = (spec or read())["pipeline_runs"]
    table = pa.Table.from_pylist([asdict(row) for row in rows], schema=arrow_schema(hypertable))
    return load(dsn, hypertable, table.to_reader(), now=now)
