"""Facts that come late or before their dimensions, and what is deleted: a story of three runs, told once."""

import shutil
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
import warehouse_lakes
from warehouse_lakes import at, line, order, small_shop

from lake import duck
from warehouse import build

RUN = ["config.materialized:table", "config.materialized:incremental"]
NO_TESTS = ["test_type:data", "test_type:unit"]
SALES = """
    select order_id, line_number, order_date::varchar, city, product_name, unit_price_amount, store_name, status_code
    from marts.fct_sales
    join marts.dim_customer using (customer_key)
    join marts.dim_product using (product_key)
    join (select store_key, store_name from marts.dim_store) using (store_key)
"""
PEOPLE = "select customer_id, city, is_current, is_deleted from marts.dim_customer where customer_id is not null"
ARTICLES = "select product_id, product_name, is_current, is_deleted from marts.dim_product where product_id is not null"


@dataclass(frozen=True)
class Seen:
    """What analysts see after a run: sales by order and line with their customer, article and store; the dimensions."""

    sales: dict[tuple[int, int], tuple[Any, ...]]
    people: list[tuple[Any, ...]]
    articles: list[tuple[Any, ...]]


def seen(place) -> Seen:
    with duck.connect(place.layout.build, read_only=True) as connection:
        sales = {row[:2]: row[2:] for row in connection.execute(SALES).fetchall()}
        return Seen(sales, *(connection.execute(f"{sql} order by all").fetchall() for sql in (PEOPLE, ARTICLES)))


@pytest.fixture(scope="module")
def story(folders) -> list[Seen]:
    shutil.rmtree(folders.layout.build.parent, ignore_errors=True)
    warehouse_lakes.write_all(folders.lake, {})
    build.run(exclude=NO_TESTS)
    shop = small_shop()
    milk = next(row for row in shop["products_history"] if row["product_id"] == 1)
    milk |= {"unit_price_amount": Decimal("2.50")}
    shop["orders"].append(order(10, 77, 9, at(18)))
    shop["order_items"].append(line(10, 1, 88, "5.00", at(18)))
    told = [_run(folders, shop)]
    # the customer, the article and the store of order 10 come; so do a line of 5 January and a new price of 12 January
    shop["customers_history"].append({"customer_id": 77, "city": "Oslo", "updated_at": at(19)})
    shop["products_history"].append({"product_id": 88, "product_name": "Salt", "updated_at": at(19)})
    shop["products_history"].append(milk | {"unit_price_amount": Decimal("3.00"), "updated_at": at(12), "_op": "u"})
    shop["stores"].append({"store_id": 9, "store_name": "Quay", "time_zone": "Asia/Tokyo", "country_code": "JP"})
    shop["order_items"].append(line(1, 3, 1, "2.50", at(5)))
    told.append(_run(folders, shop))
    # customer 2, article 2, order 10 and a line of order 1 are deleted
    shop["customers_history"].append({"customer_id": 2, "updated_at": at(25), "_op": "d"})
    shop["products_history"].append({"product_id": 2, "updated_at": at(25), "_op": "d"})
    shop["orders"] = [row for row in shop["orders"] if row["order_id"] != 10]
    shop["order_items"] = [row for row in shop["order_items"] if (row["order_id"], row["line_number"]) != (1, 1)]
    shop["order_items"].append(line(5, 2, 2, "1.00", at(2, 3, month=2)))
    told.append(_run(folders, shop))
    return told


def _run(place, shop: dict[str, Any]) -> Seen:
    place.write(**{table: shop[table] for table in shop})
    build.run(select=RUN, exclude=NO_TESTS)
    return seen(place)


def test_a_sale_whose_customer_article_and_store_nobody_knows_is_there_with_the_unknown_ones(story):
    assert story[0].sales[10, 1] == ("2026-01-18", None, "unknown product", None, "unknown store", "paid")


def test_a_sale_finds_what_came_to_be_known_later_with_the_next_run(story):
    assert story[1].sales[10, 1] == ("2026-01-18", "Oslo", "Salt", None, "Quay", "paid")


def test_a_line_that_comes_days_late_goes_to_its_day_and_to_the_versions_of_its_time(story):
    assert (1, 3) not in story[0].sales
    assert story[1].sales[1, 3] == ("2026-01-05", "Boston", "Milk", Decimal("2.50"), "Harbour", "paid")


def test_a_new_price_moves_the_sales_from_its_time_on_and_no_others(story):
    prices = [{key: row[3] for key, row in told.sales.items() if row[2] == "Milk"} for told in story[:2]]
    assert prices[0] == dict.fromkeys([(1, 1), (4, 1), (6, 1)], Decimal("2.50"))
    assert prices[1] == prices[0] | {(1, 3): Decimal("2.50"), (4, 1): Decimal("3.00"), (6, 1): Decimal("3.00")}


def test_a_deleted_line_leaves_the_fact(story):
    assert (1, 1) in story[1].sales
    assert (1, 1) not in story[2].sales


def test_lines_of_a_deleted_order_stay_without_their_order(story):
    assert story[2].sales[10, 1] == ("2026-01-18", None, "Salt", None, "unknown store", "unknown")


def test_a_deleted_customer_and_article_keep_their_last_state_and_their_sales(story):
    assert (2, "Lowell", False, True) in story[2].people
    assert (2, "Bread", False, True) in story[2].articles
    assert story[2].sales[3, 1][1] == "Lowell"
    assert story[2].sales[1, 2][2] == "Bread"


def test_a_sale_after_the_deletion_has_the_unknown_article(story):
    assert story[2].sales[5, 2][2] == "unknown product"


def test_one_row_for_every_article_ever_known_is_current_or_deleted(story):
    last = [row[0] for row in story[2].articles if row[2] or row[3]]
    assert last == sorted({row[0] for row in story[2].articles})
