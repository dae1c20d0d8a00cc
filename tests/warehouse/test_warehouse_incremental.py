"""Facts built day by day equal facts built at once, whatever happened to the lake in between."""

import copy
from collections.abc import Iterator
from decimal import Decimal

import pytest
import warehouse_lakes
from warehouse_lakes import at, line, looked_at, order, small_shop

from lake import duck
from warehouse import build

MODELS_ONLY = ["test_type:data", "test_type:unit"]
FACTS = ("fct_sales", "metric_sensor_readings")
AGGREGATES = ("fct_sales_monthly", "metric_sales_hourly")


def rows(place, table: str, leave_out: str | None = None) -> list[tuple[object, ...]]:
    columns = f"* exclude ({leave_out})" if leave_out else "*"
    with duck.connect(place.layout.build, read_only=True, extensions=("delta",)) as connection:
        connection.execute("set search_path = 'marts,metrics'")
        return connection.execute(f"select {columns} from {table} order by all").fetchall()


def mark(place) -> None:
    """Mark every row in the key, which follows from other columns and so plays no part in the comparison of days."""
    with duck.connect(place.layout.build) as connection:
        connection.execute("update marts.fct_sales set sale_key = 'kept ' || sale_key")


def rewritten(place) -> set[tuple[object, ...]]:
    with duck.connect(place.layout.build, read_only=True) as connection:
        sql = "select order_id, line_number from marts.fct_sales where not starts_with(sale_key, 'kept ')"
        return set(connection.execute(sql).fetchall())


def late_changed_deleted_moved(shop: dict[str, warehouse_lakes.Rows]) -> Iterator[str]:
    """Changes the shop step by step; every step's name says what happened, each to a day of its own."""
    items, orders = shop["order_items"], shop["orders"]
    orders.append(order(7, 2, 1, at(5, 18)))
    items.append(line(7, 1, 2, "4.00", at(5, 18)))
    items[2] |= {"sales_amount": Decimal("9.89")}
    yield "a row arrives late on a day long built; an amount changes under an unchanged _loaded_at"
    orders[0] |= {"status_code": "delivered"}
    items[:] = [item for item in items if item["order_id"] != 4]
    items[-2] |= {"ordered_at": at(25)}
    yield "an order moves on; a day empties; a row moves to another day"
    tea = {"product_id": 99, "product_name": "Tea", "department_name": "DRINKS", "updated_at": at(20)}
    shop["products_history"].append(tea)
    shop["customers_history"].append({"customer_id": 1, "city": "Lynn", "updated_at": at(3), "_op": "u"})
    yield "an unknown product becomes known; a customer's past gains a version"
    shop["stores"][0] |= {"time_zone": "Pacific/Auckland"}
    orders[:] = [it for it in orders if it["order_id"] != 3]
    shop["devices"].append({"device_id": 2, "store_id": 2, "device_code": "T2"})
    shop["sensor_readings"].pop(0)
    yield "a time zone is corrected; an order goes and its lines stay; a sensor becomes known; a reading goes"
    shop["sensor_readings"].clear()
    items.clear()
    yield "everything goes"


def test_incremental_runs_equal_one_full_refresh_to_the_row(rebuilt):
    place, shop, written = rebuilt, small_shop(), small_shop()
    for step in late_changed_deleted_moved(shop):
        place.write(**{table: shop[table] for table in shop if shop[table] != written[table]})
        written = copy.deepcopy(shop)
        build.run(select=["int_customer_versions", "int_product_versions", *FACTS], exclude=MODELS_ONLY)
        assert rows(place, "fct_sales", "sale_key") == rows(place, "intermediate.int_sale_lines"), step
        assert rows(place, "metric_sensor_readings") == rows(place, "intermediate.int_sensor_readings"), step
        if "goes" in step:
            incremental = {table: rows(place, table) for table in FACTS}
            build.run(select=FACTS, exclude=MODELS_ONLY, full_refresh=True)
            assert incremental == {table: rows(place, table) for table in FACTS}, step


def test_only_days_that_differ_are_written_anew(rebuilt):
    select = {"select": ["fct_sales"], "exclude": MODELS_ONLY}
    mark(rebuilt)
    build.run(**select)
    assert rewritten(rebuilt) == set()
    items = small_shop()["order_items"]
    items[2]["quantity"] = 5
    rebuilt.write(order_items=items)
    build.run(**select)
    assert rewritten(rebuilt) == {(2, 1), (3, 1)}  # the lines of one UTC day


