"""What a build makes of a small shop, and how it reports on itself."""

import subprocess
import sys
from decimal import Decimal

import pytest
import warehouse_lakes
from warehouse_lakes import at, line, order

from lake import duck
from lake.errors import BuildFailed, SpecError
from warehouse import build
from warehouse.layout import layout
from warehouse.report import BuildReport, NodeResult, Progress

pytestmark = pytest.mark.usefixtures("built")


@pytest.fixture
def ask(built):
    def answer(sql: str) -> list[tuple[object, ...]]:
        with duck.connect(built.layout.build, read_only=True) as connection:
            return connection.execute(sql).fetchall()

    return answer


def test_every_line_survives_whatever_it_names(ask):
    rows = ask(
        """
        select order_id, line_number, product_key = '-1', customer_key = '-1', store_key = '-1', status_code
        from marts.fct_sales order by all
        """
    )
    assert rows == [
        (1, 1, False, False, False, "paid"),
        (1, 2, False, False, False, "paid"),
        (2, 1, False, False, False, "returned"),
        (3, 1, True, False, False, "paid"),
        (4, 1, False, True, True, "cancelled"),
        (5, 1, False, False, False, "paid"),
        (6, 1, False, True, True, "unknown"),
    ]


def test_a_sale_finds_the_customer_as_she_was_then(ask):
    rows = ask(
        """
        select order_id, city, is_current from marts.fct_sales inner join marts.dim_customer using (customer_key)
        where fct_sales.customer_id = 1 and line_number = 1 order by all
        """
    )
    assert rows == [(1, "Boston", False), (2, "Salem", True)]


def test_a_deleted_product_still_has_its_department(ask):
    sql = (
        "select department_name, is_current, is_deleted from marts.fct_sales join marts.dim_product using (product_key)"
    )
    assert ask(f"{sql} where order_id = 2") == [("OFFICE", False, True)]


def test_a_sale_counts_on_its_stores_day(ask):
    assert ask("select order_id, date_key from marts.fct_sales where order_id in (3, 5) order by all") == [
        (3, 20260116),  # 20:00 UTC is the next morning in Tokyo
        (5, 20260201),  # 03:00 UTC is the evening before in New York
    ]


def test_amounts_follow_from_the_shops_own(ask):
    rows = ask("select gross_amount, discount_amount, net_amount from marts.fct_sales where order_id = 1 order by all")
    assert rows == [
        (Decimal("3.00"), Decimal("0.50"), Decimal("2.50")),
        (Decimal("3.00"), Decimal("1.00"), Decimal("2.00")),
    ]


def test_the_calendar_covers_whole_years_and_knows_holidays(ask):
    sql = "select min(date_day)::varchar, max(date_day)::varchar, count(*) from marts.dim_date where date_key <> -1"
    assert ask(sql) == [("2026-01-01", "2027-12-31", 730)]
    sql = "select holiday_name, week_number, iso_year_number, is_weekend from marts.dim_date where date_key = "
    assert ask(sql + "20260704") == [("Independence Day", 27, 2026, True)]
    assert ask(sql + "20270101") == [("New Year's Day", 53, 2026, False)]


def test_readings_of_an_unknown_sensor_are_kept(ask):
    sql = "select device_id, store_id, count(*) from metrics.metric_sensor_readings group by all order by all"
    assert ask(sql) == [(1, 1, 3), (2, -1, 3)]


def test_relations_tell_rows_and_columns_of_tables_and_views(built):
    found = build.relations()
    assert found["marts.fct_sales"].rows == 7
    assert found["staging.stg_shop__orders"].rows == 5
    assert found["marts.fct_sales"].columns[:2] == (("sale_key", "VARCHAR"), ("order_id", "BIGINT"))


def test_the_documentation_is_one_page_and_freshness_has_a_status(built):
    assert build.docs().read_text().lstrip().startswith("<!doctype html>")
    assert set(build.freshness()) >= {"shop.orders", "shop.order_items", "shop.sensor_readings"}


def test_a_build_reports_each_step_and_leaves_no_handle_open(built):
    seen: list[Progress] = []
    report = build.run(unit_tests=False, on_progress=seen.append)
    fact = next(result for result in report.results if result.name == "fct_sales")
    assert (fact.kind, fact.status, fact.rows) == ("model", "success", 7)
    assert {it.status for it in seen if it.unique_id == fact.unique_id} == {"started", "success"}
    assert not report.of_kind("unit_test")
    other = "import sys, duckdb; duckdb.connect(sys.argv[1]).execute('create or replace table main.probe (i int)')"
    subprocess.run([sys.executable, "-c", other, str(built.layout.build)], check=True)


def test_nothing_is_written_into_the_project(built):
    from warehouse.layout import PROJECT

    assert not [name for name in ("target", "logs", ".user.yml") if (PROJECT / name).exists()]


def test_parsing_again_is_free_until_the_lake_moves(built, monkeypatch, tmp_path):
    path = build.parse()
    written = path.stat().st_mtime_ns
    assert build.parse().stat().st_mtime_ns == written
    monkeypatch.setenv("LAKE_ROOT", str(tmp_path))
    assert str(tmp_path) in build.parse().read_text()


def test_a_relative_lake_root_is_refused(built, monkeypatch):
    monkeypatch.setenv("LAKE_ROOT", "data/lake")
    with pytest.raises(SpecError, match="LAKE_ROOT: 'data/lake' is not absolute; give an absolute folder"):
        build.run()


def test_an_unreadable_lake_is_said_in_one_line(place):
    import shutil

    shutil.rmtree(place.lake / "processed" / "shop" / "stores")
    with pytest.raises(BuildFailed, match=r"^dbt build: .*model stg_shop__stores.*; look into .*dbt\.log") as raised:
        build.run(exclude=["test_type:data", "test_type:unit"])
    assert "\n" not in str(raised.value)


def test_an_empty_shop_builds_and_passes(place):
    warehouse_lakes.write_all(place.lake, {})
    report = build.run(unit_tests=False)
    rows = {result.name: result.rows for result in report.results}
    assert (rows["fct_sales"], rows["metric_sensor_readings"], rows["dim_product"]) == (0, 0, 1)


def test_a_wrong_code_fails_the_build_by_name(place):
    place.write(orders=[order(1, 1, 1, at(5), status_code="lost")], order_items=[line(1, 1, 1, "1.00", at(5))])
    with pytest.raises(BuildFailed, match="test stg_shop__orders_status_code_is_known") as raised:
        build.run(select=["stg_shop__orders"], unit_tests=False)
    assert "the published warehouse stays as it was" in str(raised.value)


def test_a_step_that_found_no_room_tells_of_the_disk_and_not_of_the_model(tmp_path):
    said = 'Failed to commit: Could not write file "warehouse.duckdb.wal": No space left on device'
    full = NodeResult("model.watershed.fct_sales", "fct_sales", "model", "error", 0.1, said, None, None, None)
    error = BuildReport((full,), 1.0).failure(layout(tmp_path))
    assert str(error) == (
        f"dbt build: the disk is full: model fct_sales ({said}); free some space and run again; "
        "the published warehouse stays as it was"
    )
