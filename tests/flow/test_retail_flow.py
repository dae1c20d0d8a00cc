"""The made-up shop the whole way, by the command a person types: a first run, a day of trade, a day without."""

import datetime
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
import notebook_run
import pytest
from fix_servers import PROJECT
from fix_site import FIGURES, Said, Site, event, opened

from services import postgres
from shop import retail

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "asset_graph.txt"
DAYS_OF_TRADE = 6  # before the second run, which adds one: enough for moves, new prices, late rows and deletions
FACT_ROWS = "select count(*) from marts.fct_sales"


@dataclass
class Stage:
    """What one run said, and what stood there when it had ended."""

    said: Said
    versions: dict[str, int]
    run: dg.DagsterRun
    ended_at: float
    materialized: list[tuple[str, str | None, dict[str, Any]]]
    recorded: list[tuple[str, str | None]]
    warehouse: list[tuple[Any, ...]]
    extra: dict[str, Any] = field(default_factory=dict)


def test_the_first_run_ends_well_and_reports_rows_checks_seconds_and_what_to_type_next(first):
    assert first.said.code == 0, first.said.text
    for word in ("shop.order_items", "newest day", "Seconds", "dbt (build and test)", "whole job", "make sql"):
        assert word in first.said.out
    lines = first.extra["source rows"]["order_items"]
    assert re.search(rf"shop\.order_items +{lines:,} +{lines:,} +{lines:,} +0 +0 +20\d\d-\d\d-\d\d", first.said.out)
    passed, total = map(int, re.search(r"Checks: (\d+) of (\d+) passed", first.said.out).groups())
    assert passed == total > 100


def test_the_report_names_the_published_warehouse(first, site):
    path = Path(re.search(r"Warehouse: (\S+\.duckdb)", first.said.out)[1])
    assert path.parent == site.place / "warehouse" / "published"


def test_the_first_run_says_nothing_on_standard_error(first):
    assert first.said.err == ""


def test_after_the_first_run_every_table_of_the_lake_equals_the_source(first):
    assert first.extra["lake"] == first.extra["source"]


def test_after_the_first_run_every_order_line_is_a_sale(first):
    assert first.extra["sales"] == first.extra["source sales"]
    assert first.extra["sales"][0][0] > 9_000


def test_every_sale_joins_exactly_one_row_of_every_dimension(second, site):
    joined = """
        select count(*), count(distinct sale_key) from marts.fct_sales
        join marts.dim_date using (date_key) join marts.dim_product using (product_key)
        join marts.dim_customer using (customer_key) join marts.dim_store using (store_key)
    """
    rows = site.warehouse(FACT_ROWS)[0][0]
    assert site.warehouse(joined) == [(rows, rows)]


def test_the_day_of_a_sale_is_the_local_day_of_its_store(second, site):
    ours = "select order_date, count(*) from marts.fct_sales group by 1 order by 1"
    theirs = """
        select (ordered_at at time zone time_zone)::date, count(*)
        from order_items join orders using (order_id, ordered_at) join stores using (store_id) group by 1 order by 1
    """
    assert site.warehouse(ours) == site.source(theirs)


@pytest.mark.parametrize("path", notebook_run.PATHS, ids=lambda path: path.stem)
def test_a_notebook_runs_on_the_shop_and_draws_its_charts(second, site, path, tmp_path):
    executed = notebook_run.executed(path, site.environment, tmp_path)
    wanted = sum("alt.Chart" in cell.source for cell in executed.cells)
    assert notebook_run.charts(executed) == wanted > 0


def test_monthly_sales_add_up_to_the_sales(second, site):
    total = "select sum(line_count), sum(quantity), sum(net_amount) from marts.fct_sales_monthly"
    assert site.warehouse(total) == site.warehouse(
        "select count(*), sum(quantity), sum(net_amount) from marts.fct_sales"
    )


def test_every_order_has_a_row_with_the_milestones_that_the_source_has(second, site):
    columns = "order_id, customer_id, store_id, status_code, ordered_at, paid_at, shipped_at, delivered_at, returned_at"
    assert site.warehouse(f"select {columns} from marts.fct_orders order by 1") == site.source(
        f"select {columns} from orders order by 1"
    )


