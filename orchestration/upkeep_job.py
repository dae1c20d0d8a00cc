"""The job `upkeep`: every table of the lake kept in order each night, with figures before and after."""

import datetime
from collections.abc import Iterable

import dagster as dg

from lake import inventory, layout, upkeep
from lake.access import explained
from lake.errors import PlatformError
from lake.layout import Address, Lake
from lake.upkeep import Kept
from metrics import record, state
from metrics.server import connected
from metrics.spec import read
from orchestration import metric_assets, nightly


def job() -> dg.JobDefinition:
    """One step, which keeps one table after the other; a table that cannot be kept does not stop the others."""

    @dg.op(description="Puts small files of the lake together and removes what no version of the last 30 days needs.")
    def keep_lake(context: dg.OpExecutionContext) -> None:
        lake = layout.from_environment()
        done, failed = upkeep.keep_all(lake, tables := _tables(lake))
        if tables:
            upkeep.sweep_root(lake, upkeep.clock(lake))
        for kept in done:
            context.log.info(sentence(kept))
            for path in kept.vacuumed.foreign:
                context.log.warning(f"{kept.address}: foreign file {path} was left alone; move it away")
        context.add_output_metadata(_metadata(done))
        _record(context, done)
        if failed:
            raise dg.Failure("\n".join(str(error) for error in failed), allow_retries=False)

    @dg.job(
        name="upkeep",
        executor_def=dg.in_process_executor,
        description="Keeps the lake in order: small files, old versions, orphans. Loads and readers may go on.",
    )
    def keep() -> None:
        keep_lake()

    return keep


def schedule() -> dg.ScheduleDefinition:
    """Every night, after the day before has been settled; switched on."""
    return nightly.schedule("upkeep", "30 3 * * *", "The lake's files kept in order.", name="nightly_upkeep")


def rows(done: Iterable[Kept], at: datetime.datetime) -> list[record.LakeTable]:
    """What metrics.lake_tables keeps of an upkeep at an instant."""
    return [
        record.LakeTable(
            kept_at=at,
            zone=kept.address.zone,
            source=kept.address.source,
            table_name=kept.address.table,
            files=kept.after.files,
            files_before=kept.before.files,
            bytes=kept.after.bytes,
            bytes_before=kept.before.bytes,
            small_files=kept.after.small,
            row_count=kept.after.rows,
            versions=kept.after.versions,
            removed_files=kept.vacuumed.old + kept.vacuumed.orphans,
            removed_bytes=kept.vacuumed.bytes,
        )
        for kept in done
    ]


def sentence(kept: Kept) -> str:
    """What upkeep has done to one table, for a person."""
    left = f"; {kept.compacted.left}" if kept.compacted.left else ""
    return (
        f"{kept.address}: {kept.before.files:,} files before, {kept.after.files:,} after; "
        f"{kept.vacuumed.old:,} of old versions and {kept.vacuumed.orphans:,} orphans removed "
        f"({kept.vacuumed.bytes:,} bytes){left}"
    )


def _tables(lake: Lake) -> list[Address]:
    try:
        return inventory.tables(lake)
    except OSError as error:
        raise explained(lake, error) from None


def _record(context: dg.OpExecutionContext, done: list[Kept]) -> None:
    """Write the figures to the metrics store; the lake is in order whether that can be reached or not."""
    now = datetime.datetime.now(datetime.UTC)
    try:
        spec = read()
        with connected(metric_assets.dsn()) as connection:
            part = spec.model_copy(update={"hypertables": (spec["lake_tables"],)})
            state.apply(connection, part, now=now, is_part=True)
        record.lake_tables(metric_assets.dsn(), rows(done, now), now=now)
    except PlatformError as error:
        context.log.warning(f"metrics.lake_tables was not written: {error}")


def _metadata(done: list[Kept]) -> dict[str, dg.MetadataValue]:
    table = [
        dg.TableRecord(
            {
                "table": str(kept.address),
                "files before": kept.before.files,
                "files": kept.after.files,
                "bytes before": kept.before.bytes,
                "bytes": kept.after.bytes,
                "removed": kept.vacuumed.old + kept.vacuumed.orphans,
                "freed": kept.vacuumed.bytes,
            }
        )
        for kept in done
    ]
    figures = {
        "files_before": sum(kept.before.files for kept in done),
        "files_after": sum(kept.after.files for kept in done),
        "bytes_before": sum(kept.before.bytes for kept in done),
        "bytes_after": sum(kept.after.bytes for kept in done),
        "bytes_freed": sum(kept.vacuumed.bytes for kept in done),
    }
    values: dict[str, dg.MetadataValue] = {name: dg.MetadataValue.int(value) for name, value in figures.items()}
    return values | {"tables": dg.MetadataValue.table(table)} if table else values
