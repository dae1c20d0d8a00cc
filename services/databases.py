"""Roles, databases and DSNs on a running PostgreSQL server."""

from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

from lake.errors import PermanentError

ROLE, READER = "watershed", "watershed_analyst"
# A reader's session ends nobody else's work: PostgreSQL's own bounds, which the session may narrow but which the
# rights below them do not depend on.
READING = {
    "default_transaction_read_only": "on",
    "statement_timeout": "5min",
    "idle_in_transaction_session_timeout": "10min",
    "work_mem": "32MB",
    "temp_file_limit": "2GB",
}


def dsn(role: str, password: str, port: int, database: str) -> str:
    """A libpq URI on loopback."""
    return f"postgresql://{role}:{quote(password, safe='')}@127.0.0.1:{port}/{database}"


def on(dsn: str, database: str) -> str:
    """The same server and role as `dsn`, another database."""
    parts = urlsplit(dsn)
    if parts.scheme not in ("postgresql", "postgres"):
        raise PermanentError("services, DSN", "is not a libpq URI", "write postgresql://role:…@host:port/database")
    return urlunsplit(parts._replace(path=f"/{quote(database, safe='')}"))


def keeps_time(name: str) -> bool:
    """Whether a database of this name holds hypertables: `metrics` and `…_metrics`."""
    return name == "metrics" or name.endswith("_metrics")


def ensure_role(admin: str, password: str) -> None:
    """Make the plain role (no superuser; may create databases for tests) with `password`, or give it that one."""
    with psycopg.connect(admin, autocommit=True) as connection:
        known = connection.execute("select 1 from pg_roles where rolname = %s", [ROLE]).fetchone()
        verb = sql.SQL("alter" if known else "create")
        connection.execute(
            sql.SQL("{} role {} login createdb nosuperuser password {}").format(
                verb, sql.Identifier(ROLE), sql.Literal(password)
            )
        )
        connection.execute(sql.SQL("grant pg_read_all_stats to {}").format(sql.Identifier(ROLE)))


def ensure_reader(admin: str, password: str) -> None:
    """Make the analysts' role with `password`, or give it that one: it may log in, and owns and creates nothing.

    What it may read is granted by the owner of each database.
    """
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute("select pg_advisory_lock(hashtext('watershed reader'))")
        role = sql.Identifier(READER)
        if not connection.execute("select 1 from pg_roles where rolname = %s", [READER]).fetchone():
            connection.execute(sql.SQL("create role {}").format(role))
        connection.execute(
            sql.SQL("alter role {} login nosuperuser nocreatedb nocreaterole connection limit 50 password {}").format(
                role, sql.Literal(password)
            )
        )
        for name, value in READING.items():
            connection.execute(
                sql.SQL("alter role {} set {} = {}").format(role, sql.Identifier(name), sql.Literal(value))
            )


def ensure_database(admin: str, name: str, owner: str | None = None) -> None:
    """Make the database `name` when absent, with TimescaleDB when its name says so.

    `admin` is a DSN of a role that may do it, in any database of the server. Two callers at once are safe: an
    advisory lock in the admin's database orders them.
    """
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute("select pg_advisory_lock(hashtext('watershed database'))")
        if not connection.execute("select 1 from pg_database where datname = %s", [name]).fetchone():
            statement = sql.SQL("create database {}").format(sql.Identifier(name))
            if owner:
                statement += sql.SQL(" owner {}").format(sql.Identifier(owner))
            connection.execute(statement)
        if keeps_time(name):
            _extend(on(admin, name))


def _extend(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        if connection.execute("select 1 from pg_extension where extname = 'timescaledb'").fetchone():
            return
        try:
            connection.execute("create extension if not exists timescaledb")
        except psycopg.Error as error:
            what = str(error.diag.message_primary or "refused")
            raise PermanentError(
                f"services, database {connection.info.dbname}",
                f"the server has no usable TimescaleDB ({what})",
                "install TimescaleDB there and add it to shared_preload_libraries",
            ) from error
