"""The logs beside the tables: movements of stock, and orders as events that agree with the orders they are about."""

from datetime import UTC, date, datetime

import psycopg
import pytest

from lake.errors import PermanentError
from shop import completejourney, retail
from shop.premises import LOGS

NOW = datetime(2026, 7, 30, 12, tzinfo=UTC)
UNTIL = date(2026, 6, 20)

# What the events say of an order, by the last of each kind; the purged ones are no longer there.
REBUILT = """
    select
        order_id,
        (min(payload ->> 'customer_id'))::bigint,
        (min(payload ->> 'store_id'))::bigint,
        substr((array_agg(event_type order by version desc))[1], 7),
        min(payload ->> 'currency_code'),
        max(occurred_at) filter (where event_type = 'order_placed'),
        max(occurred_at) filter (where event_type = 'order_paid'),
        max(occurred_at) filter (where event_type = 'order_shipped'),
        max(occurred_at) filter (where event_type = 'order_delivered'),
        max(occurred_at) filter (where event_type = 'order_returned'),
        max(recorded_at)
    from order_events group by order_id having not bool_or(event_type = 'order_purged')
"""
DIFFERING = f"(table orders except ({REBUILT})) union all (({REBUILT}) except table orders)"
GAPS = "select order_id from order_events group by 1 having min(version) <> 1 or max(version) <> count(*)"


def quiet(_: str) -> None:
    pass


@pytest.fixture(scope="module")
def stepped(shop_dsn):
    retail.create(shop_dsn, until=UNTIL, days=150, say=quiet)
    for _ in range(8):
        retail.trade_day(shop_dsn, now=NOW, say=quiet)
    return shop_dsn


def test_orders_rebuilt_from_their_events_equal_the_orders_after_days_of_trade(stepped, ask):
    assert ask(stepped, DIFFERING) == []
    assert ask(stepped, GAPS) == []


def test_every_kind_of_event_happens_and_purged_orders_keep_theirs(stepped, ask):
    kinds = {kind for (kind,) in ask(stepped, "select distinct event_type from order_events")}
    assert kinds == {
        f"order_{it}" for it in ("placed", "paid", "shipped", "delivered", "returned", "cancelled", "purged")
    }
    gone = "select count(*) from order_events join orders using (order_id) where event_type = 'order_purged'"
    assert ask(stepped, gone) == [(0,)]


def test_events_of_an_order_reported_late_are_recorded_with_the_report(stepped, ask):
    late = (
        "select count(*), count(distinct recorded_at) from order_events"
        " where recorded_at > occurred_at + interval '1 hour'"
    )
    [(events, reports)] = ask(stepped, late)
    assert events > reports > 100
    assert ask(stepped, "select count(*) from order_events where recorded_at < occurred_at") == [(0,)]


def test_an_order_changed_by_hand_with_its_event_goes_on_from_that_version(empty_dsn, ask):
    retail.create(empty_dsn, scale=0.2, until=UNTIL, days=20, say=quiet)
    with psycopg.connect(empty_dsn) as connection:
        connection.execute(
            "insert into order_events select order_id, max(version) + 1, 'order_looked_at', '{}', clock, clock"
            " from order_events join orders using (order_id) cross join shop_clock.state"
            " where status_code = 'placed' group by order_id, clock"
        )
    (looked_at,) = ask(empty_dsn, "select count(*) from order_events where event_type = 'order_looked_at'")[0]
    assert looked_at > 0
    for _ in range(4):
        retail.trade_day(empty_dsn, now=NOW, say=quiet)
    assert ask(empty_dsn, GAPS) == []
    after = "select count(*) from order_events where event_type = 'order_paid' and version = 3"
    assert 0 < ask(empty_dsn, after)[0][0] <= looked_at


def test_an_order_deleted_by_hand_has_no_more_events(empty_dsn, ask):
    retail.create(empty_dsn, scale=0.2, until=UNTIL, days=20, say=quiet)
    with psycopg.connect(empty_dsn) as connection:
        connection.execute("delete from orders where ordered_at >= '2026-06-19'")
    for _ in range(2):
        retail.trade_day(empty_dsn, now=NOW, say=quiet)
    newer = (
        "select count(*) from order_events where recorded_at >= '2026-06-20' and occurred_at < '2026-06-21'"
        " and order_id not in (select order_id from orders) and event_type <> 'order_purged'"
    )
    assert ask(empty_dsn, newer) == [(0,)]


