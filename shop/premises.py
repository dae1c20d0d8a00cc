"""What stands in a shop's database: whose tables these are, what the shop's clock says, how many rows there are.

The clock stands in a schema of its own, `shop_clock.state`, one row; it is written in the same transaction as the
tables it speaks of, so a shop with a clock is a whole shop.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from importlib.resources import files
from typing import cast

import psycopg
from psycopg import sql

from lake.errors import PermanentError

LOGS = ("stock_movements", "order_events")  # shops of an earlier version have none
TABLES = ("customers", "products", "stores", "orders", "order_items", "devices", "sensor_readings", *LOGS)
RETAIL, COMPLETE_JOURNEY = "retail", "completejourney"
LOCK = 7_464_310  # any number: one shop is opened or moved on at a time per database

Cursor = psycopg.Cursor[tuple[object, ...]]

CLOCK = """
create schema shop_clock;
comment on schema shop_clock is 'The clock of the built-in example shop; not part of the shop itself.';
create table shop_clock.state (
    is_only boolean primary key default true check (is_only),
    kind text not null,
    seed bigint,
    scale double precision,
    started_on date,
    clock timestamptz not null
);
"""


@dataclass(frozen=True)
class Shop:
    """A shop as it stands in its database.

    `clock` is the shop's time (UTC): no row carries a later `updated_at`, `received_at` or `recorded_at`. `seed`,
    `scale` and `started_on` (first day of trade) are those of a made-up shop, None for a real one. `lacks_logs`: it was
    made by an earlier version, without the tables of `LOGS`.
    """

    kind: str
    seed: int | None
    scale: float | None
    started_on: date | None
    clock: datetime
    rows: dict[str, int]
    is_new: bool
    lacks_logs: bool = False


def standing(cursor: Cursor, where: str, *, count: bool = True) -> Shop | None:
    """The shop in this database, None if there is room for one; waits for whoever else is opening or moving it.

    Rows are counted unless `count` is False.

    Raises:
        PermanentError: tables with a shop's names are there that are not the shop's, or some of its tables are gone.
    """
    cursor.execute("select pg_advisory_xact_lock(%s)", [LOCK])
    tables = _tables(cursor)
    state = _state(cursor)
    if state is None:
        if tables:
            names = ", ".join(tables)
            raise PermanentError(where, f"it already holds {names}, not made by the shop", "name an empty database")
        return None
    missing = [name for name in TABLES if name not in tables]
    if missing and missing != list(LOGS):
        mend = "restore them, or drop what is left of the shop and schema shop_clock"
        raise PermanentError(where, f"the shop's {', '.join(missing)} is gone", mend)
    kind, seed, scale, started_on, clock = state
    rows = row_counts(cursor, tables) if count else {}
    return Shop(kind, seed, scale, started_on, clock, rows, is_new=False, lacks_logs=bool(missing))


def lay_out(cursor: Cursor) -> None:
    """Create the shop's tables, bare: what is cheaper once the rows are there comes with `finish`."""
    cursor.execute(_schema("schema")[0])
    lay_out_logs(cursor)


def lay_out_logs(cursor: Cursor) -> None:
    """Create the tables of the logs, bare; their keys and indexes come with `finish_logs`."""
    cursor.execute(_schema("schema_logs")[0])


def finish(
    cursor: Cursor,
    kind: str,
    clock: datetime,
    *,
    seed: int | None = None,
    scale: float | None = None,
    started_on: date | None = None,
) -> Shop:
    """Add keys and indexes, set the clock, and tell what stands there."""
    cursor.execute(_schema("schema")[1])
    cursor.execute(CLOCK)
    cursor.execute(
        "insert into shop_clock.state (kind, seed, scale, started_on, clock) values (%s, %s, %s, %s, %s)",
        [kind, seed, scale, started_on, clock],
    )
    _analyze(cursor, TABLES[: -len(LOGS)])
    finish_logs(cursor)
    return Shop(kind, seed, scale, started_on, clock, row_counts(cursor), is_new=True)


def finish_logs(cursor: Cursor) -> None:
    """Add the keys and indexes of the logs, which hold their rows by now."""
    cursor.execute(_schema("schema_logs")[1])
    _analyze(cursor, LOGS)


def row_counts(cursor: Cursor, tables: Iterable[str] = TABLES) -> dict[str, int]:
    """Rows per table of the shop."""
    counts = {}
    for table in tables:
        cursor.execute(sql.SQL("select count(*) from {}").format(sql.Identifier("public", table)))
        counts[table] = one(cursor)
    return counts


def one(cursor: Cursor) -> int:
    """The single number the last query answered."""
    row = cursor.fetchone()
    return int(cast(int, row[0])) if row else 0


def _tables(cursor: Cursor) -> list[str]:
    cursor.execute(
        "select relname::text from pg_class where relnamespace = 'public'::regnamespace and relname = any(%s)"
        " order by relname",
        [list(TABLES)],
    )
    return [str(row[0]) for row in cursor.fetchall()]


def _state(cursor: Cursor) -> tuple[str, int | None, float | None, date | None, datetime] | None:
    cursor.execute("select to_regclass('shop_clock.state') is not null")
    if not one(cursor):
        return None
    cursor.execute("select kind, seed, scale, started_on, clock from shop_clock.state")
    return cast("tuple[str, int | None, float | None, date | None, datetime] | None", cursor.fetchone())


def _analyze(cursor: Cursor, tables: Iterable[str]) -> None:
    for table in tables:
        cursor.execute(sql.SQL("analyze {}").format(sql.Identifier("public", table)))


def _schema(name: str) -> tuple[str, str]:
    """The statements of `<name>.sql` above and below the line of dashes."""
    tables, _, rest = files("shop").joinpath(f"{name}.sql").read_text().partition("\n-- ------")
    return tables, rest.partition("\n")[2]
