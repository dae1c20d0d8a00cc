"""Hypertables as declared state: what the server lacks of the declaration, and making it so.

Nothing here loses rows unless it is allowed: such a step says what would be lost, and is refused otherwise.
"""

from collections.abc import Iterator
from datetime import datetime

from psycopg import sql

from lake.errors import PermanentError
from metrics import aggregates, books, sketch, tier_sql
from metrics.applied import Applied, applied, note
from metrics.change import Change, refuse_loss
from metrics.migration import of_rollup, of_table
from metrics.rollup import finest_first, mark_all
from metrics.server import Connection, Edition, edition, explained, lock, one
from metrics.sooner import sooner
from metrics.spec import SCHEMA, Hypertable, Spec
from metrics.status import Status, status, without_compression
from metrics.undeclared import undeclared

__all__ = ["Change", "Status", "apply", "drift", "plan", "status"]


def plan(connection: Connection, spec: Spec, now: datetime | None = None, *, is_part: bool = False) -> list[Change]:
    """What `apply` would do, in its order, and notes on what this server's edition does not offer.

    Changes nothing. `now` is the platform's clock, by which the Apache-2 edition's rows are dropped; the server's, if
    it is not given. `is_part`: the declaration holds some hypertables of several, so that none is taken for undeclared.

    Raises PermanentError for a server without TimescaleDB 2.19 or newer or of another edition than declared, and for
    a relation that cannot be made as declared without making up data.
    """
    with explained("metrics server"), connection.transaction():
        kind = edition(connection)
        _require_edition(spec, kind)
        before = applied(connection)
        at: datetime = now if now and kind == "apache" else one(connection, "SELECT now()")  # policies go by this one
        changes = list(_foundation(connection))
        for hypertable in spec.hypertables:
            changes += _changes(connection, hypertable, kind, before.get(hypertable.name))
            if hypertable.tier:
                steps = tier_sql.steps(connection, hypertable, kind)
                changes += [Change(f"{SCHEMA}.{name}", what, statements) for name, what, statements in steps]
            if hypertable.name in before:
                changes += sooner(connection, hypertable, before[hypertable.name], at)
        return changes if is_part else [*changes, *undeclared(connection, spec, before)]


def drift(connection: Connection, spec: Spec) -> list[Change]:
    """The changes of `plan` without its notes: empty if the server is as declared."""
    return [change for change in plan(connection, spec) if not change.is_note]


def apply(
    connection: Connection,
    spec: Spec,
    *,
    allow_data_loss: bool = False,
    now: datetime | None = None,
    is_part: bool = False,
) -> list[Change]:
    """Make the server as declared, all in one transaction; the changes made, those left, and notes. Twice is as once.

    Raises what `plan` raises, and PermanentError if a step would lose data and `allow_data_loss` is not given;
    nothing is changed then. What is no longer declared stays without it, and is told.
    """
    with explained("metrics server"):
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('metrics.apply', 0))")
            for hypertable in spec.hypertables:
                lock(connection, hypertable.name)
            changes = plan(connection, spec, now, is_part=is_part)
            if not allow_data_loss:
                refuse_loss(changes)
            for change in changes:
                if allow_data_loss or not change.is_kept:
                    _execute(connection, change.statements)
            note(connection, spec)
        _finish(connection, changes)
        return changes


def _execute(connection: Connection, statements: tuple[sql.Composable, ...]) -> None:
    for statement in statements:
        connection.execute(sql.SQL("{}").format(statement))


def _finish(connection: Connection, changes: list[Change]) -> None:
    """What cannot be done in a transaction and the server's own jobs would do later, if it was not done here."""
    statements = [statement for change in changes for statement in change.after]
    if not statements:
        return
    connection.commit()
    connection.autocommit = True
    try:
        _execute(connection, tuple(statements))
    finally:
        connection.autocommit = False


def _require_edition(spec: Spec, kind: Edition) -> None:
    if spec.edition in (None, kind):
        return
    names = {"apache": "Apache-2", "community": "community"}
    wish = {"apache": "timescaledb.license = 'apache'", "community": "timescaledb.license = 'timescale'"}
    raise PermanentError(
        "metrics server",
        f"is of the {names[kind]} edition, metrics/hypertables.yml demands the {names[spec.edition or kind]} edition",
        f"take `edition` out of the file, or point METRICS_DSN to a server with {wish[spec.edition or kind]}",
    )


def _changes(connection: Connection, hypertable: Hypertable, kind: Edition, before: Applied | None) -> Iterator[Change]:
    steps = list(of_table(connection, hypertable, before))
    if kind == "community":
        yield from aggregates.around(connection, hypertable, steps)
        return
    yield from steps
    for bucket in finest_first(hypertable):
        for change in of_rollup(connection, hypertable, bucket):
            fills = change.what.startswith(("create hypertable", "create it anew", "add column"))
            also = (mark_all(hypertable, bucket),) if fills else ()
            yield Change(change.hypertable, change.what, change.statements + also, change.loses, change.mend)
    yield Change(f"{SCHEMA}.{hypertable.name}", without_compression(hypertable))


def _foundation(connection: Connection) -> Iterator[Change]:
    yield from books.steps(connection)
    for relation, what, statements in sketch.steps(connection):
        yield Change(relation, what, statements)
