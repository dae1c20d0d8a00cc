"""The main job, run in this process: the same job and assets that the web UI shows, without a daemon."""

import datetime
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg

from ingestion import load
from ingestion.spec import sources
from lake import layout
from lake.errors import SpecError, redact
from orchestration import days, jobs, metric_assets
from orchestration.burial import PID_TAG, bury_the_dead
from orchestration.definitions import defs
from orchestration.progress import only_voice


@dataclass(frozen=True)
class Step:
    """One step of a run: its key, how it ended and how long it took (seconds)."""

    key: str
    is_ok: bool
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What a run did: steps, checks passed and failed, what failed in sentences, and each asset's metadata.

    Tests of dbt that failed are counted in `checks_failed` and named by the build's own sentence in `failures`.
    """

    run_id: str
    is_ok: bool
    seconds: float
    steps: tuple[Step, ...] = ()
    checks_passed: int = 0
    checks_failed: int = 0
    failed_checks: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    assets: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def overhead(self) -> float:
        """Seconds outside of the steps: planning, bookkeeping and the framework itself."""
        return max(0.0, self.seconds - sum(step.seconds for step in self.steps))


def run(*, allow_shrink: bool = False) -> Outcome:
    """Run the job `changes` on all assets, for the days from the newest that the lake holds up to today.

    Raises a PlatformError if the lake or a source cannot be reached at all (whether the lake can be written is for the
    caller to check first); what fails inside the run is told by the outcome.
    """
    lake = layout.from_environment()
    spans = [load.span(lake, source) for source in sources()]
    return _run("changes", _tags([span for span in spans if span]), allow_shrink)


def settle(first: datetime.date, last: datetime.date, *, allow_shrink: bool = False) -> Outcome:
    """Run the job `settle_day` as one run: the UTC days `first` to `last` are read again whole. Raises as `run`."""
    keys = {key for source in sources() for key in days.partitions(source).get_partition_keys()}
    for name, day in (("--from", first), ("--to", last)):
        if day.isoformat() not in keys:
            raise SpecError(f"{name} {day}", "is no day of the platform", f"name one from {min(keys)} to {max(keys)}")
    if first > last:
        raise SpecError(f"--from {first}", f"lies after --to {last}", "name the earlier day first")
    return _run("settle_day", jobs.days(first, last), allow_shrink)


def _run(job: str, tags: dict[str, str], allow_shrink: bool) -> Outcome:
    read = "changes" if job == "changes" else "days"
    config = {
        "resources": {"reading": {"config": {"read": read, "allow_shrink": allow_shrink}}},
        "loggers": {"terminal": {}},
    }
    with only_voice(Path(os.environ["WATERSHED_STATE"])):
        instance = dg.DagsterInstance.get()
        bury_the_dead(instance)
        tags = {**tags, PID_TAG: str(os.getpid())}
        began = datetime.datetime.now(datetime.UTC)
        resolved = defs().resolve_job_def(job)
        result = resolved.execute_in_process(run_config=config, instance=instance, tags=tags, raise_on_error=False)
        seconds = (datetime.datetime.now(datetime.UTC) - began).total_seconds()
        metric_assets.close_books(instance, result.run_id)
    return _outcome(result, seconds)


def _tags(spans: list[tuple[datetime.date, datetime.date]]) -> dict[str, str]:
    keys = [key for source in sources() for key in days.partitions(source).get_partition_keys()]
    if not spans or not keys:
        return {}
    first = max(min(first for first, _ in spans).isoformat(), min(keys))
    last = max(keys)  # up to today: a day without rows is a fact, too
    if first > last:
        return {}
    return jobs.days(datetime.date.fromisoformat(first), datetime.date.fromisoformat(last))


def _outcome(result: dg.ExecuteInProcessResult, seconds: float) -> Outcome:
    steps, assets, failures, broken = [], {}, [], []
    checks = []
    for event in result.all_events:
        if event.is_step_success:
            steps.append(Step(event.step_key or "", True, event.step_success_data.duration_ms / 1000))
        elif event.is_step_failure:
            failures += _sentences(event)
        elif event.is_step_materialization and event.asset_key:
            metadata = event.step_materialization_data.materialization.metadata
            assets[event.asset_key.to_user_string()] = {name: value.value for name, value in metadata.items()}
        elif event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            checks.append(check)
            if _has_failed(check) and event.step_key != "dbt":
                broken.append(check.description or f"{check.asset_key.to_user_string()}: {check.check_name} failed")
    return Outcome(
        run_id=result.run_id,
        is_ok=result.success,
        seconds=seconds,
        steps=tuple(steps),
        checks_passed=sum(check.passed for check in checks),
        checks_failed=sum(map(_has_failed, checks)),
        failed_checks=tuple(broken),
        failures=tuple(dict.fromkeys(failures)),  # seven tables of one source that is down are one sentence
        assets=assets,
    )


def _has_failed(check: dg.AssetCheckEvaluation) -> bool:
    return not check.passed and check.severity == dg.AssetCheckSeverity.ERROR


def _sentences(event: dg.DagsterEvent) -> list[str]:
    failure = event.step_failure_data
    if failure.user_failure_data and failure.user_failure_data.description:
        return [str(failure.user_failure_data.description)]
    error = failure.error
    if error and error.cls_name == "DagsterAssetCheckFailedError":
        return []  # the check has told it already, see `failed_checks`
    while error and error.cause:
        error = error.cause
    what = redact(error.message.strip().splitlines()[0]) if error else "it failed"
    return [f"step {event.step_key}: {what}; look at this run in the web UI (`make ui`), and report it if it is a bug"]
