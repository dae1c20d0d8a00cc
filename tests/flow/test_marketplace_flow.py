"""A marketplace's files the whole way: marts of a shop of another shape against plain SQL over the original files."""

import gzip
import os
import re
import shutil
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from fix_servers import address, database
from fix_site import Said, Site, assert_clear_refusal

ITEMS_IN_MONTH = "marts.fct_sales join marts.dim_date using (date_key) where year_number = 2017 and month_number = {}"


@pytest.mark.parametrize(
    ("query", "total"),
    [
        ("select count(*) from marts.fct_sales", 8_365),
        ("select count(distinct order_id) from marts.fct_sales", 7_360),
        ("select sum(sales_amount) from marts.fct_sales", Decimal("1093264.35")),
        (f"select sum(sales_amount) from {ITEMS_IN_MONTH.format(11)}", Decimal("76882.81")),
        ("select sum(freight_amount) from marts.fct_seller_sales", Decimal("172288.39")),
        ("select count(*) from marts.fct_order_outcomes", 8_135),
        ("select count(*) from marts.dim_customer where is_current and customer_id is not null", 8_016),
        ("select sum(payment_amount) from marts.fct_payments where payment_type_code = 'boleto'", Decimal("242878.50")),
        ("select count(*) from marts.fct_reviews", 8_225),
    ],
)
def test_known_totals(loaded, site, query, total):
    assert site.warehouse(query) == [(total,)]


# name → (over the warehouse, over the files); the files' times are São Paulo's
TOTALS = {
    "pieces and revenue of every month, category and status": (
        """
        select year_number, month_number, department_name, status_code, count(*), sum(sales_amount), sum(quantity)
        from marts.fct_sales join marts.dim_date using (date_key) join marts.dim_product using (product_key)
        group by all
        """,
        """
        select year(ordered), month(ordered),
            coalesce(english, products.product_category_name, 'unknown department'), state, count(*),
            sum(price), count(*)
        from items join orders using (order_id) join products using (product_id)
        left join categories on products.product_category_name = categories.portuguese group by all
        """,
    ),
    "orders of every status, and what of them was paid, shipped and delivered": (
        """
        select status_code, count(*), count(shipped_at), count(delivered_at), sum(paid_amount), min(ordered_at),
            max(delivered_at)
        from marts.fct_order_outcomes group by all
        """,
        """
        select state, count(*), count(shipped), count(delivered), sum(paid),
            min(ordered at time zone 'America/Sao_Paulo'), max(delivered at time zone 'America/Sao_Paulo')
        from orders left join (select order_id, sum(value) as paid from payments group by all) using (order_id)
        group by all
        """,
    ),
    "the orders of every day in São Paulo, whose milestones are in no order, and what is on them": (
        """
        select order_date, status_code, count(*), sum(line_count), sum(sales_amount), count(delivered_at),
            count(*) filter (is_out_of_sequence), count(distinct customer_id)
        from marts.fct_orders group by all
        """,
        """
        select ordered::date, state, count(*), coalesce(sum(lines), 0), coalesce(sum(sales), 0), count(delivered),
            count(*) filter (
                approved < ordered or shipped < greatest(ordered, approved)
                or delivered < greatest(ordered, approved, shipped)
            ), count(distinct customer_unique_id)
        from orders join customers using (customer_id)
        left join (select order_id, count(*) as lines, sum(price) as sales from items group by all) using (order_id)
        group by all
        """,
    ),
    "payments of every type: how many, how much, in how many instalments": (
        """
        select payment_type_code, count(*), sum(payment_amount), sum(instalment_count), count(distinct order_id)
        from marts.fct_payments group by all
        """,
        """
        select payment_type, count(*), sum(value), sum(payment_installments::integer), count(distinct order_id)
        from payments group by all
        """,
    ),
    "the average review of every month, and all that was written": (
        """
        select month(ordered_at at time zone 'America/Sao_Paulo'), count(*), avg(review_score),
            sum(length(comment_text)), sum((comment_text like '%' || chr(10) || '%')::integer)
        from marts.fct_reviews join marts.fct_order_outcomes using (order_id) group by all
        """,
        """
        select month(ordered), count(*), avg(review_score::integer), sum(length(review_comment_message)),
            sum((review_comment_message like '%' || chr(10) || '%')::integer)
        from reviews join orders using (order_id) group by all
        """,
    ),
    "late and early deliveries of every state, in days": (
        """
        select region, is_late, count(*), sum(days_late) from marts.fct_order_outcomes
        join (select distinct order_id, customer_key from marts.fct_payments) using (order_id)
        join marts.dim_customer using (customer_key) group by all
        """,
        """
        select customer_state, delivered::date > promised, count(*), sum(delivered::date - promised)
        from orders join customers using (customer_id) group by all
        """,
    ),
    "every seller's pieces, revenue and freight, and where it is": (
        """
        select seller_id, region, count(*), sum(fct_seller_sales.sales_amount), sum(freight_amount)
        from marts.fct_seller_sales join marts.dim_seller using (seller_key, seller_id)
        join marts.fct_sales using (sale_key) group by all
        """,
        """
        select seller_id, seller_state, count(*), sum(price), sum(freight)
        from items join sellers using (seller_id) group by all
        """,
    ),
    "what every person spent, at the place where they lived when they ordered": (
        """
        select customer_id, city, postal_code, sum(sales_amount), count(distinct order_id) from marts.fct_sales
        join marts.dim_customer using (customer_key, customer_id) group by all
        """,
        """
        select customer_unique_id, customer_city, customer_zip_code_prefix, sum(price), count(distinct order_id)
        from items join orders using (order_id) join customers using (customer_id) group by all
        """,
    ),
    "versions of the persons: one more with each order from elsewhere": (
        "select customer_id, count(*) from marts.dim_customer where customer_id is not null group by all",
        """
        select customer_unique_id, count(*) from (
            select customer_unique_id, (customer_zip_code_prefix, customer_city, customer_state) as place,
                lag(place) over (partition by customer_unique_id order by ordered) as place_before
            from orders join customers using (customer_id)
        ) where place_before is null or place <> place_before group by all
        """,
    ),
}

