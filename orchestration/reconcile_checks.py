"""Reconciliation as asset checks: each table held against its source, each mart against its table, once a day.

They cost a pass over the source, so they are no part of the other jobs; a failing one stops nothing and says its mend.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg

from ingestion import reconcile
from ingestion.spec import Source, Table, sources
from lake import layout
from lake.errors import PlatformError
from orchestration import nightly
from orchestration.models import POOL
from warehouse import reconcile as marts
from warehouse.reconcile import Mart

CHECK = "reconciled"
SAID = 5  # differences that a failing check lists


def checks() -> list[dg.AssetChecksDefinition]:
    """One check for each processed table, and for each mart with the grain of a table."""
    of_tables = [of_table(source, table) for source in sources() for table in source.tables]
    return [*of_tables, *(of_mart(mart) for mart in marts.marts())]


def selection() -> dg.AssetSelection:
    """All of these checks."""
    return dg.AssetSelection.checks(*(key for check in checks() for key in check.check_keys))


def job() -> Any:
    """The job `reconcile`: these checks and nothing else."""
    return dg.define_asset_job(
        "reconcile",
        selection(),
        executor_def=dg.in_process_executor,
        description="Every table held against its source, and marts against their tables; changes nothing.",
    )


def schedule() -> dg.ScheduleDefinition:
    """Every night, after the day before was read again; switched on."""
    return nightly.schedule("reconcile", "0 4 * * *", "Reconciliation, each night.", name="nightly_reconcile")


def of_table(source: Source, table: Table) -> dg.AssetChecksDefinition:
    """The check of a processed table: it holds what its source and raw hold."""
    name = f"{source.name}.{table.name}"

    @dg.asset_check(
        asset=dg.AssetKey([source.name, table.name]),
        name=CHECK,
        description="Source, raw and processed hold the same rows: count, keys and checksum of every day.",
    )
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        with _explained():
            found = reconcile.compare(layout.from_environment(), source, table, say=context.log.info)
        for remark in found.remarks:
            context.log.info(f"{name}: {remark}")
        return dg.AssetCheckResult(
            passed=found.is_ok,
            # What the next load finds by itself is worth a look only if it is still there afterwards.
            severity=dg.AssetCheckSeverity.WARN if found.heals else dg.AssetCheckSeverity.ERROR,
            description=_failing(found.sentences, name),
            metadata={
                "days_compared": found.days,
                "days_differing": found.days_differing,
                **{f"rows_{place}": rows for place, rows in found.rows.items()},
                "rows_not_loaded_yet": found.behind,
                "rows_kept": found.kept,
                "rows_quarantined": found.set_aside,
                "duration_s": round(found.seconds, 3),
            },
        )

    return check


def of_mart(mart: Mart) -> dg.AssetChecksDefinition:
    """The check of a mart: it holds what its processed table holds."""

    @dg.asset_check(
        asset=dg.AssetKey([mart.schema, mart.name]),
        name=CHECK,
        description=f"Holds the rows of {mart.source}.{mart.table}: count, keys and checksum of what passes through.",
        pool=POOL,
    )
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        with _explained():
            (found,) = marts.compare(layout.from_environment(), [mart], say=context.log.info)
        return dg.AssetCheckResult(
            passed=found.is_ok,
            description=found.note or _failing(found.differences, f"{mart.source}.{mart.table}"),
            metadata={
                "days_compared": found.days,
                "days_differing": len(found.differences),
                "rows_mart": found.rows,
                "rows_processed": found.rows_of_table,
                "duration_s": round(found.seconds, 3),
            },
        )

    return check


def _failing(sentences: list[str] | tuple[str, ...], name: str) -> str | None:
    """What differs, and the mend; None if nothing does."""
    if not sentences:
        return None
    more = f"; and {len(sentences) - SAID:,} more" if len(sentences) > SAID else ""
    return f"{'; '.join(sentences[:SAID])}{more}; mend it with `watershed reconcile {name} --repair`"


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except PlatformError as error:
        raise dg.Failure(str(error), allow_retries=False) from None
