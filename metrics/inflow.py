"""The two ways into a hypertable: straight where no row can be in the way, else through staging and an upsert.

A load looks once for the stretch of time around its first rows in which the hypertable holds nothing (usually all
from its newest row on). Rows within are COPYed straight in, a slice at a time, each under a savepoint; the unique
index refuses a slice that repeats a key, and that slice and all after it go the other way. Rows outside of the
stretch, late ones, always do.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from psycopg import errors, sql

from metrics.encoded import Encoded, encode, sent
from metrics.rollup import marking
from metrics.server import Connection, one, table
from metrics.spec import BUCKETS, Hypertable
from metrics.staging import Change, Staging

_INSTANT = pa.timestamp("us", "UTC")


@dataclass(frozen=True)
class _Gap:
    """The instants strictly between `after` and `before`, None for an open end."""

    after: datetime | None
    before: datetime | None

    def holds(self, part: Encoded) -> bool:
        return (self.after is None or part.first_at > self.after) and (
            self.before is None or part.last_at < self.before
        )

    def mask(self, instants: Any) -> Any:
        inside = pc.is_valid(instants)
        if self.after is not None:
            inside = pc.and_(inside, pc.greater(instants, pa.scalar(self.after, _INSTANT)))
        if self.before is not None:
            inside = pc.and_(inside, pc.less(instants, pa.scalar(self.before, _INSTANT)))
        return inside


class Inflow:
    """Takes the rows of one load into its transaction; the caller holds the hypertable's lock."""

    def __init__(self, connection: Connection, hypertable: Hypertable, *, marks: bool, direct: bool) -> None:
        self.staging = Staging(connection, hypertable, marks)
        self._connection, self._hypertable, self._marks = connection, hypertable, marks
        self._is_direct = direct and _looks_up_time(hypertable)
        self._gap: _Gap | None = None
        self._copied = Change()

    def take(self, part: Encoded) -> None:
        """Take rows in; of those with one key the last counts."""
        if not self._is_direct:
            self.staging.take(part)
            return
        if self._gap is None:
            self._gap = _gap(self._connection, self._hypertable, part.first_at, part.last_at)
        if self._gap.holds(part):
            self._copy(part)
            return
        inside = self._gap.mask(part.rows.column(self._hypertable.time))
        for mask, way in ((inside, self._copy), (pc.invert(inside), self.staging.take)):
            if mask.true_count:
                way(encode(self._hypertable, part.rows.filter(mask)))

    def finish(self, replace_from: datetime | None) -> tuple[Change, Change]:
        """Bring in what waits in staging; (inserted or changed, removed) rows of the whole load."""
        removed = self.staging.remove_others(replace_from) if replace_from is not None else Change()
        return self._copied + self.staging.upsert(), removed

    def _copy(self, part: Encoded) -> None:
        try:
            with self._connection.transaction():
                sent(self._connection, table(self._hypertable.name), self._hypertable, part)
        except errors.UniqueViolation:
            # From here on all rows: the upsert comes last, and must not take a newer row back.
            self._is_direct = False
            self.staging.take(part)
            return
        self._copied += Change(part.rows.num_rows, part.first_at, part.last_at)
        if self._marks and self._hypertable.rollups:
            self._mark(part.rows.column(self._hypertable.time))

    def _mark(self, instants: Any) -> None:
        finest = min(BUCKETS[bucket] for bucket in self._hypertable.rollup_names)
        width = pa.scalar(int(finest.total_seconds()) * 1_000_000, pa.int64())
        numbers = instants.cast(pa.int64())
        # Floor, also before 1970: Arrow divides towards zero, and no bucket may be one too late.
        behind = pc.subtract(numbers, pc.multiply(pc.divide(numbers, width), width))
        down = pc.if_else(pc.less(behind, 0), pc.add(behind, width), behind)
        starts = pc.unique(pc.subtract(numbers, down)).cast(_INSTANT).to_pylist()
        marks = marking(self._hypertable, sql.Identifier("buckets"))
        statement = sql.SQL("WITH buckets (bucket_at) AS (SELECT unnest({}::timestamptz[])){} SELECT").format(
            sql.Literal(starts), marks
        )
        self._connection.execute(statement)


def _looks_up_time(hypertable: Hypertable) -> bool:
    """Whether an index finds the rows next to an instant; else looking for a gap would read the whole hypertable."""
    return hypertable.key[0] == hypertable.time or any(index[0] == hypertable.time for index in hypertable.indexes)


def _gap(connection: Connection, hypertable: Hypertable, first: datetime, last: datetime) -> _Gap:
    names = {"held": table(hypertable.name), "time": sql.Identifier(hypertable.time)}
    taken = sql.SQL("SELECT EXISTS (SELECT FROM {held} WHERE {time} BETWEEN {first} AND {last})")
    newest = sql.SQL("SELECT {time} FROM {held} ORDER BY {time} DESC LIMIT 1")
    before = sql.SQL("SELECT {time} FROM {held} WHERE {time} < {first} ORDER BY {time} DESC LIMIT 1")
    after = sql.SQL("SELECT {time} FROM {held} WHERE {time} > {last} ORDER BY {time} LIMIT 1")
    if one(connection, taken.format(**names, first=first, last=last)):
        return _Gap(one(connection, newest.format(**names)), None)
    return _Gap(one(connection, before.format(**names, first=first)), one(connection, after.format(**names, last=last)))
