"""A made-up year looks like a year of trade, is the same wherever it is made, and is there whole or not at all."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime

import psycopg
import pytest

from lake.errors import PermanentError, SpecError
from shop import retail
from shop.premises import TABLES

UNTIL = date(2026, 6, 20)
SMALL = {"scale": 0.2, "until": UNTIL, "days": 50}


def quiet(_: str) -> None:
    pass


@pytest.fixture(scope="module")
def year(shop_dsn):
    retail.create(shop_dsn, until=UNTIL, say=quiet)
    return shop_dsn


def test_a_year_at_scale_1_has_about_50_000_lines(year, ask):
    [(lines, orders, stores, zones, devices, readings)] = ask(
        year,
        "select (select count(*) from order_items), (select count(*) from orders), (select count(*) from stores),"
        " (select count(distinct time_zone) from stores), (select count(*) from devices),"
        " (select count(*) from sensor_readings)",
    )
    assert 47_000 < lines < 53_000
    assert 18_000 < orders < 22_000
    assert (stores, devices) == (12, 24)
    assert zones >= 4
    assert 24 * 24 * 365 - 100 < readings <= 24 * 24 * 365


def test_the_year_ends_before_until_and_nothing_is_later_than_the_clock(year, ask, changed_column):
    [(first, last)] = ask(year, "select min(ordered_at)::date, max(ordered_at)::date from orders")
    assert (first, last) == (date(2025, 6, 20), date(2026, 6, 19))
    for table in TABLES:
        [(latest,)] = ask(year, f"select max({changed_column(table)}) from {table}")
        assert latest < datetime(2026, 6, 20, tzinfo=UTC)


def test_trade_follows_the_weekday_december_and_the_stores_own_clock(year, ask):
    local = "ordered_at at time zone time_zone"
    by_day = dict(
        ask(
            year, f"select extract(dow from {local})::int, count(*) from orders join stores using (store_id) group by 1"
        )
    )
    assert by_day[6] > 1.2 * by_day[2]
    by_month = dict(ask(year, "select extract(month from ordered_at)::int, count(*) from orders group by 1"))
    assert by_month[12] == max(by_month.values())
    hours = ask(
        year,
        f"select time_zone, extract(hour from {local})::int, count(*)"
        " from orders join stores using (store_id) group by 1, 2",
    )
    for zone in {row[0] for row in hours}:
        count = {hour: number for name, hour, number in hours if name == zone}
        assert count[17] > 5 * count.get(3, 0)


def test_a_tenth_of_customers_and_of_products_makes_far_more_than_a_tenth_of_the_trade(year, ask):
    for query, count in (
        ("select count(*) from orders group by customer_id", 2_000),
        ("select count(*) from order_items group by product_id", 800),
    ):
        numbers = sorted((number for (number,) in ask(year, query)), reverse=True)
        assert sum(numbers[: count // 10]) > 0.33 * sum(numbers)


def test_old_orders_have_arrived_and_recent_ones_are_on_their_way(year, ask):
    states = {status for (status,) in ask(year, "select distinct status_code from orders")}
    assert states == {"placed", "paid", "shipped", "delivered", "returned", "cancelled"}
    old = "select count(*) from orders where status_code in ('placed', 'paid', 'shipped') and ordered_at < '2026-05-20'"
    assert ask(year, old) == [(0,)]
    recent = "select count(*) from orders where status_code in ('delivered', 'returned') and ordered_at >= '2026-06-19'"
    assert ask(year, recent) == [(0,)]


def test_the_steps_of_an_order_agree_with_its_status_and_follow_each_other(year, ask):
    wrong = (
        "select count(*) from orders where paid_at < ordered_at or shipped_at < paid_at or delivered_at < shipped_at"
        " or returned_at < delivered_at or (returned_at is not null) <> (status_code = 'returned')"
        " or (delivered_at is not null) <> (status_code in ('delivered', 'returned'))"
        " or (shipped_at is null) <> (status_code in ('placed', 'paid', 'cancelled'))"
        " or (paid_at is null) <> (status_code in ('placed', 'cancelled'))"
        " or updated_at < greatest(ordered_at, paid_at, shipped_at, delivered_at, returned_at)"
    )
    assert ask(year, wrong) == [(0,)]


def test_every_line_belongs_to_an_order_and_costs_a_list_price_less_discounts(year, ask):
    assert ask(
        year,
        "select count(*) from order_items left join orders using (order_id)"
        " where orders.order_id is null or order_items.ordered_at <> orders.ordered_at",
    ) == [(0,)]
    gross = "(sales_amount + retail_discount_amount + coupon_match_discount_amount) / quantity"
    assert ask(
        year,
        f"select count(*) from order_items where {gross} % 1 not in (0.99, 0.49)"
        " or sales_amount < coupon_discount_amount"
        " or least(quantity, retail_discount_amount, coupon_discount_amount, coupon_match_discount_amount) < 0".replace(
            "%%", "%"
        ),
    ) == [(0,)]


def test_a_few_lines_name_an_article_the_product_file_does_not_know(year, ask):
    [(unknown,)] = ask(
        year, "select count(*) from order_items where product_id not in (select product_id from products)"
    )
    assert 0 < unknown < 200


def test_every_customer_buys_only_once_known_and_prices_and_homes_have_changed(year, ask):
    assert ask(
        year, "select count(*) from orders join customers using (customer_id) where customers.created_at > ordered_at"
    ) == [(0,)]
    assert ask(year, "select count(*) > 100 from customers where updated_at > created_at") == [(True,)]
    assert ask(year, "select count(*) > 100 from products where updated_at > created_at") == [(True,)]


def test_cold_rooms_are_cold_and_shelves_are_not(year, ask):
    rows = ask(
        year,
        "select device_code like '%-COLD', min(temperature_celsius), max(temperature_celsius) from sensor_readings"
        " join devices using (device_id) group by 1 order by 1",
    )
    (_, shelf_low, shelf_high), (_, cold_low, cold_high) = rows
    assert 14 < shelf_low < shelf_high < 28
    assert 1 < cold_low < cold_high < 8


def test_two_databases_with_the_same_inputs_hold_the_same_bytes(empty_dsn, other_dsn, checksum):
    for dsn in (empty_dsn, other_dsn):
        assert retail.create(dsn, seed=11, **SMALL, say=quiet).is_new
    assert checksum(empty_dsn) == checksum(other_dsn)


def test_another_seed_makes_another_shop(empty_dsn, other_dsn, checksum):
    retail.create(empty_dsn, seed=11, **SMALL, say=quiet)
    retail.create(other_dsn, seed=12, **SMALL, say=quiet)
    one, other = checksum(empty_dsn), checksum(other_dsn)
    assert all(one[table] != other[table] for table in TABLES)


def test_a_shop_that_is_there_is_left_as_it_is(empty_dsn, checksum):
    made = retail.create(empty_dsn, seed=11, **SMALL, say=quiet)
    before = checksum(empty_dsn)
    said = []
    found = retail.create(empty_dsn, seed=12, scale=3, until=UNTIL, say=said.append)
    assert checksum(empty_dsn) == before
    assert not found.is_new
    assert (found.seed, found.scale, found.clock, found.rows) == (11, 0.2, made.clock, made.rows)
    assert "needs an empty database" in said[0]


def test_a_shop_killed_while_it_is_made_is_not_there_and_the_next_call_makes_it_whole(
    empty_dsn, other_dsn, ask, checksum
):
    script = (
        "import os, datetime; from shop import retail;"
        "retail.create(os.environ['DSN'], scale=1, until=datetime.date(2026, 6, 20),"
        "say=lambda m: print(m, flush=True))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=os.environ | {"DSN": empty_dsn}
    )
    assert "traded" in process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert ask(empty_dsn, "select count(*) from pg_tables where schemaname in ('public', 'shop_clock')") == [(0,)]
    assert retail.create(empty_dsn, **SMALL, say=quiet).is_new
    retail.create(other_dsn, **SMALL, say=quiet)
    assert checksum(empty_dsn) == checksum(other_dsn)


def test_of_two_creations_at_once_one_makes_the_shop_and_the_other_finds_it(empty_dsn):
    with ThreadPoolExecutor(2) as pool:
        shops = list(pool.map(lambda _: retail.create(empty_dsn, **SMALL, say=quiet), range(2)))
    assert sorted(shop.is_new for shop in shops) == [False, True]
    assert shops[0].rows == shops[1].rows


def test_a_foreign_table_of_the_same_name_is_refused_and_unharmed(empty_dsn, ask):
    with psycopg.connect(empty_dsn) as connection:
        connection.execute("create table orders (note text)")
        connection.execute("insert into orders values ('mine')")
    with pytest.raises(PermanentError, match="already holds orders, not made by the shop; name an empty database"):
        retail.create(empty_dsn, **SMALL, say=quiet)
    with pytest.raises(PermanentError, match="not made by the shop"):
        retail.trade_day(empty_dsn, now=datetime(2027, 1, 1, tzinfo=UTC), say=quiet)
    assert ask(empty_dsn, "select * from orders") == [("mine",)]
    assert ask(empty_dsn, "select count(*) from pg_tables where schemaname = 'public'") == [(1,)]


def test_a_shop_that_lost_a_table_is_named_broken(empty_dsn):
    retail.create(empty_dsn, **SMALL, say=quiet)
    with psycopg.connect(empty_dsn) as connection:
        connection.execute("drop table sensor_readings")
    with pytest.raises(PermanentError, match="the shop's sensor_readings is gone"):
        retail.trade_day(empty_dsn, now=datetime(2027, 1, 1, tzinfo=UTC), say=quiet)


@pytest.mark.parametrize("scale", [0, -1, 20_000, float("nan")])
def test_a_scale_that_makes_no_shop_is_refused(scale):
    with pytest.raises(SpecError, match="is no size of a shop"):
        retail.create("postgresql://nobody@127.0.0.1:1/none", scale=scale, until=UNTIL, say=quiet)