# What is wrong in the files can be seen in the marts, and is not lost.
DIRT = {
    "orders without items": (
        "select status_code, count(*) from marts.fct_order_outcomes where line_count = 0 group by all",
        "select state, count(*) from orders where order_id not in (select order_id from items) group by all",
    ),
    "times that contradict each other": (
        "select count(*), count(*) filter (delivered_at < shipped_at) from marts.fct_order_outcomes"
        " where is_out_of_order",
        "select count(*), count(*) filter (delivered < shipped) from orders"
        " where delivered < shipped or shipped < approved or delivered < approved",
    ),
    "reviews that stand for several orders": (
        "select review_id, count(*) from marts.fct_reviews where is_shared group by all",
        "select review_id, count(*) from reviews group by all having count(*) > 1",
    ),
    "articles without a category, and of categories without a translation": (
        """
        select category_name, department_name, count(*) from marts.dim_product
        where product_key <> '-1' and coalesce(department_name = category_name, true)
            or product_key <> '-1' and category_name is null group by all
        """,
        """
        select product_category_name, coalesce(english, product_category_name, 'unknown department'), count(*)
        from products left join categories on product_category_name = portuguese
        where product_category_name is null or coalesce(english, product_category_name) = product_category_name
        group by all
        """,
    ),
    "points that occur again, and points outside of Brazil": (
        "select sum(point_count), sum(repeated_point_count), sum(outside_point_count) from marts.dim_place",
        """
        select count(*), count(*) - count(distinct points), count(*) filter (
            not (geolocation_lat::double between -33.8 and 5.3 and geolocation_lng::double between -74 and -28.8))
        from points
        """,
    ),
    "sellers of a postal code without a point": (
        "select seller_id from marts.dim_seller where latitude_degrees is null and seller_id is not null",
        "select seller_id from sellers where seller_zip_code_prefix not in"
        " (select geolocation_zip_code_prefix from points)",
    ),
    "orders that were not paid as much as their pieces and freight cost": (
        "select order_id, paid_amount - sales_amount - freight_amount as difference from marts.fct_order_outcomes"
        " where difference <> 0",
        """
        select order_id, paid - coalesce(cost, 0) as difference
        from (select order_id, sum(value) as paid from payments group by all)
        left join (select order_id, sum(price + freight) as cost from items group by all) using (order_id)
        where difference <> 0
        """,
    ),
}


