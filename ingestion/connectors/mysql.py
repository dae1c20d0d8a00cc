"""MySQL and MariaDB, read through DuckDB's scanner with SQL of our own, read-only and in bounded memory.

A window that is read in one statement is streamed: a statement sees one instant by itself. A table of several chunks
is read in transactions with a consistent snapshot, on up to `max_connections` connections (and one for the catalogue).
That their snapshots are the same is ensured by `_agree`: by the position in the binary log (MariaDB; nothing is
locked), else by a read lock held for the moment in which they are opened (needs RELOAD), else by using one connection.
Tables of engines without transactions (MyISAM, Aria) have no snapshot at all.
"""

from __future__ import annotations

import datetime
import queue
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import pyarrow as pa

from ingestion.connectors import MISFIT, Chunk, Shape, Window, declaration, mysql_horizon
from ingestion.connectors import mysql_chunks as cut
from ingestion.connectors.mysql_chunks import Grain, Pages
from ingestion.connectors.mysql_session import Server, Session, constant, name
from ingestion.connectors.mysql_types import INTEGERS, Column, Reading, masked, reading, selected
from ingestion.spec import Source, Table
from lake.digest import Digests
from lake.errors import AccessDenied, PlatformError, SchemaDrift

CATALOGUE = """
    select column_name, data_type, column_type, is_nullable = 'YES', coalesce(collation_name, ''),
        cast(coalesce(numeric_precision, 0) as signed), cast(coalesce(numeric_scale, 0) as signed),
        cast(least(coalesce(character_octet_length, 8), 65536) as signed)
    from information_schema.columns where table_schema = {schema} and table_name = {table} order by ordinal_position
"""
INDEXES = """
    select index_name, column_name, sub_part is not null from information_schema.statistics
    where table_schema = {schema} and table_name = {table} and non_unique = 0
    order by index_name <> 'PRIMARY', index_name, seq_in_index
"""
SIZE = """
    select cast(coalesce(max(table_rows), 0) as signed), cast(coalesce(max(avg_row_length), 0) as signed)
    from information_schema.tables where table_schema = {schema} and table_name = {table}
"""
CURSORS = ("datetime", "timestamp")
DAYS = (*CURSORS, "date")
BATCH_ROWS = 65_536
ATTEMPTS = 20  # two snapshots are some milliseconds apart: at 100 commits a second every second attempt succeeds


