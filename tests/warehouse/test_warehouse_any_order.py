"""Whatever happens in the shop, in whatever order it arrives: facts built in many runs equal facts built at once.

A build costs seconds, rows cost nothing. So one example plays many small shops at a time, each with keys and days of
its own: what happens in one cannot hide what a run overlooked in another.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import warehouse_lakes
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from warehouse_lakes import LOADED, line, order

from lake import duck
from warehouse import build

SHOPS, DAYS, RUNS, EXAMPLES = 30, 3, 4, 2
TABLES = ["config.materialized:table", "config.materialized:incremental"]
FACTS_ONLY = ["config.materialized:incremental", "+config.materialized:incremental,config.materialized:table"]
NO_TESTS = ["test_type:data", "test_type:unit"]
EVENTS = {"orders": "ordered_at", "order_items": "ordered_at", "sensor_readings": "read_at"}
# aggregates, and what they are by plain SQL, which knows nothing of days: a full refresh adds up days, too
COUNTED = {
    "fct_sales_monthly": (
        "select month_start_date, store_key, department_name, currency_code, order_count, line_count, net_amount"
        " from marts.fct_sales_monthly",
        "select date_trunc('month', order_date)::date, store_key, department_name, currency_code,"
        " count(distinct order_id), count(*), sum(net_amount)"
        " from marts.fct_sales join marts.dim_product using (product_key) group by all",
    ),
    "metric_sales_hourly": (
        "select sold_at, store_id, order_count, line_count, net_amount from metrics.metric_sales_hourly",
        "select time_bucket(interval 1 hour, ordered_at), coalesce(store_id, -1), count(distinct order_id), count(*),"
        " sum(net_amount) from marts.fct_sales group by all",
    ),
}
# facts, the key that only they have, and what they are made from
FACTS = {
    "marts.fct_sales": ("exclude (sale_key)", "int_sale_lines"),
    "marts.fct_orders": ("exclude (order_key)", "int_order_milestones"),
    "metrics.metric_sensor_readings": ("", "int_sensor_readings"),
}


@dataclass
class Chance:
    """What happens next, as a seed has it."""

    random: Random

    def changes(self, most: int) -> Iterator[tuple[Any, ...]]:
        """Changes as (shop, what, its words); of each shop none to `most`, and so that those of one run meet."""
        told = [(shop, self._one()) for shop in range(SHOPS) for _ in range(self.random.randint(0, most))]
        self.random.shuffle(told)
        yield from ((shop, *words) for shop, words in told)

    def _one(self) -> tuple[Any, ...]:
        one, hour, of = self.random.randint(1, 2), self.random.randrange(24 * DAYS), self.random.choice
        two, place = self.random.randint(1, 2), self.random.randint(1, 2)
        return of(
            [
                ("order", one, hour, two, of(["paid", "shipped", "returned"])),
                ("line", one, place, hour, two, hour + 1),
                ("line of its order", one, place, two, hour + 1),
                ("line of its order", two, place, one, hour + 1),
                ("no order", one),
                ("no line", one, place),
                ("customer", one, hour, of(["Rome", "Oslo", None])),
                ("product", one, hour, of([1, 2, 3, None])),
                ("store", of(["Asia/Tokyo", "America/New_York", None])),
                ("sensor", of([1, 2, None])),
                ("reading", hour // 12 * 12, hour),
                ("rewritten", hour),
            ]
        )


@dataclass
class Shops:
    """The state of all shops by table and key, and which days of which table were written since the last run."""

    loaded_at: datetime = LOADED
    rows: dict[str, dict[Any, dict[str, Any]]] = field(default_factory=lambda: defaultdict(dict))
    histories: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    days: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def happens(self, shop: int, kind: str, *told: Any) -> None:
        """One change of one shop; what it is told is in its own numbers."""
        getattr(self, "_" + kind.replace(" ", "_"))(shop, *told)

    def _order(self, shop: int, number: int, hour: int, customer: int, status: str) -> None:
        key, ordered_at = 10 * shop + number, at(shop, hour)
        self._put("orders", key, order(key, 10 * shop + customer, shop, ordered_at, status_code=status))

    def _line(self, shop: int, number: int, place: int, hour: int, product: int, amount: int) -> None:
        key, ordered_at = (10 * shop + number, place), at(shop, hour)
        self._put("order_items", key, line(*key, 10 * shop + product, f"{amount}.00", ordered_at))

    def _line_of_its_order(self, shop: int, number: int, place: int, product: int, amount: int) -> None:
        ordered = self.rows["orders"].get(10 * shop + number)
        hour = (ordered["ordered_at"] - at(shop, 0)) // timedelta(hours=1) if ordered else 0
        self._line(shop, number, place, hour, product, amount)

    def _no_order(self, shop: int, number: int) -> None:
        self._drop("orders", 10 * shop + number)

    def _no_line(self, shop: int, number: int, place: int) -> None:
        self._drop("order_items", (10 * shop + number, place))

    def _customer(self, shop: int, number: int, hour: int, city: str | None = None) -> None:
        self._observe("customers", {"customer_id": 10 * shop + number}, at(shop, hour), city=city)

    def _product(self, shop: int, number: int, hour: int, price: int | None = None) -> None:
        values = {"unit_price_amount": Decimal(price), "department_name": f"D{price % 2}"} if price else {}
        self._observe("products", {"product_id": 10 * shop + number}, at(shop, hour), **values)

    def _store(self, shop: int, zone: str | None) -> None:
        self._keep("stores", shop, zone and {"store_id": shop, "store_name": f"S{shop}", "time_zone": zone})

    def _sensor(self, shop: int, store: int | None) -> None:
        self._keep("devices", shop, store and {"device_id": shop, "store_id": store})

    def _reading(self, shop: int, hour: int, celsius: int) -> None:
        row = {"device_id": shop, "read_at": at(shop, hour), "temperature_celsius": float(celsius)}
        self._put("sensor_readings", (shop, hour), row)

    def _rewritten(self, shop: int, hour: int) -> None:
        """Files are put together: other files, the same rows."""
        for table in EVENTS:
            self.days[table].add(day(at(shop, hour)))

    def write(self, place) -> None:
        """Write what was touched: whole small tables, and of the large ones the days, as the lake does."""
        for table in ("stores", "devices"):
            warehouse_lakes.write(place.lake, table, list(self.rows[table].values()))
        for table in ("customers", "products"):
            warehouse_lakes.write(place.lake, f"{table}_history", self.histories[table])
        for table, instant in EVENTS.items():
            days = self.days.pop(table, set())
            rows = [row for row in self.rows[table].values() if day(row[instant]) in days]
            warehouse_lakes.write_days(place.lake, table, rows, days)
        self.loaded_at += timedelta(hours=1)

    def _put(self, table: str, key: Any, row: dict[str, Any]) -> None:
        self._drop(table, key)
        self.rows[table][key] = row | {"_loaded_at": self.loaded_at}
        self.days[table].add(day(row[EVENTS[table]]))

    def _drop(self, table: str, key: Any) -> None:
        if before := self.rows[table].pop(key, None):
            self.days[table].add(day(before[EVENTS[table]]))

    def _observe(self, table: str, key: dict[str, Any], at: datetime, **values: Any) -> None:
        gone = {"_op": "d"} if not any(values.values()) else {"_op": "u", **values}
        self.histories[table].append({**key, "updated_at": at, "_loaded_at": self.loaded_at, **gone})

    def _keep(self, table: str, key: int, row: dict[str, Any] | None) -> None:
        self.rows[table].pop(key, None)
        self.rows[table] |= {key: row} if row else {}


def at(shop: int, hour: int) -> datetime:
    """The instant so many hours after the first day of a shop began."""
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=DAYS * shop, hours=hour)


def day(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d}"


def everything(place) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of all marts and metrics of the build file."""
    with duck.connect(place.layout.build, read_only=True) as connection:
        names = connection.execute(
            "select schema_name || '.' || table_name from duckdb_tables() where schema_name in ('marts', 'metrics')"
        ).fetchall()
        return {name: connection.execute(f"from {name} order by all").fetchall() for (name,) in names}


