"""Schedules of the jobs that keep the platform in order: once a night, in UTC, switched on."""

import dagster as dg


def schedule(job: str, cron: str, description: str, *, name: str) -> dg.ScheduleDefinition:
    """The schedule `name` of a job; `cron` is in UTC."""
    return dg.ScheduleDefinition(
        name=name,
        cron_schedule=cron,
        job_name=job,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=description,
    )
