"""Marts are held against the lake: faults that somebody puts into the build file are found, told and mended."""

from collections.abc import Callable

import pytest
from warehouse_lakes import at, line, small_shop

from lake import duck
from lake.errors import SpecError
from lake.layout import Lake
from warehouse import build, reconcile
from warehouse.reconcile import MartReconciled

SALES = ("order_id", "line_number", "quantity", "sales_amount")


def compare(place, **options) -> list[MartReconciled]:
    return reconcile.compare(Lake(str(place.lake)), reconcile.marts(), **options)


def said(place, **options) -> list[str]:
    return [sentence for one in compare(place, **options) for sentence in one.differences]


def write(place, statement: str) -> None:
    with duck.connect(place.layout.build) as connection:
        connection.execute(statement)


def sales(place) -> list[tuple[object, ...]]:
    with duck.connect(place.layout.build, read_only=True) as connection:
        return connection.execute("select * from marts.fct_sales order by all").fetchall()


def lose(place) -> None:
    write(place, "delete from marts.fct_sales where order_id = 1")


def double(place) -> None:
    write(place, "insert into marts.fct_sales select * from marts.fct_sales where order_id = 1")


def change(place) -> None:
    write(place, "update marts.fct_sales set sales_amount = 99 where order_id = 1 and line_number = 2")


def come_late(place) -> None:
    """A line comes into the lake that nothing has been built from; its time is an old one."""
    place.write(order_items=[*small_shop()["order_items"], line(1, 3, 2, "4.00", at(5))])


def vanish(place) -> None:
    place.write(order_items=[item for item in small_shop()["order_items"] if item["order_id"] != 1])


FAULTS = {"lost": lose, "doubled": double, "changed": change, "late": come_late, "deleted": vanish}


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lose, "2 rows missing (of 2 in shop.order_items)"),
        (double, "2 rows too many (of 2 in shop.order_items)"),
        (change, "as many rows as in shop.order_items (2), but not the same"),
        (come_late, "1 row missing (of 3 in shop.order_items)"),
        (vanish, "2 rows too many (of 0 in shop.order_items)"),
    ],
    ids=FAULTS,
)
def test_a_fault_in_a_mart_is_found_and_repaired(rebuilt, fault: Callable[..., None], words: str):
    assert said(rebuilt) == []
    before = sales(rebuilt)
    fault(rebuilt)
    assert said(rebuilt) == [f"marts.fct_sales, 2026-01-05: {words}"]
    told: list[str] = []
    assert reconcile.repair(say=told.append), told
    assert said(rebuilt) == []
    if fault in (lose, double, change):
        assert sales(rebuilt) == before
        assert rebuilt.published("select * from marts.fct_sales order by all") == before


def test_days_before_the_bound_are_not_compared(rebuilt):
    lose(rebuilt)
    assert said(rebuilt, since=at(6).date()) == []
    assert len(said(rebuilt, since=at(5).date())) == 1


@pytest.mark.parametrize(
    ("statement", "mart"),
    [
        ("update marts.dim_customer set city = 'Rome' where customer_id = 1 and is_current", "marts.dim_customer"),
        ("update marts.dim_product set unit_price_amount = 1 where product_id = 1 and is_current", "marts.dim_product"),
        ("delete from marts.dim_store where store_id = 2", "marts.dim_store"),
        ("update metrics.metric_sensor_readings set humidity_percent = 7", "metrics.metric_sensor_readings"),
    ],
)
def test_every_mart_with_the_grain_of_a_table_is_compared(rebuilt, statement, mart):
    write(rebuilt, statement)
    (sentence,) = said(rebuilt)
    assert sentence.startswith(f"{mart}, ")


def test_a_mart_that_is_not_built_yet_is_said_to_be_so(place):
    found = compare(place)
    assert {one.note for one in found} == {f"{one.mart.name}: not built yet" for one in found}
    assert all(one.is_ok for one in found)


def test_every_declared_column_is_in_its_mart_and_its_table(built):
    columns = {name: dict(found.columns) for name, found in build.relations().items()}
    for mart in reconcile.marts():
        assert set(mart.columns) <= set(columns[mart.full_name])
    assert [mart.name for mart in reconcile.marts()] == [
        "dim_customer",
        "dim_product",
        "dim_store",
        "fct_orders",
        "fct_sales",
        "metric_sensor_readings",
    ]


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({"table": "shop.orders"}, "is not understood; give table, key and columns"),
        ({"table": "shop.orders", "key": ["a"], "columns": {"a": "a"}, "dai": "b"}, "is not understood"),
        ({"table": "shop.orders", "key": ["b"], "columns": {"a": "a"}}, "b is not among the columns"),
    ],
)
def test_a_declaration_that_is_not_understood_is_refused(declared, words):
    node = {"name": "fct", "schema": "marts", "resource_type": "model", "config": {"meta": {"reconcile": declared}}}
    with pytest.raises(SpecError, match=rf"dbt model fct, meta.reconcile: {words}"):
        reconcile.of_manifest({"nodes": {"model.x": node}})
