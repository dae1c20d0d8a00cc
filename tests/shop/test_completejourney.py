"""The real grocer's year, in PostgreSQL, equals what plain SQL over its Parquet files says."""

from datetime import UTC, date, datetime
from decimal import Decimal

import duckdb
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.errors import PermanentError, SpecError
from shop import completejourney, retail


def quiet(_: str) -> None:
    pass


@pytest.fixture(scope="module")
def grocer(shop_dsn, journey):
    assert completejourney.load(shop_dsn, journey, quiet).is_new
    return shop_dsn


@pytest.fixture(scope="module")
def from_files(journey):
    """The rows a query over the files answers; ids as whole numbers, amounts as decimals, the day in New York."""
    connection = duckdb.connect()
    connection.execute("set timezone = 'America/New_York'")
    connection.execute(
        f"""create view sold as select
            household_id::double::bigint as customer_id, store_id::bigint as store_id,
            basket_id::double::bigint as order_id, product_id::double::bigint as product_id, quantity::int as quantity,
            round(sales_value, 2)::decimal(12, 2) as sales, retail_disc::decimal(12, 2) as retail,
            coupon_disc::decimal(12, 2) as coupon, coupon_match_disc::decimal(12, 2) as match,
            transaction_timestamp as sold_at, month(transaction_timestamp) as month
        from '{journey}/transactions_sample.parquet'"""
    )
    connection.execute(
        f"create view articles as select product_id::double::bigint as product_id, * exclude (product_id)"
        f" from '{journey}/products.parquet'"
    )
    connection.execute(f"create view people as select * from '{journey}/demographics.parquet'")
    return lambda query: connection.sql(query).fetchall()


LOCAL = "extract(month from order_items.ordered_at at time zone time_zone)::int"
JOINED = "order_items join orders using (order_id) join stores using (store_id) left join products using (product_id)"
LINES = "sales_amount, retail_discount_amount, coupon_discount_amount, coupon_match_discount_amount"


def test_the_known_totals_are_there(grocer, ask):
    tables = ("order_items", "orders", "customers", "stores", "products")
    counts = ", ".join(f"(select count(*) from {table})" for table in tables)
    assert ask(grocer, f"select {counts}") == [(75_000, 47_243, 2_377, 293, 92_331)]
    sums = ", ".join(f"sum({column.strip()})" for column in LINES.split(","))
    expected = tuple(Decimal(text) for text in ("233935.24", "40180.91", "1356.71", "242.10"))
    assert ask(grocer, f"select {sums} from order_items") == [expected]
    months = dict(ask(grocer, f"select {LOCAL}, sum(sales_amount) from {JOINED} group by 1"))
    assert (months[1], months[12]) == (Decimal("19110.84"), Decimal("21715.62"))
    grocery = f"select sum(sales_amount) from {JOINED} where department_name = 'GROCERY'"
    assert ask(grocer, grocery) == [(Decimal("118661.98"),)]


def test_lines_with_an_unknown_product_survive(grocer, ask, from_files):
    unknown = "where product_id not in (select product_id from {})"
    expected = from_files("select count(*), sum(sales) from sold " + unknown.format("articles"))
    assert expected[0][0] == 222
    found = ask(grocer, "select count(*), sum(sales_amount) from order_items " + unknown.format("products"))
    assert found == expected


@pytest.mark.parametrize(
    ("in_files", "in_shop"),
    [
        ("store_id", "store_id"),
        ("customer_id", "customer_id"),
        ("month, department", f"{LOCAL}, department_name"),
        ("sold_at::date", "(order_items.ordered_at at time zone time_zone)::date"),
        ("brand, product_category, package_size", "brand_name, category_name, package_size"),
    ],
    ids=["by store", "by household", "by month and department", "by local day", "by brand, category and size"],
)
def test_totals_agree_however_they_are_grouped(grocer, ask, from_files, in_files, in_shop):
    expected = from_files(
        f"select {in_files}, count(*), count(distinct order_id), count(distinct product_id), sum(quantity), sum(sales),"
        f" sum(retail), sum(coupon), sum(match) from sold left join articles using (product_id) group by all"
    )
    sums = ", ".join(f"sum({column.strip()})" for column in LINES.split(","))
    positions = ", ".join(str(number) for number in range(1, in_files.count(",") + 2))
    found = ask(
        grocer,
        f"select {in_shop}, count(*), count(distinct order_id), count(distinct product_id), sum(quantity), {sums}"
        f" from {JOINED} group by {positions}",
    )
    assert len(expected) > 1
    assert set(found) == set(expected)


def test_every_line_is_the_files_line_at_its_instant(grocer, ask, from_files):
    expected = from_files("select order_id, product_id, quantity, sales, epoch(sold_at)::bigint from sold")
    found = ask(
        grocer,
        "select order_id, product_id, quantity, sales_amount, extract(epoch from ordered_at)::bigint from order_items",
    )
    assert sorted(found) == sorted(expected)


def test_lines_are_numbered_from_one_in_every_basket(grocer, ask):
    gaps = "having max(line_number) <> count(*) or min(line_number) <> 1"
    assert ask(grocer, f"select order_id from order_items group by order_id {gaps}") == []


