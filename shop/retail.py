"""The made-up retail shop: a year of trade in an empty database, and one more day whenever it is asked for.

Whatever happens in the shop is a function of its seed, its scale and its first day (`plan.Plan`); a step of the clock
writes down what happened in between. So a shop that was stepped day by day equals one created at the later date, and
two databases with the same inputs hold the same bytes. All of it is worked out on the server, in `sql/`, with
hash-based chance; the rows of a month at a time, in one transaction.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files

from psycopg import sql

from lake.errors import SpecError
from shop import words
from shop.plan import Plan, midnight, months
from shop.premises import RETAIL, Cursor, Shop, finish, finish_logs, lay_out, lay_out_logs, row_counts, standing
from shop.server import address, statement, transaction

Say = Callable[[str], None]

BEGINNING = datetime(1900, 1, 1, tzinfo=UTC)  # before anything the shop knows
LONGEST_DELAY = timedelta(days=3)  # of an order or a reading on its way to the database; see sql/


@dataclass(frozen=True)
class DayOfTrade:
    """What one day changed. Late rows (orders and readings of earlier days) are counted among the new ones, too."""

    day: date
    new_orders: int
    new_lines: int
    moved_orders: int
    moved_customers: int
    price_changes: int
    late_rows: int
    deleted_orders: int
    readings: int
    new_customers: int
    new_products: int
    stock_movements: int
    order_events: int


def create(dsn: str, *, seed: int = 7, scale: float = 1.0, until: date, days: int = 365, say: Say) -> Shop:
    """Open a shop with `days` days of trade, the last being the day before `until`, unless one is there already.

    Its clock then stands at midnight UTC of `until`. One transaction: a killed call leaves nothing. A shop that is
    there is left as it is, whatever its seed and scale; `say` is told. One that an earlier version made without
    movements of stock and events of orders gets those of all its days, as if it had always written them.

    Raises:
        SpecError: a scale, seed or address that cannot be, or a database that holds another kind of shop.
        PermanentError: tables of the same names that are not the shop's; they are not touched.
        AccessDenied, SourceUnavailable: as in `server.transaction`.
    """
    plan = Plan(seed, scale, until - timedelta(days=days))
    where = address(dsn)
    with transaction(dsn) as cursor:
        if shop := standing(cursor, where):
            if shop.kind != RETAIL:
                raise SpecError(where, f"it holds the {shop.kind} shop", "name an empty database for the retail shop")
            _tell_standing(shop, seed, scale, say)
            return _with_logs(cursor, shop, say)
        lay_out(cursor)
        _work_out(cursor, plan, until)
        _fill(cursor, plan, until, say)
        say("shop: building keys and indexes")
        return finish(cursor, RETAIL, midnight(until), seed=seed, scale=scale, started_on=plan.started_on)


def trade_day(dsn: str, *, now: datetime, say: Say) -> DayOfTrade | None:
    """Let the shop's next day happen, in one transaction; None if that day is not over at `now`.

    Every `updated_at` and `received_at` it writes lies within that day (UTC), later than all earlier ones. A real
    shop has no next day: None.

    Raises:
        SpecError: there is no shop in this database.
        PermanentError, AccessDenied, SourceUnavailable: as for `create`.
    """
    where = address(dsn)
    with transaction(dsn) as cursor:
        shop = standing(cursor, where, count=False)
        if shop is None:
            raise SpecError(where, "there is no shop", "create one first")
        if shop.seed is None or shop.scale is None or shop.started_on is None:
            return None
        day = shop.clock.astimezone(UTC).date()
        if midnight(day + timedelta(days=1)) > now:
            say(f"shop: its clock has caught up with the calendar at {day}")
            return None
        _with_logs(cursor, shop, say)
        traded = _trade(cursor, Plan(shop.seed, shop.scale, shop.started_on), day)
        cursor.execute("update shop_clock.state set clock = %s", [midnight(day + timedelta(days=1))])
    say(f"shop: traded {day}: {traded.new_orders} new orders, {traded.moved_orders} moved on")
    return traded


def _tell_standing(shop: Shop, seed: int, scale: float, say: Say) -> None:
    is_other = (shop.seed, shop.scale) != (seed, scale)
    hint = "; another seed or scale needs an empty database" if is_other else ""
    say(f"shop: there already, seed {shop.seed}, scale {shop.scale:g}, clock at {shop.clock:%Y-%m-%d}{hint}")


def _fill(cursor: Cursor, plan: Plan, until: date, say: Say) -> None:
    span = {"since": BEGINNING, "until": midnight(until)}
    _run(cursor, "stores", plan.sizes | {"streets": words.STREETS.split(), "device_models": list(words.DEVICE_MODELS)})
    _people_and_products(cursor, plan, span)
    for first, after in months(plan.started_on, until):
        _draw_purchases(cursor, plan, first, after)
        _events(cursor, span)
        _, _, lines = _purchases(cursor, plan, span)
        _readings(cursor, plan, first, after, span)
        say(f"shop: {first:%Y-%m} traded, {lines:,} order lines")
    _stock(cursor, plan, plan.started_on, until, span)


def _with_logs(cursor: Cursor, shop: Shop, say: Say) -> Shop:
    """The shop with the logs of all its days; written now if an earlier version made it without."""
    if not shop.lacks_logs or shop.seed is None or shop.scale is None or shop.started_on is None:
        return shop
    say("shop: made by an earlier version; adding its movements of stock and the events of its orders")
    plan, until = Plan(shop.seed, shop.scale, shop.started_on), shop.clock.astimezone(UTC).date()
    span = {"since": BEGINNING, "until": midnight(until)}
    lay_out_logs(cursor)
    _work_out(cursor, plan, until)
    for first, after in months(plan.started_on, until):
        _draw_purchases(cursor, plan, first, after)
        _events(cursor, span)
    _stock(cursor, plan, plan.started_on, until, span)
    finish_logs(cursor)
    cursor.execute("discard temp")  # a step that follows in this transaction works out its own
    return replace(shop, lacks_logs=False, rows=row_counts(cursor) if shop.rows else {})


def _trade(cursor: Cursor, plan: Plan, day: date) -> DayOfTrade:
    after = day + timedelta(days=1)
    span = {"since": midnight(day), "until": midnight(after)}
    first = max(plan.started_on, day - LONGEST_DELAY)
    _work_out(cursor, plan, after)
    customers, moved, products, priced = _people_and_products(cursor, plan, span)
    _draw_purchases(cursor, plan, first, after)
    events = _events(cursor, span)
    moved_orders = _run(cursor, "moves", span)
    deleted = _run(cursor, "purge", span)
    orders, late_orders, lines = _purchases(cursor, plan, span)
    movements = _stock(cursor, plan, first, after, span)
    readings, late_readings = _readings(cursor, plan, first, after, span)
    return DayOfTrade(
        day=day,
        new_orders=orders,
        new_lines=lines,
        moved_orders=moved_orders,
        moved_customers=moved,
        price_changes=priced,
        late_rows=late_orders + late_readings,
        deleted_orders=deleted,
        readings=readings,
        new_customers=customers - moved,
        new_products=products - priced,
        stock_movements=movements,
        order_events=events,
    )


def _work_out(cursor: Cursor, plan: Plan, until: date) -> None:
    """Make the functions of chance and the temporary tables of what is true at `until`."""
    _run(cursor, "chance", {"seed": plan.seed})
    cursor.execute(
        "create temp table cities (city_number int, city text, region text, postal text, area text, time_zone text)"
        " on commit drop"
    )
    numbered = [(number, *city) for number, city in enumerate(words.CITIES, 1)]
    cursor.executemany("insert into pg_temp.cities values (%s, %s, %s, %s, %s, %s)", numbered)
    cursor.execute(
        "create temp table categories (category_number int, department text, category text, low float, high float,"
        " sizes text[], articles text[]) on commit drop"
    )
    cursor.executemany(
        "insert into pg_temp.categories"
        " values (%s, %s, %s, %s, %s, string_to_array(%s, '|'), string_to_array(%s, '|'))",
        [(number, *category) for number, category in enumerate(words.CATEGORIES, 1)],
    )
    _run(cursor, "truth", plan.sizes | {"until": midnight(until)})


def _people_and_products(cursor: Cursor, plan: Plan, span: dict[str, datetime]) -> tuple[int, int, int, int]:
    names: dict[str, object] = {"first_names": words.FIRST_NAMES.split(), "last_names": words.LAST_NAMES.split()}
    customers, moved = _counted(cursor, "customers", plan.sizes | span | names)
    brands: dict[str, object] = {"brands": words.BRANDS.split("|"), "styles": words.STYLES.split()}
    products, priced = _counted(cursor, "products", plan.sizes | span | brands)
    return customers, moved, products, priced


def _draw_purchases(cursor: Cursor, plan: Plan, first: date, after: date) -> None:
    """Make the temporary table of the orders from `first` to before `after`, with their fate."""
    cursor.execute("drop table if exists pg_temp.purchases")
    _run(cursor, "purchases", plan.sizes | {"first_day": first, "after_day": after})
    cursor.execute("analyze pg_temp.purchases")


def _purchases(cursor: Cursor, plan: Plan, span: dict[str, datetime]) -> tuple[int, int, int]:
    orders, late = _counted(cursor, "orders", span)
    return orders, late, _run(cursor, "lines", plan.sizes | span)


def _events(cursor: Cursor, span: dict[str, datetime]) -> int:
    """Write down what happened to orders; before orders move on or are cleared away, and their rows with them."""
    return _run(cursor, "events", span)


def _stock(cursor: Cursor, plan: Plan, first: date, after: date, span: dict[str, datetime]) -> int:
    return _run(cursor, "stock", plan.sizes | span | {"first_day": first, "after_day": after})


def _readings(cursor: Cursor, plan: Plan, first: date, after: date, span: dict[str, datetime]) -> tuple[int, int]:
    return _counted(cursor, "readings", plan.sizes | span | {"first_day": first, "after_day": after})


def _run(cursor: Cursor, name: str, values: Mapping[str, object]) -> int:
    """Run `sql/<name>.sql` filled with `values`; the rows it changed."""
    cursor.execute(_filled(name, values))
    return cursor.rowcount


def _counted(cursor: Cursor, name: str, values: Mapping[str, object]) -> tuple[int, int]:
    """Run `sql/<name>.sql`, which returns a flag per row: the rows it changed, and those with the flag up."""
    counts = "with done (is_marked) as ({}) select count(*), count(*) filter (where is_marked) from done"
    cursor.execute(sql.SQL(counts).format(_filled(name, values)))
    rows, marked = cursor.fetchone() or (0, 0)
    return int(str(rows)), int(str(marked))


def _filled(name: str, values: Mapping[str, object]) -> sql.Composed:
    return statement((files("shop") / "sql" / f"{name}.sql").read_text(), **values)
