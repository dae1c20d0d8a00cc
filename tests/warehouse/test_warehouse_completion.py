"""Completion knows where in a statement it is."""

import pytest

from warehouse.catalogue import Names
from warehouse.completion import suggestions

NAMES = Names(
    {
        "marts": {"fct_sales": ("order_id", "net_amount"), "dim_store": ("store_id", "store_name")},
        "shop": {"orders": ("order_id", "status_code")},
        "metrics_store": {"sales_hourly": ("sold_at", "sales_amount")},
    },
    ("sum", "strftime", "median"),
)


def offered(text: str) -> list[str]:
    """What is offered at the bar in `text`."""
    before, _, after = text.partition("|")
    return [word for _, word, _ in suggestions(before, before + after, NAMES)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("select * from |", ["fct_sales", "dim_store", "shop.orders", "metrics_store.sales_hourly"]),
        ("select * from fct_sales join d|", ["dim_store"]),
        ("select * from shop.|", ["orders"]),
        ("select net| from fct_sales", ["net_amount"]),
        ("select store_| from fct_sales", []),
        ("select s.| from dim_store as s", ["store_id", "store_name"]),
        ("select s.store_n| from fct_sales f join dim_store s using (x)", ["store_name"]),
        ("select status| from shop.orders", ["status_code"]),
        ("select sta| from fct_sales where x", []),
        ("select su|", ["summarize", "sum"]),
        ("sel|", ["select"]),
        ("select 1; select * from fct_sales where ord|", ["order_id", "order by"]),
        ("\\d fct|", ["fct_sales"]),
        ("\\ti|", ["\\timing"]),
        ("select |", []),
    ],
)
def test_what_is_offered_fits_the_place(text, expected):
    assert offered(text) == expected
