"""The server that holds the metrics: connections, its edition of TimescaleDB, its errors in the platform's words."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, LiteralString

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from lake.errors import AccessDenied, Busy, ContractBroken, PermanentError, PlatformError, TransientError, redact
from metrics.spec import SCHEMA

Edition = Literal["apache", "community"]
Connection = psycopg.Connection[tuple[Any, ...]]

OLDEST = (2, 19)  # the release Debian ships; by_range, drop_chunks and the columnstore calls are as used here
_PATIENCE = "10min"  # a statement that waits longer for a lock gives up, so that a hanging loader is noticed


@contextmanager
def connected(dsn: str, *, read_only: bool = False) -> Iterator[Connection]:
    """A connection in UTC, closed at the end; errors of the driver become the platform's, without a secret.

    Nothing is committed but what the caller commits or does in `connection.transaction()`.
    """
    with explained(_where(dsn)):
        options = f"-c timezone=UTC -c lock_timeout={_PATIENCE} -c client_min_messages=warning"
        with psycopg.connect(dsn, connect_timeout=10, options=options, application_name="watershed") as connection:
            connection.read_only = read_only
            yield connection


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Raise the driver's errors as `lake.errors`, with `where` in front."""
    try:
        yield
    except PlatformError:
        raise
    except psycopg.Error as error:
        raise _in_words(where, error) from None


def edition(connection: Connection) -> Edition:
    """The server's edition; PermanentError if the extension is missing or older than 2.19."""
    version = one(connection, "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'")
    if version is None:
        raise PermanentError(
            f"metrics database {connection.info.dbname}",
            "has no TimescaleDB",
            "let an administrator run `CREATE EXTENSION timescaledb` in it, or point METRICS_DSN to one that has it",
        )
    require_version(str(version))
    licence = one(connection, "SELECT current_setting('timescaledb.license', true)")
    return "community" if licence == "timescale" else "apache"


def require_version(version: str) -> None:
    """PermanentError if TimescaleDB `version` (as in `2.19.3`) is older than this package can work with."""
    found = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if found < OLDEST:
        raise PermanentError(
            "metrics server",
            f"TimescaleDB {version} is too old",
            f"update it to {'.'.join(map(str, OLDEST))} or newer (`ALTER EXTENSION timescaledb UPDATE`)",
        )


def one(connection: Connection, query: LiteralString | sql.Composed, values: tuple[object, ...] = ()) -> Any:
    """The first column of the first row, None if there is no row."""
    row = connection.execute(query, values or None).fetchone()
    return row[0] if row else None


def table(name: str) -> sql.Identifier:
    """`name` in schema `metrics`, quoted."""
    return sql.Identifier(SCHEMA, name)


def listed(names: Iterable[str]) -> sql.Composed:
    """Names of columns, quoted, with commas between."""
    return sql.SQL(", ").join(map(sql.Identifier, names))


def lock(connection: Connection, name: str) -> None:
    """Wait for the right to change the rows of hypertable `name`, held to the end of the transaction.

    Loads, roll-up refresh and retention take it, so that they never deadlock and no change of a bucket is overlooked.
    """
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"{SCHEMA}.{name}",))


def _where(dsn: str) -> str:
    try:
        parts = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        raise PermanentError(
            "METRICS_DSN", "is not a PostgreSQL address", "write postgresql://user@host:port/name"
        ) from None
    return f"metrics server {parts.get('host', 'localhost')}:{parts.get('port', 5432)}/{parts.get('dbname', '')}"


# A failed connection carries no SQLSTATE, only the server's text.
_REFUSALS: tuple[tuple[str, type[PlatformError], str, str], ...] = (
    (
        r"password authentication failed|no password supplied|no pg_hba.conf entry|role .* does not exist|"
        r"authentication failed",
        AccessDenied,
        "the server refuses user or password",
        "check METRICS_DSN",
    ),
    (r"database .* does not exist", PermanentError, "the database does not exist", "create it or check METRICS_DSN"),
    (r"permission denied for database", AccessDenied, "the user may not connect", "grant CONNECT on the database"),
)
_STATES: tuple[tuple[str, type[PlatformError], str], ...] = (
    ("42501", AccessDenied, "grant the user the rights on schema metrics"),
    ("28", AccessDenied, "check METRICS_DSN"),
    ("3D000", PermanentError, "create the database or check METRICS_DSN"),
    ("55P03", Busy, "another session has held the lock for long; look for it in pg_stat_activity"),
    ("42", PermanentError, "apply metrics/hypertables.yml to this database first"),
    ("2B", PermanentError, "change or drop what depends on it first"),
    ("22", ContractBroken, "correct the value"),
    ("23", ContractBroken, "correct the rows"),
    ("40", TransientError, "run it again"),
    ("53", TransientError, "free disk, memory or connections on the server, then run it again"),
    ("57", TransientError, "wait until the server is up, then run it again"),
    ("58", TransientError, "look at the server's disk and its log, then run it again"),
    ("08", TransientError, "run it again"),
)


def _in_words(where: str, error: psycopg.Error) -> PlatformError:
    text = redact(" ".join(str(error).split()))
    if error.sqlstate is None and isinstance(error, psycopg.OperationalError):
        for pattern, kind, what, mend in _REFUSALS:
            if re.search(pattern, text):
                return kind(where, what, mend)
        return TransientError(where, f"does not answer ({text[:300]})", "start the server or check METRICS_DSN")
    what = redact(error.diag.message_primary or text[:300])
    if (error.sqlstate or "").startswith("2B") and error.diag.message_detail:  # the message does not say what depends
        what = f"{what} ({redact(error.diag.message_detail.splitlines()[0])})"
    for state, kind, mend in _STATES:
        if (error.sqlstate or "").startswith(state):
            return kind(where, what, mend)
    return PermanentError(where, what, "look up the message in PostgreSQL's manual, or report it")
