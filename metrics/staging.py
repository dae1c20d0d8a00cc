"""Upsert by key: rows wait in a temporary table of the load's transaction, then enter the hypertable in one go."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow.compute as pc
from psycopg import sql

from metrics.encoded import Encoded, sent
from metrics.rollup import marking
from metrics.server import Connection, listed, one, table
from metrics.spec import BUCKETS, Hypertable

# From so many rows on, comparing all at once is cheaper than looking up each: 2 M new rows took 12 CPU-seconds of the
# server with a join and a plain INSERT, 24 with ON CONFLICT. A few rows, spread over a year, are better looked up.
JOINED = 20_000
WORK_MEM = "64MB"  # for the join: the default of 4 MB spills
_STAGED = sql.Identifier("pg_temp", "staged")
_NEWS = sql.Identifier("pg_temp", "news")


@dataclass(frozen=True)
class Change:
    """How many rows changed, and the first and last instant among them."""

    rows: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None

    def __add__(self, other: "Change") -> "Change":
        return Change(
            self.rows + other.rows,
            min((at for at in (self.first_at, other.first_at) if at), default=None),
            max((at for at in (self.last_at, other.last_at) if at), default=None),
        )


@dataclass
class Staging:
    """The temporary table of one load. `marks`: whether changed buckets are marked for the platform's roll-ups."""

    connection: Connection
    hypertable: Hypertable
    marks: bool
    rows: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None
    _is_there: bool = False
    _ascends: bool = True
    _last_key: tuple[Any, ...] | None = field(default=None, repr=False)

    def take(self, part: Encoded) -> None:
        """Add rows; of those with one key the last counts."""
        self._create()
        sent(self.connection, _STAGED, self.hypertable, part)
        self._ascends = self._ascends and self._follows(part)
        self.rows += part.rows.num_rows
        self.first_at = min(filter(None, (self.first_at, part.first_at)))
        self.last_at = max(filter(None, (self.last_at, part.last_at)))

    def remove_others(self, since: datetime) -> Change:
        """Remove the hypertable's rows from `since` on that were not taken."""
        self._create()
        return self._changed(
            sql.SQL("DELETE FROM {} AS held WHERE {} >= {} AND NOT EXISTS (SELECT FROM {} AS came WHERE {})").format(
                table(self.hypertable.name), self._held(self.hypertable.time), since, _STAGED, self._same()
            )
        )

    def upsert(self) -> Change:
        """Bring the rows taken into the hypertable: new ones inserted, others changed where they differ."""
        if not self.rows:
            return Change()
        self.connection.execute(sql.SQL("ANALYZE {}").format(_STAGED))
        if self.rows < JOINED or not (self._ascends or self._is_distinct()):
            return self._changed(self._one_by_one())
        self.connection.execute(sql.SQL("SET LOCAL work_mem = {}").format(WORK_MEM))
        self.connection.execute(self._news())
        self.connection.execute(sql.SQL("ANALYZE {}").format(_NEWS))
        changed = self._changed(self._update()) if self._others() else Change()
        return changed + self._changed(self._insertion())

    def _create(self) -> None:
        if self._is_there:
            return
        create_temporary(self.connection, _STAGED, self.hypertable)
        self._is_there = True

    def _follows(self, part: Encoded) -> bool:
        """Whether the keys ascend from row to row and from the rows before, so that none comes twice."""
        keys = [part.rows.column(name) for name in self.hypertable.key]
        first, last = (tuple(key[place].as_py() for key in keys) for place in (0, len(keys[0]) - 1))
        before, self._last_key = self._last_key, last
        if before is not None and not before < first:
            return False
        after, same = None, None
        for key in keys:
            more, equal = pc.greater(key[1:], key[:-1]), pc.equal(key[1:], key[:-1])
            after = more if after is None else pc.or_(after, pc.and_(same, more))
            same = equal if same is None else pc.and_(same, equal)
        return bool(pc.all(after, min_count=0).as_py())

    def _is_distinct(self) -> bool:
        twice = sql.SQL("SELECT EXISTS (SELECT FROM {} GROUP BY {} HAVING count(*) > 1)").format(_STAGED, self._key())
        return not one(self.connection, twice)

    def _changed(self, statement: sql.Composed) -> Change:
        """Run a statement on the hypertable, called `held` in it, and mark the buckets it changed."""
        finest = min(BUCKETS[bucket] for bucket in self.hypertable.rollup_names or BUCKETS)
        marks = marking(self.hypertable, sql.Identifier("buckets")) if self.marks else sql.SQL("")
        row = self.connection.execute(
            sql.SQL(
                "WITH changed (changed_at) AS ({} RETURNING {}), buckets AS (SELECT time_bucket({}, changed_at) AS"
                " bucket_at, count(*) AS rows, min(changed_at) AS first_at, max(changed_at) AS last_at FROM changed"
                " GROUP BY 1){} SELECT coalesce(sum(rows), 0)::bigint, min(first_at), max(last_at) FROM buckets"
            ).format(statement, self._held(self.hypertable.time), finest, marks)
        ).fetchone()
        return Change(*row) if row else Change()

    def _one_by_one(self) -> sql.Composed:
        action: sql.Composable = sql.SQL("NOTHING")
        if self._others():
            action = sql.SQL("UPDATE SET {} WHERE {}").format(self._assigned("excluded"), self._differs("excluded"))
        return sql.SQL(
            "INSERT INTO {target} AS held ({columns}) SELECT DISTINCT ON ({key}) {columns} FROM {staged}"
            " ORDER BY {key}, ctid DESC ON CONFLICT ({key}) DO {action}"
        ).format(
            target=table(self.hypertable.name),
            columns=listed(self.hypertable.columns),
            key=self._key(),
            staged=_STAGED,
            action=action,
        )

    def _news(self) -> sql.Composed:
        """The rows that are new or differ, in the order of the key, found by one join."""
        # A hash join gives them in no order, and the hypertable's indexes then take twice the CPU.
        columns = sql.SQL(", ").join(sql.Identifier("came", name) for name in self.hypertable.columns)
        is_new = sql.SQL("{} IS NULL").format(self._held(self.hypertable.time))
        differs = sql.SQL(" OR {}").format(self._differs("came")) if self._others() else sql.SQL("")
        return sql.SQL(
            "CREATE TEMP TABLE news ON COMMIT DROP AS SELECT {columns}, {is_new} AS _is_new FROM {staged} AS came"
            " LEFT JOIN (SELECT * FROM {target} AS held WHERE {within}) AS held ON {same} WHERE {is_new}{differs}"
            " ORDER BY {key}"
        ).format(
            columns=columns,
            is_new=is_new,
            staged=_STAGED,
            target=table(self.hypertable.name),
            within=self._within(),
            same=self._same(),
            differs=differs,
            key=sql.SQL(", ").join(sql.Identifier("came", name) for name in self.hypertable.key),
        )

    def _update(self) -> sql.Composed:
        return sql.SQL("UPDATE {} AS held SET {} FROM {} AS came WHERE {} AND {} AND NOT _is_new").format(
            table(self.hypertable.name), self._assigned("came"), _NEWS, self._within(), self._same()
        )

    def _insertion(self) -> sql.Composed:
        return sql.SQL("INSERT INTO {} AS held ({}) SELECT {} FROM {} WHERE _is_new").format(
            table(self.hypertable.name), listed(self.hypertable.columns), listed(self.hypertable.columns), _NEWS
        )

    def _others(self) -> list[str]:
        return [name for name in self.hypertable.columns if name not in self.hypertable.key]

    def _assigned(self, source: str) -> sql.Composed:
        pairs = [
            sql.SQL("{} = {}").format(sql.Identifier(name), sql.Identifier(source, name)) for name in self._others()
        ]
        return sql.SQL(", ").join(pairs)

    def _differs(self, source: str) -> sql.Composed:
        pairs = [
            sql.SQL("{} IS DISTINCT FROM {}").format(self._held(name), sql.Identifier(source, name))
            for name in self._others()
        ]
        return sql.SQL(" OR ").join(pairs)

    def _same(self) -> sql.Composed:
        pairs = [
            sql.SQL("{} = {}").format(sql.Identifier("came", name), self._held(name)) for name in self.hypertable.key
        ]
        return sql.SQL(" AND ").join(pairs)

    def _within(self) -> sql.Composed:
        """The span of the rows taken, as constants: the planner leaves out all other chunks."""
        return sql.SQL("{} BETWEEN {} AND {}").format(self._held(self.hypertable.time), self.first_at, self.last_at)

    def _key(self) -> sql.Composed:
        return listed(self.hypertable.key)

    @staticmethod
    def _held(name: str) -> sql.Identifier:
        return sql.Identifier("held", name)


def create_temporary(connection: Connection, name: sql.Identifier, hypertable: Hypertable) -> None:
    """Make a table with the hypertable's columns, which goes with the transaction."""
    columns = [
        sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(declared.type))
        for column, declared in hypertable.columns.items()
    ]
    connection.execute(sql.SQL("CREATE TEMP TABLE {} ({}) ON COMMIT DROP").format(name, sql.SQL(", ").join(columns)))
