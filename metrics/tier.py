"""Tiering: what is past its time goes to the lake, is read back and compared, and only then dropped from the server.

For each range: copy (Parquet, one commit), read it back, write it down in `metrics._cold`; bring the roll-ups up to
date; then, in one transaction, compare count and checksum of the rows as they are with the copy and mark the range:
from then on the lake's rows count. When those who began to read before have ended, the chunks are compared again and
dropped. Cut anywhere, the next run goes on from what is written down: nothing is lost and nothing is twice.
"""

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from itertools import repeat
from typing import LiteralString

import duckdb
import psycopg
import pyarrow as pa
from psycopg import sql

from lake import cold, duck
from lake.cold import Range
from lake.digest import Digest
from lake.errors import PermanentError, TransientError, redact
from lake.layout import Lake
from metrics import tier_books, tier_sql
from metrics.batches import arrow_schema
from metrics.done import Done
from metrics.rollup import refresh, refresh_some
from metrics.server import Connection, Edition, connected, edition, lock
from metrics.spec import BUCKETS, SCHEMA, Hypertable
from metrics.tier_books import Copy
from metrics.words import counted, span

ATTEMPTS = 3  # at a range whose rows keep changing
BATCH_ROWS = 65_536
MEMORY = "256MB"
PATIENCE = "10 seconds"  # for those who read what is about to be dropped; the next run drops it otherwise
LOCKED = "2s"


def run(dsn: str, lake: Lake, hypertable: Hypertable, now: datetime, *, dry_run: bool = False) -> list[Done]:
    """Move every range of a hypertable that is older than `drop_after` before `now` to the lake; what was done.

    What could not be moved gets a sentence with a count of 0, and is still in the server. `dry_run` tells which ranges
    are due. Raises PermanentError if the declaration was not applied or a copy does not verify, and what the lake or
    the server raises; ranges that were moved before stay moved.
    """
    with connected(dsn) as connection:
        connection.autocommit = True
        if not dry_run:
            tier_sql.prepare(connection, hypertable)
        waiting = tier_books.due(connection, hypertable, now)
        known = {copy.range: copy for copy in tier_books.copies(connection, hypertable.name)}
        held = [one for one in waiting if not _is_held(known.get(one), now)]
        if dry_run or not held:
            return [Done(_name(hypertable), f"{one} would be moved to the lake", 0) for one in held]
        with closing(Mover(dsn, lake, hypertable, connection, now)) as mover:
            return [mover.move(one) for one in held]


