"""The job `metrics_upkeep`: what a roll-up's refresh_lag does not let wait for the next load, and old chunks.

Every load ends with the same upkeep. This job is for what comes between them; it is started only if something is due.
"""

import datetime

import dagster as dg

from lake.errors import PlatformError
from metrics import due
from metrics.spec import read
from orchestration import clock, metric_assets
from orchestration.metric_assets import UPKEEP as NAME

EVERY = datetime.timedelta(minutes=10)
_WAITING = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING,
            dg.DagsterRunStatus.STARTED]  # fmt: skip


def job() -> dg.JobDefinition:
    """One step; in a queue it goes before the loads."""

    @dg.op(description="Brings roll-ups up to date, and moves to the lake or drops what is past its time.")
    def keep_metrics(context: dg.OpExecutionContext) -> None:
        try:
            done = metric_assets.keep()
        except PlatformError as error:
            raise dg.Failure(str(error), allow_retries=False) from None
        for one in done:
            context.log.info(str(one))
        context.add_output_metadata({"done": dg.MetadataValue.md("\n".join(f"- {one}" for one in done) or "nothing")})

    @dg.job(
        name=NAME,
        executor_def=dg.in_process_executor,
        tags={"dagster/priority": "10"},
        description="Keeps the metrics store between the loads: roll-ups, retention, tiering.",
    )
    def keep() -> None:
        keep_metrics()

    return keep


def schedule() -> dg.ScheduleDefinition:
    """Every ten minutes, if something is due before the tick after the next; switched on."""

    @dg.schedule(
        name=NAME,
        cron_schedule="5-55/10 * * * *",
        job_name=NAME,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="The metrics store kept between the loads, when something is due.",
    )
    def when_due(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if is_under_way(context.instance, NAME):
            return dg.SkipReason("the last upkeep has not ended yet")
        try:
            waiting = due.due(metric_assets.dsn(), read(), clock.now(), 2 * EVERY)
        except PlatformError as error:
            return dg.SkipReason(f"it cannot be told what is due: {error}")
        return dg.RunRequest(tags={"due": "; ".join(waiting[:3])}) if waiting else dg.SkipReason("nothing is due")

    return when_due


def is_under_way(instance: dg.DagsterInstance, job: str) -> bool:
    """Whether a run of a job waits for its turn or has not ended yet."""
    return bool(instance.get_runs(dg.RunsFilter(job_name=job, statuses=_WAITING), limit=1))
