"""PostgreSQL, read through DuckDB's scanner with SQL of our own, so that no type is bent and no rows pass Python.

Measured whole, to the committed lake: see docs/benchmarks.md. How each type arrives: `postgres_types`. All chunks of a
load are read in one exported snapshot, whatever connection reads them; a table is cut by the pages of its heap, which
needs no index and reads each page once.
"""

import datetime
import functools
import json
import os
import re
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from operator import itemgetter
from typing import Any

import duckdb
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from ingestion.connectors import MISFIT, SUM, Chunk, Shape, Window, declaration, ranges, replica
from ingestion.connectors.postgres_horizon import commit_horizon, commit_window, horizon, is_commit_order
from ingestion.connectors.postgres_types import CATALOGUE, SESSION, Catalogue, Reading, reading
from ingestion.spec import Column, Source, Table
from lake import checksum, duck
from lake.digest import Digests
from lake.duck import literal, quoted
from lake.errors import (
    AccessDenied,
    PermanentError,
    PlatformError,
    SchemaDrift,
    SourceUnavailable,
    SpecError,
    redact,
)

UNIQUE_KEYS = """
    select array_agg(a.attname::text order by a.attname)
    from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any(i.indkey)
    where i.indrelid = to_regclass(%s) and i.indisunique and i.indpred is null and i.indexprs is null
      and i.indisvalid and not exists (
        select from pg_attribute n where n.attrelid = i.indrelid and n.attnum = any(i.indkey) and not n.attnotnull)
    group by i.indexrelid
"""
# The heaps that hold a table's rows: itself, or its partitions and heirs; a view has none.
HEAPS = """
    with recursive heaps(oid) as (
        select to_regclass(%s)::oid union select inhrelid from pg_inherits join heaps on inhparent = heaps.oid)
    select c.oid::regclass::text, pg_relation_filenode(c.oid)::bigint,
        (pg_relation_size(c.oid) / current_setting('block_size')::int)::bigint, greatest(c.reltuples, 0)::bigint,
        pg_table_size(c.oid)
    from heaps join pg_class c using (oid) where c.relkind in ('r', 'm') order by c.oid
"""
READER = "watershed-reader"
# On top of what keeps texts the same: this user only reads, and may hold a snapshot for long.
SETTINGS = {**SESSION, "default_transaction_read_only": "on", "idle_in_transaction_session_timeout": "0"}
TIMES = ("timestamptz", "timestamp")
SEEN = "_seen"
OPENING = threading.Lock()
CURSORS = (*TIMES, "xid8")
DAYS = (*TIMES, "date")
RESERVED = (*declaration.RESERVED, SEEN)
PAGES = 4096  # 32 MB of heap: a chunk read again after a kill costs a second or two
BATCH_BYTES = 24 << 20  # one batch is one sorted run of the staged file


