"""PostgreSQL, read through DuckDB's scanner with SQL of our own, so that no type is bent and no rows pass Python.

Measured: the scanner costs 2.6 times a COPY to nowhere, ConnectorX 4.2, ADBC 4.6, CSV through pyarrow 4.5. Left to
itself it turns numeric without a scale into DOUBLE; here each column's expression is chosen from the catalogue:

- integers, floats, boolean, text, bytea, date, timestamp, timestamptz stay what they are (timestamptz in UTC,
  timestamp without a zone, NaN and infinities of floats and timestamps kept);
- numeric(p,s) up to 38 digits is DECIMAL(p,s); its NaN, which no decimal can hold, becomes NULL;
- an infinite date becomes 0001-01-01 or 9999-12-31: Parquet writers cannot hold it;
- a domain is read as its base type;
- everything else (numeric without a scale, uuid, json, arrays, intervals, enums, ...) is PostgreSQL's text of it,
  unless the source file declares `text` or `decimal(p,s)`.
"""

import datetime
import os
import re
import uuid
from contextlib import suppress
from typing import Any

import duckdb
import psycopg
from psycopg import sql

from ingestion.connectors import Shape, Window
from ingestion.spec import Source, Table
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

AS_THEY_ARE = {
    "int2", "int4", "int8", "float4", "float8", "bool", "text", "varchar", "bpchar", "name",
    "date", "timestamp", "timestamptz", "bytea",
}  # fmt: skip

CATALOGUE = """
    select a.attname, b.typname, format_type(b.oid, case when t.typtype = 'd' then t.typtypmod else a.atttypmod end),
        not (a.attnotnull or t.typnotnull)
    from pg_attribute a join pg_type t on t.oid = a.atttypid
        join pg_type b on b.oid = case when t.typtype = 'd' then t.typbasetype else t.oid end
    where a.attrelid = to_regclass(%s) and a.attnum > 0 and not a.attisdropped order by a.attnum
"""
UNIQUE_KEYS = """
    select array_agg(a.attname::text order by a.attname)
    from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any(i.indkey)
    where i.indrelid = to_regclass(%s) and i.indisunique and i.indpred is null and i.indexprs is null
      and i.indisvalid and not exists (
        select from pg_attribute n where n.attrelid = i.indrelid and n.attnum = any(i.indkey) and not n.attnotnull)
    group by i.indexrelid
"""
# A row becomes visible when its transaction commits, which may be long after the time it was stamped with: the cursor
# stays below the start of the oldest open transaction, also of one that has not written yet. The platform's own
# sessions only read. The start is hidden from a user without pg_read_all_stats if others' sessions are in a
# transaction: then an hour is allowed for.
READER = "watershed-reader"
HORIZON = """
    select least(
        clock_timestamp() - case when bool_or(xact_start is null) then interval '1 hour' else interval '0' end,
        min(xact_start))
    from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid() and application_name <> %s
      and (xact_start is not null or query = '<insufficient privilege>' and exists (
        select from pg_locks where pg_locks.pid = pg_stat_activity.pid and locktype = 'virtualxid'))
      and coalesce(backend_type, '') not in ('walsender', 'autovacuum worker', 'parallel worker')
"""
CURSORS = ("timestamptz", "timestamp")
DAYS = (*CURSORS, "date")
RESERVED = ("year", "month", "day", "_op", "_loaded_at", "_load_id", "_reason", "_at", "_day")


