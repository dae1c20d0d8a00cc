"""Chunks that wait for something (to be compressed, copied to the lake, dropped), and chunks too large or too many."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from metrics import native, tier_books
from metrics.finding import BACKLOG, MEMORY, Finding, Limits, Moment, at, join
from metrics.server import Connection
from metrics.spec import BUCKETS, SCHEMA, Hypertable
from metrics.watch_policies import COLUMNSTORE, RETENTION, Job
from metrics.watch_upkeep import UPKEEP
from metrics.words import counted, span

_SLACK = timedelta(hours=1)  # on top of the time between two runs of a policy
_NO_JOB = timedelta(days=1)
TIER = "mend it with `watershed metrics tier`, and for good by switching the schedule `metrics_upkeep` on in Dagster"
_NICE = [timedelta(hours=hours) for hours in (1, 2, 3, 6, 12, 24, 48, 72, 168, 336)]


@dataclass(frozen=True)
class _Wait:
    """Chunks that wait: how many, the end of the oldest, what for, and what mends it."""

    count: int
    oldest: datetime | None
    words: str
    mend: str
    is_late_rows: bool = False

    def __str__(self) -> str:
        return f"{counted(self.count, 'chunk')} {self.words}, the oldest up to {at(self.oldest)}"


def of_policies(connection: Connection, hypertable: Hypertable, jobs: Sequence[Job], moment: Moment) -> Finding:
    """The community edition: what its policies, by the server's clock, have left undone."""
    waits = [_untiered(connection, hypertable, moment, _SLACK)] if hypertable.tier else []
    lives = {
        hypertable.rollup_names[bucket]: native.rollup_life(hypertable, bucket) for bucket in hypertable.rollup_names
    }
    if not hypertable.tier:
        lives[hypertable.name] = native.row_life(hypertable)
    for name, after in lives.items():
        slack, mend = _slack(jobs, RETENTION, name), _run(jobs, RETENTION, name)
        waits.append(_expired(connection, name, after, moment.server - slack, mend))
    return _finding(hypertable, [*waits, *_uncompressed(connection, hypertable, jobs, moment)])


def of_upkeep(connection: Connection, hypertable: Hypertable, moment: Moment, limits: Limits) -> Finding:
    """The Apache-2 edition: what the platform's own jobs, by its clock, have left undone."""
    waits = [_untiered(connection, hypertable, moment, limits.grace)] if hypertable.tier else []
    lives = [] if hypertable.tier else [(hypertable.name, hypertable.drop_after)]
    if hypertable.rollups:
        lives += [
            (hypertable.rollup_names[bucket], kept.drop_after) for bucket, kept in hypertable.rollups.every.items()
        ]
    waits += [_expired(connection, name, after, moment.now - limits.grace, UPKEEP) for name, after in lives]
    return _finding(hypertable, waits)


def memory(connection: Connection, hypertable: Hypertable, moment: Moment, limits: Limits) -> Finding:
    """Whether the newest chunks fit into the server's memory, and a query over all chunks into its locks."""
    chunks, hot, indexes = connection.execute(_SIZES, {"schema": SCHEMA, "name": hypertable.name,
        "server": moment.server}).fetchone() or (0, 0, 0)  # fmt: skip
    shared, locks = connection.execute(_SETTINGS).fetchone() or (0, 0)
    room, needed = int(shared * limits.memory_share), chunks * (1 + indexes)
    figures = {"chunks": chunks, "hot_bytes": int(hot), "memory_bytes": room, "locks": needed, "lock_table": locks}
    if hot > room:
        what = f"its newest chunk has {hot / 2**20:,.1f} MB with indexes, the server {room / 2**20:,.1f} MB for it"
        return Finding(MEMORY, hypertable.name, False, what, smaller(hypertable, hot, room), figures=figures)
    if needed > locks * limits.lock_share:
        what = f"a query over its {counted(chunks, 'chunk')} takes {needed:,} locks of the server's {locks:,}"
        mend = (
            "lengthen chunk_interval or shorten drop_after in metrics/hypertables.yml and run `watershed metrics apply`"
        )
        mend += ", or raise max_locks_per_transaction"
        return Finding(MEMORY, hypertable.name, False, what, mend, figures=figures)
    what = f"{counted(chunks, 'chunk')}, the newest with {hot / 2**20:,.1f} MB of {room / 2**20:,.0f} MB"
    return Finding(MEMORY, hypertable.name, True, what, figures=figures)


