"""The figures of the page, computed by SQL in the published file: DuckDB adds up, Python only names what comes out.

Amounts of different currencies are never added. A month is a month of the stores' own days (`order_date`).
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from lake import duck

MONTHS = 36  # at most so many are shown, the newest
COHORTS = 13
PRODUCTS = 10
CURRENCIES = 4  # with plots of their own, those with the most orders; the others stand in a table

# A line counts if it has a day within the calendar and was not sold after the publish. Revenue is what customers pay
# for orders that were neither cancelled nor returned.
ORDERS = """
    create or replace temp table page_orders as
    select
        order_id,
        currency_code,
        cast(date_trunc('month', order_date) as date) as month,
        any_value(customer_id) as customer_id,
        bool_or(is_cancelled) as is_cancelled,
        bool_or(is_returned) as is_returned,
        min(order_date) as first_day,
        max(order_date) as last_day,
        sum(net_amount) as net_amount
    from warehouse.marts.fct_sales
    where date_key <> -1 and order_date <= $until
    group by all
"""
MONTHLY = """
    with
        months as (
            select
                currency_code,
                month,
                coalesce(sum(net_amount) filter (not is_cancelled and not is_returned), 0) as revenue_amount,
                count(*) filter (not is_cancelled and not is_returned) as order_count,
                count(*) as placed_count,
                count(*) filter (is_returned) as returned_count,
                count(*) filter (is_cancelled) as cancelled_count,
                count(distinct customer_id) filter (not is_cancelled and not is_returned) as customer_count
            from page_orders
            group by all
        ),
        firsts as (
            select currency_code, greatest(min(month), $since) as month
            from months
            group by all
        ),
        calendar as (
            select currency_code, unnest(generate_series(month, $until, interval 1 month))::date as month
            from firsts
        )
    select currency_code, month, columns(* exclude (currency_code, month))
    from calendar
    left join months using (currency_code, month)
    order by currency_code, month
"""
TOP = """
    with
        sold as (
            select
                fct_sales.currency_code,
                fct_sales.product_id,
                arg_max(dim_product.product_name, fct_sales.ordered_at) as product_name,
                arg_max(dim_product.department_name, fct_sales.ordered_at) as department_name,
                sum(fct_sales.net_amount) as revenue_amount,
                sum(fct_sales.quantity) as quantity,
                count(distinct fct_sales.order_id) as order_count
            from warehouse.marts.fct_sales
            left join warehouse.marts.dim_product on fct_sales.product_key = dim_product.product_key
            where
                fct_sales.date_key <> -1
                and fct_sales.order_date between $since and $until
                and not fct_sales.is_cancelled
                and not fct_sales.is_returned
            group by all
        )
    select
        currency_code,
        row_number() over best as place,
        cast(product_id as varchar),
        product_name,
        department_name,
        revenue_amount,
        quantity,
        order_count,
        revenue_amount / nullif(sum(revenue_amount) over (partition by currency_code), 0) as share
    from sold
    window best as (partition by currency_code order by revenue_amount desc, product_id)
    qualify place <= $places
    order by currency_code, place
"""
RETENTION = """
    with
        active as (
            select distinct customer_id, month
            from page_orders
            where not is_cancelled and not is_returned and customer_id is not null
        ),
        begun as (select customer_id, min(month) as cohort from active group by all),
        sizes as (select cohort, count(*) as size from begun where cohort >= $since group by all),
        grid as (
            select cohort, size, unnest(generate_series(0, datediff('month', cohort, $until))) as months_since
            from sizes
        ),
        returned as (
            select cohort, datediff('month', cohort, month) as months_since, count(*) as active_count
            from active
            inner join begun using (customer_id)
            group by all
        )
    select cohort, size, months_since, coalesce(active_count, 0)
    from grid
    left join returned using (cohort, months_since)
    order by cohort, months_since
"""


@dataclass(frozen=True)
class Month:
    """One month of one currency, by the words of the metrics of the same names (`dbt_project/models/marts`).

    `orders` and `customers` are those of revenue; `placed` are all orders, cancelled and returned ones too.
    """

    start: datetime.date
    revenue: Decimal
    orders: int
    placed: int
    returned: int
    cancelled: int
    customers: int

    @property
    def basket(self) -> Decimal | None:
        """Revenue of an average order."""
        return self.revenue / self.orders if self.orders else None

    @property
    def returned_share(self) -> float | None:
        """The part of the placed orders that came back."""
        return self.returned / self.placed if self.placed else None


@dataclass(frozen=True)
class Product:
    """One of the articles that sold best; `share` is its part of the currency's revenue in the same time."""

    place: int
    product_id: str | None
    name: str
    department: str
    revenue: Decimal
    quantity: int
    orders: int
    share: float | None


