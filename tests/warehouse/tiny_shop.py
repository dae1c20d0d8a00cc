"""Published files made by plain SQL, with just the columns of the marts that the report page reads."""

from datetime import UTC, date, datetime
from pathlib import Path

import duckdb

from warehouse.versions import Version

Sale = tuple[int, int | None, int, str, str, str, str, str]  # order, customer, article, its name, day, currency, ...

TABLES = """
    create schema marts;
    create schema metrics;
    create table marts.dim_product (
        product_key varchar, product_id bigint, product_name varchar, department_name varchar
    );
    create table marts.fct_sales (
        order_id bigint, customer_id bigint, product_key varchar, product_id bigint, date_key integer, order_date date,
        ordered_at timestamptz, currency_code varchar, quantity integer, net_amount decimal(12, 2),
        is_returned boolean, is_cancelled boolean
    );
    create table sold (
        order_id bigint, customer_id bigint, product_id bigint, name varchar, day date, currency varchar,
        amount decimal(12, 2), status varchar
    );
"""
FILL = """
    insert into marts.dim_product select distinct product_id::varchar, product_id, name, 'Goods' from sold;
    insert into marts.fct_sales
    select
        order_id, customer_id, product_id::varchar, product_id, strftime(day, '%Y%m%d')::integer, day, day, currency, 1,
        amount, status = 'returned', status = 'cancelled'
    from sold;
    drop table sold;
"""


def published(folder: Path, sales: list[Sale], on: date = date(2026, 7, 1)) -> Version:
    """A version whose file holds these sales: (order, customer, article, name, day, currency, amount, status)."""
    path = folder / f"warehouse-{on:%Y%m%d}T000000Z-1.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(TABLES)
        if sales:
            connection.executemany("insert into sold values (?, ?, ?, ?, ?, ?, ?, ?)", sales)
        connection.execute(FILL)
    return Version(1, datetime(on.year, on.month, on.day, tzinfo=UTC), path, path.stat().st_size)
