"""Up to where a PostgreSQL table may be called read: below this, nothing can appear any more.

A row becomes visible when its transaction commits, which may be long after the time (or the number) it was stamped
with. Polling `cursor > last` therefore loses rows: 313 of 4,649 in a test of 15 seconds. Two remedies:

- a **time** cursor stays below the start of the oldest transaction that is still open (`horizon`);
- an **xid8** cursor, filled by `default pg_current_xact_id()`, is the commit order itself: all transactions below
  `pg_snapshot_xmin` have ended (`commit_horizon`, `commit_window`), so each row is read exactly once.

Stamps that the application takes from a clock of its own, or copies from elsewhere (a logical subscription), are older
than their transaction: for these a `lookback` has to be declared.
"""

import datetime
import time
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import sql

from lake.errors import PermanentError, SourceUnavailable

# No transaction is below it: the cursor stays where it is.
NEVER = datetime.datetime.min.replace(tzinfo=datetime.UTC)
PATIENCE_S = 2.0
# A session takes the time of its transaction a moment before it shows it: whoever looks in between misses it. The
# clock is therefore read first, and the sessions are looked at this much later.
SETTLING_S = 0.05
POLL_S = 0.05
# How old a transaction may be whose start cannot be seen.
UNSEEN = datetime.timedelta(hours=1)

# The table with its partitions and children; a view is written through tables that it does not tell: any may be it.
_RELATIONS = """
    with recursive family(id, kind) as (
        select c.oid, c.relkind from pg_class c where c.oid = to_regclass(%(relation)s)
        union select i.inhrelid, 'r' from pg_inherits i join family on i.inhparent = family.id
    ), writing as (
        select l.virtualtransaction, l.pid from pg_locks l
        where l.locktype = 'relation' and l.granted
          and l.database = (select oid from pg_database where datname = current_database())
          and l.mode in ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
          and (l.relation in (select id from family) or exists (select from family where kind not in ('r', 'p')))
    )
"""
# Sessions that are in a transaction. An aborted one counts too: a savepoint may bring it back. Of a session whose
# details are hidden (to a role without pg_read_all_stats) the lock on its own transaction still shows; background
# processes, which have no user, only vacuum.
_OPEN = (
    _RELATIONS
    + """
    select a.xact_start, a.pid, v.virtualxid,
        exists (select from writing where writing.pid = a.pid) as is_writing
    from pg_stat_activity a
        left join pg_locks v on v.pid = a.pid and v.locktype = 'virtualxid' and v.granted and v.mode = 'ExclusiveLock'
    where a.datname = current_database() and a.usesysid is not null
      and a.pid <> pg_backend_pid() and a.application_name is distinct from %(reader)s
      and (a.xact_start is not null or (a.query = '<insufficient privilege>' and v.virtualxid is not null))
      and coalesce(a.backend_type, '') not in ('walsender', 'autovacuum worker', 'parallel worker')
"""
)
# A prepared transaction keeps its locks but belongs to no session, and nobody knows when it began.
_PREPARED = (
    _RELATIONS
    + """
    select p.gid from pg_prepared_xacts p
    where p.database = current_database()
      and exists (select from pg_locks l join writing using (virtualtransaction)
            where l.locktype = 'transactionid' and l.transactionid = p.transaction and l.pid is null)
    limit 1
"""
)
# Just behind a page's header (24 bytes, 40 in a segment's first page) nothing has been written on the page yet.
_WRITTEN = """
    select (at - case when behind_header in (24, 40) then behind_header else 0 end)::text
    from (select at, (at - '0/0'::pg_lsn) % 8192 as behind_header from pg_current_wal_insert_lsn() as at) as position
"""

Session = psycopg.Connection[Any]


def horizon(
    session: Session,
    relation: str,
    *,
    reader: str,
    primary: Session | None = None,
    patience_s: float = PATIENCE_S,
    sleep: Callable[[float], None] = time.sleep,
) -> datetime.datetime:
    """The instant (UTC) before which every change of a table is stamped and visible to whoever looks after this call.

    `relation` is the quoted name. Sessions whose application is called `reader` are the platform's own and only read.
    If `session` is on a standby, `primary` is asked, and its answer waited for on the standby (up to `patience_s`);
    without it, the answer is an hour before the last commit that the standby has replayed.

    While a prepared transaction holds rows of the table, the answer is NEVER: its start is unknown, but the cursor was
    below it when it was still open, so it is safe where it is. The start of a session that is hidden is unknown too:
    it is waited for, for `patience_s`; then an hour is allowed for, or NEVER if it has written to this very table.

    Raises SourceUnavailable if the standby does not come to what the primary answered; psycopg.Error.
    """
    if not _is_standby(session):
        return _horizon_here(session, relation, reader, patience_s, sleep)
    if primary is None:
        return _horizon_of_standby(session)
    found = _horizon_here(primary, relation, reader, patience_s, sleep)
    _await_replay(session, written(primary), patience_s, sleep)
    return found