class Postgres:
    """One read-only session on a PostgreSQL source."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.dsn = os.environ.get(source.connection, "")
        if not self.dsn:
            mend = f"set {source.connection} to a connection URI, e.g. postgresql://user@host/database"
            raise SpecError(f"source {source.name}", f"{source.connection} is not set", mend)
        self.name = f"source_{uuid.uuid4().hex[:12]}"  # attached names are shared by all connections of a process
        self.attached: duckdb.DuckDBPyConnection | None = None
        self.options = f"-c statement_timeout={source.statement_timeout_s * 1000} -c timezone=UTC -c datestyle=ISO"
        try:
            self.session = psycopg.connect(self._address(), autocommit=True)
            self.session.execute("set default_transaction_read_only = on")
        except psycopg.ProgrammingError:  # its text may quote the password
            mend = "write postgresql://user@host:port/database, special characters in a password as %XX"
            raise SpecError(f"source {source.name}", f"{source.connection} is no connection URI", mend) from None
        except psycopg.Error as error:
            raise explained(source, error) from None

    def shape(self, table: Table) -> Shape:
        """The table's columns as the catalogue has them."""
        where = f"source {self.source.name}, table {table.name}"
        name = f"{quoted(self.source.schema_)}.{quoted(table.name)}"
        try:
            rows = self.session.execute(CATALOGUE, [name]).fetchall()
            unique = [set(keys) for (keys,) in self.session.execute(UNIQUE_KEYS, [name]).fetchall()]
        except psycopg.Error as error:
            raise explained(self.source, error) from None
        if not rows:
            mend = "create it, or remove it from the source file"
            raise SchemaDrift(where, f"there is no table {self.source.schema_}.{table.name} at the source", mend)
        _require(where, table, {column: kind for column, kind, _, _ in rows})
        native = {column: full for column, _, full, _ in rows if column not in table.drop}
        _reject_clashes(where, native)
        expressions = {
            column: _expression(column, kind, full, table.columns.get(column, None))
            for column, kind, full, _ in rows
            if column in native
        }
        loose = any(nullable for column, _, _, nullable in rows if column == table.cursor)
        return Shape(expressions, native, any(keys <= set(table.key) for keys in unique), loose)

    def horizon(self) -> datetime.datetime:
        """Where the oldest transaction that is still open began, or now."""
        try:
            row: Any = self.session.execute(HORIZON, [READER]).fetchone()
        except psycopg.Error as error:
            raise explained(self.source, error) from None
        return row[0].astimezone(datetime.UTC)  # type: ignore[no-any-return]

    def extent(self, table: Table) -> tuple[datetime.date, datetime.date] | None:
        """The first and last UTC day at the source of a table that is partitioned; None if it has no rows."""
        if table.partition is None:
            return None
        column = sql.Identifier(table.partition.column)
        ask = sql.SQL("select min({0}), max({0}) from {1}").format(
            column, sql.Identifier(self.source.schema_, table.name)
        )
        try:
            row: Any = self.session.execute(ask).fetchone()
        except psycopg.Error as error:
            raise explained(self.source, error) from None
        return None if row[0] is None else (_utc_day(row[0]), _utc_day(row[1]))

    def query(self, table: Table, shape: Shape, window: Window) -> str:
        """SQL for DuckDB: the window's rows, masked columns hashed before anything can reach a disk."""
        conditions = _conditions(table, shape, window)
        where = f" where {' and '.join(conditions)}" if conditions else ""
        inner = ", ".join(f"{expression} as {quoted(column)}" for column, expression in shape.expressions.items())
        remote = f"select {inner} from {quoted(self.source.schema_)}.{quoted(table.name)}{where}"
        outer = ", ".join(_read(column, table, self.source, shape) for column in shape.expressions)
        return f"SELECT {outer} FROM postgres_query('{self.name}', {literal(remote)})"

    def keys_query(self, table: Table, shape: Shape) -> str:
        """SQL for DuckDB: just the keys."""
        inner = ", ".join(f"{shape.expressions[column]} as {quoted(column)}" for column in table.key)
        remote = f"select {inner} from {quoted(self.source.schema_)}.{quoted(table.name)}"
        outer = ", ".join(_read(column, table, self.source, shape) for column in table.key)
        return f"SELECT {outer} FROM postgres_query('{self.name}', {literal(remote)})"

    def attach(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Attach read-only; raises what `explained` makes of a failure."""
        connection.execute("LOAD postgres_scanner")
        try:
            connection.execute(f"ATTACH {literal(self._address())} AS {self.name} (TYPE postgres, READ_ONLY)")
            self.attached = connection
        except duckdb.Error as error:
            raise explained(self.source, error) from None

    def close(self) -> None:
        """Close the session and detach."""
        self.session.close()
        if self.attached is not None:
            with suppress(duckdb.Error):  # what went wrong before is the better news
                self.attached.execute(f"DETACH {self.name}")

    def _address(self) -> str:
        return psycopg.conninfo.make_conninfo(
            self.dsn, options=self.options, connect_timeout=10, application_name=READER
        )


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


def _utc_day(value: datetime.date) -> datetime.date:
    if isinstance(value, datetime.datetime):
        return (value.astimezone(datetime.UTC) if value.tzinfo else value).date()
    return value


def _require(where: str, table: Table, kinds: dict[str, str]) -> None:
    timed: dict[str, tuple[str, ...]] = {table.cursor: CURSORS} if table.cursor else {}
    if table.partition:
        timed.setdefault(table.partition.column, DAYS)
    for column in dict.fromkeys([*table.key, *timed, *table.drop, *table.mask, *table.columns]):
        if column not in kinds:
            mend = "bring it back at the source, or take it out of the source file"
            raise SchemaDrift(where, f'column "{column}" is declared but missing at the source', mend)
    for column, right in timed.items():
        if kinds[column] not in right:
            role = "cursor" if column == table.cursor else "partition"
            mend = f"name a column of type {' or '.join(right)}"
            raise SpecError(where, f'the {role} column "{column}" is {kinds[column]}', mend)


def _reject_clashes(where: str, native: dict[str, str]) -> None:
    seen: set[str] = set(RESERVED)
    for column in native:
        if column.lower() in seen:
            of = "a column of the lake's own" if column.lower() in RESERVED else "another column but for its case"
            mend = f"leave it out (`drop: [{column}]`), or rename it in a view at the source"
            raise SchemaDrift(where, f'column "{column}" has the name of {of}', mend)
        seen.add(column.lower())


def _expression(column: str, kind: str, full: str, declared: Any) -> str:
    name = quoted(column)
    if declared is not None and declared.type:
        return f"{name}::text" if declared.type == "text" else _decimal(name, _declared_decimal(declared.type))
    if kind in AS_THEY_ARE:
        return name
    scaled = re.fullmatch(r"numeric\((\d+),(\d+)\)", full)
    if scaled and int(scaled[2]) <= int(scaled[1]) <= 38:
        return _decimal(name, full)
    return f"{name}::text"


def _decimal(name: str, kind: str) -> str:
    return f"nullif({name}::numeric, 'NaN')::{kind}"  # the scanner would read NaN as 0.00


def _declared_decimal(declared: str) -> str:
    match = re.fullmatch(r"decimal\((\d{1,2}), ?(\d{1,2})\)", declared)
    if not match:
        raise SpecError("columns", f"type {declared!r} is unknown", "write text or decimal(precision, scale)")
    return f"numeric({match[1]},{match[2]})"


def _conditions(table: Table, shape: Shape, window: Window) -> list[str]:
    conditions = []
    if window.after is not None:
        cursor = quoted(table.cursor or "")
        changed = f"{cursor} > {_literal(window.after)}"
        conditions.append(f"({changed} or {cursor} is null)" if shape.cursor_may_be_null else changed)
    if table.partition and window.first and window.last:
        column, after = quoted(table.partition.column), window.last + datetime.timedelta(days=1)
        conditions.append(f"{column} >= {_literal(f'{window.first} 00:00:00+00')}")
        conditions.append(f"{column} < {_literal(f'{after} 00:00:00+00')}")
    return conditions


def _literal(text: str) -> str:
    return sql.Literal(text).as_string(None)


def _read(column: str, table: Table, source: Source, shape: Shape) -> str:
    if column in table.mask:
        return _masked(column, table, source)
    name = quoted(column)
    if shape.native_types[column] == "date":
        ends = f"CASE WHEN {name} > DATE '2000-01-01' THEN DATE '9999-12-31' ELSE DATE '0001-01-01' END"
        return f"CASE WHEN isinf({name}) THEN {ends} ELSE {name} END AS {name}"
    return name


def _masked(column: str, table: Table, source: Source) -> str:
    salt = os.environ.get("WATERSHED_MASK_SALT", "")
    if not salt:
        mend = "set it to a long random text and keep it: joins on masked columns depend on it"
        raise SpecError(f"source {source.name}, table {table.name}", "WATERSHED_MASK_SALT is not set", mend)
    return f"sha256({literal(salt)} || {quoted(column)}::VARCHAR) AS {quoted(column)}"
