"""Runs whose process was killed: marked as failed, so that neither a person nor the queue waits for them."""

from contextlib import suppress
from pathlib import Path

import dagster as dg
from dagster._core.storage.dagster_run import IN_PROGRESS_RUN_STATUSES

PID_TAG = "watershed/pid"


def bury_the_dead(instance: dg.DagsterInstance) -> list[str]:
    """Mark the runs as failed whose process is gone, give back the slots they held, and return their ids."""
    buried = []
    for run in instance.get_runs(dg.RunsFilter(statuses=IN_PROGRESS_RUN_STATUSES)):
        pid = run.tags.get(PID_TAG) or _pid(instance, run.run_id)
        if pid and not Path(f"/proc/{pid}/fd").exists():
            instance.report_run_failed(run, "The process of this run was killed; the next run takes its place.")
            with suppress(Exception):
                instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            buried.append(run.run_id)
    return buried


def _pid(instance: dg.DagsterInstance, run_id: str) -> str:
    """The process that a run started from the web UI said it was; empty if it has not said so yet."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        step = entry.get_dagster_event()
        if step.job_name and "pid" in step.engine_event_data.metadata:
            return str(step.engine_event_data.metadata["pid"].value)
    return ""
