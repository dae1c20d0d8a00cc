"""Jobs, schedules and sensors: when the assets are refreshed, and who is told if that fails."""

import datetime
from typing import Any

import dagster as dg

from orchestration import anomaly_checks, metric_assets, metric_checks, reconcile_checks
from orchestration.alert import post
from orchestration.burial import bury_the_dead

CHANGES: dict[str, Any] = {"resources": {"reading": {"config": {"read": "changes"}}}}
DAYS: dict[str, Any] = {"resources": {"reading": {"config": {"read": "days"}}}}
# One process for the whole run: a process for each step costs about as much CPU again as the work itself.
EXECUTOR = dg.in_process_executor


def jobs() -> list[Any]:
    """`changes` reads what changed since the last load; `settle_day` reads whole days again, deletions included."""
    # These have jobs of their own.
    beside = reconcile_checks.selection() | metric_checks.selection() | anomaly_checks.selection()
    everything = dg.AssetSelection.all() - beside
    return [
        dg.define_asset_job(
            "changes",
            everything,
            config=CHANGES,
            executor_def=EXECUTOR,
            description="Everything, incrementally: what changed at the sources, through to the metrics store.",
        ),
        dg.define_asset_job(
            "settle_day",
            everything,
            config=DAYS,
            executor_def=EXECUTOR,
            description="Everything, with the run's days read again whole; repairs what an earlier run missed.",
        ),
    ]


def schedules() -> list[dg.ScheduleDefinition]:
    """Every hour the changes, every night the day before; both switched on."""

    @dg.schedule(
        cron_schedule="15 * * * *",
        job_name="changes",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="The changes of the last hour.",
    )
    def hourly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        at = context.scheduled_execution_time
        return dg.RunRequest(run_key=f"hourly-{at:%Y-%m-%dT%H}", tags=days(at.date(), at.date()))

    @dg.schedule(
        cron_schedule="30 2 * * *",
        job_name="settle_day",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="The day before, read again whole.",
    )
    def daily(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        day = context.scheduled_execution_time.date() - datetime.timedelta(days=1)
        return dg.RunRequest(run_key=f"daily-{day}", tags=days(day, day))

    return [hourly, daily]


def days(first: datetime.date, last: datetime.date) -> dict[str, str]:
    """The tags that give a run the days `first` to `last`."""
    return {
        "dagster/asset_partition_range_start": first.isoformat(),
        "dagster/asset_partition_range_end": last.isoformat(),
    }


def sensors() -> list[dg.SensorDefinition]:
    """Sensors on how runs end.

    `alert` tells of failed runs; `record_runs` writes down what those that succeeded did, see `books`;
    `bury_killed_runs` ends those whose process is gone.
    """

    @dg.run_failure_sensor(
        name="alert",
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Logs a failed run and posts it as JSON to WATERSHED_ALERT_URL, if that is set.",
        monitor_all_code_locations=True,
    )
    def alert(context: dg.RunFailureSensorContext) -> None:
        run, message = context.dagster_run, context.failure_event.message or "no message"
        for event in context.get_step_failure_events():
            failure = event.step_failure_data
            if failure.user_failure_data and failure.user_failure_data.description:
                message = failure.user_failure_data.description
        context.log.error(f"run {run.run_id} of {run.job_name} failed: {message}")
        post({"event": "run_failed", "job": run.job_name, "run_id": run.run_id, "message": message})
        metric_assets.close_books(context.instance, run.run_id)

    @dg.run_status_sensor(
        name="record_runs",
        run_status=dg.DagsterRunStatus.SUCCESS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Writes down what an ended run made and checked, how fresh the lake is, and what the servers say.",
    )
    def record_runs(context: dg.RunStatusSensorContext) -> None:
        metric_assets.close_books(context.instance, context.dagster_run.run_id)

    @dg.sensor(
        name="bury_killed_runs",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=60,
        description="Marks runs as failed whose process was killed; the queue would wait for them for ever.",
    )
    def bury_killed_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        buried = bury_the_dead(context.instance)
        return dg.SkipReason(f"buried {', '.join(buried)}" if buried else "every run in progress is alive")

    return [alert, record_runs, bury_killed_runs]