@pytest.mark.parametrize("name", [*TOTALS, *DIRT])
def test_totals_equal_those_of_plain_sql_over_the_files(loaded, site, files, name):
    ours, theirs = (TOTALS | DIRT)[name]
    expected = sorted(files.execute(theirs).fetchall(), key=str)
    assert expected
    found = sorted(site.warehouse(ours), key=str)
    assert [tuple(map(rounded, row)) for row in found] == [tuple(map(rounded, row)) for row in expected]


def test_every_check_passed_and_no_database_of_a_shop_was_needed(loaded, site):
    passed, total = map(int, re.search(r"Checks: (\d+) of (\d+) passed", loaded.out).groups())
    assert passed == total
    assert not site.shop_dsn
    assert "make sql SHOP=marketplace" in loaded.out


def test_points_that_lie_elsewhere_move_no_seller(loaded, site):
    outside = "not (latitude_degrees between -33.8 and 5.3 and longitude_degrees between -74 and -28.8)"
    assert site.warehouse(f"select count(*) from marts.dim_seller where {outside}") == [(0,)]
    assert site.warehouse(f"select count(*) from marts.dim_place where {outside}") == [(0,)]


def test_the_calendar_marks_the_holidays_of_brazil(loaded, site):
    days = (
        "select date_day::text from marts.dim_date where year_number = 2017 and is_holiday and month_number in (7, 9)"
    )
    assert site.warehouse(days) == [("2017-09-07",)]


def test_hours_of_sales_are_those_of_the_files_and_none_lies_in_the_last_thirty_days_of_their_clock(
    loaded, site, files
):
    ours = site.warehouse(
        "select sold_at, store_id, line_count, sales_amount from metrics.metric_sales_hourly order by 1"
    )
    lines = "select ordered at time zone 'America/Sao_Paulo' as instant, price from items join orders using (order_id)"
    hours = f"select date_trunc('hour', instant), 1, count(*), sum(price) from ({lines}) group by all order by 1"
    theirs = files.execute(hours).fetchall()
    assert ours == theirs
    kept = [hour for hour in theirs if f"{hour[0]:%Y-%m-%d}" >= "2018-09-18"]
    assert site.metrics("select count(*) from metrics.sales_hourly") == [(len(kept),)]


def test_a_second_run_reads_nothing_anew_and_a_changed_file_moves_on(loaded, site, drop):
    facts = "select * exclude (_loaded_at) from marts.fct_sales order by sale_key"
    outcomes = "select * from marts.fct_order_outcomes where order_id {} '{}' order by order_id"
    sales = site.warehouse(facts)
    late = "select order_id from marts.fct_order_outcomes where days_late = 0 order by order_id limit 1"
    ((order,),) = site.warehouse(late)
    others = site.warehouse(outcomes.format("<>", order))
    change(drop / "olist_orders_dataset.csv.gz", order)

    said = site.watershed("run")  # where the files are was kept by the first run
    assert said.code == 0, said.text
    assert re.search(r"marketplace\.orders +8,135 +8,135 +0 +1 +0 ", said.out), said.out
    assert len(re.findall(r"marketplace\.\w+ +[\d,]+ +0 +0 +0 +0 ", said.out)) == 8, said.out
    ((delivered, days, is_late),) = site.warehouse(
        f"select delivered_at::text, days_late, is_late from marts.fct_order_outcomes where order_id = '{order}'"
    )
    assert (delivered, days > 0, is_late) == ("2018-10-01 15:00:00+00", True, True)
    assert site.warehouse(outcomes.format("<>", order)) == others
    assert site.warehouse(facts) == sales


def test_a_place_without_the_files_is_told_before_anything_is_read(site, tmp_path):
    with_nothing = Site(tmp_path, "", site.metrics_dsn, "marketplace")
    missing = with_nothing.watershed("run")
    assert_clear_refusal(missing, "DATA", "is not set", "make run SHOP=marketplace DATA=folder")
    nowhere = with_nothing.watershed("run", DATA=str(tmp_path / "nowhere"))
    assert_clear_refusal(nowhere, "DATA", "there is no folder", "name the folder with the files of marketplace")