def differing(place) -> dict[str, list[tuple[Any, ...]]]:
    """Per fact the rows that it has and its lines have not, or the other way round."""
    found = {}
    with duck.connect(place.layout.build, read_only=True, extensions=("delta",)) as connection:
        for fact, (shed, lines) in FACTS.items():
            built, wanted = f"select * {shed} from {fact}", f"select * from intermediate.{lines}"
            found[fact] = connection.execute(either(built, wanted)).fetchall()
    return found


def miscounted(place, aggregate: str) -> list[tuple[Any, ...]]:
    """The rows of an aggregate that are not what plain SQL makes of its fact, and the other way round."""
    with duck.connect(place.layout.build, read_only=True) as connection:
        return connection.execute(either(*COUNTED[aggregate])).fetchall()


def either(one: str, other: str) -> str:
    """The rows that one of two queries has and the other has not."""
    return f"({one} except all {other}) union all ({other} except all {one})"


@settings(max_examples=EXAMPLES, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32))
def test_any_sequence_of_runs_equals_one_full_refresh(folders, seed):
    shops, chance = Shops(), Chance(Random(seed))
    warehouse_lakes.write_all(folders.lake, {})
    for change in chance.changes(most=18):
        shops.happens(*change)
    shops.write(folders)
    build.run(exclude=NO_TESTS)
    for run in range(RUNS):
        for change in chance.changes(most=3):
            shops.happens(*change)
        shops.write(folders)
        is_last = run == RUNS - 1
        missed = [name for name in COUNTED if not is_last and chance.random.random() < 0.5]
        build.run(select=TABLES if is_last else FACTS_ONLY, exclude=[*NO_TESTS, *missed])
        assert not any(differing(folders).values()), f"run {run} of seed {seed}"
        for name in COUNTED.keys() - missed:
            assert not miscounted(folders, name), f"{name} after run {run} of seed {seed}"
    piecemeal = everything(folders)
    assert len(piecemeal["marts.fct_sales"]) > SHOPS
    build.run(select=TABLES, exclude=NO_TESTS, full_refresh=True)
    assert everything(folders) == piecemeal, f"seed {seed}"
