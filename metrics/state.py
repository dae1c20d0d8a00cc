"""Hypertables as declared state: what the server lacks of the declaration, and making it so.

Nothing here drops or rewrites rows. A relation of another shape is refused in words, not changed.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from psycopg import sql

from metrics import native
from metrics.rollup import mark_all
from metrics.server import Connection, Edition, edition, explained, lock, one, table
from metrics.shape import Shape, commenting, creation, declared, declared_rollup, found, index, refuse_difference
from metrics.spec import SCHEMA, Hypertable, Spec
from metrics.status import Status, status, without_compression
from metrics.words import span

__all__ = ["Change", "Status", "apply", "drift", "plan", "status"]


@dataclass(frozen=True)
class Change:
    """One step from the server's state to the declared one; without statements it is a note on what cannot be had."""

    hypertable: str
    what: str
    statements: tuple[sql.Composable, ...] = ()

    @property
    def is_note(self) -> bool:
        """Whether there is nothing to do, only something to know."""
        return not self.statements

    def __str__(self) -> str:
        """`metrics.sales_hourly: create …`."""
        return f"{self.hypertable}: {self.what}"


def plan(connection: Connection, spec: Spec) -> list[Change]:
    """What `apply` would do, in its order, and notes on what this server's edition does not offer.

    Changes nothing. Raises PermanentError for a server without TimescaleDB 2.19 or newer and for a relation whose
    shape differs in a way that only moving its rows could mend.
    """
    with explained("metrics server"), connection.transaction():
        kind = edition(connection)
        changes = list(_foundation(connection))
        for hypertable in spec.hypertables:
            changes += _changes(connection, hypertable, kind)
        return changes


def drift(connection: Connection, spec: Spec) -> list[Change]:
    """The changes of `plan` without its notes: empty if the server is as declared."""
    return [change for change in plan(connection, spec) if not change.is_note]


def apply(connection: Connection, spec: Spec) -> list[Change]:
    """Make the server as declared, all in one transaction; the changes made, and the notes. Twice is as once."""
    with explained("metrics server"), connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('metrics.apply', 0))")
        for hypertable in spec.hypertables:
            lock(connection, hypertable.name)
        changes = plan(connection, spec)
        for change in changes:
            for statement in change.statements:
                connection.execute(sql.SQL("{}").format(statement))
        return changes


def _changes(connection: Connection, hypertable: Hypertable, kind: Edition) -> Iterator[Change]:
    yield from _table(connection, declared(hypertable))
    if kind == "community":
        for name, what, statements in native.steps(connection, hypertable):
            yield Change(f"{SCHEMA}.{name}", what, statements)
        return
    for bucket in hypertable.rollup_names:
        for change in _table(connection, declared_rollup(hypertable, bucket)):
            fills = "create" in change.what or "add column" in change.what
            also = (mark_all(hypertable, bucket),) if fills else ()
            yield Change(change.hypertable, change.what, change.statements + also)
    yield Change(f"{SCHEMA}.{hypertable.name}", without_compression(hypertable))


def _foundation(connection: Connection) -> Iterator[Change]:
    if one(connection, "SELECT to_regnamespace(%s)", (SCHEMA,)) is None:
        yield Change(SCHEMA, "create the schema", (sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(SCHEMA)),))
    for name, columns in _BOOKS.items():
        if one(connection, "SELECT to_regclass(%s)", (f"{SCHEMA}.{name}",)) is None:
            statement = sql.SQL("CREATE TABLE {} ({})").format(table(name), sql.SQL(columns))
            yield Change(f"{SCHEMA}.{name}", "create the table in which the platform keeps its books", (statement,))


def _table(connection: Connection, want: Shape) -> Iterator[Change]:
    where, have = f"{SCHEMA}.{want.name}", found(connection, want.name)
    if have is None:
        interval = span(want.chunk_interval)
        what = f"create hypertable with key ({', '.join(want.key)}) and chunks of {interval}"
        yield Change(where, what, tuple(creation(want)))
        return
    refuse_difference(want, have)
    for column, kind in want.columns.items():
        if column not in have.columns:
            statement = sql.SQL("ALTER TABLE {} ADD COLUMN {} {}").format(
                table(want.name),
                sql.Identifier(column),
                sql.SQL(kind),
            )
            yield Change(where, f"add column {column} ({kind})", (statement,))
    if have.chunk_interval != want.chunk_interval:
        statement = sql.SQL("SELECT set_chunk_time_interval({}, {})").format(where, want.chunk_interval)
        what = f"chunks of {span(want.chunk_interval)} instead of {span(have.chunk_interval)}, from the next one on"
        yield Change(where, what, (statement,))
    for columns in sorted(want.indexes - have.indexes):
        yield Change(where, f"create index on ({', '.join(columns)})", (index(want.name, columns),))
    if have.description != want.description or have.comments != dict(want.comments):
        yield Change(where, "write descriptions and units", tuple(commenting(want)))


# _state: one row per hypertable; rows before dropped_before were dropped once, and are not taken in again, since a
# part of them would replace the roll-up of all of them. _dirty: buckets whose roll-up is out of date.
_BOOKS = {
    "_state": "hypertable text PRIMARY KEY, watermark text, loaded_at timestamptz, dropped_before timestamptz,"
    " refreshed_at timestamptz",
    "_dirty": "hypertable text, rollup text, bucket_at timestamptz, PRIMARY KEY (hypertable, rollup, bucket_at)",
}