def test_ids_printed_as_powers_of_ten_are_the_numbers_they_are(grocer, ask):
    assert ask(grocer, "select department_name from products where product_id = 900000") == [("COSMETICS",)]
    assert ask(grocer, "select count(*) from order_items where order_id = 40128000000") == [(1,)]


def test_a_household_has_its_demographics_where_there_are_any(grocer, ask, from_files):
    expected = from_files(
        "select customer_id, age, income from (select distinct customer_id from sold) as buyers"
        " left join people on household_id::bigint = customer_id order by customer_id"
    )
    found = ask(grocer, "select customer_id, age_band, income_band from customers order by customer_id")
    assert found == expected
    assert 0 < sum(age is not None for _, age, _ in found) < 2_377


def test_every_order_is_delivered_and_every_store_keeps_new_york_time(grocer, ask):
    assert ask(grocer, "select distinct status_code, updated_at = ordered_at from orders") == [("delivered", True)]
    assert ask(grocer, "select distinct time_zone from stores") == [("America/New_York",)]
    assert ask(grocer, "select (select count(*) from devices) + (select count(*) from sensor_readings)") == [(0,)]


def test_a_second_load_finds_it_there_and_changes_nothing(grocer, journey, checksum):
    before = checksum(grocer)
    said = []
    assert not completejourney.load(grocer, journey, said.append).is_new
    assert said == ["shop: Complete Journey is there already"]
    assert checksum(grocer) == before


def test_the_shops_do_not_take_each_others_place(grocer, journey, empty_dsn):
    with pytest.raises(SpecError, match="it holds the completejourney shop; name an empty database"):
        retail.create(grocer, until=date(2026, 6, 20), say=quiet)
    assert retail.trade_day(grocer, now=datetime(2027, 1, 1, tzinfo=UTC), say=quiet) is None
    retail.create(empty_dsn, scale=0.1, until=date(2026, 6, 20), days=5, say=quiet)
    with pytest.raises(SpecError, match="it holds the retail shop"):
        completejourney.load(empty_dsn, journey, quiet)


@pytest.fixture
def copied(journey, tmp_path):
    """A folder with small files of the right shape, to be spoilt."""
    for name in completejourney.FILES:
        pq.write_table(pq.read_table(journey / f"{name}.parquet").slice(0, 50), tmp_path / f"{name}.parquet")
    return tmp_path


def spoil(folder, change):
    path = folder / "transactions_sample.parquet"
    pq.write_table(change(pq.read_table(path)), path)


def replaced(table, name, values):
    return table.set_column(table.column_names.index(name), name, values)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.drop_columns(["store_id"]), "column store_id is missing"),
        (lambda t: replaced(t, "quantity", t["quantity"].cast(pa.string())), "give quantity as double precision"),
        (
            lambda t: replaced(t, "transaction_timestamp", t["transaction_timestamp"].cast(pa.timestamp("us"))),
            "give transaction_timestamp as timestamptz",
        ),
        (lambda t: replaced(t, "basket_id", pa.array(["x"] * 50)), "50 rows have a basket_id that is no whole number"),
        (lambda t: replaced(t, "basket_id", pa.array(["7"] * 50)), "1 baskets belong to several households"),
        (
            lambda t: replaced(t, "product_id", pa.array(["1.5", *["2"] * 49])),
            "1 rows have a product_id that is no whole",
        ),
        (lambda t: replaced(t, "quantity", pa.array([0.5] * 50)), "50 rows have a quantity that is no whole number"),
        (lambda t: replaced(t, "sales_value", pa.array([None] * 50, pa.float64())), "50 rows have no quantity, amount"),
        (lambda t: t.slice(0, 0), "it holds no transactions"),
    ],
)
def test_files_that_are_not_complete_journey_are_refused_and_leave_nothing(empty_dsn, copied, ask, change, sentence):
    spoil(copied, change)
    with pytest.raises(SpecError, match=sentence):
        completejourney.load(empty_dsn, copied, quiet)
    assert ask(empty_dsn, "select count(*) from pg_tables where schemaname in ('public', 'shop_clock')") == [(0,)]


def test_a_folder_or_file_that_is_missing_or_damaged_is_named(empty_dsn, copied, tmp_path):
    with pytest.raises(SpecError, match=r"there is no folder .*/nowhere"):
        completejourney.load(empty_dsn, tmp_path / "nowhere", quiet)
    (copied / "products.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(SpecError, match=r"products.parquet: it cannot be read as Parquet"):
        completejourney.load(empty_dsn, copied, quiet)
    (copied / "products.parquet").unlink()
    with pytest.raises(SpecError, match=r"products.parquet: the file is missing"):
        completejourney.load(empty_dsn, copied, quiet)


def test_a_foreign_table_is_refused_and_unharmed(empty_dsn, copied, ask):
    with psycopg.connect(empty_dsn) as connection:
        connection.execute("create table customers as select 'mine' as note")
    with pytest.raises(PermanentError, match="already holds customers, not made by the shop"):
        completejourney.load(empty_dsn, copied, quiet)
    assert ask(empty_dsn, "select * from customers") == [("mine",)]
