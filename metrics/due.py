"""Whether upkeep has anything to do that cannot wait: asked often, so that it is started only then."""

from datetime import datetime, timedelta

from metrics import tier_books
from metrics.server import Connection, Edition, connected, edition, one
from metrics.spec import SCHEMA, Hypertable, Spec
from metrics.words import counted


def due(dsn: str, spec: Spec, now: datetime, ahead: timedelta) -> list[str]:
    """What is due within `ahead`, in sentences: buckets by their refresh_lag, chunks past their time. Reads only.

    `now` is the platform's clock, by which chunks are past their time; marks are dated by the server's. The community
    edition's policies are the server's business, but for what goes to the lake.

    Raises TransientError if the server does not answer.
    """
    with connected(dsn, read_only=True) as connection:
        kind = edition(connection)
        if one(connection, "SELECT to_regclass('metrics._dirty')") is None:
            return []
        return [said for hypertable in spec.hypertables for said in _of(connection, hypertable, kind, now, ahead)]


def _of(connection: Connection, hypertable: Hypertable, kind: Edition, now: datetime, ahead: timedelta) -> list[str]:
    said = []
    if hypertable.tier and (ranges := tier_books.due(connection, hypertable, now)):
        said.append(f"{hypertable.name}: {counted(len(ranges), 'range')} to go to the lake")
    if kind == "community" or not hypertable.rollups:
        lives = {}
    else:
        lives = {hypertable.rollup_names[bucket]: kept.drop_after for bucket, kept in hypertable.rollups.every.items()}
    if kind == "apache" and not hypertable.tier:
        lives[hypertable.name] = hypertable.drop_after
    for name, after in lives.items():
        if expired := one(connection, _EXPIRED, (SCHEMA, name, now - after)):
            said.append(f"{name}: {counted(expired, 'chunk')} past their time")
    if kind == "apache" and hypertable.rollups:
        for bucket, kept in hypertable.rollups.every.items():
            values = (kept.refresh_lag - ahead, hypertable.name, bucket)
            if waiting := one(connection, _WAITING, values):
                said.append(f"{hypertable.rollup_names[bucket]}: {counted(waiting, 'changed bucket')}")
    return said


_EXPIRED = """
    SELECT count(*) FROM timescaledb_information.chunks
    WHERE hypertable_schema = %s AND hypertable_name = %s AND range_end <= %s
"""
_WAITING = """
    SELECT CASE WHEN min(marked_at) <= now() - %s THEN count(*) END FROM metrics._dirty
    WHERE hypertable = %s AND rollup = %s
"""
