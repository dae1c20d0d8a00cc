"""Whether a source is read from its replica or from its primary: by how far the replica lies behind."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg

from ingestion.spec import Source
from lake.errors import PermanentError, PlatformError, SourceUnavailable, SpecError

POLL_S = 0.5
# All that was received may be replayed and yet be old news when nothing is received any more: only a standby with a
# running receiver is level at equal positions. An idle primary does not make its standby old.
_LAG = """
    select pg_is_in_recovery(),
        case when pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()
                  and exists (select from pg_stat_wal_receiver where pid is not null)
            then 0
            else extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp()) end::float8
"""


@dataclass(frozen=True)
class Reading:
    """The server that was chosen: the variable with its connection, its lag in seconds (0 at a primary), and why."""

    variable: str
    is_replica: bool
    lag_s: float
    why: str

    @property
    def dsn(self) -> str:
        """The connection itself; never to be shown."""
        return os.environ.get(self.variable, "")


def reading(
    source: Source, *, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
) -> Reading:
    """Where to read a PostgreSQL source from now, as its `replica` declares.

    A replica that is behind or does not answer: `when_behind: primary` reads from the primary, `wait` waits for it up
    to `statement_timeout_s`. Raises SourceUnavailable after that; SpecError for a variable that is not set or names no
    replica; AccessDenied.
    """
    if source.replica is None:
        return Reading(source.connection, False, 0.0, "no replica is declared")
    declared = source.replica
    deadline = clock() + source.statement_timeout_s
    while True:
        behind, trouble = _behind(source)
        if behind is not None and behind <= declared.max_lag_s:
            return Reading(declared.dsn, True, behind, f"the replica is {behind:.0f} s behind")
        said = trouble or f"the replica is {_words(behind)} behind, {declared.max_lag_s:g} s are allowed"
        if declared.when_behind == "primary":
            return Reading(source.connection, False, 0.0, f"{said}; read from the primary")
        if clock() >= deadline:
            mend = "mend replication, raise max_lag_s, or declare `when_behind: primary`"
            raise SourceUnavailable(f"source {source.name}", f"{said}, after {source.statement_timeout_s} s", mend)
        sleep(POLL_S)


def lag(session: psycopg.Connection[Any]) -> float | None:
    """How many seconds an open standby lies behind; infinite if it never replayed a commit, None on a primary."""
    row = session.execute(_LAG).fetchone()
    if row is None or not row[0]:
        return None
    return float("inf") if row[1] is None else max(0.0, float(row[1]))


def _behind(source: Source) -> tuple[float | None, str]:
    """The lag of the declared replica, or None and what keeps it from answering."""
    variable = source.replica.dsn if source.replica else ""
    where, dsn = f"source {source.name}", os.environ.get(variable, "")
    if not dsn:
        raise SpecError(where, f"{variable} is not set", "set it to the replica's URI, or take `replica` out")
    try:
        with psycopg.connect(dsn, connect_timeout=10, autocommit=True) as session:
            found = lag(session)
    except psycopg.ProgrammingError:  # its text may quote the password
        raise SpecError(where, f"{variable} is no connection URI", "write postgresql://user@host/database") from None
    except psycopg.Error as error:
        return None, _trouble(source, error)
    if found is None:
        what = f"{variable} leads to a server that is no replica"
        raise PermanentError(where, what, "correct it, or take `replica` out of the source file")
    return found, ""


def _trouble(source: Source, error: psycopg.Error) -> str:
    """What to say of a replica that does not answer; a refusal is raised: waiting would not mend it."""
    from ingestion.connectors.postgres import explained

    found: PlatformError = explained(source, error)
    if not isinstance(found, SourceUnavailable):
        variable = source.replica.dsn if source.replica else ""
        raise type(found)(f"{found.where}, replica", found.what, f"correct {variable}") from None
    return "the replica does not answer"


def _words(behind: float | None) -> str:
    return "an unknown time" if behind is None or behind == float("inf") else f"{behind:.0f} s"