class MySQL:
    """The read-only sessions on one MySQL or MariaDB source."""

    def __init__(self, source: Source) -> None:
        """Connect. Raises SpecError, SourceUnavailable or AccessDenied."""
        self.source = source
        self.server = Server(source)
        self.schema = source.schema_ if "schema_" in source.model_fields_set else self.server.address.database
        self.session = self.server.session()
        self.free: queue.SimpleQueue[Session] = queue.SimpleQueue()
        self.readers: list[Session] = []
        self.readings: dict[str, dict[str, Reading]] = {}
        self.grains: dict[str, Grain] = {}
        self.names: dict[str, dict[str, str]] = {}
        self.snapshot_by = ""
        self.is_mariadb = "MariaDB" in str(self.session.rows("select version()")[0][0])

    def shape(self, table: Table) -> Shape:
        """The table's columns as the catalogue has them."""
        columns = self._columns(table)
        where = f"source {self.source.name}, table {table.name}"
        kinds = {each: column.kind for each, column in columns.items()}
        written = {each: column.full for each, column in columns.items()}
        declaration.require(where, table, kinds, cursors=CURSORS, days=DAYS, shown=written)
        arriving = {each: column for each, column in columns.items() if each not in table.drop}
        declaration.reject_clashes(where, arriving)
        readings = {each: self._reading(table, column) for each, column in arriving.items()}
        unique = self._unique(table, columns)
        count, width = self.session.rows(self._about(SIZE, table))[0]
        width = width or sum(column.octets for column in columns.values())  # a view, or nothing is known yet
        self.readings[table.name] = readings
        self.grains[table.name] = Grain(self._place(table), _order(unique, columns), count, width)
        return Shape(
            schema=pa.schema([pa.field(each, how.kind) for each, how in readings.items()]),
            native_types={each: column.full for each, column in arriving.items()},
            key_is_enforced=any(
                {column.name for column in key} <= set(table.key) for key in unique if _is_enforced(key)
            ),
            cursor_may_be_null=bool(table.cursor and columns[table.cursor].is_nullable),
            expressions={
                each: f"{how.remote} | {how.local}" for each, how in readings.items() if each not in table.mask
            },
            rows=count,
        )

    def horizon(self, table: Table) -> datetime.datetime:
        """Where the oldest transaction began that may yet write, in whole seconds; or just before now."""
        return mysql_horizon.horizon(self.session)

    def extent(self, table: Table) -> tuple[datetime.date, datetime.date] | None:
        """The first and last UTC day of a partitioned table at the source; dates that are none do not count."""
        if table.partition is None:
            return None
        column = name(table.partition.column)
        sane = f"where {column} >= {constant('0001-01-01')}"
        ask = f"select cast(min({column}) as char), cast(max({column}) as char) from {self._place(table)} {sane}"
        first, last = self.session.rows(ask)[0]
        return None if first is None else (_day(first), _day(last))

    def begin(self, *, hold: bool = True) -> str:
        """Open the readers on one snapshot; the mark is the horizon as it was before.

        Without `hold` the readers open none, and each page is read as of its own time.
        """
        self._dismiss()
        mark = mysql_horizon.horizon(self.session)
        self.readers = [self.server.session() for _ in range(self.source.max_connections)]
        if hold:
            self._agree()
        else:
            self._each(self._open)
            self.snapshot_by = ""
        for reader in self.readers:
            self.free.put(reader)
        return mark.isoformat()

    def state(self, table: Table) -> str:
        """Nothing but the declaration makes an interrupted reading worthless."""
        return ""

    def recall(self, table: Table, bookmark: str | None) -> None:
        """Nothing: the catalogue says what the columns are."""

    def bookmark(self, table: Table) -> str | None:
        """The cursor column tells where the next load begins."""
        return None

    def chunks(self, table: Table, shape: Shape, window: Window, rows: int) -> Sequence[Chunk]:
        """The whole table in ranges of its key; a narrower window, and a table without a key, in one."""
        if window != Window():
            return [Chunk(0)]
        return cut.chunks(self.session, self._grain(table), rows)

    def read(self, table: Table, shape: Shape, window: Window, chunk: Chunk) -> Iterator[pa.RecordBatch]:
        """The rows of one chunk; with `_misfit` if a column's type allows values that do not fit."""
        readings = self._readings(table)
        conditions = _conditions(table, shape, window) + cut.condition(self._grain(table), chunk.bounds)
        with self._reader() as reader:
            if chunk.bounds:
                yield from self._pages(reader, table, shape, readings, conditions)
            else:
                reader.release()  # its one statement is a snapshot by itself, and is streamed
                yield from self._stream(reader, table, shape.schema, readings, conditions)

    def keys(self, table: Table, shape: Shape) -> Iterator[pa.RecordBatch]:
        """Just the keys of all rows."""
        readings = {column: self._readings(table)[column] for column in table.key}
        schema = pa.schema([shape.schema.field(column) for column in table.key])
        with self._reader() as reader:
            reader.release()
            for batch in self._stream(reader, table, schema, readings, []):
                yield batch.select(schema.names)

    def digests(
        self, table: Table, shape: Shape, window: Window, columns: Mapping[str, pa.DataType], *, pause: float = 0.0
    ) -> Digests:
        """The digests of the window's rows, computed by the server; see `mysql_digest`."""
        from ingestion.connectors import mysql_digest

        return mysql_digest.digests(self, table, shape, window, columns, pause)

    def incomparable(self, table: Table, shape: Shape, columns: Mapping[str, pa.DataType]) -> Mapping[str, str]:
        """Columns that the server cannot make canonical; see `mysql_digest`."""
        from ingestion.connectors import mysql_digest

        return mysql_digest.incomparable(self, table, shape, columns)

    def can_catch_up(self, table: Table) -> bool:
        """With a cursor: rows whose cursor is at or after the mark."""
        return table.cursor is not None

    def close(self) -> None:
        """Close all sessions."""
        self._dismiss()
        self.session.close()
        self.server.close()

    def _stream(
        self, reader: Session, table: Table, schema: pa.Schema, readings: Mapping[str, Reading], conditions: list[str]
    ) -> Iterator[pa.RecordBatch]:
        inner, outer = selected(readings, {column: name(column) for column in readings})
        statement = f"{self._limited()} {inner} from {self._place(table)}{_where(conditions)}"
        for batch in reader.batches(outer, statement, self._batch_rows(table)):
            yield _shaped(batch, schema)

    def _pages(
        self, reader: Session, table: Table, shape: Shape, readings: Mapping[str, Reading], conditions: list[str]
    ) -> Iterator[pa.RecordBatch]:
        grain = self._grain(table)
        keys = [(column, _arrives(column, readings, table)) for column in grain.order]
        inner, outer = selected(readings, {column: name(column) for column in readings})
        for number, (column, arrives) in enumerate(keys):
            if not arrives:
                inner, outer = f"{inner}, {cut.as_told(column)} as k{number}", f"{outer}, k{number}"
        pages, more, last = Pages(grain), True, tuple[str, ...]()
        while more:
            statement = f"select {inner} from {grain.place}{_where(conditions + pages.conditions())}{pages.tail()}"
            count = 0
            for batch in reader.batches(outer, statement, self._batch_rows(table)):
                count += batch.num_rows
                last = _last(batch, keys) if batch.num_rows else last
                yield _shaped(batch, shape.schema)
            more = pages.has_next(count, last)

    def _agree(self) -> None:
        """Open the readers' snapshots so that they are the same, or keep one reader."""
        if len(self.readers) == 1:
            self._each(self._snapshot)
            self.snapshot_by = "one connection"
        elif self._keeps_positions() and self._by_position():
            self.snapshot_by = "position in the binary log"
        elif self._by_lock():
            self.snapshot_by = "a read lock of a moment"
        else:
            for reader in self.readers[1:]:
                reader.close()
            self.readers = self.readers[:1]
            self._each(self._snapshot)
            self.snapshot_by = "one connection"

    def _by_position(self) -> bool:
        for _ in range(ATTEMPTS):
            self._each(self._snapshot)
            positions = {tuple(reader.rows("show status like 'binlog\\_snapshot\\_%'")) for reader in self.readers}
            if len(positions) == 1:
                return True
        return False

    def _by_lock(self) -> bool:
        """Hold back writers while the snapshots are opened; give up after a second of waiting for long statements."""
        try:
            self.session.hold()
            self.session.do("set lock_wait_timeout = 1")
            self.session.do("flush tables with read lock")
            self._each(self._snapshot)
        except PlatformError:
            return False
        finally:
            self.session.release()  # gives the lock back, too
        return True

    def _keeps_positions(self) -> bool:
        """Whether each commit moves the position that a snapshot tells; not so on a replica that keeps no log."""
        if not self.is_mariadb:
            return False
        logs, relays, followed = self.session.rows(
            "select @@global.log_bin, @@global.log_slave_updates, @@global.gtid_slave_pos <> ''"
        )[0]
        return bool(logs) and (bool(relays) or not followed)

    def _open(self, reader: Session) -> None:
        reader.hold()
        seconds = self.source.statement_timeout_s
        limit = f"max_statement_time = {seconds}" if self.is_mariadb else f"max_execution_time = {seconds * 1000}"
        reader.do(f"set session sql_mode = '', net_write_timeout = {seconds}, {limit}")
        reader.do("set session transaction isolation level repeatable read, read only")
        reader.do("commit")  # the scanner has begun a transaction; each statement shall see its own time

    def _snapshot(self, reader: Session) -> None:
        self._open(reader)
        reader.do("start transaction with consistent snapshot, read only")

    def _each(self, act: Any) -> None:
        """Do it on all readers at the same time."""
        with ThreadPoolExecutor(len(self.readers)) as pool:
            list(pool.map(act, self.readers))

    @contextmanager
    def _reader(self) -> Iterator[Session]:
        """A reader for one thread; the session of the catalogue where none was opened."""
        if not self.readers:
            yield self.session
            return
        reader = self.free.get()
        try:
            yield reader
        finally:
            self.free.put(reader)

    def _dismiss(self) -> None:
        for reader in self.readers:
            with suppress(PlatformError):
                reader.close()
        self.readers, self.free = [], queue.SimpleQueue()

    def _limited(self) -> str:
        """The start of a statement that runs outside of any transaction and session of ours."""
        limit = self.source.statement_timeout_s
        if self.is_mariadb:
            return f"set statement max_statement_time = {limit}, sql_mode = '', net_write_timeout = {limit} for select"
        return f"select /*+ MAX_EXECUTION_TIME({limit * 1000}) SET_VAR(sql_mode = '') */"

    def _columns(self, table: Table) -> dict[str, Column]:
        found = self.session.rows(self._about(CATALOGUE, table))
        if not found:
            self._miss(table)
        where = f"source {self.source.name}, table {table.name}"
        self.names[table.name] = names = declaration.renamed(where, table, [row[0] for row in found])
        return {
            names[row[0]]: Column(names[row[0]], row[1].lower(), row[2].lower(), bool(row[3]), *row[4:])
            for row in found
        }

    def _miss(self, table: Table) -> None:
        """Say why the catalogue does not show a table: it hides those that the user may not read."""
        where = f"source {self.source.name}, table {table.name}"
        mend = "create it, or remove it from the source file"
        missing = SchemaDrift(where, f"there is no table {self.schema}.{table.name} at the source", mend)
        try:
            self.session.rows(f"select 1 from {name(self.schema)}.{name(table.name)} limit 1")
        except AccessDenied:
            what = f"the user may not read {self.schema}.{table.name}, or there is no such table"
            raise AccessDenied(where, what, "grant select to the platform's user") from None
        except SchemaDrift:
            raise missing from None
        raise missing

    def _unique(self, table: Table, columns: Mapping[str, Column]) -> list[list[Column]]:
        keys: dict[str, list[Column]] = {}
        partial = set()
        for index, column, is_prefix in self.session.rows(self._about(INDEXES, table)):
            known = self.names[table.name].get(column, "")
            if is_prefix or known not in columns:
                partial.add(index)
            else:
                keys.setdefault(index, []).append(columns[known])
        return [key for index, key in keys.items() if index not in partial]

    def _reading(self, table: Table, column: Column) -> Reading:
        if column.name in table.mask:
            return masked(column, declaration.salt(self.source, table))
        declared = table.columns.get(column.name)
        return reading(column, declared.type if declared else None)

    def _readings(self, table: Table) -> dict[str, Reading]:
        if table.name not in self.readings:
            self.shape(table)
        return self.readings[table.name]

    def _grain(self, table: Table) -> Grain:
        self._readings(table)
        return self.grains[table.name]

    def _batch_rows(self, table: Table) -> int:
        return max(1, min(BATCH_ROWS, cut.PAGE_BYTES // max(self._grain(table).bytes_per_row, 64)))

    def _place(self, table: Table) -> str:
        """The table with the names that its columns have in the lake; the server merges it into what is asked of it."""
        place = f"{name(self.schema)}.{name(table.name)}"
        if not table.renamed:
            return place
        if table.name not in self.names:
            self._columns(table)
        columns = ", ".join(f"{name(old)} as {name(new)}" for old, new in self.names[table.name].items())
        return f"(select {columns} from {place}) as renamed"

    def _about(self, query: str, table: Table) -> str:
        return query.format(schema=constant(self.schema), table=constant(table.name))


def _order(unique: Sequence[Sequence[Column]], columns: Mapping[str, Column]) -> tuple[Column, ...]:
    """The columns of the first key, the primary one if there is any, by which a table can be read in order."""
    for key in unique:
        if all(cut.is_orderly(column) for column in key):
            return tuple(key)
    return ()


def _is_enforced(key: Sequence[Column]) -> bool:
    return not any(column.is_nullable for column in key)


def _arrives(column: Column, readings: Mapping[str, Reading], table: Table) -> bool:
    """Whether a key's value can be told from what arrives, without asking for its text beside it."""
    is_plain = column.name not in table.mask and not getattr(table.columns.get(column.name), "type", None)
    return column.name in readings and column.kind in INTEGERS and is_plain


def _last(batch: pa.RecordBatch, keys: Sequence[tuple[Column, bool]]) -> tuple[str, ...]:
    values = []
    for number, (column, arrives) in enumerate(keys):
        found = batch.column(column.name if arrives else batch.schema.names.index(f"k{number}", 0))
        values.append(str(found[-1].as_py()))
    return tuple(values)


def _shaped(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch with exactly these columns, and `_misfit` if it came."""
    if batch.num_columns > len(schema) and batch.schema.names[len(schema)] == MISFIT:
        schema = schema.append(pa.field(MISFIT, pa.string()))
    return pa.RecordBatch.from_arrays(batch.columns[: len(schema)], schema=schema)


def _conditions(table: Table, shape: Shape, window: Window) -> list[str]:
    conditions = []
    for bound, sign in ((window.after, ">"), (window.since, ">=")):
        if bound is not None:
            cursor = name(table.cursor or "")
            changed = f"{cursor} {sign} {_instant(datetime.datetime.fromisoformat(bound))}"
            conditions.append(f"({changed} or {cursor} is null)" if shape.cursor_may_be_null else changed)
    if table.partition and window.first and window.last:
        column = name(table.partition.column)
        conditions.append(f"{column} >= {constant(str(window.first))}")
        if window.last < datetime.date.max:  # the calendar's end, the server's too
            conditions.append(f"{column} < {constant(str(window.last + datetime.timedelta(days=1)))}")
    return conditions


def _where(conditions: Sequence[str]) -> str:
    return f" where {' and '.join(conditions)}" if conditions else ""


def _instant(value: datetime.datetime) -> str:
    """A literal in UTC, which is the sessions' time zone; a time without a zone is taken as UTC."""
    at = value.astimezone(datetime.UTC) if value.tzinfo else value
    return constant(at.strftime("%Y-%m-%d %H:%M:%S.%f"))


def _day(text: str) -> datetime.date:
    """The day of a date's text; a part that is 0 counts as 1, and a day that a month does not have as its 28th."""
    year, month, day = (max(int(part), 1) for part in re.findall(r"\d+", text)[:3])
    try:
        return datetime.date(year, month, day)
    except ValueError:
        return datetime.date(year, month, 28)
