"""What a server says of itself: whether it is up, its connections, work and disk; each asked with a short time limit.

Ordinary roles may ask: a figure that a role may not see is None. Nothing is written anywhere, and no secret is told.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from lake.errors import redact
from metrics.finding import SERVERS, Finding, join
from metrics.record import ServerStat
from metrics.server import Connection, one

LIMIT_S = 5.0  # for all figures of one server; servers are asked side by side
_CONNECT_S = 3
_PROBLEM = 300  # characters of a driver's text that a row keeps

Figures = Mapping[str, Any]
Ask = Callable[[str], Iterable[tuple[Any, ...]]]


@dataclass(frozen=True)
class Server:
    """A server to be asked: what the platform calls it, its kind, how it is asked, and what to do if it is down.

    `look` answers columns of `metrics.server_stats`; what it raises means that the server is down.
    """

    name: str
    kind: str
    look: Callable[[], Figures]
    mend: str


def measure(servers: Iterable[Server], at: datetime, *, limit_s: float = LIMIT_S) -> list[ServerStat]:
    """One row for each server, dated `at`; one that fails or is silent for `limit_s` seconds is a row that says so."""
    asked = [_Asked(server) for server in servers]
    for one_asked in asked:
        one_asked.start()
    end = time.monotonic() + limit_s
    return [one_asked.told(at, max(0.0, end - time.monotonic()), limit_s) for one_asked in asked]


def answer(servers: Iterable[Server], stats: Iterable[ServerStat]) -> Finding:
    """Whether all servers are up, by what `measure` said of them, and what to do about the others."""
    told, mends = list(stats), {server.name: server.mend for server in servers}
    figures = {f"{one_told.server}_s": one_told.response_s for one_told in told}
    down = [one_told for one_told in told if not one_told.is_up]
    if not down:
        return Finding(SERVERS, "", True, f"all {len(told)} servers answer", figures=figures)
    what = join([f"{one_told.server} does not answer ({one_told.problem})" for one_told in down])
    mend = "; ".join(f"{one_told.server}: {mends[one_told.server]}" for one_told in down)
    return Finding(SERVERS, "", False, what, mend, figures=figures)


def postgres(dsn: str) -> Figures:
    """Figures of a PostgreSQL server and of the database of `dsn`; queries are those of the database."""
    options = f"-c statement_timeout={int(LIMIT_S * 800)} -c default_transaction_read_only=on -c timezone=UTC"
    with psycopg.connect(dsn, connect_timeout=_CONNECT_S, options=options, application_name="watershed") as connection:
        queries, seconds, source = _statements(connection) or (*_transactions(connection), "pg_stat_database")
        return {
            "version": one(connection, "SELECT current_setting('server_version')"),
            "connections": figure(connection, "SELECT sum(numbackends)::bigint FROM pg_stat_database"),
            "max_connections": figure(connection, "SELECT current_setting('max_connections')::bigint"),
            "queries": queries,
            "query_time_s": seconds,
            "query_source": source,
            "cache_hit_ratio": figure(connection, _HITS),
            "disk_bytes": figure(connection, "SELECT pg_database_size(current_database())"),
        }


def mysql(ask: Ask) -> Figures:
    """Figures of a MySQL or MariaDB server, which `ask` sends statements to and answers their rows."""
    ((version, allowed),) = ask("select version(), @@max_connections")
    status = {str(name).lower(): value for name, value in ask("show global status")}
    reads, requests = _number(status, "innodb_buffer_pool_reads"), _number(status, "innodb_buffer_pool_read_requests")
    ((size,),) = ask(_MYSQL_SIZE)
    return {
        "version": str(version),
        "connections": _number(status, "threads_connected"),
        "max_connections": int(allowed),
        "queries": _number(status, "queries"),
        "query_source": "status",
        "cache_hit_ratio": 1 - reads / requests if reads is not None and requests else None,
        "disk_bytes": int(size) if size is not None else None,
    }


def occupied(sizes: Iterable[int], *, limit_s: float = LIMIT_S * 0.6) -> int | None:
    """The sum of `sizes` of files; None if listing them takes longer than `limit_s` seconds."""
    total, end = 0, time.monotonic() + limit_s
    for count, size in enumerate(sizes):
        total += size
        if count % 256 == 255 and time.monotonic() > end:
            return None
    return total


def folder_bytes(folder: Path) -> int | None:
    """The bytes of all files below `folder`, links not followed; None if there are too many to count in time."""

    def sizes() -> Iterable[int]:
        for path in folder.rglob("*"):
            try:
                found = path.lstat()
            except FileNotFoundError:  # removed since it was listed
                continue
            if not path.is_dir():
                yield found.st_size

    return occupied(sizes())


class _Asked(threading.Thread):
    """A server that is being asked; a daemon, so that one that hangs does not keep the process from its end."""

    def __init__(self, server: Server) -> None:
        super().__init__(name=f"ask {server.name}", daemon=True)
        self.server = server
        self.answer: tuple[float, Figures, str] | None = None  # seconds, figures, and why there are none

    def run(self) -> None:
        started = time.monotonic()
        try:
            figures, problem = self.server.look(), ""
        except Exception as error:  # whatever a driver raises means that the server cannot be used
            figures, problem = {}, redact(" ".join(str(error).split()))[:_PROBLEM] or type(error).__name__
        self.answer = time.monotonic() - started, figures, problem

    def told(self, at: datetime, wait_s: float, limit_s: float) -> ServerStat:
        """The row, after at most `wait_s` more seconds."""
        self.join(wait_s)
        seconds, figures, problem = self.answer or (limit_s, {}, f"no answer within {limit_s:g} s")
        known = {field.name for field in fields(ServerStat)}
        return ServerStat(
            measured_at=at,
            server=self.server.name,
            kind=self.server.kind,
            is_up=not problem,
            response_s=round(seconds, 4),
            problem=problem or None,
            **{name: value for name, value in figures.items() if name in known},
        )


def _statements(connection: Connection) -> tuple[int | None, float | None, str] | None:
    """Statements and seconds from pg_stat_statements, None if the server does not have it."""
    schema = one(
        connection,
        "SELECT nspname FROM pg_extension JOIN pg_namespace AS held ON held.oid = extnamespace"
        " WHERE extname = 'pg_stat_statements'",
    )
    if schema is None:
        return None
    query = sql.SQL(
        "SELECT sum(calls)::bigint, sum(total_exec_time) / 1000 FROM {}"
        " WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
    ).format(sql.Identifier(str(schema), "pg_stat_statements"))
    try:
        with connection.transaction():
            row = connection.execute(query).fetchone()
    except psycopg.Error:  # made in the database but not loaded by the server, or not granted
        return None
    return (*row, "pg_stat_statements") if row and row[0] is not None else None


def _transactions(connection: Connection) -> tuple[int | None, float | None]:
    where = "FROM pg_stat_database WHERE datname = current_database()"
    count = figure(connection, f"SELECT xact_commit + xact_rollback {where}")
    return count, figure(connection, f"SELECT active_time / 1000 {where}")


def figure(connection: Connection, query: LiteralString) -> Any:
    """The figure, None if the server does not have it or does not let this role see it."""
    try:
        with connection.transaction():
            return one(connection, query)
    except psycopg.Error:
        if connection.broken:
            raise
        return None


def _number(status: Mapping[str, Any], name: str) -> int | None:
    return int(status[name]) if name in status else None


_HITS = """
    SELECT blks_hit::float8 / nullif(blks_hit + blks_read, 0) FROM pg_stat_database WHERE datname = current_database()
"""
_MYSQL_SIZE = """
    select cast(sum(data_length + index_length) as signed) from information_schema.tables
    where table_schema = database()
"""