def together(found: Iterable[Finding]) -> Finding:
    """Whether the newest chunks of all hypertables, as `memory` found them, fit into the server's memory together."""
    sizes = {one.hypertable: one.figures for one in found if one.check == MEMORY and "hot_bytes" in one.figures}
    hot = sum(int(figures["hot_bytes"]) for figures in sizes.values())
    room = max((int(figures["memory_bytes"]) for figures in sizes.values()), default=0)
    figures = {"hot_bytes": hot, "memory_bytes": room}
    what = f"the newest chunks of all hypertables have {hot / 2**20:,.1f} MB of {room / 2**20:,.1f} MB"
    if hot <= room:
        return Finding(MEMORY, "", True, what, figures=figures)
    largest = max(sizes, key=lambda name: int(sizes[name]["hot_bytes"]))
    mend = f"raise shared_buffers to {hot / 2**20:,.0f} MB or more, or shorten chunk_interval, first of {largest}"
    return Finding(MEMORY, "", False, what, mend, figures=figures)


def _finding(hypertable: Hypertable, waits: Sequence[_Wait]) -> Finding:
    waiting = [wait for wait in waits if wait.count]
    figures = {"chunks_waiting": sum(wait.count for wait in waiting)}
    if not waiting:
        return Finding(BACKLOG, hypertable.name, True, "no chunk waits for anything", figures=figures)
    mends = "; ".join(dict.fromkeys(wait.mend for wait in waiting))
    # Late rows in an old chunk are in order; they are told because readers pay for them until the next run.
    severity = "WARN" if all(wait.is_late_rows for wait in waiting) else "ERROR"
    what = join([str(wait) for wait in waiting])
    return Finding(BACKLOG, hypertable.name, False, what, mends, severity, figures)  # type: ignore[arg-type]


def _expired(connection: Connection, name: str, after: timedelta, now: datetime, mend: str) -> _Wait:
    count, oldest = connection.execute(_EXPIRED, (SCHEMA, name, SCHEMA, name, now - after)).fetchone() or (0, None)
    return _Wait(count, oldest, f"of {SCHEMA}.{name} should have been dropped after {span(after)}", mend)


def _untiered(connection: Connection, hypertable: Hypertable, moment: Moment, slack: timedelta) -> _Wait:
    """Ranges that should be in the lake and no longer in the server, but for those loaded back for a while."""
    known = {copy.range: copy for copy in tier_books.copies(connection, hypertable.name)}
    due = [one for one in tier_books.due(connection, hypertable, moment.now - slack)
           if not ((copy := known.get(one)) and copy.hold_until and copy.hold_until > moment.now)]  # fmt: skip
    copied = sum(one in known for one in due)
    words = f"should have gone to the lake after {span(hypertable.drop_after)} ({copied} of them copied)"
    return _Wait(len(due), due[0].end if due else None, words, TIER)


def _uncompressed(connection: Connection, hypertable: Hypertable, jobs: Sequence[Job], moment: Moment) -> list[_Wait]:
    """Chunks that the policy has left, those that came after their time, and compressed ones with late rows."""
    due, slack = moment.server - hypertable.compress_after, _slack(jobs, COLUMNSTORE, hypertable.name)
    values = {"schema": SCHEMA, "name": hypertable.name, "due": due, "late": due - slack,
              "after": hypertable.compress_after}  # fmt: skip
    row = connection.execute(_UNCOMPRESSED, values).fetchone() or (0, None, 0, None)
    mend = _run(jobs, COLUMNSTORE, hypertable.name)
    return [
        _Wait(row[0], row[1], f"should have been compressed after {span(hypertable.compress_after)}", mend),
        _Wait(row[2], row[3], "took in late rows that are not compressed yet", mend, is_late_rows=True),
    ]


