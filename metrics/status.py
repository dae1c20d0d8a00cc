"""What the metrics store holds, for people: size, age and lag per hypertable, and which policy does what."""

from dataclasses import dataclass
from datetime import datetime

from psycopg import sql

from metrics import native
from metrics.server import Connection, Edition, connected, edition, one, table
from metrics.spec import SCHEMA, Bucket, Hypertable, Spec
from metrics.words import counted, span

EXACT_BELOW = 512 * 2**20  # bytes up to which rows are counted; beyond, the planner's estimate is given


@dataclass(frozen=True)
class RollupStatus:
    """One roll-up: `waiting` buckets are out of date since `waiting_from` (None on the community edition)."""

    name: str
    bucket: Bucket
    rows: int
    newest: datetime | None
    waiting: int | None
    waiting_from: datetime | None


@dataclass(frozen=True)
class ColdStatus:
    """What of a hypertable is in the lake only: rows, ranges of time, bytes of Parquet, and where it ends."""

    rows: int
    ranges: int
    bytes: int
    until: datetime | None


@dataclass(frozen=True)
class Status:
    """One hypertable: edition of its server, rows (exact or estimated), chunks, bytes, first and last instant."""

    name: str
    edition: Edition
    is_applied: bool
    rows: int = 0
    is_exact: bool = True
    chunks: int = 0
    bytes: int = 0
    oldest: datetime | None = None
    newest: datetime | None = None
    loaded_at: datetime | None = None
    watermark: str | None = None
    rollups: tuple[RollupStatus, ...] = ()
    policies: tuple[str, ...] = ()
    cold: ColdStatus | None = None


def status(dsn: str, spec: Spec, now: datetime) -> list[Status]:
    """One Status per declared hypertable; reads only. `now` is the platform's clock, by which chunks are overdue."""
    with connected(dsn, read_only=True) as connection:
        kind = edition(connection)
        return [_status(connection, hypertable, kind, now) for hypertable in spec.hypertables]


def without_compression(hypertable: Hypertable) -> str:
    """The sentence for what the Apache-2 edition lacks."""
    after = span(hypertable.compress_after)
    return f"compression: not available in the Apache-2 edition (rows older than {after} would be compressed)"


def _status(connection: Connection, hypertable: Hypertable, kind: Edition, now: datetime) -> Status:
    name = f"{SCHEMA}.{hypertable.name}"
    names = (name, *(f"{SCHEMA}.{rollup}" for rollup in hypertable.rollup_names.values()), f"{SCHEMA}._state")
    if any(one(connection, "SELECT to_regclass(%s)", (relation,)) is None for relation in names):
        return Status(name, kind, False, policies=("not applied: apply metrics/hypertables.yml to this server",))
    chunks, overdue = connection.execute(
        _CHUNKS, (now - hypertable.drop_after, SCHEMA, hypertable.name)
    ).fetchone() or (0, 0)
    size = one(connection, "SELECT hypertable_size(%s::regclass)", (name,)) or 0
    rows, is_exact = _rows(connection, hypertable.name, size)
    ends = sql.SQL("SELECT min({0}), max({0}) FROM {1}").format(sql.Identifier(hypertable.time), table(hypertable.name))
    oldest, newest = connection.execute(ends).fetchone() or (None, None)
    loaded_at, mark = connection.execute(_STATE, (hypertable.name,)).fetchone() or (None, None)
    rollups = tuple(_rollup(connection, hypertable, bucket, kind) for bucket in hypertable.rollup_names)
    return Status(
        name,
        kind,
        is_applied=True,
        rows=rows,
        is_exact=is_exact,
        chunks=chunks,
        bytes=size,
        oldest=oldest,
        newest=newest,
        loaded_at=loaded_at,
        watermark=mark,
        rollups=rollups,
        policies=_policies(connection, hypertable, kind, overdue, rollups),
        cold=_cold(connection, hypertable),
    )


def _cold(connection: Connection, hypertable: Hypertable) -> ColdStatus | None:
    """None if nothing of the hypertable was ever moved to the lake."""
    if one(connection, "SELECT to_regclass('metrics._cold')") is None:
        return None
    rows, ranges, size, until = connection.execute(_COLD, (hypertable.name,)).fetchone() or (0, 0, 0, None)
    return ColdStatus(rows, ranges, size, until) if ranges else None


def _rows(connection: Connection, name: str, size: int) -> tuple[int, bool]:
    if size <= EXACT_BELOW:
        return one(connection, sql.SQL("SELECT count(*) FROM {}").format(table(name))), True
    estimate = one(connection, "SELECT approximate_row_count(%s::regclass)", (f"{SCHEMA}.{name}",))
    return int(estimate or 0), False


def _rollup(connection: Connection, hypertable: Hypertable, bucket: Bucket, kind: Edition) -> RollupStatus:
    name = hypertable.rollup_names[bucket]
    read = sql.SQL("SELECT count(*), max(bucket_at) FROM {}").format(table(name))
    rows, newest = connection.execute(read).fetchone() or (0, None)
    waiting, since = connection.execute(_WAITING, (hypertable.name, bucket)).fetchone() or (0, None)
    if kind == "community":
        waiting = since = None
    return RollupStatus(f"{SCHEMA}.{name}", bucket, rows, newest, waiting, since)


def _policies(
    connection: Connection, hypertable: Hypertable, kind: Edition, overdue: int, rollups: tuple[RollupStatus, ...]
) -> tuple[str, ...]:
    if kind == "community":
        return tuple(native.policies(connection, hypertable))
    kept = hypertable.rollups.every if hypertable.rollups else {}
    gone = "go to the lake and are dropped" if hypertable.tier else "are dropped"
    lines = [
        f"retention: rows older than {span(hypertable.drop_after)} {gone} by the platform's jobs "
        f"({counted(overdue, 'chunk')} overdue)"
    ]
    for rollup in rollups:
        lag = f", the oldest from {rollup.waiting_from:%Y-%m-%d %H:%M} UTC" if rollup.waiting_from else ""
        lines.append(
            f"roll-up {rollup.bucket}: kept up by the platform's jobs for {span(kept[rollup.bucket].drop_after)} "
            f"({counted(rollup.waiting or 0, 'bucket')} waiting{lag})"
        )
    return (*lines, without_compression(hypertable))


_CHUNKS = """
    SELECT count(*), count(*) FILTER (WHERE range_end <= %s) FROM timescaledb_information.chunks
    WHERE hypertable_schema = %s AND hypertable_name = %s
"""
_COLD = """
    SELECT coalesce(sum(rows), 0)::bigint, count(*), coalesce(sum(bytes), 0)::bigint, max(range_end)
    FROM metrics._cold WHERE hypertable = %s AND dropped_at IS NOT NULL
"""
_STATE = "SELECT loaded_at, watermark FROM metrics._state WHERE hypertable = %s"
_WAITING = "SELECT count(*), min(bucket_at) FROM metrics._dirty WHERE hypertable = %s AND rollup = %s"
