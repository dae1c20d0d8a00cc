"""What was applied last, in `metrics._applied`: which hypertables and indexes are the platform's, how long rows stayed.

Without it nobody could tell a hypertable that is no longer declared from one that a person made.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from metrics.server import Connection, one
from metrics.spec import Hypertable, Spec


@dataclass(frozen=True)
class Applied:
    """One hypertable as it was declared when it was applied last; `rollups` are names of all that it ever had.

    `lives`: for how long the rows of each roll-up were to be kept.
    """

    drop_after: timedelta
    rollups: tuple[str, ...]
    indexes: frozenset[tuple[str, ...]]
    lives: Mapping[str, timedelta]


def applied(connection: Connection) -> dict[str, Applied]:
    """What was applied to the server last, by hypertable; empty if nothing ever was."""
    if one(connection, "SELECT to_regclass('metrics._applied')") is None:
        return {}
    rows = connection.execute("SELECT hypertable, to_jsonb(held), drop_after FROM metrics._applied AS held").fetchall()
    return {str(name): _read(held, after) for name, held, after in rows}


def in_force(connection: Connection, spec: Spec) -> Spec:
    """The declaration with rows kept for as long as was applied last, where that is longer.

    So that a shorter `drop_after` costs no row before somebody has applied it.
    """
    before = applied(connection)
    tables = [_longer(table, before[table.name]) if table.name in before else table for table in spec.hypertables]
    return spec.model_copy(update={"hypertables": tuple(tables)})


def note(connection: Connection, spec: Spec) -> None:
    """Write down what is applied now, in the caller's transaction; what is as it was is not written."""
    with connection.cursor() as cursor:
        cursor.executemany(_NOTE, [_row(hypertable) for hypertable in spec.hypertables])


def _read(held: dict[str, Any], after: timedelta) -> Applied:
    indexes = frozenset(tuple(columns) for columns in held["indexes"])
    lives = {name: timedelta(seconds=seconds) for name, seconds in held.get("lives", {}).items()}
    return Applied(after, tuple(held["rollups"]), indexes, lives)


def _longer(table: Hypertable, before: Applied) -> Hypertable:
    facts: dict[str, Any] = {"drop_after": max(table.drop_after, before.drop_after)}
    if table.rollups:
        every = dict(table.rollups.every)
        for bucket, kept in every.items():
            was = before.lives.get(table.rollup_names[bucket], kept.drop_after)
            every[bucket] = kept.model_copy(update={"drop_after": max(kept.drop_after, was)})
        facts["rollups"] = table.rollups.model_copy(update={"every": every})
    return table.model_copy(update=facts)


def _row(hypertable: Hypertable) -> tuple[object, ...]:
    names, indexes = list(hypertable.rollup_names.values()), json.dumps(hypertable.indexes)
    every = hypertable.rollups.every if hypertable.rollups else {}
    lives = {hypertable.rollup_names[bucket]: kept.drop_after.total_seconds() for bucket, kept in every.items()}
    return (hypertable.name, hypertable.drop_after, names, indexes, json.dumps(lives))


_NOTE = """
    INSERT INTO metrics._applied AS held (hypertable, drop_after, rollups, indexes, lives, applied_at)
    VALUES (%s, %s, %s, %s, %s, now())
    ON CONFLICT (hypertable) DO UPDATE SET drop_after = excluded.drop_after, indexes = excluded.indexes,
        lives = held.lives || excluded.lives,
        rollups = ARRAY(SELECT DISTINCT unnest(held.rollups || excluded.rollups)), applied_at = excluded.applied_at
    WHERE (held.drop_after, held.indexes) IS DISTINCT FROM (excluded.drop_after, excluded.indexes)
        OR NOT held.lives @> excluded.lives
        OR NOT held.rollups @> excluded.rollups
"""
