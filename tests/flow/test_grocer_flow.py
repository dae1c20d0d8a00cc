"""A real grocer's year the whole way: totals of the published warehouse against plain SQL over the original files."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from fix_site import Said, Site, opened

from lake import duck
from warehouse.layout import PROJECT

IN_MONTH = "marts.fct_sales join marts.dim_date using (date_key) where month_name = '{}'"


@pytest.mark.parametrize(
    ("query", "total"),
    [
        ("select count(*) from marts.fct_sales", 75_000),
        ("select count(distinct order_id) from marts.fct_sales", 47_243),
        (
            "select count(distinct dim_customer.customer_id) from marts.fct_sales"
            " join marts.dim_customer using (customer_key)",
            2_377,
        ),
        ("select count(distinct store_key) from marts.fct_sales join marts.dim_store using (store_key)", 293),
        ("select sum(sales_amount) from marts.fct_sales", Decimal("233935.24")),
        ("select sum(retail_discount_amount) from marts.fct_sales", Decimal("40180.91")),
        ("select sum(coupon_discount_amount) from marts.fct_sales", Decimal("1356.71")),
        ("select sum(coupon_match_discount_amount) from marts.fct_sales", Decimal("242.10")),
        (f"select sum(sales_amount) from {IN_MONTH.format('January')}", Decimal("19110.84")),
        (f"select sum(sales_amount) from {IN_MONTH.format('December')}", Decimal("21715.62")),
        (
            "select sum(sales_amount) from marts.fct_sales join marts.dim_product using (product_key)"
            " where department_name = 'GROCERY'",
            Decimal("118661.98"),
        ),
        (
            "select count(*) from marts.fct_sales join marts.dim_product using (product_key)"
            " where product_name = 'unknown product'",
            222,
        ),
    ],
)
def test_known_totals(loaded, site, query, total):
    assert site.warehouse(query) == [(total,)]


# name → (over the warehouse, over the files); instants are the files', days are New York's
TOTALS = {
    "sales of every month and department": (
        """
        select month_number, department_name, count(*), sum(sales_amount) from marts.fct_sales
        join marts.dim_date using (date_key) join marts.dim_product using (product_key) group by 1, 2
        """,
        """
        select month(day), coalesce(department, 'unknown department'), count(*), sum(sales) from lines
        left join products using (product_id) group by 1, 2
        """,
    ),
    "lines, sales and discounts of every store": (
        """
        select store_id, count(*), sum(sales_amount), sum(retail_discount_amount), min(ordered_at), max(ordered_at)
        from marts.fct_sales join marts.dim_store using (store_key, store_id) group by 1
        """,
        "select store_id, count(*), sum(sales), sum(retail), min(sold_at), max(sold_at) from lines group by 1",
    ),
    "every household's orders and payments": (
        """
        select customer_id, count(distinct order_id), sum(net_amount) from marts.fct_sales
        join marts.dim_customer using (customer_key, customer_id) group by 1
        """,
        "select household_id, count(distinct basket_id), sum(sales - coupon) from lines group by 1",
    ),
    "the ten households that spend most": (
        "select customer_id, sum(sales_amount) from marts.fct_sales group by 1 order by 2 desc, 1 limit 10",
        "select household_id, sum(sales) from lines group by 1 order by 2 desc, 1 limit 10",
    ),
    "distinct products sold and pieces": (
        "select count(distinct product_id), sum(quantity), max(quantity) from marts.fct_sales",
        "select count(distinct product_id), sum(quantity)::bigint, max(quantity)::bigint from lines",
    ),
    "shelf price, all discounts and what customers pay": (
        "select sum(gross_amount), sum(discount_amount), sum(net_amount) from marts.fct_sales",
        "select sum(sales + retail + matched), sum(retail + matched + coupon), sum(sales - coupon) from lines",
    ),
    "sales of every local day": (
        "select order_date, count(*), sum(sales_amount) from marts.fct_sales group by 1",
        "select day, count(*), sum(sales) from lines group by 1",
    ),
    "sales of every weekday": (
        "select day_of_week_number, sum(sales_amount) from marts.fct_sales"
        " join marts.dim_date using (date_key) group by 1",
        "select isodow(day)::integer, sum(sales) from lines group by 1",
    ),
    "sales of every income band": (
        "select income_band, sum(sales_amount) from marts.fct_sales"
        " join marts.dim_customer using (customer_key) group by 1",
        "select income, sum(sales) from lines left join people using (household_id) group by 1",
    ),
    "sales of every brand": (
        "select brand_name, sum(sales_amount) from marts.fct_sales"
        " join marts.dim_product using (product_key) group by 1",
        "select brand, sum(sales) from lines left join products using (product_id) group by 1",
    ),
    "sales on the holidays": (
        """
        select date_day, sum(sales_amount) from marts.fct_sales join marts.dim_date using (date_key)
        where is_holiday and date_day in ('2017-07-04', '2017-11-23', '2017-12-25') group by 1
        """,
        "select day, sum(sales) from lines where day in ('2017-07-04', '2017-11-23', '2017-12-25') group by 1",
    ),
    "months of the monthly table": (
        "select month_start_date, sum(line_count), sum(sales_amount) from marts.fct_sales_monthly group by 1",
        "select date_trunc('month', day)::date, count(*), sum(sales) from lines group by 1",
    ),
    "every month, store and department of the monthly table": (
        """
        select month_start_date, store_id, department_name, order_count, line_count, quantity, sales_amount, net_amount
        from marts.fct_sales_monthly join marts.dim_store using (store_key)
        """,
        """
        select date_trunc('month', day)::date, store_id, coalesce(department, 'unknown department'),
            count(distinct basket_id), count(*), sum(quantity)::bigint, sum(sales), sum(sales - coupon)
        from lines left join products using (product_id) group by 1, 2, 3
        """,
    ),
    "every basket's day, household, lines and amounts": (
        "select order_id, order_date, customer_id, line_count, quantity, sales_amount, net_amount"
        " from marts.fct_orders",
        """
        select basket_id, min(day), min(household_id), count(*), sum(quantity)::bigint, sum(sales), sum(sales - coupon)
        from lines group by 1
        """,
    ),
    "articles and households of the dimensions": (
        """
        select (select count(*) from marts.dim_product where is_current and product_key <> '-1'),
            (select count(*) from marts.dim_customer where is_current and customer_key <> '-1')
        """,
        """
        select (select count(distinct product_id) from products),
            (select count(*) from (select household_id from lines union select household_id from people))
        """,
    ),
}


@pytest.mark.parametrize("name", TOTALS)
def test_totals_of_the_warehouse_are_those_of_the_files(loaded, site, files, name):
    ours, theirs = TOTALS[name]
    expected = sorted(files.execute(theirs).fetchall(), key=str)
    assert expected
    assert sorted(site.warehouse(ours), key=str) == expected


def test_the_names_of_the_products_that_the_file_lacks_survive_as_their_numbers(loaded, site, files):
    unknown = "select product_id, count(*) from {} where {} group by 1 order by 1"
    theirs = files.execute(unknown.format("lines", "product_id not in (select product_id from products)")).fetchall()
    assert site.warehouse(unknown.format("marts.fct_sales", "product_key = '-1'")) == theirs


def test_hours_of_the_last_thirty_days_are_in_the_metrics_store_as_of_the_grocers_own_clock(loaded, site, files):
    (oldest,) = site.metrics("select min(sold_at) from metrics.sales_hourly")[0]
    assert f"{oldest:%Y-%m}" == "2017-12"
    ours = site.metrics("select count(*), sum(line_count), sum(sales_amount) from metrics.sales_hourly")
    hours = "count(distinct (date_trunc('hour', sold_at), store_id)), count(*), sum(sales)"
    assert ours == files.execute(f"select {hours} from lines where sold_at >= ?", [oldest]).fetchall()


def test_the_report_names_the_shop_in_what_to_type_next(loaded):
    assert "make sql SHOP=completejourney" in loaded.out
    assert re.search(r"shop\.order_items +75,000 +75,000 ", loaded.out)


def test_every_check_passed(loaded):
    passed, total = map(int, re.search(r"Checks: (\d+) of (\d+) passed", loaded.out).groups())
    assert passed == total


def test_dbt_by_hand_builds_and_tests_the_whole_project(loaded, site, tmp_path):
    """Every model, data test and unit test, by plain `dbt build` in the project's folder, as the how-to says."""
    own = {"LAKE_ROOT": site.lake_root, "WAREHOUSE_BUILD": str(tmp_path / "warehouse.duckdb")}
    own["DUCKDB_EXTENSION_DIRECTORY"] = str(duck.extension_directory())
    dbt = Path(sys.executable).with_name("dbt")
    folders = ["--target-path", str(tmp_path), "--log-path", str(tmp_path)]
    done = subprocess.run([dbt, "build", *folders], cwd=PROJECT, env=os.environ | own, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    kinds = ("model", "test", "unit_test")
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    nodes = manifest["nodes"] | manifest["unit_tests"]
    said = json.loads((tmp_path / "run_results.json").read_text())["results"]
    results = {it["unique_id"]: it["status"] for it in said}
    for kind in kinds:
        wanted = {name for name, node in nodes.items() if node["resource_type"] == kind}
        assert wanted
        assert {results[name] for name in wanted} <= {"success", "pass", "warn"}, kind
    with duck.connect(tmp_path / "warehouse.duckdb", read_only=True) as built:
        assert built.execute("select count(*) from marts.fct_sales").fetchone() == (75_000,)


def test_a_second_run_finds_the_shop_there_and_reads_nothing_anew(loaded, site):
    before = site.warehouse("select * exclude (_loaded_at) from marts.fct_sales order by sale_key")
    said = site.watershed("run")
    assert said.code == 0, said.text
    assert "shop.order_items: read 0 rows changed since 2018-01-01" in said.out
    assert site.warehouse("select * exclude (_loaded_at) from marts.fct_sales order by sale_key") == before


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with opened(tmp_path_factory.mktemp("grocer"), shop="completejourney") as site:
        yield site


@pytest.fixture(scope="module")
def loaded(site, data) -> Said:
    said = site.watershed("run", DATA=str(data / "completejourney"))
    assert said.code == 0, said.text
    return said


@pytest.fixture(scope="module")
def files(data: Path) -> duckdb.DuckDBPyConnection:
    """The grocer's files in plain DuckDB; one product is written 9e+05 there, one basket 4.0128e+10."""
    connection: Any = duckdb.connect()
    folder = data / "completejourney"
    connection.execute("set TimeZone = 'UTC'")
    connection.execute(f"""
        create table lines as
        select basket_id::double::bigint as basket_id, household_id::double::bigint as household_id,
            store_id::double::bigint as store_id, product_id::double::bigint as product_id, quantity,
            sales_value::decimal(12, 2) as sales, retail_disc::decimal(12, 2) as retail,
            coupon_disc::decimal(12, 2) as coupon, coupon_match_disc::decimal(12, 2) as matched,
            transaction_timestamp as sold_at, (transaction_timestamp at time zone 'America/New_York')::date as day
        from '{folder}/transactions_sample.parquet';
        create table products as
        select * replace (product_id::double::bigint as product_id) from '{folder}/products.parquet';
        create table people as
        select * replace (household_id::double::bigint as household_id) from '{folder}/demographics.parquet'
    """)
    return connection
