"""Idempotent loading: COPY BINARY into a staging table, then upsert by key, in one transaction per load."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pgpq
import pyarrow as pa
from psycopg import sql

from lake.errors import PermanentError
from metrics.batches import Tally, arrow_schema, conformed, require
from metrics.rollup import marking
from metrics.server import Connection, connected, edition, lock, one, table
from metrics.spec import BUCKETS, SCHEMA, Hypertable

FUTURE = timedelta(days=366)  # further ahead of the clock than this is taken for a broken clock at the source
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_STAGING = sql.Identifier("pg_temp", "staged")


@dataclass(frozen=True)
class Loaded:
    """What a load did. `touched_from`/`touched_to`: first and last instant of a row that changed, None if none did."""

    rows: int
    """Rows taken in, also those that were there already."""
    changed: int
    """Rows inserted or made different."""
    removed: int
    """Rows removed because of `replace_from`."""
    expired: int
    """Rows left out: older than the retention."""
    future: int
    """Rows left out: more than a year ahead of the clock."""
    blanked: int
    """Values that were NaN or infinite and are NULL now."""
    seconds: float
    touched_from: datetime | None
    touched_to: datetime | None


@dataclass(frozen=True)
class _Change:
    rows: int
    first_at: datetime | None
    last_at: datetime | None


_NOTHING = _Change(0, None, None)


def load(
    dsn: str,
    hypertable: Hypertable,
    batches: pa.RecordBatchReader,
    *,
    now: datetime,
    watermark: str | None = None,
    replace_from: datetime | None = None,
) -> Loaded:
    """Load `batches` into the hypertable: all of it or nothing; loading twice is as loading once.

    Args:
        dsn: The server, as a libpq URI.
        hypertable: A hypertable of the declaration, applied before.
        batches: Rows with exactly the declared columns; timestamps with a time zone; numeric as decimal or integer.
            Of rows with the same key the last one counts.
        now: The platform's clock: rows older than `drop_after` before it are left out and counted, so that a load
            does not bring back what retention has dropped.
        watermark: Kept on the server in the same transaction, for the next load to start from.
        replace_from: The batches hold everything from this instant on: other rows from there on are removed.

    Raises:
        ContractBroken: A column is missing, unknown or of another type; a key is NULL; a value does not fit.
        PermanentError: The hypertable is not there.
        TransientError: The server does not answer or the connection was cut; nothing was loaded.
    """
    started = time.monotonic()
    require(hypertable, batches.schema)
    tally = Tally()
    with connected(dsn) as connection, connection.transaction():
        kind = edition(connection)
        horizon = oldest_kept(hypertable, now)
        if dropped := _dropped_before(connection, hypertable):
            horizon = max(horizon, dropped)
        _stage(connection, hypertable, batches, tally, horizon, now + FUTURE)
        lock(connection, hypertable.name)
        horizon = _moved_horizon(connection, hypertable, tally, horizon)
        marks = marking(hypertable, sql.Identifier("buckets")) if kind == "apache" else sql.SQL("")
        gone = changed = _NOTHING
        if replace_from is not None:
            gone = _change(connection, hypertable, _removal(hypertable, max(replace_from, horizon)), marks)
        if tally.rows:
            changed = _change(connection, hypertable, _upsert(hypertable, horizon), marks)
        connection.execute(_NOTE, (hypertable.name, watermark))
    return Loaded(
        rows=tally.rows,
        changed=changed.rows,
        removed=gone.rows,
        expired=tally.expired,
        future=tally.future,
        blanked=tally.blanked,
        seconds=time.monotonic() - started,
        touched_from=min((at for at in (changed.first_at, gone.first_at) if at), default=None),
        touched_to=max((at for at in (changed.last_at, gone.last_at) if at), default=None),
    )


def oldest_kept(hypertable: Hypertable, now: datetime) -> datetime:
    """Rows before this instant are left out: `drop_after` before `now`, back to the start of its bucket (UTC).

    Without that step back, a first load would leave the oldest day of the roll-ups with half its rows.
    """
    horizon = now - hypertable.drop_after
    widest = max((BUCKETS[bucket] for bucket in hypertable.rollup_names), default=timedelta(microseconds=1))
    return horizon - (horizon - _EPOCH) % widest


def watermark(dsn: str, name: str) -> str | None:
    """The watermark that the last load of hypertable `name` left, None before the first."""
    with connected(dsn, read_only=True) as connection:
        if one(connection, "SELECT to_regclass('metrics._state')") is None:
            return None
        found = one(connection, "SELECT watermark FROM metrics._state WHERE hypertable = %s", (name,))
        return None if found is None else str(found)


def _dropped_before(connection: Connection, hypertable: Hypertable) -> datetime | None:
    if one(connection, "SELECT to_regclass(%s)", (f"{SCHEMA}.{hypertable.name}",)) is None:
        raise PermanentError(
            f"{SCHEMA}.{hypertable.name}", "is not on the server", "apply metrics/hypertables.yml to it first"
        )
    at = one(connection, "SELECT dropped_before FROM metrics._state WHERE hypertable = %s", (hypertable.name,))
    return at if isinstance(at, datetime) else None


def _stage(
    connection: Connection,
    hypertable: Hypertable,
    batches: pa.RecordBatchReader,
    tally: Tally,
    oldest: datetime,
    newest: datetime,
) -> None:
    # Not LIKE the hypertable: that would lock it before the advisory lock, and deadlock with a change of its columns.
    columns = [
        sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(column.type))
        for name, column in hypertable.columns.items()
    ]
    connection.execute(sql.SQL("CREATE TEMP TABLE staged ({}) ON COMMIT DROP").format(sql.SQL(", ").join(columns)))
    encoder = pgpq.ArrowToPostgresBinaryEncoder(arrow_schema(hypertable))
    copy_in = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(_STAGING, _columns(hypertable))
    with connection.cursor().copy(copy_in) as copy:
        copy.write(encoder.write_header())
        for part in conformed(hypertable, batches, tally, oldest, newest):
            copy.write(encoder.write_batch(part))
        copy.write(encoder.finish())
    connection.execute(sql.SQL("ANALYZE {}").format(_STAGING))


def _moved_horizon(connection: Connection, hypertable: Hypertable, tally: Tally, horizon: datetime) -> datetime:
    """The horizon again, under the lock: retention may have dropped chunks while the rows came in."""
    moved = _dropped_before(connection, hypertable)
    if moved is None or moved <= horizon:
        return horizon
    count = sql.SQL("SELECT count(*) FROM {} WHERE {} < %s").format(_STAGING, sql.Identifier(hypertable.time))
    late: int = one(connection, count, (moved,))
    tally.rows, tally.expired = tally.rows - late, tally.expired + late
    return moved


def _change(connection: Connection, hypertable: Hypertable, statement: sql.Composed, marks: sql.Composable) -> _Change:
    """Run an INSERT or DELETE on the hypertable and mark the buckets it changed."""
    finest = min(BUCKETS[bucket] for bucket in hypertable.rollup_names or BUCKETS)
    row = connection.execute(
        sql.SQL(
            "WITH changed (changed_at) AS ({} RETURNING {}), buckets AS (SELECT time_bucket({}, changed_at) AS"
            " bucket_at, count(*) AS rows, min(changed_at) AS first_at, max(changed_at) AS last_at FROM changed"
            " GROUP BY 1){} SELECT coalesce(sum(rows), 0)::bigint, min(first_at), max(last_at) FROM buckets"
        ).format(statement, sql.Identifier("held", hypertable.time), finest, marks)
    ).fetchone()
    return _Change(*row) if row else _NOTHING


def _upsert(hypertable: Hypertable, horizon: datetime) -> sql.Composed:
    key = sql.SQL(", ").join(map(sql.Identifier, hypertable.key))
    others = [name for name in hypertable.columns if name not in hypertable.key]
    action: sql.Composable = sql.SQL("NOTHING")
    if others:
        action = sql.SQL("UPDATE SET {} WHERE ({}) IS DISTINCT FROM ({})").format(
            sql.SQL(", ").join(
                sql.SQL("{} = {}").format(sql.Identifier(name), sql.Identifier("excluded", name)) for name in others
            ),
            sql.SQL(", ").join(sql.Identifier("held", name) for name in others),
            sql.SQL(", ").join(sql.Identifier("excluded", name) for name in others),
        )
    return sql.SQL(
        "INSERT INTO {target} AS held ({columns}) SELECT DISTINCT ON ({key}) {columns} FROM {staging}"
        " WHERE {time} >= {horizon} ORDER BY {key}, ctid DESC ON CONFLICT ({key}) DO {action}"
    ).format(
        target=table(hypertable.name),
        columns=_columns(hypertable),
        key=key,
        staging=_STAGING,
        time=sql.Identifier(hypertable.time),
        horizon=horizon,
        action=action,
    )


def _removal(hypertable: Hypertable, since: datetime) -> sql.Composed:
    same = sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(sql.Identifier("came", name), sql.Identifier("held", name)) for name in hypertable.key
    )
    return sql.SQL("DELETE FROM {} AS held WHERE {} >= {} AND NOT EXISTS (SELECT FROM {} AS came WHERE {})").format(
        table(hypertable.name), sql.Identifier("held", hypertable.time), since, _STAGING, same
    )


def _columns(hypertable: Hypertable) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, hypertable.columns))


_NOTE = """
    INSERT INTO metrics._state AS held (hypertable, watermark, loaded_at) VALUES (%s, %s, now())
    ON CONFLICT (hypertable) DO UPDATE
    SET watermark = coalesce(excluded.watermark, held.watermark), loaded_at = excluded.loaded_at
"""