class Postgres:
    """One read-only session on a PostgreSQL source, and as many beside it as there are threads that read."""

    def __init__(self, source: Source) -> None:
        self.source = source
        if not os.environ.get(source.connection):
            mend = f"set {source.connection} to a connection URI, e.g. postgresql://user@host/database"
            raise SpecError(f"source {source.name}", f"{source.connection} is not set", mend)
        self.server = replica.reading(source)
        self.name = f"source_{uuid.uuid4().hex[:12]}"  # attached names are shared by all connections of a process
        self.snapshot: str | None = None
        self.is_attached = False
        self.readings: dict[str, dict[str, Reading]] = {}
        self.natives: dict[str, dict[str, str]] = {}
        self.names: dict[str, dict[str, str]] = {}
        self.widths: dict[str, int] = {}
        self.cursors = threading.local()
        self.opened: list[duckdb.DuckDBPyConnection] = []
        self.before: dict[str, str] = {}
        settings = SETTINGS | {"statement_timeout": str(source.statement_timeout_s * 1000)}
        self.options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        try:
            self.session = psycopg.connect(self._address(self.server.dsn), autocommit=True)
        except psycopg.ProgrammingError:  # its text may quote the password
            mend = "write postgresql://user@host:port/database, special characters in a password as %XX"
            raise SpecError(f"source {source.name}", f"{source.connection} is no connection URI", mend) from None
        except psycopg.Error as error:
            raise explained(source, error) from None

    def shape(self, table: Table) -> Shape:
        """The table's columns as the catalogue has them."""
        where = f"source {self.source.name}, table {table.name}"
        name = self._relation(table)
        rows = [Catalogue(*row) for row in self._ask(CATALOGUE, [name])]
        if not rows:
            mend = "create it, or remove it from the source file"
            raise SchemaDrift(where, f"there is no table {self.source.schema_}.{table.name} at the source", mend)
        names = declaration.renamed(where, table, [row.name for row in rows])
        rows = [replace(row, name=names[row.name]) for row in rows]
        self.names[table.name] = names
        unique = [{names[key] for key in keys} for (keys,) in self._ask(UNIQUE_KEYS, [name])]
        declaration.require(where, table, {row.name: row.base for row in rows}, cursors=CURSORS, days=DAYS)
        kept = [row for row in rows if row.name not in table.drop]
        native = {row.name: row.full for row in kept}
        declaration.reject_clashes(where, native, RESERVED)
        readings = {row.name: reading(row.name, row, _declared(table, row.name)) for row in kept}
        self.readings[table.name], self.natives[table.name] = readings, native
        fields = [
            pa.field(column, pa.string() if column in table.mask else one.arrow) for column, one in readings.items()
        ]
        loose = any(not row.not_null for row in rows if row.name == table.cursor)
        heaps = self._heaps(table)
        rows_known = sum(heap[3] for heap in heaps)
        width = sum(heap[4] for heap in heaps) // max(rows_known, 1) if rows_known else 1024
        self.widths[table.name] = max(width, 1)
        return Shape(
            schema=pa.schema(fields),
            native_types=native,
            key_is_enforced=any(keys <= set(table.key) for keys in unique),
            cursor_may_be_null=loose,
            expressions={column: one.expression for column, one in readings.items()},
            rows=rows_known,
        )

    def horizon(self, table: Table) -> datetime.datetime:
        """The instant before which every change of the table is stamped and visible; see `postgres_horizon`."""
        relation = self._relation(table)
        with self._explaining():
            if self._is_in_commit_order(table):
                self.before[table.name] = commit_horizon(self.session)
            if not self.server.is_replica:
                return horizon(self.session, relation, reader=READER)
            with psycopg.connect(self._address(os.environ[self.source.connection]), autocommit=True) as primary:
                return horizon(self.session, relation, reader=READER, primary=primary)

    def extent(self, table: Table) -> tuple[datetime.date, datetime.date] | None:
        """The first and last UTC day at the source of a table that is partitioned; None if it has no rows."""
        if table.partition is None:
            return None
        column = quoted(table.partition.column)
        # What Python's calendar has not (infinity, years before 1 and after 9999) lies in no partition.
        known = f"{column} >= '0001-01-01 00:00:00+00' and {column} < '10000-01-01 00:00:00+00'"
        first, last = self._ask(f"select min({column}), max({column}) from {self._named(table)} where {known}")[0]
        return None if first is None else (_utc_day(first), _utc_day(last))

    def state(self, table: Table) -> str:
        """Which heaps hold the rows: after a rewrite of the table, chunks read before say nothing of its pages."""
        return json.dumps([[heap, node] for heap, node, *_ in self._heaps(table)])

    def _expected(self, table: Table, shape: Shape, window: Window) -> int:
        """How many rows the planner expects of a window."""
        conditions = self._conditions(table, shape, window)
        if not conditions:
            return shape.rows or 2**62  # never analysed: as good as large
        plan = self._ask(f"explain (format json) select from {self._named(table)} where {' and '.join(conditions)}")
        return int(plan[0][0][0]["Plan"]["Plan Rows"])

    def begin(self, *, hold: bool = True) -> str:
        """Hold a snapshot for all that is read from now on; the mark is the oldest transaction it does not see."""
        if not hold:
            return str(self._ask("select pg_snapshot_xmin(pg_current_snapshot())::text")[0][0])
        with self._explaining():
            self.session.execute("begin isolation level repeatable read read only")
        row = self._ask("select pg_export_snapshot(), pg_snapshot_xmin(pg_current_snapshot())::text")[0]
        self.snapshot = row[0]
        return str(row[1])

    def recall(self, table: Table, bookmark: str | None) -> None:
        """Nothing: the catalogue says what the columns are."""

    def bookmark(self, table: Table) -> str | None:
        """Up to which transaction a table in commit order was read; None where the cursor is a time."""
        return self.before.get(table.name)

    def _is_in_commit_order(self, table: Table) -> bool:
        natives = self.natives.get(table.name, {})
        return table.cursor in natives and is_commit_order(natives[table.cursor])

    def chunks(self, table: Table, shape: Shape, window: Window, rows: int) -> Sequence[Chunk]:
        """Ranges of pages if the window is large; else the whole window, which then finds its rows by an index."""
        heaps = self._heaps(table)
        if not heaps or self._expected(table, shape, window) < 2 * rows:
            return [Chunk(0)]
        cuts: list[dict[str, Any]] = []
        for heap, _, pages, tuples, _ in heaps:
            step = max(1, min(PAGES, pages * rows // max(tuples, 1)))
            starts = list(range(0, max(pages, 1), step))
            ends: list[int | None] = [*starts[1:], None]  # what is appended meanwhile lies behind the last page
            cuts += [{"heap": heap, "from": start, "to": end} for start, end in zip(starts, ends, strict=True)]
        return [Chunk(number, bounds) for number, bounds in enumerate(cuts)]

    def read(self, table: Table, shape: Shape, window: Window, chunk: Chunk) -> Iterator[pa.RecordBatch]:
        """The chunk's rows; masked columns are hashed before they leave the engine."""
        conditions = [*self._conditions(table, shape, window), *_pages(chunk)]
        readings = self.readings[table.name]
        origin = self._origin(table, chunk)
        doubtful = {column: one for column, one in readings.items() if one.misfit and column not in table.mask}
        unseen = [column for column, one in doubtful.items() if one.seen is None]
        seen = " OR ".join(f"({one.seen})" for one in doubtful.values() if one.seen)
        lost = False
        for batch in self._rows(shape.schema, readings, table, origin, conditions, summed=True, seen=seen):
            if SEEN in batch.schema.names:
                lost = lost or bool(pc.any(batch.column(SEEN)).as_py())
                batch = batch.drop_columns([SEEN])
            lost = lost or any(batch.column(column).null_count for column in unseen)
            yield batch
        if lost:  # asked only where a value may have been lost
            yield from self._misfits(shape, readings, table, origin, conditions, doubtful)

    def _misfits(
        self,
        shape: Shape,
        readings: Mapping[str, Reading],
        table: Table,
        origin: str,
        conditions: Sequence[str],
        doubtful: Mapping[str, Reading],
    ) -> Iterator[pa.RecordBatch]:
        """The rows with a value that does not fit, and what PostgreSQL writes for it."""
        names = ", ".join(literal(column) for column in doubtful)
        texts = ", ".join(f"case when {one.misfit} then {quoted(column)}::text end" for column, one in doubtful.items())
        # json_build_object takes a hundred arguments at most.
        told = f"json_strip_nulls(json_object(array[{names}], array[{texts}]))::text"
        either = " or ".join(f"({one.misfit})" for one in doubtful.values())
        wide = shape.schema.append(pa.field(MISFIT, pa.string()))
        misfit = Reading(told, quoted(MISFIT), pa.string())
        yield from self._rows(wide, {**readings, MISFIT: misfit}, table, origin, [*conditions, f"({either})"])

    def keys(self, table: Table, shape: Shape) -> Iterator[pa.RecordBatch]:
        """Just the keys."""
        readings = {column: self.readings[table.name][column] for column in table.key}
        schema = pa.schema([shape.schema.field(column) for column in table.key])
        yield from self._rows(schema, readings, table, self._named(table), [])

    def digests(
        self, table: Table, shape: Shape, window: Window, columns: Mapping[str, pa.DataType], *, pause: float = 0.0
    ) -> Digests:
        """The digests of the window's rows, computed by the server; see `postgres_digest`."""
        from ingestion.connectors import postgres_digest

        return postgres_digest.digests(self, table, shape, window, columns, pause)

    def incomparable(self, table: Table, shape: Shape, columns: Mapping[str, pa.DataType]) -> Mapping[str, str]:
        """Columns of another type than the lake's, or of one without a canonical form."""
        return ranges.incomparable(shape, columns)

    def can_catch_up(self, table: Table) -> bool:
        """Heaps keep the transaction that wrote a row; views do not."""
        return bool(self._heaps(table))

    def close(self) -> None:
        """Close all sessions; what goes wrong with one that is broken is no news."""
        self.session.close()
        for cursor in self.opened:  # DuckDB aborts the process if a broken session is rolled back while it is closed
            with suppress(duckdb.Error):
                cursor.execute("ROLLBACK")
            with suppress(duckdb.Error):
                cursor.close()
        if self.is_attached:
            with suppress(duckdb.Error):
                _engine().execute(f"DETACH {self.name}")

    def _rows(
        self,
        schema: pa.Schema,
        readings: Mapping[str, Reading],
        table: Table,
        origin: str,
        conditions: Sequence[str],
        *,
        summed: bool = False,
        seen: str = "",
    ) -> Iterator[pa.RecordBatch]:
        """The columns of `readings` from `origin`, as batches of `schema`."""
        inner = ", ".join(f"{one.expression} as {quoted(column)}" for column, one in readings.items())
        outer = ", ".join(_outer(column, one, table, self.source) for column, one in readings.items())
        remote = f"select {inner} from {origin}" + (f" where {' and '.join(conditions)}" if conditions else "")
        with self._explaining():
            cursor = self._cursor()
            query = f"SELECT {outer} FROM postgres_query('{self.name}', {literal(remote)})"
            if summed:  # far cheaper here than to read what was staged for it
                types = cursor.execute(f"{query} LIMIT 0").description
                total = checksum.row(
                    dict(sorted(((name, kind) for name, kind, *_ in types), key=itemgetter(0))), literal("i")
                )
                extra = f"coalesce({seen}, false) AS {SEEN}, " if seen else ""
                inside = f"SELECT {extra}{outer} FROM postgres_query('{self.name}', {literal(remote)})"
                names = ", ".join([quoted(name) for name, *_ in types] + ([SEEN] if seen else []))
                query = f"SELECT {names}, {total} AS {SUM} FROM ({inside})"
                schema = pa.schema([*schema, *([(SEEN, pa.bool_())] if seen else []), (SUM, pa.uint64())])
            for batch in cursor.execute(query).to_arrow_reader(
                min(max(BATCH_BYTES // self.widths[table.name], 2048), 250_000)
            ):
                yield batch if batch.schema.equals(schema) else batch.cast(schema)

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        """This thread's own connection, in the snapshot if there is one."""
        with OPENING:
            if not self.is_attached:
                engine = _engine()
                # A vector of 2,048 values cannot be spilled: where rows are wide, it needs its room.
                room = max(self.widths.values(), default=0) * 2048 * 4
                engine.execute(f"SET memory_limit = '{128 + room // 2**20}MiB'")
                address = literal(self._address(self.server.dsn))
                engine.execute(f"ATTACH {address} AS {self.name} (TYPE postgres, READ_ONLY)")
                self.is_attached = True
        known: tuple[str | None, duckdb.DuckDBPyConnection] | None = getattr(self.cursors, "open", None)
        if known and known[0] == self.snapshot:
            return known[1]
        cursor = _engine().cursor()
        self.opened.append(cursor)
        if self.snapshot:
            cursor.execute("BEGIN")
            statement = literal(f"SET TRANSACTION SNAPSHOT {literal(self.snapshot)}")
            cursor.execute(f"CALL postgres_execute('{self.name}', {statement})")
        self.cursors.open = (self.snapshot, cursor)
        return cursor

    def _ask(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._explaining():
            return self.session.execute(query, list(values) or None).fetchall()

    def _heaps(self, table: Table) -> list[Any]:
        return self._ask(HEAPS, [self._relation(table)])

    def _relation(self, table: Table) -> str:
        return f"{quoted(self.source.schema_)}.{quoted(table.name)}"

    def _origin(self, table: Table, chunk: Chunk) -> str:
        return self._named(table, f"only {chunk.bounds['heap']}" if chunk.bounds else self._relation(table))

    def _named(self, table: Table, origin: str = "") -> str:
        """The rows of `origin`, or of all the table, with the names that their columns have in the lake.

        The planner looks through it: indexes and ranges of pages are used as without.
        """
        origin = origin or self._relation(table)
        if not table.renamed:
            return origin
        if table.name not in self.names:
            self.shape(table)
        columns = [f"{quoted(old)} as {quoted(new)}" for old, new in self.names[table.name].items()]
        system = ["ctid", "xmin"] if self._heaps(table) else []
        return f"(select {', '.join([*system, *columns])} from {origin}) as renamed"

    def _conditions(self, table: Table, shape: Shape, window: Window) -> list[str]:
        conditions = []
        if window.since is not None:  # ages grow backwards from the newest transaction, also across a wrap-around
            newest = f"age(('{int(window.since)}'::numeric % 4294967296)::text::xid)"
            conditions.append(f"age(xmin) <= {newest}")
        elif before := self.before.get(table.name):
            conditions.append(
                commit_window(table.cursor or "", window.after, before, may_be_null=shape.cursor_may_be_null)
            )
        elif window.after is not None:
            cursor = quoted(table.cursor or "")
            changed = f"{cursor} > {_literal(window.after)}"
            conditions.append(f"({changed} or {cursor} is null)" if shape.cursor_may_be_null else changed)
        if table.partition and window.first and window.last:
            column = quoted(table.partition.column)
            conditions.append(f"{column} >= {_literal(f'{window.first} 00:00:00+00')}")
            day = _day_after(window.last)
            conditions.append(f"{column} < {_literal(f'{day} 00:00:00+00')}")
        return conditions

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except (psycopg.Error, duckdb.Error) as error:
            raise explained(self.source, error) from None

    def _address(self, dsn: str) -> str:
        return psycopg.conninfo.make_conninfo(dsn, options=self.options, connect_timeout=10, application_name=READER)


@functools.cache
def _engine() -> duckdb.DuckDBPyConnection:
    # One instance a process: to open one and load the scanner costs more than to read most windows.
    engine = duck.connect(extensions=["postgres_scanner"])
    engine.execute("SET threads = 1")
    return engine


def explained(source: Source, error: Exception) -> PlatformError:
    """What an error of psycopg or of DuckDB's scanner means for a person; without any secret."""
    where, text = f"source {source.name}", str(error)
    first = redact(re.sub(r"\s+", " ", text.strip().splitlines()[0])) if text.strip() else type(error).__name__
    first = first.split("ERROR: ")[-1]
    if re.search(r"password authentication failed|no password supplied|role .* does not exist|pg_hba", text):
        return AccessDenied(where, "the server refuses the user or its password", f"correct {source.connection}")
    if "permission denied" in text:
        return AccessDenied(where, first, "grant select to the platform's user")
    if re.search(r"database .* does not exist", text):
        return PermanentError(where, first.split("FATAL: ")[-1], f"correct {source.connection}")
    if "statement timeout" in text:
        return SourceUnavailable(where, "a query took too long", "raise statement_timeout_s, or index the cursor")
    if "No space left" in text:
        return PermanentError(where, "the disk is full", "free some space and run again; nothing committed is harmed")
    if isinstance(error, psycopg.OperationalError) or re.search(r"connection|terminat|timeout expired", text):
        return SourceUnavailable(where, "the server does not answer", f"start it, or correct {source.connection}")
    return PermanentError(where, first, "mend the cause and run again; nothing committed is harmed")


def _day_after(last: datetime.date) -> str:
    """The day after `last`, as PostgreSQL reads it: Python's calendar ends with the year 9999."""
    return "10000-01-01" if last == datetime.date.max else str(last + datetime.timedelta(days=1))


def _utc_day(value: datetime.date) -> datetime.date:
    if isinstance(value, datetime.datetime):
        return (value.astimezone(datetime.UTC) if value.tzinfo else value).date()
    return value


def _declared(table: Table, column: str) -> Column | None:
    """What is said of a column; a masked one is hashed as PostgreSQL writes it, so that no value of it is lost."""
    return Column(type="text") if column in table.mask else table.columns.get(column)


def _literal(text: str) -> str:
    return sql.Literal(text).as_string(None)


def _pages(chunk: Chunk) -> list[str]:
    """The condition on a row's place that makes a chunk."""
    if not chunk.bounds:
        return []
    conditions = [f"ctid >= '({chunk.bounds['from']},0)'"]
    if chunk.bounds["to"] is not None:
        conditions.append(f"ctid < '({chunk.bounds['to']},0)'")
    return conditions


def _outer(column: str, one: Reading, table: Table, source: Source) -> str:
    name = quoted(column)
    if column not in table.mask:
        return f"{one.outer} AS {name}"
    return f"sha256({literal(declaration.salt(source, table))} || {name}::VARCHAR) AS {name}"