def test_only_days_of_which_there_is_news_are_looked_at(rebuilt):
    select = {"select": ["int_product_versions", "fct_sales"], "exclude": MODELS_ONLY}
    shop = small_shop()
    build.run(**select)
    mark(rebuilt)
    build.run(**select)
    assert looked_at(rebuilt, "fct_sales") == []
    of_a_day = [item for item in shop["order_items"] if item["ordered_at"].day == 15]
    warehouse_lakes.write_days(rebuilt.lake, "order_items", of_a_day, ["2026-01-15"])
    build.run(**select)
    assert (looked_at(rebuilt, "fct_sales"), rewritten(rebuilt)) == (
        ["2026-01-15"],
        set(),
    )  # another file, the same rows
    of_a_day[0]["quantity"] = 5
    warehouse_lakes.write_days(rebuilt.lake, "order_items", of_a_day, ["2026-01-15"])
    build.run(**select)
    assert (looked_at(rebuilt, "fct_sales"), rewritten(rebuilt)) == (["2026-01-15"], {(2, 1), (3, 1)})
    mark(rebuilt)
    dearer = {"product_id": 1, "product_name": "Milk", "updated_at": at(16, 18), "_op": "u"}
    rebuilt.write(products_history=[*shop["products_history"], dearer])
    build.run(**select)
    # sold after the price changed
    assert (looked_at(rebuilt, "fct_sales"), rewritten(rebuilt)) == (["2026-01-17"], {(6, 1)})


def mark_aggregates(place) -> None:
    """Mark every row of the aggregates in a column that nothing compares."""
    with duck.connect(place.layout.build) as connection:
        for table in ("marts.fct_sales_monthly", "metrics.metric_sales_hourly"):
            connection.execute(f"update {table} set line_count = -1")


def rewritten_parts(place) -> tuple[list[str], list[str]]:
    """The months and the hours that were written since the aggregates were marked."""
    months = "select distinct strftime(month_start_date, '%Y-%m') from marts.fct_sales_monthly"
    hours = "select distinct strftime(sold_at at time zone 'UTC', '%m-%d %H') from metrics.metric_sales_hourly"
    with duck.connect(place.layout.build, read_only=True) as connection:
        found = [connection.execute(f"{sql} where line_count <> -1 order by 1").fetchall() for sql in (months, hours)]
    return [month for (month,) in found[0]], [hour for (hour,) in found[1]]


def test_aggregates_are_written_anew_where_their_fact_was_also_in_runs_they_missed(rebuilt):
    with_aggregates = {"select": ["fct_sales", *AGGREGATES], "exclude": MODELS_ONLY}
    build.run(**with_aggregates)
    mark_aggregates(rebuilt)
    build.run(**with_aggregates)
    assert rewritten_parts(rebuilt) == ([], [])
    items = small_shop()["order_items"]
    items[2]["quantity"] = 5
    rebuilt.write(order_items=items)
    build.run(select=["fct_sales"], exclude=MODELS_ONLY)
    assert rewritten_parts(rebuilt) == ([], [])
    build.run(**with_aggregates)
    assert rewritten_parts(rebuilt) == (["2026-01"], ["01-15 12", "01-15 20"])
    mark_aggregates(rebuilt)
    items[5]["ordered_at"] = at(17, 23)  # February loses its only line to a day of January
    rebuilt.write(order_items=items)
    build.run(**with_aggregates)
    assert rewritten_parts(rebuilt) == (["2026-01"], ["01-17 12", "01-17 23"])
    build.run(**with_aggregates, full_refresh=True)
    assert {month[1].month for month in rows(rebuilt, "fct_sales_monthly")} == {1}


def test_months_are_written_anew_when_the_department_of_a_version_changes(rebuilt):
    select = {"select": ["int_product_versions", "dim_product", "fct_sales", *AGGREGATES], "exclude": MODELS_ONLY}
    build.run(**select)
    mark(rebuilt)
    mark_aggregates(rebuilt)
    history = small_shop()["products_history"]
    history[2] |= {"department_name": "FROZEN"}  # at an unchanged time, so its key stays
    rebuilt.write(products_history=history)
    build.run(**select)
    assert rewritten(rebuilt) == set()
    assert rewritten_parts(rebuilt) == (["2026-02"], [])


def test_an_order_with_lines_on_several_days_counts_once_in_a_month(rebuilt):
    select = {"select": ["fct_sales", "fct_sales_monthly"], "exclude": MODELS_ONLY}
    build.run(**select)
    items = small_shop()["order_items"]
    items.append(line(1, 3, 1, "1.00", at(9)))  # order 1 has a line of the same department on 5 January
    rebuilt.write(order_items=items)
    build.run(**select)
    by_days = rows(rebuilt, "fct_sales_monthly")
    build.run(**select, full_refresh=True)
    assert rows(rebuilt, "fct_sales_monthly") == by_days
    with duck.connect(rebuilt.layout.build, read_only=True) as connection:
        counts = "select sum(order_count), sum(line_count) from marts.fct_sales_monthly"
        assert connection.execute(f"{counts} where department_name = 'DAIRY'").fetchone() == (3, 4)


@pytest.mark.parametrize("change", ["drop column is_returned", "alter column quantity type bigint"])
def test_a_fact_whose_columns_changed_is_built_anew(rebuilt, change):
    place, select = rebuilt, {"select": ["fct_sales"], "exclude": MODELS_ONLY}
    wanted = rows(place, "fct_sales")
    with duck.connect(place.layout.build) as connection:
        connection.execute(f"alter table marts.fct_sales {change}")
    build.run(**select)
    assert rows(place, "fct_sales") == wanted
    with duck.connect(place.layout.build, read_only=True) as connection:
        types = dict(connection.execute("select column_name, column_type from (describe marts.fct_sales)").fetchall())
    assert (types["is_returned"], types["quantity"]) == ("BOOLEAN", "INTEGER")
