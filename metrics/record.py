"""The platform's own runs as a metric: one row of `metrics.pipeline_runs` per materialization."""

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


def runs(dsn: str, rows: Iterable[Run], *, now: datetime, spec: Spec | None = None) -> Loaded:
    """Record `rows`; the same (finished_at, asset, run_id) again replaces the row. Errors as `metrics.load.load`."""
    hypertable = (spec or read())["pipeline_runs"]
    table = pa.Table.from_pylist([asdict(row) for row in rows], schema=arrow_schema(hypertable))
    return load(dsn, hypertable, table.to_reader(), now=now)
