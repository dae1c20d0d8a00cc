"""The community edition's jobs: whether each is switched on, ran when it was due, and keeps the roll-ups in time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import class_row

from lake.errors import redact
from metrics.finding import ERRORS, LAG, POLICIES, Finding, Limits, Moment, at, join
from metrics.rollup import finest_first
from metrics.server import Connection, one
from metrics.spec import SCHEMA, Hypertable
from metrics.words import counted, span

RETENTION, COLUMNSTORE, REFRESH = "retention", "columnstore", "refresh"
_KINDS = {
    "policy_retention": RETENTION,
    "policy_compression": COLUMNSTORE,
    "policy_columnstore": COLUMNSTORE,
    "policy_refresh_continuous_aggregate": REFRESH,
}
_LONGEST = timedelta(days=1)  # between two runs of retention or columnstore: TimescaleDB's own defaults are no longer
_PUT_OFF = 6  # schedule intervals: after failures the server waits up to five
# PostgreSQL's security minors 15.20 and 17.12: the job's work is committed, then this is recorded.
_KNOWN = ("24000", "cannot drop portal")


@dataclass(frozen=True)
class Job:
    """One job as the server tells of it; instants are None if it never ran, the error if it cannot be seen."""

    job_id: int
    proc_name: str
    relation: str
    scheduled: bool
    schedule_interval: timedelta
    config: dict[str, Any] | None
    is_running: bool
    next_start: datetime | None
    started_at: datetime | None
    succeeded_at: datetime | None
    duration: timedelta | None
    has_failed: bool
    error_code: str | None
    error: str | None

    @property
    def kind(self) -> str:
        """Retention, columnstore or refresh."""
        return _KINDS.get(self.proc_name, self.proc_name)

    @property
    def words(self) -> str:
        """`the retention policy of metrics.sales_hourly (job 1003)`."""
        return f"the {self.kind} policy of {SCHEMA}.{self.relation} (job {self.job_id})"

    @property
    def is_known_slip(self) -> bool:
        """Whether the failure it records is the one of PostgreSQL's minors that leaves its work committed."""
        return self.error_code == _KNOWN[0] and _KNOWN[1] in (self.error or "")


def jobs(connection: Connection, hypertable: Hypertable) -> list[Job]:
    """The jobs that keep a hypertable and its roll-ups."""
    names = [hypertable.name, *hypertable.rollup_names.values()]
    with connection.cursor(row_factory=class_row(Job)) as cursor:
        return cursor.execute(_JOBS, {"schema": SCHEMA, "names": names}).fetchall()


def run(hypertable: Hypertable, found: Sequence[Job], moment: Moment, limits: Limits) -> Finding:
    """Whether every policy is switched on and ran when it was due."""
    wrong = [problem for job in found for problem in _problems(hypertable, job, moment, limits)]
    figures: dict[str, float | int | str] = {"jobs": len(found)}
    for job in found:
        figures[f"{job.kind}_{job.relation}"] = _last(job)
    if wrong:
        what, mends = join([what for what, _ in wrong]), dict.fromkeys(mend for _, mend in wrong)
        return Finding(POLICIES, hypertable.name, False, what, f"mend it with {' '.join(mends)}", figures=figures)
    told = "; ".join(f"{job.kind} of {job.relation} {_last(job)}" for job in found)
    said = f"{counted(len(found), 'job')} switched on and on time{f': {told}' if told else ''}"
    return Finding(POLICIES, hypertable.name, True, said, figures=figures)


def succeed(hypertable: Hypertable, found: Sequence[Job]) -> Finding:
    """Whether a job ended with an error; the known slip and failures without a visible reason are judged by effects."""
    failed = [job for job in found if job.has_failed]
    wrong = [job for job in failed if job.error and not job.is_known_slip]
    figures = {"failed": len(wrong), "recorded_as_failed": len(failed)}
    if wrong:
        what = join([f"{job.words} failed: {redact(job.error or '')[:200]}" for job in wrong])
        mends = " ".join(f"`SELECT alter_job({job.job_id}, next_start => now())`" for job in wrong)
        mend = f"mend what the message says, then let it run again with {mends}"
        return Finding(ERRORS, hypertable.name, False, what, mend, figures=figures)
    note = f"; {counted(len(failed), 'job')} recorded as failed, judged by the effects" if failed else ""
    return Finding(ERRORS, hypertable.name, True, f"no job ended with an error{note}", figures=figures)


