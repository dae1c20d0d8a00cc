"""A code location with tables of many partitions: 12,000 days, and every hour of a leap year."""

import dagster as dg

from orchestration import days

DAYS = dg.DailyPartitionsDefinition("1990-01-01", end_date="2022-11-09")
HOURS = dg.HourlyPartitionsDefinition("2024-01-01-00:00", end_date="2025-01-01-00:00")


def asset(name: str, partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """One that says of each partition how many rows it has, as the lake's tables do, and has a check."""

    @dg.asset(
        name=name,
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        check_specs=[dg.AssetCheckSpec("is_whole", asset=name)],
    )
    def made(context: dg.AssetExecutionContext):
        figures = {key: {"dagster/partition_row_count": n} for n, key in enumerate(context.partition_keys)}
        days.describe(context, figures)
        return dg.MaterializeResult(
            metadata={"bytes": 9}, check_results=[dg.AssetCheckResult(passed=True, check_name="is_whole")]
        )

    return made


@dg.definitions
def defs() -> dg.Definitions:
    """Both tables and a job that fills them."""
    return dg.Definitions(
        assets=[asset("by_day", DAYS), asset("by_hour", HOURS)],
        jobs=[
            dg.define_asset_job(f"fill_{name}", name, executor_def=dg.in_process_executor)
            for name in ("by_day", "by_hour")
        ],
        loggers={"console": dg.colored_console_logger},
    )
