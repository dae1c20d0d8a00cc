"""The instant before which every change of a MySQL or MariaDB server is stamped and visible.

A row is stamped when its statement starts and becomes visible when its transaction commits. So the horizon lies below
the start of the oldest transaction that may yet write, and of the oldest statement that is running. Transactions that
are declared read-only, and single selects, are no matter.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

from ingestion.connectors.mysql_session import Session
from lake.errors import AccessDenied

UNSEEN = datetime.timedelta(hours=1)
# information_schema.innodb_trx is a copy that may be 0.1 s old, and what is started in that time is not in it.
STALE = datetime.timedelta(seconds=1)
# Started in the server's own time zone, whatever the session's: hence this zone, and the earlier of two hours where the
# clock is put back. Whole seconds, rounded down.
TRANSACTIONS = """
    select trx_mysql_thread_id, cast(if(from_unixtime(unix_timestamp(trx_started) - 3600) = trx_started,
        unix_timestamp(trx_started) - 3600, unix_timestamp(trx_started)) as signed)
    from information_schema.innodb_trx
    where trx_is_read_only = 0 and trx_autocommit_non_locking = 0 and trx_started is not null
"""
IDLE = ("Sleep", "Daemon", "Binlog Dump", "Binlog Dump GTID", "Connect", "Slave_IO", "Slave_SQL", "Slave_worker")


def horizon(session: Session) -> datetime.datetime:
    """The horizon now, in UTC and whole seconds: a column may keep no more than those.

    Without the right to see others' transactions (PROCESS) an hour is allowed for. On a replica it lies further back
    by as much as the replica.
    """
    behind = _lag(session)
    session.hold()
    try:
        told, own = session.rows("select utc_timestamp(6), connection_id()")[0]
        now: datetime.datetime = told.replace(tzinfo=datetime.UTC)
        session.do("set time_zone = 'SYSTEM'")
        running = session.rows("show processlist")
        transactions = [row for row in session.rows(TRANSACTIONS) if row[0] != own]
    except AccessDenied:
        return (now - UNSEEN - behind).replace(microsecond=0)
    finally:
        session.release()
    started = [datetime.datetime.fromtimestamp(at, datetime.UTC) for _, at in transactions]
    started += _statements(now, running, own, {thread for thread, _ in transactions})
    return (min([now - STALE, *started]) - behind).replace(microsecond=0)


def _lag(session: Session) -> datetime.timedelta:
    """How far a replica is behind; nothing for a primary, an hour where nobody may tell."""
    version = str(session.rows("select version()")[0][0])
    try:
        columns = session.table("show all slaves status" if "MariaDB" in version else "show replica status")
    except AccessDenied:
        is_copy = bool(session.rows("select @@global.read_only")[0][0])
        return UNSEEN if is_copy else datetime.timedelta()
    behind: Sequence[Any] = columns.get("Seconds_Behind_Master") or columns.get("Seconds_Behind_Source") or []
    lags = [UNSEEN if lag is None else datetime.timedelta(seconds=int(lag) + 1) for lag in behind]
    return max(lags, default=datetime.timedelta())


def _statements(
    now: datetime.datetime, running: Sequence[tuple[Any, ...]], own: int, busy: set[int]
) -> list[datetime.datetime]:
    """When the statements began that may yet write, or write now."""
    found = []
    for row in running:
        number, command, seconds, what = row[0], str(row[4]), row[5], str(row[7] or "")
        is_reading = number not in busy and what.lstrip("( ").lower().startswith(("select", "show", "set statement"))
        if number != own and command not in IDLE and seconds is not None and not is_reading:
            found.append(now - datetime.timedelta(seconds=max(int(seconds), 0) + 1))
    return found
