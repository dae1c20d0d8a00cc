"""Small lakes for the warehouse's tests, in the shape of the processed zone, and what a build looked at in them."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa

from lake import duck

INSTANT = pa.timestamp("us", tz="UTC")
MONEY = pa.decimal128(12, 2)
LOADED = datetime(2026, 3, 1, 6, tzinfo=UTC)
PLATFORM = {"_loaded_at": INSTANT, "_load_id": pa.string(), "_op": pa.string()}
DAY = {"year": pa.string(), "month": pa.string(), "day": pa.string()}
CHANGES = {"created_at": INSTANT, "updated_at": INSTANT}
CUSTOMER = {
    "customer_id": pa.int64(),
    **dict.fromkeys(("first_name", "last_name", "email", "phone", "city", "region", "postal_code"), pa.string()),
    **dict.fromkeys(("segment_code", "age_band", "income_band"), pa.string()),
    **CHANGES,
}
PRODUCT = {
    "product_id": pa.int64(),
    **dict.fromkeys(("product_name", "department_name", "category_name", "brand_name", "package_size"), pa.string()),
    "unit_price_amount": MONEY,
    "unit_cost_amount": MONEY,
    "is_active": pa.bool_(),
    **CHANGES,
}
TABLES: dict[str, dict[str, pa.DataType]] = {
    "customers": CUSTOMER,
    "customers_history": CUSTOMER,
    "products": PRODUCT,
    "products_history": PRODUCT,
    "stores": {
        "store_id": pa.int64(),
        **dict.fromkeys(("store_name", "city", "region", "country_code", "time_zone"), pa.string()),
        "opened_date": pa.date32(),
        **CHANGES,
    },
    "orders": {
        "order_id": pa.int64(),
        "customer_id": pa.int64(),
        "store_id": pa.int64(),
        "status_code": pa.string(),
        "currency_code": pa.string(),
        **dict.fromkeys(("ordered_at", "paid_at", "shipped_at", "delivered_at", "returned_at", "updated_at"), INSTANT),
    },
    "order_items": {
        "order_id": pa.int64(),
        "line_number": pa.int32(),
        "product_id": pa.int64(),
        "quantity": pa.int32(),
        "sales_amount": MONEY,
        "retail_discount_amount": MONEY,
        "coupon_discount_amount": MONEY,
        "coupon_match_discount_amount": MONEY,
        "ordered_at": INSTANT,
        "updated_at": INSTANT,
    },
    "devices": {
        "device_id": pa.int64(),
        "store_id": pa.int64(),
        "device_code": pa.string(),
        "model_name": pa.string(),
        "installed_at": INSTANT,
        "is_active": pa.bool_(),
        **CHANGES,
    },
    "sensor_readings": {
        "device_id": pa.int64(),
        "read_at": INSTANT,
        **dict.fromkeys(("temperature_celsius", "humidity_percent", "pressure_hpa"), pa.float64()),
        "received_at": INSTANT,
    },
    "stock_movements": {
        **dict.fromkeys(("movement_id", "store_id", "product_id"), pa.int64()),
        "moved_at": INSTANT,
        "reason_code": pa.string(),
        "quantity_change": pa.int32(),
        "received_at": INSTANT,
    },
    "order_events": {
        "order_id": pa.int64(),
        "version": pa.int32(),
        **dict.fromkeys(("event_type", "payload"), pa.string()),
        **dict.fromkeys(("occurred_at", "recorded_at"), INSTANT),
    },
}
DAY_OF = {"orders": "ordered_at", "order_items": "ordered_at", "sensor_readings": "read_at"}
DAY_OF |= {"stock_movements": "moved_at"}
Rows = list[dict[str, Any]]


def at(day: int, hour: int = 12, minute: int = 0, month: int = 1) -> datetime:
    """An instant of 2026, UTC."""
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


def write(lake: Path, table: str, rows: Rows, loaded_at: datetime = LOADED) -> None:
    """Replace processed/shop/`table` by `rows`; columns that a row leaves out are NULL.

    With orders come their events, which the project holds against them.
    """
    if table == "orders":
        write(lake, "order_events", events(rows), loaded_at)
    days = list(DAY) if DAY_OF.get(table) else None
    deltalake.write_deltalake(_path(lake, table), _filled(table, rows, loaded_at), mode="overwrite", partition_by=days)


def write_days(lake: Path, table: str, rows: Rows, days: Iterable[str], loaded_at: datetime = LOADED) -> None:
    """Replace the UTC days (YYYY-MM-DD) of a table by `rows`, and leave the files of other days as they are."""
    parts = [dict(zip(DAY, day.split("-"), strict=True)) for day in sorted(days)]
    of_days = " or ".join("(" + " and ".join(f"{name} = '{value}'" for name, value in it.items()) + ")" for it in parts)
    if of_days:
        filled = _filled(table, rows, loaded_at)
        deltalake.write_deltalake(_path(lake, table), filled, mode="overwrite", predicate=of_days)


def looked_at(place: Any, fact: str) -> list[str]:
    """The days of a fact that the last run has compared with what they are made from."""
    with duck.connect(place.layout.build, read_only=True) as connection:
        return [
            day for (day,) in connection.execute(f"select day::varchar from seen.{fact}__days order by 1").fetchall()
        ]


def _path(lake: Path, table: str) -> str:
    return str(lake / "processed" / "shop" / table)


def _filled(table: str, rows: Rows, loaded_at: datetime) -> pa.Table:
    day = DAY_OF.get(table)
    columns = TABLES[table] | PLATFORM | (DAY if day else {})
    filled = [{"_loaded_at": loaded_at, "_load_id": "t", "_op": "i", **row} for row in rows]
    for row in filled if day else []:
        row |= dict(zip(DAY, row[day].strftime("%Y %m %d").split(), strict=True))
    arrays = {name: pa.array([row.get(name) for row in filled], kind) for name, kind in columns.items()}
    return pa.table(arrays, schema=pa.schema(columns))


def line(order: int, number: int, product: int, amount: str, ordered_at: datetime, **more: Any) -> dict[str, Any]:
    """One order line, without discounts unless `more` says so."""
    zero = Decimal("0.00")
    return {
        "order_id": order,
        "line_number": number,
        "product_id": product,
        "quantity": 1,
        "sales_amount": Decimal(amount),
        "retail_discount_amount": zero,
        "coupon_discount_amount": zero,
        "coupon_match_discount_amount": zero,
        "ordered_at": ordered_at,
        "updated_at": ordered_at,
        **more,
    }


def order(number: int, customer: int, store: int, ordered_at: datetime, **more: Any) -> dict[str, Any]:
    """One paid order in dollars, unless `more` says otherwise."""
    facts = {"status_code": "paid", "currency_code": "USD", "ordered_at": ordered_at, "updated_at": ordered_at}
    return {"order_id": number, "customer_id": customer, "store_id": store, **facts, **more}


MILESTONES = {"placed": "ordered_at", "paid": "paid_at", "shipped": "shipped_at", "delivered": "delivered_at"}
MILESTONES |= {"returned": "returned_at"}


def events(orders: Rows) -> Rows:
    """The events that such orders come of: one for each instant, the last one that of their status."""
    happened: Rows = []
    for it in orders:
        kinds = [kind for kind, column in MILESTONES.items() if it.get(column) and kind != it["status_code"]]
        known = json.dumps({name: it.get(name) for name in ("customer_id", "store_id", "currency_code")})
        happened += (
            {
                "order_id": it["order_id"],
                "version": version,
                "event_type": f"order_{kind}",
                "payload": known,
                "occurred_at": it.get(MILESTONES.get(kind, "")),
                "recorded_at": it["updated_at"],
            }
            for version, kind in enumerate([*kinds, it["status_code"]], 1)
        )
    return happened


def moved(number: int, store: int, product: int, moved_at: datetime, reason: str, change: int) -> dict[str, Any]:
    """One movement of stock, booked as it happened."""
    facts = {"movement_id": number, "store_id": store, "product_id": product, "moved_at": moved_at}
    return facts | {"reason_code": reason, "quantity_change": change, "received_at": moved_at}


def small_shop() -> dict[str, Rows]:
    """Two stores, three customers (one moved), three products, five orders, two sensors.

    Order 3 names product 99, which nobody knows; order 4 customer 98 and store 97; line 1 of order 6 has no order.
    Stock is kept of one article in each store.
    """
    born = {"created_at": at(1, 0), "updated_at": at(1, 0)}
    ada = {"customer_id": 1, "first_name": "Ada", "city": "Boston", "email": "ab" * 32, **born}
    ada_moved = ada | {"city": "Salem", "updated_at": at(10), "_op": "u"}
    bob = {"customer_id": 2, "first_name": "Bob", "city": "Lowell", **born}
    cem = {"customer_id": 3, **born}
    milk = {"product_id": 1, "product_name": "Milk", "department_name": "DAIRY", "is_active": True, **born}
    bread = {"product_id": 2, "product_name": "Bread", "department_name": "BAKERY", "is_active": True, **born}
    ice = {"product_id": 3, "product_name": "Ice", "is_active": False, **born}
    gone = {"product_id": 4, "product_name": "Fax", "department_name": "OFFICE", "is_active": True, **born}
    return {
        "customers": [ada_moved, bob, cem],
        "customers_history": [ada, ada_moved, bob, cem],
        "products": [milk, bread, ice],
        "products_history": [milk, bread, ice, gone, {"product_id": 4, "updated_at": at(20), "_op": "d"}],
        "stores": [
            {"store_id": 1, "store_name": "Harbour", "time_zone": "America/New_York", "country_code": "US", **born},
            {"store_id": 2, "store_name": "Ginza", "time_zone": "Asia/Tokyo", "country_code": "JP", **born},
        ],
        "orders": [
            order(1, 1, 1, at(5)),
            order(2, 1, 1, at(15), status_code="returned"),
            order(3, 2, 2, at(15, 20)),
            order(4, 98, 97, at(16), status_code="cancelled"),
            order(5, 3, 1, at(2, 3, month=2)),
        ],
        "order_items": [
            line(1, 1, 1, "2.50", at(5), retail_discount_amount=Decimal("0.50")),
            line(1, 2, 2, "3.00", at(5), coupon_discount_amount=Decimal("1.00")),
            line(2, 1, 4, "9.99", at(15)),
            line(3, 1, 99, "1.00", at(15, 20)),
            line(4, 1, 1, "2.50", at(16)),
            line(5, 1, 3, "0.00", at(2, 3, month=2), quantity=0),
            line(6, 1, 1, "2.50", at(17)),
        ],
        "devices": [{"device_id": 1, "store_id": 1, "device_code": "T1", "is_active": True, **born}],
        "sensor_readings": [
            {"device_id": device, "read_at": at(5, hour), "temperature_celsius": 4.0 + hour, "received_at": at(5, hour)}
            for device in (1, 2)
            for hour in range(3)
        ],
        "stock_movements": [
            moved(1, 1, 1, at(4), "delivery", 10),
            moved(2, 1, 1, at(5), "sale", -3),
            moved(3, 2, 2, at(6, 20), "delivery", 5),  # a day later in Tokyo
            moved(4, 1, 1, at(9), "count", 1),
        ],
    }


def write_all(lake: Path, shop: dict[str, Rows], loaded_at: datetime = LOADED) -> None:
    """Write every table of `shop`; tables it does not name become empty."""
    for table in TABLES:
        if table != "order_events" or table in shop:  # else they come with the orders
            write(lake, table, shop.get(table, []), loaded_at)
