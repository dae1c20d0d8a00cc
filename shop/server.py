"""Connections to the shop's PostgreSQL, one transaction each, with the driver's errors told in the platform's words."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict

from lake.errors import AccessDenied, PermanentError, PlatformError, SourceUnavailable, SpecError

# The server notices a killed client only when it next writes to it; a long INSERT would hold its locks until then.
SETTINGS = (
    "set local time zone 'UTC'",
    "set local search_path = public",
    "set local jit = off",  # compiling the long generating expressions costs more than it saves below 10 M rows
    "set local client_connection_check_interval = '2s'",
    "set local client_min_messages = warning",
)


@contextmanager
def transaction(dsn: str) -> Iterator[psycopg.Cursor[tuple[object, ...]]]:
    """A cursor in a transaction of its own that commits at the end, or leaves nothing behind.

    Raises:
        SpecError: `dsn` is no libpq URI, or names a database that does not exist.
        AccessDenied: wrong password, or a right is missing.
        SourceUnavailable: the server does not answer or went away.
        PermanentError: the server refused for another reason.
    """
    where = address(dsn)
    try:
        with psycopg.connect(dsn, connect_timeout=10) as connection, connection.cursor() as cursor:
            for setting in SETTINGS:
                cursor.execute(setting)
            yield cursor
    except psycopg.Error as error:
        raise told(where, error) from error


def address(dsn: str) -> str:
    """Where `dsn` points, for messages: server, port, database and role, never the password."""
    try:
        parts = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        # The driver's message quotes the string, password and all: neither shown nor chained.
        raise SpecError(
            "SHOP_DSN", "it is no PostgreSQL address", "give postgresql://role@host:port/database"
        ) from None
    server = f"{parts.get('host') or 'localhost'}:{parts.get('port') or 5432}"
    return f"PostgreSQL {server}/{parts.get('dbname') or ''} as {parts.get('user') or 'the current user'}"


def told(where: str, error: psycopg.Error) -> PlatformError:
    """`error` as the platform tells it; `where` is the server's address."""
    if error.sqlstate is None and isinstance(error, psycopg.OperationalError):
        return _refused(where, str(error))
    if isinstance(error, errors.InsufficientPrivilege):
        return AccessDenied(where, _first_line(error), "grant the role that right, or make it the database's owner")
    if isinstance(error, errors.DiskFull):
        return PermanentError(where, "the server's disk is full", "make room, then run again; nothing was changed")
    if isinstance(error, psycopg.OperationalError):
        return SourceUnavailable(where, _first_line(error), "run again; nothing was changed")
    return PermanentError(where, _first_line(error), "nothing was changed; mend the cause and run again")


def statement(text: str, **values: object) -> sql.Composed:
    """`text` with each `{name}` replaced by `values[name]` as an SQL literal."""
    return sql.SQL(text).format(**{name: sql.Literal(value) for name, value in values.items()})


def _refused(where: str, text: str) -> PlatformError:
    if "password" in text or "pg_hba.conf" in text or ("role" in text and "does not exist" in text):
        return AccessDenied(where, "the server refused the role or its password", "correct SHOP_DSN")
    if "database" in text and "does not exist" in text:
        return SpecError(where, "there is no such database", "create it, or correct SHOP_DSN")
    if "permission denied" in text:
        return AccessDenied(where, "the role may not connect to this database", "grant it CONNECT, or correct SHOP_DSN")
    return SourceUnavailable(where, "the server does not answer", "start it, or correct SHOP_DSN")


def _first_line(error: psycopg.Error) -> str:
    return (error.diag.message_primary or str(error)).splitlines()[0]