def test_twenty_articles_are_tracked_in_every_store_and_sell_a_large_part(stepped, ask):
    [(shelves, articles)] = ask(
        stepped, "select count(distinct (store_id, product_id)), count(distinct product_id) from stock_movements"
    )
    assert (shelves, articles) == (12 * 20, 20)
    tracked = "product_id in (select product_id from stock_movements)"
    [(share,)] = ask(stepped, f"select avg(({tracked})::int)::float from order_items")
    assert 0.2 < share < 0.4


def test_stock_sold_and_returned_is_that_of_the_paid_and_returned_lines(stepped, ask):
    sold = (
        "select store_id, product_id, sum(quantity) filter (where paid_at is not null)::bigint,"
        " sum(quantity) filter (where returned_at is not null)::bigint from order_items join orders using (order_id)"
        " where product_id in (select product_id from stock_movements) group by 1, 2 order by 1, 2"
    )
    moved = (
        "select store_id, product_id, -sum(quantity_change) filter (where reason_code = 'sale'),"
        " sum(quantity_change) filter (where reason_code = 'return') from stock_movements"
        " where reason_code in ('sale', 'return') group by 1, 2 order by 1, 2"
    )
    assert ask(stepped, moved) == [row for row in ask(stepped, sold) if row[2]]


def test_deliveries_make_good_what_went_so_that_shelves_are_seldom_empty(stepped, ask):
    levels = (
        "select sum(quantity_change) over (partition by store_id, product_id order by moved_at) as level"
        " from stock_movements"
    )
    [(empty, full, moves)] = ask(
        stepped, f"select count(*) filter (where level <= 0), max(level), count(*) from ({levels}) as levels"
    )
    assert 0 < empty < moves / 20
    assert full < 60


def test_every_reason_occurs_and_some_movements_are_booked_late(stepped, ask):
    late = "count(*) filter (where received_at > moved_at + interval '1 day')"
    counts = dict(ask(stepped, f"select reason_code, {late} from stock_movements group by 1"))
    assert set(counts) == {"delivery", "sale", "return", "waste", "count"}
    assert counts["delivery"] > 0
    assert counts["sale"] > 0


def test_movements_are_numbered_in_the_order_in_which_they_were_booked(stepped, ask):
    numbered = "select movement_id, row_number() over (order by received_at, movement_id) as place from stock_movements"
    assert ask(stepped, f"select count(*) from ({numbered}) as numbered where movement_id <> place") == [(0,)]


def test_a_shop_made_without_logs_gets_those_it_would_have_written(empty_dsn, other_dsn, ask, checksum):
    for dsn in (empty_dsn, other_dsn):
        retail.create(dsn, scale=0.3, until=UNTIL, days=140, say=quiet)
        retail.trade_day(dsn, now=NOW, say=quiet)
    with psycopg.connect(empty_dsn) as connection:
        connection.execute(f"drop table {', '.join(LOGS)}")
    said = []
    found = retail.create(empty_dsn, scale=0.3, until=UNTIL, say=said.append)
    assert "made by an earlier version; adding" in said[1]
    assert found.rows["order_events"] == ask(other_dsn, "select count(*) from order_events")[0][0]
    assert checksum(empty_dsn) == checksum(other_dsn)
    with psycopg.connect(empty_dsn) as connection:
        connection.execute(f"drop table {', '.join(LOGS)}")
    for dsn in (empty_dsn, other_dsn):
        retail.trade_day(dsn, now=NOW, say=quiet)
    assert checksum(empty_dsn) == checksum(other_dsn)


@pytest.mark.parametrize("table", LOGS)
def test_a_shop_that_lost_one_log_is_named_broken(empty_dsn, table):
    retail.create(empty_dsn, scale=0.1, until=UNTIL, days=5, say=quiet)
    with psycopg.connect(empty_dsn) as connection:
        connection.execute(f"drop table {table}")
    with pytest.raises(PermanentError, match=f"the shop's {table} is gone"):
        retail.trade_day(empty_dsn, now=NOW, say=quiet)


def test_the_grocers_orders_are_events_too_and_it_keeps_no_stock(empty_dsn, journey, ask, checksum):
    completejourney.load(empty_dsn, journey, quiet)
    assert ask(empty_dsn, DIFFERING) == []
    assert ask(empty_dsn, "select count(*) from stock_movements") == [(0,)]
    before = checksum(empty_dsn)
    with psycopg.connect(empty_dsn) as connection:
        connection.execute(f"drop table {', '.join(LOGS)}")
    assert retail.trade_day(empty_dsn, now=NOW, say=quiet) is None
    assert completejourney.load(empty_dsn, journey, quiet).rows["order_events"] > 0
    assert checksum(empty_dsn) == before
