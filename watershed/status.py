"""The status screen: every table's rows, newest day and last load, the warehouse and the metrics store."""

import datetime
import os
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table as Grid

from ingestion.spec import Source, sources
from lake import layout, read
from lake.errors import PlatformError
from lake.layout import Address, Lake
from orchestration import clock
from watershed.tables import ago, grid, size


def show(console: Console) -> None:
    """Print it all; what cannot be reached is said in a line instead of its table."""
    dsn = os.environ.get("METRICS_DSN", "")
    loads, trouble = _last_loads(dsn)
    _lake(console, loads)
    _warehouse(console)
    if trouble:
        console.print(f"Metrics: {trouble}", soft_wrap=True)
    elif dsn:
        _metrics(console, dsn)


def _lake(console: Console, loads: dict[str, datetime.datetime]) -> None:
    lake = layout.from_environment()
    shown = grid(f"Lake {lake.root}", "table", "rows", "newest day", "loaded", "files", "size")
    for source in sources():
        for name, of in _tables(source):
            _row(shown, lake, source.name, name, loads.get(f"raw/{source.name}/{of}"))
    console.print(shown)


def _row(shown: Grid, lake: Lake, source: str, name: str, loaded: datetime.datetime | None) -> None:
    facts = read.facts(lake, Address("processed", source, name))
    if facts is None:
        shown.add_row(f"{source}.{name}", "-", "-", "never", "-", "-")
        return
    newest = max(facts.rows_per_day).isoformat() if facts.rows_per_day else "-"
    when = ago(max(loaded or facts.committed_at, facts.committed_at))
    shown.add_row(f"{source}.{name}", f"{facts.rows:,}", newest, when, f"{facts.files:,}", size(facts.bytes))


def _warehouse(console: Console) -> None:
    from warehouse import versions

    current = versions.current()
    if current is None:
        console.print("\nWarehouse: nothing is published yet; run `make run`.")
        return
    console.print(f"\n[bold]Warehouse[/bold] version {current.number}, published {ago(current.published_at)}, ", end="")
    console.print(f"{size(current.bytes)}: {current.path}", soft_wrap=True)


def _metrics(console: Console, dsn: str) -> None:
    from metrics import spec, state
    from watershed import metrics_state

    found = state.status(dsn, spec.read(), clock.now())
    shown = grid("\nMetrics", "hypertable", "rows", "newest", "chunks", "size")
    for it in found:
        newest = f"{it.newest:%Y-%m-%d %H:%M}" if it.newest else "-"
        shown.add_row(it.name, f"{it.rows:,}", newest, str(it.chunks), size(it.bytes))
    console.print(shown)
    for line in metrics_state.policy_lines(found):
        console.print(f"[dim]{line}[/dim]", soft_wrap=True)


def _last_loads(dsn: str) -> tuple[dict[str, datetime.datetime], str | None]:
    """When each asset was last materialized, changed or not; and why that cannot be told, if so."""
    from metrics.server import connected

    if not dsn:
        return {}, "METRICS_DSN is not set"
    try:
        with connected(dsn, read_only=True) as connection:
            known = connection.execute("SELECT to_regclass('metrics.pipeline_runs') IS NOT NULL").fetchone()
            if not known or not known[0]:
                return {}, None
            query = "SELECT asset, max(finished_at) FROM metrics.pipeline_runs WHERE is_success GROUP BY asset"
            return dict(connection.execute(query).fetchall()), None
    except PlatformError as error:
        return {}, str(error)


def _tables(source: Source) -> Iterator[tuple[str, str]]:
    """Names of the processed tables, each with the table whose load brings it."""
    for table in source.tables:
        yield table.name, table.name
        if table.history:
            yield f"{table.name}_history", table.name