def test_the_stock_of_the_newest_day_is_the_sum_of_all_movements_at_the_source(second, site):
    ours = """
        select store_id, product_id, quantity_on_hand from marts.fct_inventory_daily
        qualify row_number() over (partition by store_id, product_id order by inventory_date desc) = 1 order by 1, 2
    """
    theirs = "select store_id, product_id, sum(quantity_change) from stock_movements group by 1, 2 order by 1, 2"
    assert site.warehouse(ours) == site.source(theirs)


def test_dagster_knows_a_materialization_of_every_asset_of_the_golden_graph(first):
    declared = {line.split()[0] for line in GOLDEN.read_text().splitlines() if re.match(r"[a-z]", line)}
    assert {key for key, _, _ in first.materialized} == declared


def test_dagster_knows_every_day_of_every_partitioned_table_up_to_today(first, site):
    days = Counter(key for key, day, _ in first.materialized if day)
    assert set(days) == {f"{zone}shop/{table}" for zone in ("raw/", "") for table in PARTITIONED}
    opened_on = site.source("select started_on from shop_clock.state")[0][0]
    today = datetime.datetime.fromtimestamp(first.ended_at, datetime.UTC).date()
    assert set(days.values()) == {(today - opened_on).days + 1}


def test_pipeline_runs_hold_one_row_for_each_asset_of_the_run(first):
    materialized = Counter(key for key, _, _ in first.materialized)
    assert Counter(asset for asset, _ in first.recorded) == Counter(materialized.keys())
    spans = dict(first.recorded)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d\.\.\.\d{4}-\d\d-\d\d", spans["shop/orders"])
    assert spans["shop/customers"] is None


def test_a_run_is_a_run_of_the_job_that_the_web_ui_shows(first):
    assert (first.run.job_name, first.run.status) == ("changes", dg.DagsterRunStatus.SUCCESS)


def test_the_second_run_lets_a_day_of_trade_happen_and_reads_only_what_changed(second):
    assert second.said.code == 0, second.said.text
    assert "shop: traded" in second.said.out
    read = {key: facts["rows_read"] for key, _, facts in second.materialized if key.startswith("raw/")}
    held = second.extra["source rows"]
    changed = second.extra["changed rows"]
    for table in ("customers", "products", "orders", "order_items", "sensor_readings"):
        assert read[f"raw/shop/{table}"] == changed[table] < held[table] / 5, table
    for table in ("orders", "order_items"):
        assert re.search(rf"shop\.{table}: read {changed[table]:,} rows changed since 20", second.said.out)


def test_after_the_second_run_everything_equals_the_source_again(second, site):
    assert second.extra["lake"] == second.extra["source"]
    assert second.extra["sales"] == second.extra["source sales"]


def test_deleted_late_and_changed_rows_all_came_through_the_second_run(second):
    assert sum(day.late_rows for day in second.extra["days"]) > 0
    facts = {key: facts for key, _, facts in second.materialized}
    assert facts["raw/shop/orders"]["rows_deleted"] > 0
    assert facts["raw/shop/orders"]["rows_changed"] > 0
    assert facts["raw/shop/order_items"]["rows_deleted"] > 0
    assert re.search(r"shop\.orders +[\d,]+ +[\d,]+ +[1-9]\d* +[1-9]\d* +[1-9]\d* ", second.said.out)


def test_customers_who_moved_have_a_second_version_and_the_first_ends_where_it_begins(second, site):
    moved = site.warehouse("""
        select customer_id, count(*), count(distinct city || region || postal_code), max(valid_from),
            min(valid_to), bool_or(is_current), max_by(city, valid_from)
        from marts.dim_customer where customer_id is not null group by 1 having count(*) > 1 order by 1
    """)
    assert MOVED in {row[0] for row in moved}
    cities = dict(site.source("select customer_id, city from customers"))
    for customer, versions, places, begins, ends, is_current, city in moved:
        assert (versions, places, is_current) == (2, 2, True)
        assert begins == ends
        assert city == cities[customer]


def test_changed_prices_are_in_the_dimension_and_each_price_in_the_history(second, site):
    current = "select product_id, unit_price_amount from {} where product_id > 0 order by 1"
    latest = "(select product_id, unit_price_amount from marts.dim_product qualify row_number() over ({}) = 1)"
    columns = {name for (name,) in site.warehouse("select column_name from (describe marts.dim_product)")}
    order = "partition by product_id" + (" order by valid_from desc" if "valid_from" in columns else "")
    assert site.warehouse(current.format(latest.format(order))) == site.source(current.format("products"))


