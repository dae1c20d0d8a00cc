"""The code location: everything Dagster shows, put together from the packages."""

import warnings

import dagster as dg

from ingestion.spec import sources
from orchestration import (
    anomaly_checks,
    jobs,
    lake_assets,
    metric_assets,
    metric_checks,
    metric_upkeep,
    models,
    purge,
    reconcile_checks,
    site,
    upkeep_job,
)
from orchestration.progress import terminal_logger

# Each a job with a schedule of its own.
BESIDE = (upkeep_job, purge, reconcile_checks, metric_checks, metric_upkeep, anomaly_checks)


@dg.definitions
def defs() -> dg.Definitions:
    """Assets by stage, jobs, schedules and sensors."""
    site.enter()
    warnings.filterwarnings("ignore", category=dg.BetaWarning)  # backfill_policy and check partitions; seen and tested
    return dg.Definitions(
        assets=[
            *(asset for source in sources() for asset in lake_assets.assets(source)),
            *models.assets(),
            *metric_assets.assets(),
        ],
        asset_checks=[*reconcile_checks.checks(), *metric_checks.checks(), *anomaly_checks.checks()],
        jobs=[*jobs.jobs(), *(kept.job() for kept in BESIDE)],
        schedules=[*jobs.schedules(), *(kept.schedule() for kept in BESIDE)],
        sensors=jobs.sensors(),
        resources={"reading": lake_assets.Reading()},
        loggers={"console": dg.colored_console_logger, "terminal": terminal_logger},
        executor=dg.in_process_executor,
    )