@dataclass(frozen=True)
class Trade:
    """All that is sold in one currency: its months, oldest first and without gaps, and its best articles."""

    currency: str
    months: tuple[Month, ...]
    products: tuple[Product, ...]

    @property
    def orders(self) -> int:
        """Placed orders of the months shown."""
        return sum(month.placed for month in self.months)

    def month(self, start: datetime.date) -> Month | None:
        """The month that begins on `start`, if it is shown."""
        return next((month for month in self.months if month.start == start), None)


@dataclass(frozen=True)
class Cohort:
    """The customers whose first order fell into one month; `active[k]` of them ordered k months later."""

    start: datetime.date
    size: int
    active: tuple[int, ...]


@dataclass(frozen=True)
class Figures:
    """What the published file says. Without sales the days are None and the tuples empty.

    `full_month` is the newest month that is over; None if the data do not reach to the end of one. `top_since` is the
    first day of the twelve months of which the best articles are taken. `left_out` counts lines outside the calendar
    or sold after the publish.
    """

    first_day: datetime.date | None
    last_day: datetime.date | None
    full_month: datetime.date | None
    top_since: datetime.date | None
    trades: tuple[Trade, ...]
    others: tuple[Trade, ...]
    cohorts: tuple[Cohort, ...]
    left_out: int


def figures(path: Path, *, until: datetime.date) -> Figures:
    """The figures of the published file at `path`; sales after the day `until` are left out."""
    with duck.connect() as connection:
        connection.execute("set memory_limit = '1GB'; set threads = 2")
        connection.execute(f"attach {duck.literal(str(path))} as warehouse (read_only)")
        return _figures(connection, until)


def month_after(start: datetime.date, months: int) -> datetime.date:
    """The first day of the month so many months later."""
    count = start.year * 12 + start.month - 1 + months
    return datetime.date(count // 12, count % 12 + 1, 1)


def _figures(connection: duckdb.DuckDBPyConnection, until: datetime.date) -> Figures:
    connection.execute(ORDERS, {"until": until})
    span = "select min(first_day), max(last_day) from page_orders"
    ((first, last),) = _rows(connection, span)
    ((left_out,),) = _rows(
        connection, "select count(*) from warehouse.marts.fct_sales where date_key = -1 or order_date > ?", [until]
    )
    if last is None:
        return Figures(None, None, None, None, (), (), (), left_out)
    this_month = last.replace(day=1)
    is_over = (last + datetime.timedelta(days=1)).month != last.month
    full = this_month if is_over else month_after(this_month, -1)
    top_since = _year_before(last)
    trades = _trades(connection, last, top_since)
    return Figures(
        first,
        last,
        full if full >= first.replace(day=1) else None,
        max(first, top_since),
        tuple(trades[:CURRENCIES]),
        tuple(trades[CURRENCIES:]),
        _cohorts(connection, this_month),
        left_out,
    )


def _trades(connection: duckdb.DuckDBPyConnection, last: datetime.date, top_since: datetime.date) -> list[Trade]:
    this_month = last.replace(day=1)
    months: dict[str, list[Month]] = {}
    window = {"since": month_after(this_month, 1 - MONTHS), "until": this_month}
    for currency, start, revenue, *counts in _rows(connection, MONTHLY, window):
        month = Month(start, Decimal(revenue or 0), *(int(count or 0) for count in counts))
        months.setdefault(currency, []).append(month)
    products: dict[str, list[Product]] = {}
    for currency, place, number, name, department, *sold in _rows(
        connection, TOP, {"since": top_since, "until": last, "places": PRODUCTS}
    ):
        named = _plain(name) or f"product {number or 'unknown'}"
        products.setdefault(currency, []).append(Product(place, number, named, _plain(department), *sold))
    found = [Trade(code, tuple(months[code]), tuple(products.get(code, ()))) for code in months]
    return sorted(found, key=lambda trade: (-trade.orders, trade.currency))


def _cohorts(connection: duckdb.DuckDBPyConnection, this_month: datetime.date) -> tuple[Cohort, ...]:
    window = {"since": month_after(this_month, 1 - COHORTS), "until": this_month}
    found: dict[tuple[datetime.date, int], list[int]] = {}
    for start, size, _, active in _rows(connection, RETENTION, window):
        found.setdefault((start, size), []).append(active)
    return tuple(Cohort(start, size, tuple(active)) for (start, size), active in found.items())


def _year_before(day: datetime.date) -> datetime.date:
    """The first day of the twelve months that end with `day`."""
    after = day + datetime.timedelta(days=1)
    return after.replace(year=after.year - 1, day=28 if (after.month, after.day) == (2, 29) else after.day)


def _plain(text: str | None) -> str:
    """Text in one line, without the control characters that neither XML nor a reader bears."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text or "").split())


def _rows(
    connection: duckdb.DuckDBPyConnection, query: str, values: dict[str, Any] | Sequence[Any] | None = None
) -> list[tuple[Any, ...]]:
    return connection.execute(query, values).fetchall()