def test_hypertables_hold_the_readings_and_sales_within_their_retention(second, site):
    (oldest,) = site.metrics("select min(read_at) from metrics.sensor_readings")[0]
    figures = "count(*), sum(round(temperature_celsius * 100)::bigint)"
    readings = site.metrics(f"select {figures} from metrics.sensor_readings")
    assert readings == site.source(f"select {figures} from sensor_readings where read_at >= '{oldest}'")
    # whole chunks of a day, and the run may have been before the midnight after which this test looks
    assert oldest >= datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=32)
    hourly = "select {} from {} group by 1, 2 order by 1, 2"
    ours = site.metrics("select sold_at, store_id, line_count, sales_amount from metrics.sales_hourly order by 1, 2")
    theirs = "date_trunc('hour', ordered_at), store_id, count(*), sum(sales_amount)"
    lines = f"order_items join orders using (order_id, ordered_at) where ordered_at >= '{oldest}'"
    assert ours == site.source(hourly.format(theirs, lines))


@pytest.mark.parametrize(("rollup", "hours"), [("1h", 1), ("1d", 24)])
def test_roll_ups_sum_up_the_hypertables(second, site, rollup, hours):
    count = f"select sum(temperature_celsius_count), min(bucket_at) from metrics.sensor_readings_{rollup}"
    rows = "select count(*), min(date_trunc('{}', read_at)) from metrics.sensor_readings"
    assert site.metrics(count) == site.metrics(rows.format("day" if hours == 24 else "hour"))
    sold = f"select sum(sales_amount_sum) from metrics.sales_hourly_{rollup}"
    assert site.metrics(sold) == site.metrics("select sum(sales_amount) from metrics.sales_hourly")


def test_a_run_without_trade_commits_nothing_to_the_lake(second, third):
    assert third.said.code == 0, third.said.text
    assert "traded" not in third.said.out
    assert third.versions == second.versions


def test_a_run_without_trade_leaves_warehouse_and_hypertables_as_they_were(second, third):
    assert third.warehouse == second.warehouse
    assert "0 new or changed" in third.said.out
    assert third.extra["metrics"] == second.extra["metrics"]


def test_the_status_shows_every_table_warehouse_and_hypertable_on_one_screen(third, site):
    said = site.watershed("status")
    assert (said.code, said.err) == (0, "")
    for table in FIGURES:
        (rows,) = site.source(f"select count(*) from {table}")[0]
        assert re.search(rf"shop\.{table} +{rows:,} ", said.out), said.out
    assert "Warehouse version 3, published" in said.out
    assert "waiting, the oldest" not in said.out
    assert re.search(r"metrics\.sensor_readings +[\d,]+ +20", said.out)
    assert len(said.out.splitlines()) < 45


def test_sql_answers_one_question_and_refuses_to_write(third, site):
    said = site.watershed("sql", "-c", FACT_ROWS)
    assert (said.code, said.err) == (0, "")
    assert str(site.warehouse(FACT_ROWS)[0][0]) in said.out
    said = site.watershed("sql", "-c", "delete from marts.fct_sales")
    assert said.code != 0
    assert said.err.startswith("The warehouse is read-only")


def test_sql_answers_while_a_run_goes_on(third):
    assert [said.code for said in third.extra["answers"]] == [0, 0], third.extra["answers"]
    assert all(str(third.extra["rows"]) in said.out for said in third.extra["answers"])


def test_the_status_can_be_asked_while_a_run_goes_on(third):
    assert third.extra["status"].code == 0, third.extra["status"].text
    assert "shop.orders" in third.extra["status"].out


def test_docs_writes_static_pages_of_models_and_expectations(third, site):
    said = site.watershed("docs")
    assert (said.code, said.err) == (0, "")
    index = Path(re.search(r"Documentation: (\S+)", said.out)[1])
    linked = re.findall(r'href="([^"]+)"', index.read_text())
    assert len(linked) == 2
    for page in linked:
        assert (index.parent / page).stat().st_size > 1_000
    assert "fct_sales" in (index.parent / "dbt.html").read_text()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with opened(tmp_path_factory.mktemp("retail")) as site:
        site.variables["METRICS_READER_DSN"] = str(postgres.reader(PROJECT, urlsplit(site.metrics_dsn).path.strip("/")))
        yield site


