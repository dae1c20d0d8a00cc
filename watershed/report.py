"""The short report at the end of a run, and the status screen: tables for people."""

import datetime
import os
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table as Grid

from ingestion import load
from ingestion.spec import Source, sources
from lake import layout, read
from lake.layout import Address
from orchestration.main_job import Outcome

# stage: what the keys of its steps begin with; a step that begins with none of them folds a processed table
STAGES = {
    "extract (raw)": "raw__",
    "dbt (build and test)": "dbt",
    "publish": "warehouse__",
    "metrics": "metrics__",
}


def after_run(console: Console, outcome: Outcome, shop: str) -> None:
    """What the run brought: rows and freshness per table, checks, seconds per stage, where to look next."""
    console.print()
    console.print(_loaded(outcome))
    console.print(_stages(outcome))
    total = outcome.checks_passed + len(outcome.failed_checks)
    console.print(f"Checks: {outcome.checks_passed} of {total} passed.")
    for sentence in outcome.failed_checks:
        console.print(f"[red]failed[/red]  {sentence}", soft_wrap=True)
    for sentence in outcome.failures:
        console.print(f"[red]failed[/red]  {sentence}", soft_wrap=True)
    given = "" if shop == "retail" else f" SHOP={shop}"
    if outcome.is_ok:
        path = outcome.assets.get("warehouse/published", {}).get("path", "")
        console.print(f"Warehouse: {path}", soft_wrap=True)
        console.print(
            f"Next: `make sql{given}` to query it, `make ui{given}` to see the graph, `watershed status` for freshness."
        )
    else:
        console.print("What was published before stays as it was. Mend what failed and run again.")


def status(console: Console) -> None:
    """Every table's rows, newest day, last load and size in one screen."""
    from metrics import spec
    from metrics import state as metrics_state
    from orchestration import clock, metric_assets
    from warehouse import versions

    grid = _grid("Lake", "table", "rows", "newest day", "loaded", "files", "size")
    for source in sources():
        for name, kind in _lake_tables(source):
            _lake_row(grid, source.name, name, kind)
    console.print(grid)
    current = versions.current()
    if current is None:
        console.print("Warehouse: nothing is published yet; run `make run`.")
    else:
        age = _ago(current.published_at)
        console.print(f"Warehouse: version {current.number}, published {age}, {_size(current.bytes)}: {current.path}")
    if os.environ.get("METRICS_DSN"):
        grid = _grid("Metrics", "hypertable", "rows", "newest", "chunks", "size", "policies")
        for it in metrics_state.status(metric_assets.dsn(), spec.read(), clock.now()):
            newest = f"{it.newest:%Y-%m-%d %H:%M}" if it.newest else "-"
            grid.add_row(it.name, f"{it.rows:,}", newest, str(it.chunks), _size(it.bytes), "\n".join(it.policies))
        console.print(grid)


def _loaded(outcome: Outcome) -> Grid:
    grid = _grid("Tables", "table", "rows", "read", "new", "changed", "deleted", "newest day")
    for source in sources():
        for table in source.tables:
            raw = outcome.assets.get(f"raw/{source.name}/{table.name}")
            processed = outcome.assets.get(f"{source.name}/{table.name}", {})
            if raw is None:
                continue
            figures = [raw[name] for name in ("rows_read", "rows_new", "rows_changed", "rows_deleted")]
            rows = processed.get("dagster/row_count")
            grid.add_row(
                f"{source.name}.{table.name}",
                "-" if rows is None else f"{rows:,}",
                *(f"{figure:,}" for figure in figures),
                str(processed.get("newest_day", "-")),
            )
    return grid


def _stages(outcome: Outcome) -> Grid:
    grid = _grid("Seconds", "stage", "seconds")
    counted = 0.0
    for stage, beginning in STAGES.items():
        seconds = sum(step.seconds for step in outcome.steps if step.key.startswith(beginning))
        grid.add_row(stage, f"{seconds:.1f}")
        counted += seconds
    steps = sum(step.seconds for step in outcome.steps)
    grid.add_row("fold and check (processed)", f"{steps - counted:.1f}")
    grid.add_row("orchestration", f"{outcome.overhead:.1f}")
    grid.add_row("whole job", f"{outcome.seconds:.1f}")
    return grid


def _lake_tables(source: Source) -> Iterable[tuple[str, str | None]]:
    for table in source.tables:
        yield table.name, load.subject(source, table).partition
        if table.history:
            yield f"{table.name}_history", None


def _lake_row(grid: Grid, source: str, name: str, partition: str | None) -> None:
    facts = read.facts(layout.from_environment(), Address("processed", source, name))
    if facts is None:
        grid.add_row(f"{source}.{name}", "-", "-", "never", "-", "-")
        return
    raw = read.facts(layout.from_environment(), Address("raw", source, name.removesuffix("_history")))
    newest = max(facts.rows_per_day).isoformat() if partition and facts.rows_per_day else "-"
    loaded = max(facts.committed_at, raw.committed_at) if raw else facts.committed_at
    grid.add_row(f"{source}.{name}", f"{facts.rows:,}", newest, _ago(loaded), f"{facts.files:,}", _size(facts.bytes))


def _grid(title: str, *columns: str) -> Grid:
    grid = Grid(title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False)
    for index, column in enumerate(columns):
        is_text = index == 0 or column in ("newest day", "newest", "loaded", "policies")
        grid.add_column(column, justify="left" if is_text else "right", no_wrap=column != "policies")
    return grid


def _ago(instant: datetime.datetime) -> str:
    seconds = (datetime.datetime.now(datetime.UTC) - instant).total_seconds()
    for limit, unit, size in ((90, "s", 1), (5400, "min", 60), (129600, "h", 3600)):
        if seconds < limit:
            return f"{max(0, seconds) / size:.0f} {unit} ago"
    return f"{seconds / 86400:.0f} days ago"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
