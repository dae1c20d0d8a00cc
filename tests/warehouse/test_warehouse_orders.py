"""The life of an order in one row, brought up to date as its milestones arrive, in whatever order they do."""

import pytest
from warehouse_lakes import at, events, looked_at, order, small_shop, write_days

from lake import duck
from lake.errors import BuildFailed
from warehouse import build

ORDERS = {"select": ["fct_orders"], "exclude": ["test_type:data", "test_type:unit"]}


def test_milestones_rewrite_the_day_of_their_order_alone_and_all_of_it_equals_one_full_refresh(rebuilt):
    mark(rebuilt)
    news = {"paid_at": at(6), "shipped_at": at(7), "status_code": "shipped", "updated_at": at(7, month=3)}
    rebuilt.write(orders=moved_on(1, **news))
    build.run(**ORDERS)
    assert rewritten(rebuilt) == {1}
    orders = moved_on(2, paid_at=at(16), delivered_at=at(17), returned_at=at(28), status_code="returned")
    for step in (
        {"orders": [*orders, order(8, 1, 1, at(3))], "order_items": small_shop()["order_items"][2:]},
        {"orders": moved_on(5, ordered_at=at(9))[1:], "stores": []},
    ):
        rebuilt.write(**step)
        build.run(**ORDERS)
        made_from = ask(rebuilt, "select * from intermediate.int_order_milestones order by all")
        assert ask(rebuilt, "select * exclude (order_key) from marts.fct_orders order by all") == made_from
    assert kept(rebuilt) == {4}  # nothing that it names has changed
    incremental = ask(rebuilt, "select * exclude (order_key) from marts.fct_orders order by all")
    build.run(**ORDERS, full_refresh=True)
    assert ask(rebuilt, "select * exclude (order_key) from marts.fct_orders order by all") == incremental


def test_only_days_whose_orders_or_lines_lie_in_other_files_are_looked_at(rebuilt):
    shop, with_versions = small_shop(), ORDERS | {"select": ["int_customer_versions", "fct_orders"]}
    build.run(**with_versions)
    build.run(**with_versions)
    assert looked_at(rebuilt, "fct_orders") == []
    of_a_day = [it for it in moved_on(1, paid_at=at(6)) if it["ordered_at"].day == 5]
    write_days(rebuilt.lake, "orders", of_a_day, ["2026-01-05"])
    build.run(**with_versions)
    assert looked_at(rebuilt, "fct_orders") == ["2026-01-05"]
    lines = [it | {"quantity": 7} for it in shop["order_items"] if it["ordered_at"].day == 15]
    write_days(rebuilt.lake, "order_items", lines, ["2026-01-15"])
    build.run(**with_versions)
    assert looked_at(rebuilt, "fct_orders") == ["2026-01-15"]
    moved = {"customer_id": 1, "city": "Lynn", "updated_at": at(3), "_op": "u"}
    rebuilt.write(customers_history=[*shop["customers_history"], moved])
    build.run(**with_versions)
    assert looked_at(rebuilt, "fct_orders") == ["2026-01-05", "2026-01-15"]  # what she ordered since


def test_a_calendar_of_other_days_puts_all_days_in_question(rebuilt):
    build.run(**ORDERS)
    with duck.connect(rebuilt.layout.build) as connection:
        connection.execute("delete from intermediate.int_calendar_days where date_day >= '2026-01-05'")
    build.run(**ORDERS)
    assert {key for (key,) in ask(rebuilt, "select ordered_date_key from marts.fct_orders")} == {-1}


def test_every_order_is_one_row_and_the_sums_are_those_of_its_lines(built):
    assert ask(built, "select count(*), count(distinct order_id) from marts.fct_orders") == [(5, 5)]
    sums = "sum(line_count), sum(quantity), sum(gross_amount), sum(discount_amount), sum(net_amount)"
    (ours,) = ask(built, f"select {sums} from marts.fct_orders")
    lines = sums.replace("sum(line_count)", "count(*)")
    (theirs,) = ask(built, f"select {lines} from marts.fct_sales where status_code <> 'unknown'")
    assert ours == theirs


def test_an_order_whose_events_tell_another_story_fails_the_build(rebuilt):
    other = moved_on(1, customer_id=2)
    rebuilt.write(order_events=events(other))
    with pytest.raises(BuildFailed, match="assert_orders_from_events_equal_orders"):
        build.run(select=["assert_orders_from_events_equal_orders"])


@pytest.mark.parametrize("later", ["orders", "order_events"])
def test_what_one_of_table_and_events_has_later_than_the_other_is_not_held_against_it(rebuilt, later):
    news = moved_on(1, status_code="delivered", delivered_at=at(6), updated_at=at(9, month=2))
    table, log = (news, small_shop()["orders"]) if later == "orders" else (small_shop()["orders"], news)
    rebuilt.write(orders=table)
    rebuilt.write(order_events=events(log))
    build.run(select=["assert_orders_from_events_equal_orders"])


def moved_on(number: int, **news: object) -> list[dict[str, object]]:
    """The small shop's orders, one of them changed."""
    return [it | news if it["order_id"] == number else it for it in small_shop()["orders"]]


def ask(place, sql: str) -> list[tuple[object, ...]]:
    with duck.connect(place.layout.build, read_only=True, extensions=("delta",)) as connection:
        return connection.execute(sql).fetchall()


def mark(place) -> None:
    """Mark every row in the key, which follows from other columns and so plays no part in the comparison of days."""
    with duck.connect(place.layout.build) as connection:
        connection.execute("update marts.fct_orders set order_key = 'kept ' || order_key")


def kept(place) -> set[object]:
    return {number for (number,) in ask(place, "select order_id from marts.fct_orders where order_key like 'kept %'")}


def rewritten(place) -> set[object]:
    return {number for (number,) in ask(place, "select order_id from marts.fct_orders")} - kept(place)
