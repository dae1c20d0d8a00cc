"""Keeping the hypertables as declared over time: roll-ups brought up to date, rows past their time dropped.

On the Apache-2 edition this does the work; on the community edition the server's own policies do it and this looks at
what they have achieved. What is declared with `tier: true` goes to the lake before it is dropped, on both. To be run
by a schedule; every step is a transaction of its own and can be cut anywhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg import sql

from lake.errors import PlatformError
from lake.layout import Lake
from metrics import diary, native, tier, tier_books
from metrics.applied import in_force
from metrics.done import Done
from metrics.rollup import refresh, refresh_some
from metrics.server import Connection, connected, edition, lock, one, table
from metrics.spec import SCHEMA, Hypertable, Spec
from metrics.words import counted, span


@dataclass(frozen=True)
class _Dropped:
    end: datetime | None
    chunks: int
    rows: int


def run(dsn: str, spec: Spec, now: datetime, lake: Lake | None = None) -> list[Done]:
    """Refresh the roll-ups' changed buckets, then drop what is older than `drop_after` before `now`; what was done.

    With nothing to do the list is empty (Apache-2 edition); the community edition's policies always get their lines.
    Of a hypertable with `tier: true` nothing is dropped without `lake`, or if its copy there is not right: a line says
    so, and the other hypertables are kept all the same.

    Raises PermanentError if the declaration was not applied, TransientError if the server does not answer; what was
    done before stays done, and the next run goes on from there.
    """
    done: list[Done] = []
    with connected(dsn) as connection:
        with connection.transaction():
            kind = edition(connection)
            spec = in_force(connection, spec)
        for hypertable in spec.hypertables:
            if kind == "community":
                with connection.transaction():
                    done += [Done(where, what, count) for where, what, count in native.effects(connection, hypertable)]
            else:
                with diary.noted(connection, hypertable.name):
                    done += _kept(connection, hypertable, now)
    tiered = [hypertable for hypertable in spec.hypertables if hypertable.tier]
    return done + [one for hypertable in tiered for one in _noted(dsn, lake, hypertable, now)]


def _noted(dsn: str, lake: Lake | None, hypertable: Hypertable, now: datetime) -> list[Done]:
    """Tier a hypertable, and note for the watchdog how that ended; what was refused is a failure."""
    with connected(dsn) as connection:
        with diary.noted(connection, hypertable.name):
            done = _tiered(dsn, lake, hypertable, now)
        if refused := [one.what for one in done if not one.count]:
            diary.failed(connection, hypertable.name, refused[0])
    return done


def _tiered(dsn: str, lake: Lake | None, hypertable: Hypertable, now: datetime) -> list[Done]:
    name = f"{SCHEMA}.{hypertable.name}"
    if lake is not None:
        try:
            return tier.run(dsn, lake, hypertable, now)
        except PlatformError as error:
            return [Done(name, f"nothing is dropped: {error}", 0)]
    with connected(dsn, read_only=True) as connection:
        overdue = len(tier_books.due(connection, hypertable, now))
    why = "they go to the lake first, and LAKE_ROOT is not set"
    return [Done(name, f"{counted(overdue, 'range')} past their time are not dropped: {why}", 0)] if overdue else []


def _kept(connection: Connection, hypertable: Hypertable, now: datetime) -> Iterator[Done]:
    for bucket, name in hypertable.rollup_names.items():
        buckets, rows = refresh(connection, hypertable, bucket)
        if buckets:
            what = f"{counted(buckets, 'changed bucket')} of {bucket} summed up anew, {counted(rows, 'row')} written"
            yield Done(f"{SCHEMA}.{name}", what, buckets)
    if not hypertable.tier:
        yield from _drop_rows(connection, hypertable, now)
    if hypertable.rollups:
        for bucket, kept in hypertable.rollups.every.items():
            with connection.transaction():
                lock(connection, hypertable.name)
                dropped = _drop(connection, hypertable.rollup_names[bucket], "bucket_at", now - kept.drop_after)
            yield from _said(hypertable.rollup_names[bucket], kept.drop_after, dropped)


def _drop_rows(connection: Connection, hypertable: Hypertable, now: datetime) -> Iterator[Done]:
    with connection.transaction():
        lock(connection, hypertable.name)
        # Loads may have committed since the refresh: what is dropped must be in the roll-ups, under the same lock.
        for bucket in hypertable.rollup_names:
            while refresh_some(connection, hypertable, bucket)[0]:
                pass
        dropped = _drop(connection, hypertable.name, hypertable.time, now - hypertable.drop_after)
        connection.execute(_NOTE, (hypertable.name, dropped.end))
    yield from _said(hypertable.name, hypertable.drop_after, dropped)


def _said(name: str, after: timedelta, dropped: _Dropped) -> Iterator[Done]:
    if dropped.chunks:
        numbers = f"{counted(dropped.chunks, 'chunk')} with {counted(dropped.rows, 'row')}"
        yield Done(f"{SCHEMA}.{name}", f"{numbers} older than {span(after)} dropped", dropped.chunks)


def _drop(connection: Connection, name: str, time: str, horizon: datetime) -> _Dropped:
    """Drop the chunks that end at or before `horizon`."""
    end = one(connection, _LAST_END, (SCHEMA, name, horizon))
    if not isinstance(end, datetime):
        return _Dropped(None, 0, 0)
    count = sql.SQL("SELECT count(*) FROM {} WHERE {} < %s").format(table(name), sql.Identifier(time))
    rows: int = one(connection, count, (end,))
    dropped = connection.execute("SELECT drop_chunks(%s::regclass, older_than => %s)", (f"{SCHEMA}.{name}", end))
    return _Dropped(end, len(dropped.fetchall()), rows)


_LAST_END = """
    SELECT max(range_end) FROM timescaledb_information.chunks
    WHERE hypertable_schema = %s AND hypertable_name = %s AND range_end <= %s
"""
_NOTE = """
    INSERT INTO metrics._state AS held (hypertable, dropped_before, refreshed_at) VALUES (%s, %s, now())
    ON CONFLICT (hypertable) DO UPDATE SET refreshed_at = excluded.refreshed_at,
        dropped_before = greatest(held.dropped_before, excluded.dropped_before)
"""