@pytest.fixture(scope="module")
def first(site) -> Stage:
    return stage(site, site.watershed("run", "--scale", "0.2"))


@pytest.fixture(scope="module")
def second(first, site) -> Stage:
    now = datetime.datetime.now(datetime.UTC)
    began = site.source("select clock from shop_clock.state")[0][0]
    days = [retail.trade_day(site.shop_dsn, now=now, say=lambda _: None) for _ in range(DAYS_OF_TRADE)]
    for change in CHANGES:
        site.source(change)
    said = site.watershed("run", "--scale", "0.2")
    shown = re.search(r"shop: traded (\S+): (\d+) new orders", said.out)
    assert shown, said.text
    second = stage(site, said)
    at = {"customers": "updated_at", "products": "updated_at", "orders": "updated_at", "order_items": "updated_at"}
    second.extra["changed rows"] = {
        table: site.source(f"select count(*) from {table} where {column} >= '{began}'")[0][0]
        for table, column in {**at, "sensor_readings": "received_at"}.items()
    }
    second.extra["days"] = days
    return second


@pytest.fixture(scope="module")
def third(second, site) -> Stage:
    """A run without trade, and what was asked while it extracted and while dbt built."""
    asked = {"rows": site.warehouse(FACT_ROWS)[0][0]}
    run = site.begin("run", "--no-trade", until="raw/shop/customers")
    answers = [site.watershed("sql", "-c", FACT_ROWS)]
    run.until("building and testing")
    answers.append(site.watershed("sql", "-c", FACT_ROWS))
    asked |= {"answers": answers, "status": site.watershed("status")}
    assert run.process.poll() is None, "the run ended before it could be watched"
    third = stage(site, run.end())
    third.extra |= asked
    return third


MOVED = 1
# What a small shop's week may lack by chance, so that each kind of change is there for sure.
CHANGES = (
    "update customers set city = 'Springfield', region = 'IL', postal_code = '62701', updated_at = clock"
    f" - interval '1 second' from shop_clock.state where customer_id = {MOVED}",
    "update products set unit_price_amount = unit_price_amount + 1, updated_at = clock - interval '1 second'"
    " from shop_clock.state where product_id = 1",
    event("purged", "order_id = (select min(order_id) from orders)"),
    "delete from orders where order_id = (select min(order_id) from orders)",
)
PARTITIONED = ("orders", "order_items", "sensor_readings", "stock_movements", "order_events")


def stage(site: Site, said: Said) -> Stage:
    """All that a test may ask about the run that has just ended."""
    assert said.code == 0, said.text
    with dg.DagsterInstance.from_config(str(site.place / "dagster")) as instance:
        run = instance.get_runs(limit=1)[0]
        events = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    materialized = [
        (made.asset_key.to_user_string(), made.partition, {name: it.value for name, it in made.metadata.items()})
        for made in (event.asset_materialization for event in events)
    ]
    recorded = site.metrics(
        f"select asset, partition_range from metrics.pipeline_runs where run_id = '{run.run_id}' order by 1"
    )
    tables = "select 'sensor_readings', count(*) from metrics.sensor_readings union all"
    amounts = "retail_discount_amount + coupon_discount_amount + coupon_match_discount_amount"
    sums = "count(*), count(distinct order_id), sum(quantity), sum(sales_amount), sum({})"
    sold = "select * exclude (_loaded_at) from marts.fct_sales order by all"
    return Stage(
        said,
        site.delta_versions(),
        run,
        events[-1].timestamp,
        materialized,
        recorded,
        site.warehouse(sold),
        {
            "lake": {table: site.lake(f"select {sums} from {table}") for table, sums in FIGURES.items()},
            "source": {table: site.source(f"select {sums} from {table}") for table, sums in FIGURES.items()},
            "source rows": {table: site.source(f"select count(*) from {table}")[0][0] for table in FIGURES},
            "sales": site.warehouse(f"select {sums.format('discount_amount')} from marts.fct_sales"),
            "source sales": site.source(f"select {sums.format(amounts)} from order_items"),
            "metrics": site.metrics(f"{tables} select 'sales_hourly', count(*) from metrics.sales_hourly"),
        },
    )