def commit_horizon(session: Session) -> str:
    """The lowest transaction number (xid8, as text) that has not ended: all rows below it are there, or never will be.

    Holds for every snapshot taken after the call, on the same server; on a standby likewise.
    """
    row = session.execute("select pg_snapshot_xmin(pg_current_snapshot())::text").fetchone()
    return str(row[0]) if row else "0"


def commit_window(column: str, after: str | None, before: str, *, may_be_null: bool = False) -> str:
    """The SQL condition for the rows of a window in commit order; `before` becomes the next window's `after`.

    Of adjacent windows each row is in exactly one. Rows without a number (`may_be_null`) are in every window.

    Raises PermanentError if numbers went back: the source is another server than it was.
    """
    name = sql.Identifier(column).as_string(None)
    if after is not None and int(after) > int(before):
        what = f'transaction numbers went back from {after} to {before} (cursor "{column}"): this is another server'
        raise PermanentError("source", what, "load the table anew, or point the connection to the server it was")
    bounds = [f"{name} < '{int(before)}'::xid8"]
    if after is not None:
        bounds.insert(0, f"{name} >= '{int(after)}'::xid8")
    condition = " and ".join(bounds)
    return f"({condition} or {name} is null)" if may_be_null else condition


def is_commit_order(native_type: str) -> bool:
    """Whether a cursor of this type is a transaction number, to be read with `commit_window`."""
    return native_type == "xid8"


def written(primary: Session) -> str:
    """Up to where the write-ahead log of a primary is written: a standby that has replayed it shows as much."""
    row = primary.execute(_WRITTEN).fetchone()
    return str(row[0]) if row else "0/0"


def _horizon_here(
    session: Session, relation: str, reader: str, patience_s: float, sleep: Callable[[float], None]
) -> datetime.datetime:
    clock = session.execute("select clock_timestamp()").fetchone()
    now: datetime.datetime = clock[0].astimezone(datetime.UTC) if clock else NEVER
    sleep(SETTLING_S)
    named = {"relation": relation, "reader": reader}
    first = session.execute(_OPEN, named).fetchall()
    seen: list[datetime.datetime] = [start.astimezone(datetime.UTC) for start, *_ in first if start is not None]
    hidden = {virtualxid for start, _, virtualxid, _ in first if start is None}
    unseen = _outlasting(session, named, hidden, patience_s, sleep)
    if session.execute(_PREPARED, named).fetchone() or any(unseen.values()):
        return NEVER
    return min([now, *seen, *([now - UNSEEN] if unseen else [])])


def _outlasting(
    session: Session,
    named: dict[str, str],
    hidden: set[str],
    patience_s: float,
    sleep: Callable[[float], None],
) -> dict[str, bool]:
    """Which of the hidden transactions are still open after `patience_s`, and whether they write to the table."""
    left = dict.fromkeys(hidden, False)
    deadline = time.monotonic() + patience_s
    while left:
        rows = session.execute(_OPEN, named).fetchall()
        left = {virtualxid: is_writing for _, _, virtualxid, is_writing in rows if virtualxid in left}
        if time.monotonic() > deadline:
            break
        sleep(POLL_S)
    return left


def _is_standby(session: Session) -> bool:
    row = session.execute("select pg_is_in_recovery()").fetchone()
    return bool(row and row[0])


def _horizon_of_standby(session: Session) -> datetime.datetime:
    row: Any = session.execute("select pg_last_xact_replay_timestamp()").fetchone()
    last: datetime.datetime | None = row[0]
    return NEVER if last is None else last.astimezone(datetime.UTC) - UNSEEN


def _await_replay(session: Session, position: str, patience_s: float, sleep: Callable[[float], None]) -> None:
    deadline = time.monotonic() + patience_s
    query = "select not pg_is_in_recovery() or pg_last_wal_replay_lsn() >= %s::pg_lsn"
    while not (row := session.execute(query, [position]).fetchone()) or not row[0]:
        if time.monotonic() > deadline:
            mend = "wait for it, raise max_lag_s, or declare `when_behind: primary`"
            raise SourceUnavailable("source's replica", f"has not come to {position} in {patience_s:.0f} s", mend)
        sleep(POLL_S)