def _slack(jobs: Sequence[Job], kind: str, name: str) -> timedelta:
    found = [job.schedule_interval for job in jobs if job.kind == kind and job.relation == name]
    return (found[0] if found else _NO_JOB) + _SLACK


def _run(jobs: Sequence[Job], kind: str, name: str) -> str:
    found = [job for job in jobs if job.kind == kind and job.relation == name]
    return f"mend it with `CALL run_job({found[0].job_id})`" if found else "mend it with `watershed metrics apply`"


def smaller(hypertable: Hypertable, hot: int, room: int) -> str:
    """The longest chunk interval that fits, or more memory if roll-ups allow none."""
    wanted = hypertable.chunk_interval * (room / hot)
    widest = max((BUCKETS[bucket] for bucket in hypertable.rollup_names), default=_NICE[0])
    fitting = [length for length in _NICE if length <= wanted and length % widest == timedelta()]
    if fitting:
        line = f"`chunk_interval: {span(fitting[-1])}`"
        how = "into metrics/hypertables.yml and run `watershed metrics apply`; it holds from the next chunk on"
        return f"write {line} {how}"
    more = f"raise shared_buffers to {hot / 2**20:,.0f} MB or more"
    why = f"roll-ups of {span(widest)} allow no shorter ones"
    return f"{more}, or divide the chunks with `space:` in metrics/hypertables.yml: {why}"


# A continuous aggregate's chunks are those of the hypertable that holds it.
_EXPIRED = """
    SELECT count(*), min(range_end) FROM timescaledb_information.chunks
    WHERE ((hypertable_schema = %s AND hypertable_name = %s) OR (hypertable_schema, hypertable_name) IN (
        SELECT materialization_hypertable_schema, materialization_hypertable_name
        FROM timescaledb_information.continuous_aggregates WHERE view_schema = %s AND view_name = %s))
      AND range_end <= %s
"""
# Bit 8 of a chunk's status: compressed, with rows beside it that are not.
_UNCOMPRESSED = """
    WITH held AS (
        SELECT range_end, is_compressed, chunk_creation_time > range_end + %(after)s AS is_late,
            is_compressed AND _timescaledb_functions.chunk_status(
                format('%%I.%%I', chunk_schema, chunk_name)::regclass) & 8 = 8 AS is_partial
        FROM timescaledb_information.chunks
        WHERE hypertable_schema = %(schema)s AND hypertable_name = %(name)s AND range_end <= %(due)s
    )
    SELECT count(*) FILTER (WHERE left_over), min(range_end) FILTER (WHERE left_over),
        count(*) FILTER (WHERE late_rows), min(range_end) FILTER (WHERE late_rows)
    FROM held, LATERAL (SELECT NOT is_compressed AND NOT is_late AND range_end <= %(late)s AS left_over,
        is_partial OR (NOT is_compressed AND is_late) AS late_rows) AS verdict
"""
# The chunks of the two newest intervals that have begun: the newest alone may just have been opened.
_SIZES = """
    WITH held AS (
        SELECT range_start, range_end, format('%%I.%%I', chunk_schema, chunk_name)::regclass AS chunk,
            dense_rank() OVER (ORDER BY range_start DESC) AS age
        FROM timescaledb_information.chunks
        WHERE hypertable_schema = %(schema)s AND hypertable_name = %(name)s AND range_start <= %(server)s
    ), summed AS (
        SELECT range_start, sum(pg_total_relation_size(chunk)) AS bytes FROM held WHERE age <= 2 GROUP BY range_start
    )
    SELECT (SELECT count(*) FROM timescaledb_information.chunks
            WHERE hypertable_schema = %(schema)s AND hypertable_name = %(name)s),
        coalesce((SELECT max(bytes) FROM summed), 0)::bigint,
        (SELECT count(*) FROM pg_index WHERE indrelid = format('%%I.%%I', %(schema)s::text, %(name)s::text)::regclass)
"""
_SETTINGS = """
    SELECT pg_size_bytes(current_setting('shared_buffers')),
        current_setting('max_locks_per_transaction')::bigint
            * (current_setting('max_connections')::bigint + current_setting('max_prepared_transactions')::bigint)
"""