@dataclass
class Mover:
    """Moves ranges of one hypertable; holds what reads the server and the lake."""

    dsn: str
    lake: Lake
    hypertable: Hypertable
    connection: Connection
    now: datetime
    kind: Edition = field(init=False)

    def __post_init__(self) -> None:
        self.kind = edition(self.connection)
        self.schema = arrow_schema(self.hypertable)
        self.columns = {field.name: field.type for field in self.schema}

    def close(self) -> None:
        """Let go of the reader."""
        if "reader" in self.__dict__:
            self.reader.close()

    def move(self, range: Range) -> Done:
        """Copy, check and drop one range; a sentence with a count of 0 if the server refuses to drop it."""
        refusal = None
        for _ in repeat(None, ATTEMPTS):
            if doubled := self._doubled(range):
                return Done(_name(self.hypertable), doubled, 0)
            known = self._known(range)
            if known is not None and known.left_at and not self._is_right(known):
                self._stay(range)
                known = None
            if known is None or known.left_at is None:
                known = self.checked(range)
                self.sum_up(range)
                refusal = self.leave(range)
                if refusal is not None:
                    continue
            refusal = self.drop(range)
            if refusal is None:
                rows = counted(known.rows, "row")
                what = f"{range}: {rows} older than {span(self.hypertable.drop_after)} moved to the lake"
                return Done(_name(self.hypertable), what, 1)
        return Done(_name(self.hypertable), f"{range}: not dropped: {refusal}", 0)

    def _doubled(self, range: Range) -> str | None:
        """Why a range must not be copied: a part of it was dropped before, and rows came in by another way."""
        for copy in tier_books.copies(self.connection, self.hypertable.name):
            if copy.dropped_at and not copy.left_at and copy.range.start < range.end and copy.range.end > range.start:
                days = f"--from {range.start:%Y-%m-%d} --to {range.end:%Y-%m-%d}"
                return (
                    f"{range}: not dropped: the server has rows of a range that was moved to the lake before; put them "
                    f"together with `watershed metrics reload {self.hypertable.name} {days}`"
                )
        return None

    def checked(self, range: Range) -> Copy:
        """A copy of the range's rows that was read back from the lake and is the same; made if there is none."""
        known = self._known(range)
        if known is not None and self._is_right(known):
            return known
        for _ in repeat(None, ATTEMPTS):
            before = self.here(range)
            state = {"load_id": f"{self.hypertable.name} {range.start:%Y-%m-%dT%H:%M}", "rows": {"i": before[0]}}
            told = {self.hypertable.time, *self.hypertable.segment_by}
            done, size = cold.copy(self.lake, self.hypertable.name, range, self._rows, self.schema, told, state)
            here, there = self.here(range), self.there(range, self.columns)
            if here == there:
                copy = Copy(range, *here, tuple(self.columns), size, done.version, self.now)
                tier_books.note(self.connection, self.hypertable.name, copy)
                return copy
            if before == here:
                what = f"the copy of {range} holds {there[0]:,} rows that are not the server's {here[0]:,}"
                place = cold.address(self.hypertable.name)
                mend = f"nothing was dropped; run `watershed lake check {place} --deep`, then run again"
                raise PermanentError(_name(self.hypertable), what, mend)
        what = f"the rows of {range} change while they are copied"
        raise TransientError(
            _name(self.hypertable), what, "nothing was dropped; run again when loads of them have ended"
        )

    def _is_right(self, copy: Copy) -> bool:
        """Whether server and lake hold what was copied; a copy that cannot be read is made anew."""
        try:
            there = self.there(copy.range, self.columns)
        except PermanentError:
            return False
        return (copy.rows, copy.checksum) == there == self.here(copy.range)

    def here(self, range: Range) -> tuple[int, int]:
        """Rows and checksum of a range as it is in the server now."""
        function = sql.Identifier(SCHEMA, tier_sql.checksum_function(self.hypertable.name))
        query = sql.SQL("SELECT rows, checksum FROM {}(%s, %s)").format(function)
        rows, checksum = self.connection.execute(query, (range.start, range.end)).fetchone() or (0, 0)
        return int(rows), int(checksum)

    def there(self, range: Range, names: Iterable[str]) -> tuple[int, int]:
        """The same of some columns of a range as it is in the lake now."""
        columns = {name: self.columns[name] for name in names if name in self.columns}
        found: Digest = cold.digest(self.reader, self.lake, self.hypertable.name, range, columns)
        return found.rows, found.checksum

    def _rows(self, start: datetime, end: datetime) -> Iterator[pa.RecordBatch]:
        """The rows of a range as they are now, sorted by segment and time; the server sorts, so this is a stream."""
        query = rows_query(self.hypertable, start, end)
        try:
            yield from self.reader.execute(
                f"SELECT * FROM postgres_query('hot', {duck.literal(query)})"
            ).to_arrow_reader(BATCH_ROWS)
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            first = redact(str(error)).splitlines()[0][:200]
            raise TransientError("metrics server", f"broke off while rows were copied ({first})", "run again") from None

    @cached_property
    def reader(self) -> duckdb.DuckDBPyConnection:
        """DuckDB with the lake's extensions and, as `hot`, the server."""
        extensions = ("delta", "postgres_scanner", *(("httpfs",) if self.lake.on_s3 else ()))
        reader = duck.connect(extensions=extensions)
        reader.execute(f"SET memory_limit = {duck.literal(MEMORY)}; SET threads = 1")
        address = psycopg.conninfo.make_conninfo(self.dsn, connect_timeout=10, application_name="watershed")
        try:
            reader.execute(f"ATTACH {duck.literal(address)} AS hot (TYPE postgres, READ_ONLY)")
        except duckdb.Error as error:
            reader.close()
            first = redact(str(error)).splitlines()[0][:200]
            raise TransientError("metrics server", f"does not answer ({first})", "start it, then run again") from None
        return reader

    def sum_up(self, range: Range) -> None:
        """Bring the roll-ups of the range up to date before the transaction in which it is dropped."""
        names = self.hypertable.rollup_names
        for bucket, name in sorted(names.items(), key=lambda one: BUCKETS[one[0]]):  # a coarser one reads a finer one
            if self.kind == "apache":
                refresh(self.connection, self.hypertable, bucket)
                continue
            self.connection.execute(
                "CALL refresh_continuous_aggregate(%s::regclass, %s::timestamptz, %s::timestamptz)",
                (f"{SCHEMA}.{name}", range.start, range.end),  # whole buckets, see `tier_books.due`
            )

    def leave(self, range: Range) -> str | None:
        """Let the lake's rows count in the place of the server's, if they are the same; else why not."""
        name = self.hypertable.name
        with self.connection.transaction():
            self.connection.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
            lock(self.connection, name)
            if self.kind == "apache":  # loads may have committed since: what goes must be in the roll-ups
                for bucket in self.hypertable.rollup_names:
                    while refresh_some(self.connection, self.hypertable, bucket)[0]:
                        pass
            return self._said("SELECT metrics._leave(%s, %s, %s, %s)", (name, range.start, range.end, self.now))

    def drop(self, range: Range) -> str | None:
        """Drop the chunks of a range that has left, when nobody reads them any more; else why not."""
        try:
            with self.connection.transaction():
                # Whoever comes after a drop that waits for a reader waits, too, so it does not wait long.
                self.connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(LOCKED))
                values = (self.hypertable.name, range.start, range.end, PATIENCE)
                return self._said("SELECT metrics._drop_left(%s, %s, %s, %s::interval)", values)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            return "it is in the lake, and a query in the server was in the way of dropping it there"

    def _stay(self, range: Range) -> None:
        """Let the server's rows count again: it has them still, and the lake's are broken."""
        with self.connection.transaction():
            lock(self.connection, self.hypertable.name)
            self.connection.execute(_STAY, (self.hypertable.name, range.start))

    def _said(self, query: LiteralString, values: tuple[object, ...]) -> str | None:
        (refusal,) = self.connection.execute(query, values).fetchone() or (None,)
        return None if refusal is None else str(refusal)

    def _known(self, range: Range) -> Copy | None:
        known = tier_books.copies(self.connection, self.hypertable.name)
        return next((copy for copy in known if copy.range == range), None)


def rows_query(hypertable: Hypertable, start: datetime, end: datetime) -> str:
    """The SQL of a range's rows in the server, sorted by segment and time."""
    time = duck.quoted(hypertable.time)
    names = ", ".join(map(duck.quoted, hypertable.columns))
    order = [duck.quoted(name) for name in hypertable.segment_by]
    order += [f"{duck.quoted(name)} {direction}" for name, direction in hypertable.ordering]
    return (
        f"SELECT {names} FROM {SCHEMA}.{duck.quoted(hypertable.name)}"
        f" WHERE {time} >= '{start.isoformat()}' AND {time} < '{end.isoformat()}' ORDER BY {', '.join(order)}"
    )


def _is_held(copy: Copy | None, now: datetime) -> bool:
    return copy is not None and copy.hold_until is not None and copy.hold_until > now


def _name(hypertable: Hypertable) -> str:
    return f"{SCHEMA}.{hypertable.name}"


_STAY = """
    UPDATE metrics._cold SET dropped_at = NULL, left_at = NULL
    WHERE hypertable = %s AND range_start = %s AND left_at IS NOT NULL
"""