def lag(connection: Connection, hypertable: Hypertable, found: Sequence[Job], moment: Moment) -> Finding:
    """Whether changes below what is materialized wait for longer than refresh_lag; newer rows are added when read."""
    late, figures, mends = [], dict[str, float | int | str](), []
    for bucket in finest_first(hypertable):
        name = hypertable.rollup_names[bucket]
        waiting = _waiting(connection, name)
        figures[f"{bucket}_waiting"] = waiting
        job = next((one for one in found if one.kind == REFRESH and one.relation == name), None)
        allowed = hypertable.rollups.every[bucket].refresh_lag if hypertable.rollups else timedelta.max
        since = job.started_at if job else None
        behind = moment.server - since if since else None
        if waiting and (behind is None or behind > allowed):
            late.append(
                f"roll-up {bucket} has changes that wait, and was last refreshed {at(since)}; its refresh_lag is"
                f" {span(allowed)}"
            )
        if late:  # what the finer one takes in, the coarser ones then lack
            mends.append(f"`CALL run_job({job.job_id})`" if job else "`watershed metrics apply`")
    if late:
        mend = f"mend it with {' '.join(mends)}, and look at {POLICIES}"
        return Finding(LAG, hypertable.name, False, join(late), mend, figures=figures)
    return Finding(LAG, hypertable.name, True, "no roll-up is behind its refresh_lag", figures=figures)


def _problems(hypertable: Hypertable, job: Job, moment: Moment, limits: Limits) -> Iterator[tuple[str, str]]:
    """What is wrong with a job and the SQL that mends it."""
    alter = f"`SELECT alter_job({job.job_id}, {{}})`"
    if not job.scheduled:
        yield f"{job.words} is switched off", alter.format("scheduled => true")
        return
    longest = _allowed(hypertable, job)
    if job.schedule_interval > longest:
        what = f"{job.words} runs only every {span(job.schedule_interval)}, more than {span(longest)} apart"
        yield what, alter.format(f"schedule_interval => INTERVAL '{span(longest)}'")
    if job.is_running or job.next_start is None:
        return
    if job.next_start < moment.server - limits.tick:
        start = "`SELECT _timescaledb_functions.start_background_workers()` (or timescaledb.max_background_workers)"
        yield f"{job.words} was due {at(job.next_start)} and has not run; it last ran {at(job.started_at)}", start
    elif job.next_start > moment.server + _PUT_OFF * job.schedule_interval:
        yield f"{job.words} is put off until {at(job.next_start)}", alter.format("next_start => now()")


def _allowed(hypertable: Hypertable, job: Job) -> timedelta:
    for bucket, name in hypertable.rollup_names.items():
        if job.kind == REFRESH and job.relation == name and hypertable.rollups:
            return hypertable.rollups.every[bucket].refresh_lag
    return _LONGEST


def _last(job: Job) -> str:
    """When it last ran well and how long that took; the known slip counts as well."""
    if job.succeeded_at:
        when = f"succeeded {at(job.succeeded_at)}"
    elif job.started_at:
        when = f"ran {at(job.started_at)}, recorded as failed" if job.has_failed else f"ran {at(job.started_at)}"
    else:
        return "never ran"
    return f"{when}, {job.duration.total_seconds():.2f} s" if job.duration else when


def _waiting(connection: Connection, name: str) -> int:
    """Changes of rows that the continuous aggregate has materialized already; 0 if this role may not see them."""
    try:
        with connection.transaction():
            return int(one(connection, _INVALID, (SCHEMA, name)) or 0)
    except psycopg.errors.InsufficientPrivilege:
        return 0


# Some releases name the aggregate in the jobs view, others the hypertable that holds it. An instant that never was is
# -infinity, which Python has no word for.
_JOBS = """
    WITH held AS (
        SELECT job.job_id, proc_name::text,
            coalesce(aggregate.view_name, job.hypertable_name)::text AS relation, scheduled, schedule_interval, config
        FROM timescaledb_information.jobs AS job LEFT JOIN timescaledb_information.continuous_aggregates AS aggregate
            ON aggregate.materialization_hypertable_schema = job.hypertable_schema
            AND aggregate.materialization_hypertable_name = job.hypertable_name
        WHERE coalesce(aggregate.view_schema, job.hypertable_schema) = %(schema)s
    )
    SELECT held.*, coalesce(job_status = 'Running', false) AS is_running,
        CASE WHEN isfinite(stat.next_start) THEN stat.next_start END AS next_start,
        CASE WHEN isfinite(last_run_started_at) THEN last_run_started_at END AS started_at,
        CASE WHEN isfinite(last_successful_finish) THEN last_successful_finish END AS succeeded_at,
        last_run_duration AS duration,
        coalesce(last_run_status = 'Failed', false) AS has_failed, error.sqlerrcode AS error_code,
        error.err_message AS error
    FROM held LEFT JOIN timescaledb_information.job_stats AS stat USING (job_id)
    LEFT JOIN LATERAL (
        SELECT sqlerrcode, err_message FROM timescaledb_information.job_errors AS told
        WHERE told.job_id = held.job_id ORDER BY start_time DESC LIMIT 1
    ) AS error ON true
    WHERE relation = ANY (%(names)s) ORDER BY job_id
"""
_INVALID = """
    SELECT count(*) FROM _timescaledb_catalog.continuous_agg AS aggregate
    JOIN _timescaledb_catalog.continuous_aggs_hypertable_invalidation_log AS log
        ON log.hypertable_id = aggregate.raw_hypertable_id
    JOIN _timescaledb_catalog.continuous_aggs_watermark AS held ON held.mat_hypertable_id = aggregate.mat_hypertable_id
    WHERE user_view_schema = %s AND user_view_name = %s AND log.lowest_modified_value < held.watermark
"""
