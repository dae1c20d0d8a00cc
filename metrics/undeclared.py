"""Hypertables and roll-ups that the platform made and that are no longer declared: kept and told, dropped on demand."""

from collections.abc import Iterator

from psycopg import sql

from metrics.applied import Applied
from metrics.change import ALLOW, Change
from metrics.server import Connection, one, table
from metrics.spec import SCHEMA, Spec
from metrics.words import counted

_BOOKS = ("_applied", "_state", "_dirty")
_KEEP = f"it is kept; declare it, or to drop it {ALLOW}"


def undeclared(connection: Connection, spec: Spec, before: dict[str, Applied]) -> Iterator[Change]:
    """One step for each, coarser roll-ups before finer ones and rows last: the latter hold the former.

    What the platform did not make, by the book of what was applied last, is a person's own and is not looked at.
    """
    declared = {hypertable.name: hypertable for hypertable in spec.hypertables}
    wanted = {name for one in spec.hypertables for name in one.rollup_names.values()}
    for name, was in before.items():
        stale = [roll_up for roll_up in _coarsest_first(was.rollups) if roll_up not in wanted | declared.keys()]
        yield from (change for roll_up in stale if (change := _dropped(connection, roll_up, _marks(name, roll_up))))
        if name not in declared and name not in wanted and (change := _dropped(connection, name, _books(name))):
            yield change


def _coarsest_first(rollups: tuple[str, ...]) -> list[str]:
    order = ("_1d", "_1h", "_1m")
    return sorted(rollups, key=lambda name: order.index(name[-3:]))


def _dropped(connection: Connection, name: str, books: list[sql.Composed]) -> Change | None:
    kind = one(connection, "SELECT relkind::text FROM pg_class WHERE oid = to_regclass(%s)", (f"{SCHEMA}.{name}",))
    if kind is None:
        return None
    rows: int = one(connection, sql.SQL("SELECT count(*) FROM {}").format(table(name)))
    drop = sql.SQL("DROP MATERIALIZED VIEW {}" if kind == "v" else "DROP TABLE {}").format(table(name))
    return Change(f"{SCHEMA}.{name}", "drop what is no longer declared", (drop, *books), counted(rows, "row"), _KEEP)


def _books(name: str) -> list[sql.Composed]:
    forget = sql.SQL("DELETE FROM {} WHERE hypertable = {}")
    return [forget.format(table(book), name) for book in _BOOKS]


def _marks(name: str, roll_up: str) -> list[sql.Composed]:
    forget = sql.SQL("DELETE FROM {} WHERE hypertable = {} AND rollup = {}")
    return [
        forget.format(table("_dirty"), name, roll_up.rpartition("_")[2]),
        sql.SQL("UPDATE {} SET rollups = array_remove(rollups, {}) WHERE hypertable = {}").format(
            table("_applied"), roll_up, name
        ),
    ]
