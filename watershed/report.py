"""The short report at the end of a run."""

from rich.console import Console
from rich.table import Table as Grid

from ingestion.spec import sources
from orchestration.main_job import Outcome
from watershed.tables import grid

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
    total = outcome.checks_passed + outcome.checks_failed
    console.print(f"Checks: {outcome.checks_passed} of {total} passed.")
    for sentence in outcome.failed_checks:
        console.print(f"[red]failed[/red]  {sentence}", soft_wrap=True)
    for sentence in outcome.failures:
        console.print(f"[red]failed[/red]  {sentence}", soft_wrap=True)
    given = "" if shop == "retail" else f" SHOP={shop}"
    if outcome.is_ok:
        path = outcome.assets.get("warehouse/published", {}).get("path", "")
        console.print(f"Warehouse: {path}", soft_wrap=True)
        if page := outcome.assets.get("warehouse/published", {}).get("report"):
            console.print(f"Report: {page}", soft_wrap=True)
        next_steps = (
            f"`make sql{given}` to query it, `make ui{given}` to see the graph, `make status{given}` for freshness"
        )
        console.print(f"Next: {next_steps}.", soft_wrap=True)
    else:
        published = outcome.assets.get("warehouse/published", {}).get("path")
        before = f"was published before that: {published}" if published else "stays as it was"
        console.print(f"The warehouse {before}. Mend what failed and run again.", soft_wrap=True)


def _loaded(outcome: Outcome) -> Grid:
    shown = grid("Tables", "table", "rows", "read", "new", "changed", "deleted", "newest day")
    for source in sources():
        for table in source.tables:
            raw = outcome.assets.get(f"raw/{source.name}/{table.name}")
            processed = outcome.assets.get(f"{source.name}/{table.name}", {})
            if raw is None:
                continue
            figures = [raw[name] for name in ("rows_read", "rows_new", "rows_changed", "rows_deleted")]
            rows = processed.get("dagster/row_count")
            shown.add_row(
                f"{source.name}.{table.name}",
                "-" if rows is None else f"{rows:,}",
                *(f"{figure:,}" for figure in figures),
                str(processed.get("newest_day", "-")),
            )
    return shown


def _stages(outcome: Outcome) -> Grid:
    shown = grid("Seconds", "stage", "seconds")
    counted = 0.0
    for stage, beginning in STAGES.items():
        seconds = sum(step.seconds for step in outcome.steps if step.key.startswith(beginning))
        shown.add_row(stage, f"{seconds:.1f}")
        counted += seconds
    steps = sum(step.seconds for step in outcome.steps)
    shown.add_row("fold and check (processed)", f"{steps - counted:.1f}")
    shown.add_row("orchestration", f"{outcome.overhead:.1f}")
    shown.add_row("whole job", f"{outcome.seconds:.1f}")
    return shown
