"""What was applied last, in `metrics._applied`: which hypertables and indexes are the platform's, how long rows stayed.

Without it nobody could tell a hypertable that is no longer declared from one that a person made.
"""

import json
from dataclasses import dataclass
from datetime import timedelta

from metrics.server import Connection, one
from metrics.spec import Hypertable, Spec


@dataclass(frozen=True)
class Applied:
    """One hypertable as it was declared when it was applied last; `rollups` are names of all that it ever had."""

    drop_after: timedelta
    rollups: tuple[str, ...]
    indexes: frozenset[tuple[str, ...]]


def applied(connection: Connection) -> dict[str, Applied]:
    """What was applied to the server last, by hypertable; empty if nothing ever was."""
    if one(connection, "SELECT to_regclass('metrics._applied')") is None:
        return {}
    rows = connection.execute("SELECT hypertable, drop_after, rollups, indexes FROM metrics._applied").fetchall()
    return {
        str(name): Applied(after, tuple(rollups), frozenset(tuple(columns) for columns in indexes))
        for name, after, rollups, indexes in rows
    }


def note(connection: Connection, spec: Spec) -> None:
    """Write down what is applied now, in the caller's transaction; what is as it was is not written."""
    with connection.cursor() as cursor:
        cursor.executemany(_NOTE, [_row(hypertable) for hypertable in spec.hypertables])


def _row(hypertable: Hypertable) -> tuple[object, ...]:
    names, indexes = list(hypertable.rollup_names.values()), json.dumps(hypertable.indexes)
    return (hypertable.name, hypertable.drop_after, names, indexes)


_NOTE = """
    INSERT INTO metrics._applied AS held VALUES (%s, %s, %s, %s, now())
    ON CONFLICT (hypertable) DO UPDATE SET drop_after = excluded.drop_after, indexes = excluded.indexes,
        rollups = ARRAY(SELECT DISTINCT unnest(held.rollups || excluded.rollups)), applied_at = excluded.applied_at
    WHERE (held.drop_after, held.indexes) IS DISTINCT FROM (excluded.drop_after, excluded.indexes)
        OR NOT held.rollups @> excluded.rollups
"""