def test_a_file_that_is_missing_and_one_that_is_cut_short_are_told_by_the_check(site, drop, tmp_path):
    for path in drop.glob("*.csv.gz"):
        if "sellers" not in path.name:
            content = path.read_bytes()
            (tmp_path / path.name).write_bytes(content[: len(content) // 2] if "products" in path.name else content)
            settled(tmp_path / path.name)
    said = site.watershed(
        "source", "check", "marketplace", WATERSHED_HOME=str(tmp_path), MARKETPLACE_FILES=str(tmp_path)
    )
    assert said.code == 1
    assert "no file matches olist_sellers_dataset.csv.gz yet; drop one, or correct" in said.out
    assert "is cut short or damaged; drop it again, whole" in said.out
    assert "2 of 9 tables will fail to load (products, sellers)" in said.out


def change(path: Path, order: str) -> None:
    """Let the marketplace write its orders anew, with one of them delivered in October."""
    lines = gzip.decompress(path.read_bytes()).decode().splitlines(keepends=True)
    (at,) = [number for number, line in enumerate(lines) if order in line]
    fields = lines[at].split(",")
    fields[6] = fields[6].replace(fields[6].strip('"'), "2018-10-01 12:00:00")
    lines[at] = ",".join(fields)
    path.write_bytes(gzip.compress("".join(lines).encode(), 1))
    settled(path)


def settled(path: Path) -> None:
    """Date a file back, as one that nobody writes any more."""
    then = path.stat().st_mtime - 60
    os.utime(path, (then, then))


def rounded(value: object) -> object:
    return round(value, 9) if isinstance(value, float) else value


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with database(address("METRICS_DSN"), timescale=True) as metrics_dsn:
        yield Site(tmp_path_factory.mktemp("marketplace"), "", metrics_dsn, "marketplace")


@pytest.fixture(scope="module")
def drop(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A copy of the files that a test may change."""
    folder = tmp_path_factory.mktemp("drop")
    for path in (data / "olist").glob("*.csv.gz"):
        shutil.copyfile(path, folder / path.name)
        settled(folder / path.name)
    return folder


@pytest.fixture(scope="module")
def loaded(site, drop) -> Said:
    said = site.watershed("run", DATA=str(drop))
    assert said.code == 0, said.text
    return said


@pytest.fixture(scope="module")
def files(data: Path) -> duckdb.DuckDBPyConnection:
    """The files in plain DuckDB, every column text; orders and items with the few types that the totals need."""
    connection = duckdb.connect()
    connection.execute("set TimeZone = 'UTC'")

    def read(name: str) -> str:
        return f"read_csv('{data}/olist/{name}.csv.gz', all_varchar = true, header = true, quote = '\"', escape = '\"')"

    connection.execute(f"""
        create table orders as
        select order_id, customer_id, order_purchase_timestamp::timestamp as ordered,
            order_approved_at::timestamp as approved, order_delivered_carrier_date::timestamp as shipped,
            order_delivered_customer_date::timestamp as delivered, order_estimated_delivery_date::date as promised,
            map {{'created': 'placed', 'approved': 'paid', 'invoiced': 'paid', 'processing': 'paid',
                'shipped': 'shipped', 'delivered': 'delivered', 'unavailable': 'cancelled', 'canceled': 'cancelled'
            }}[order_status] as state
        from {read("olist_orders_dataset")};
        create table items as
        select order_id, product_id, seller_id, price::decimal(12, 2) as price, freight_value::decimal(12, 2) as freight
        from {read("olist_order_items_dataset")};
        create table payments as
        select *, payment_value::decimal(12, 2) as value from {read("olist_order_payments_dataset")};
        create table reviews as from {read("olist_order_reviews_dataset")};
        create table customers as from {read("olist_customers_dataset")};
        create table products as from {read("olist_products_dataset")};
        create table sellers as from {read("olist_sellers_dataset")};
        create table points as from {read("olist_geolocation_dataset")};
        create table categories as
        select product_category_name as portuguese, product_category_name_english as english
        from {read("product_category_name_translation")}
    """)
    return connection
