"""A day of trade is what the shop would hold had it been created a day later, written after everything before."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from datetime import UTC, date, datetime, timedelta

import pytest

from lake.errors import SpecError
from shop import retail
from shop.premises import TABLES

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)
START = date(2026, 6, 10)


def quiet(_: str) -> None:
    pass


def test_a_shop_stepped_day_by_day_equals_one_created_later(empty_dsn, other_dsn, checksum):
    retail.create(empty_dsn, scale=0.4, until=START, days=140, say=quiet)
    for _ in range(6):
        retail.trade_day(empty_dsn, now=NOW, say=quiet)
    retail.create(other_dsn, scale=0.4, until=START + timedelta(days=6), days=146, say=quiet)
    assert checksum(empty_dsn) == checksum(other_dsn)


def test_a_step_writes_only_within_its_day_and_tells_what_it_wrote(empty_dsn, ask, changed_column):
    retail.create(empty_dsn, scale=2, until=START, days=150, say=quiet)
    count = "select (select count(*) from orders), (select count(*) from sensor_readings)"
    for step in range(3):
        day = START + timedelta(days=step)
        begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
        latest = {table: ask(empty_dsn, f"select max({changed_column(table)}) from {table}")[0][0] for table in TABLES}
        assert all(instant < begin for instant in latest.values())
        [(orders, readings)] = ask(empty_dsn, count)
        traded = retail.trade_day(empty_dsn, now=NOW, say=quiet)
        assert traded.day == day
        written = {
            table: ask(
                empty_dsn,
                f"select count(*), max({column}) from {table} where {column} >= '{begin}'",
            )[0]
            for table in TABLES
            for column in [changed_column(table)]
        }
        assert all(last is None or begin <= last < begin + timedelta(days=1) for _, last in written.values())
        assert written["orders"][0] == traded.new_orders + traded.moved_orders
        assert written["order_items"][0] == traded.new_lines
        assert written["customers"][0] == traded.moved_customers + traded.new_customers
        assert written["products"][0] == traded.price_changes + traded.new_products
        assert written["sensor_readings"][0] == traded.readings
        assert written["stock_movements"][0] == traded.stock_movements
        assert written["order_events"][0] == traded.order_events
        [(orders_after, readings_after)] = ask(empty_dsn, count)
        assert orders_after - orders == traded.new_orders - traded.deleted_orders
        assert readings_after - readings == traded.readings
        [(late,)] = ask(
            empty_dsn,
            f"select (select count(*) from orders o join (select distinct order_id, updated_at from order_items) i"
            f" using (order_id) where i.updated_at >= '{begin}' and o.ordered_at < '{begin}')"
            f" + (select count(*) from sensor_readings where received_at >= '{begin}'"
            f" and received_at - read_at >= interval '1 hour')",
        )
        assert late == traded.late_rows


def test_over_a_fortnight_every_kind_of_change_happens(shop_dsn, ask):
    retail.create(shop_dsn, until=START, days=150, say=quiet)
    days = [retail.trade_day(shop_dsn, now=NOW, say=quiet) for _ in range(14)]
    for field in fields(retail.DayOfTrade):
        if field.name != "day":
            assert sum(getattr(day, field.name) for day in days) > 0, field.name
    assert all(day.moved_orders and day.new_orders and day.late_rows for day in days)
    assert ask(
        shop_dsn, "select count(*) > 0 from orders where ordered_at >= '2026-06-10' and status_code = 'returned'"
    ) == [(True,)]
    assert ask(
        shop_dsn,
        "select count(*) > 5 from order_items where updated_at >= '2026-06-10'"
        " and updated_at - ordered_at between interval '1 day' and interval '3 days'",
    ) == [(True,)]


def test_a_shop_that_has_caught_up_with_the_calendar_waits(empty_dsn, checksum):
    retail.create(empty_dsn, scale=0.1, until=START, days=30, say=quiet)
    before = checksum(empty_dsn)
    evening = datetime(2026, 6, 10, 23, 59, 59, tzinfo=UTC)
    assert retail.trade_day(empty_dsn, now=evening, say=quiet) is None
    assert checksum(empty_dsn) == before
    assert retail.trade_day(empty_dsn, now=evening + timedelta(seconds=1), say=quiet).day == START


def test_two_steps_at_once_trade_two_days(empty_dsn):
    retail.create(empty_dsn, scale=0.1, until=START, days=30, say=quiet)
    with ThreadPoolExecutor(2) as pool:
        days = list(pool.map(lambda _: retail.trade_day(empty_dsn, now=NOW, say=quiet).day, range(2)))
    assert sorted(days) == [START, START + timedelta(days=1)]


def test_no_day_happens_where_there_is_no_shop(empty_dsn):
    with pytest.raises(SpecError, match="there is no shop; create one first"):
        retail.trade_day(empty_dsn, now=NOW, say=quiet)
