"""A build of the whole project does what it has news of, and reuses the rest; the outcome is that of a full refresh."""

import json
import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import deltalake
import pytest
import warehouse_lakes
from warehouse_lakes import at, line, order, small_shop

from lake import duck
from lake.errors import BuildFailed
from warehouse import build, news, proof, publish, runner, verdicts
from warehouse.layout import PROJECT, Layout
from warehouse.report import BuildReport

STATEMENT = "select schema_name, table_name from duckdb_tables() where schema_name in ('marts', 'metrics') order by all"
OF_CUSTOMERS = {"stg_shop__customers_history", "int_customer_versions", "dim_customer", "dim_product"}
OF_ORDERS = {"stg_shop__order_items", "int_sale_lines", "fct_sales", "fct_sales_monthly", "metric_sales_hourly"}


@pytest.fixture(scope="module")
def passed(folders, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], None]:
    """What puts the small shop back as it was built and tested, together with the very lake it was built from."""
    kept = tmp_path_factory.mktemp("passed")
    _empty(folders)
    warehouse_lakes.write_all(folders.lake, small_shop())
    build.run(unit_tests=False)
    shutil.copytree(folders.layout.build.parent, kept / "build")
    shutil.copytree(folders.lake, kept / "lake")

    def put_back() -> None:
        _empty(folders)
        shutil.copytree(kept / "build", folders.layout.build.parent)
        shutil.copytree(kept / "lake", folders.lake)

    return put_back


@pytest.fixture
def shop(folders, passed: Callable[[], None]):
    """The small shop, built and tested from the lake as it is."""
    passed()
    return folders


def _empty(place) -> None:
    for folder in (place.layout.build.parent, place.layout.published, place.lake):
        shutil.rmtree(folder, ignore_errors=True)
    place.layout.pointer.unlink(missing_ok=True)


def names(report: BuildReport, *, reused: bool, kind: str = "model") -> set[str]:
    return {it.name for it in report.of_kind(kind) if (it.status == "reused") is reused}


def run() -> BuildReport:
    return build.run(unit_tests=False)


def planned(place) -> news.Plan:
    """What the next build would do, with nothing built."""
    return news.plan(place.layout, proof.proof(place.layout), build.manifest())


def would_build(place) -> set[str]:
    return {unique_id.split(".")[2] for unique_id in planned(place).build}


def sell(place, amount: str = "4.00") -> None:
    """One more order, on a day of its own, and another amount in an older one."""
    changed = small_shop()
    changed["order_items"][2] |= {"sales_amount": Decimal("9.89")}
    place.write(
        orders=[*changed["orders"], order(7, 2, 1, at(25))],
        order_items=[*changed["order_items"], line(7, 1, 2, amount, at(25))],
    )


def numbers(place) -> dict[str, list[tuple[object, ...]]]:
    """All rows of all marts and metrics."""
    with duck.connect(place.layout.build, read_only=True) as connection:
        return {
            f"{schema}.{name}": connection.execute(f"from {schema}.{name} order by all").fetchall()
            for schema, name in connection.execute(STATEMENT).fetchall()
        }


def test_a_day_of_orders_leaves_what_rests_on_customers_as_it_is_and_equals_a_full_refresh(shop):
    sell(shop)
    seen: list[str] = []
    report = build.run(unit_tests=False, on_progress=lambda it: seen.append(it.name))
    assert names(report, reused=True) >= OF_CUSTOMERS
    assert names(report, reused=False) >= OF_ORDERS
    assert not OF_CUSTOMERS & set(seen)
    tests = names(report, reused=True, kind="test")
    assert "dim_customer_customer_key_is_unique" in tests
    assert "assert_every_order_line_is_in_fct_sales" not in tests
    rows = {it.name: it.rows for it in report.results}
    assert (rows["fct_sales"], rows["dim_customer"], rows["stg_shop__customers"]) == (8, 5, 3)
    incremental = numbers(shop)
    assert publish.publish().number == 1
    again = build.run(full_refresh=True, unit_tests=False)
    assert not any(it.status == "reused" for it in again.results)
    assert len(again.of_kind("model", "test")) == len(report.of_kind("model", "test"))
    assert numbers(shop) == incremental


def test_without_news_nothing_is_built_and_it_can_be_published(shop, monkeypatch):
    monkeypatch.setattr(runner, "invoke", lambda *_: pytest.fail("dbt is asked to build"))
    before = verdicts.verdicts(shop.layout)
    report = run()
    assert {it.status for it in report.results} == {"reused"}
    assert {it.verdict for it in report.of_kind("test")} == {"pass"}
    assert verdicts.verdicts(shop.layout) == before
    publish.publish()
    assert not would_build(shop)


def test_what_is_reused_comes_after_what_it_rests_on(shop):
    order_of = {unique_id: place for place, unique_id in enumerate(planned(shop).reuse)}
    parents = build.manifest()["parent_map"]
    assert all(order_of[one] < at for it, at in order_of.items() for one in parents[it] if one in order_of)


def test_a_table_that_moves_on_while_it_is_built_has_news_for_the_next_build(shop, monkeypatch):
    invoke = runner.invoke

    def meanwhile(*words):
        answer = invoke(*words)
        sell(shop, "6.00")
        return answer

    sell(shop, "4.00")
    with monkeypatch.context() as patch:
        patch.setattr(runner, "invoke", meanwhile)
        run()
    assert would_build(shop) >= OF_ORDERS
    assert not OF_CUSTOMERS & would_build(shop)


def test_a_failed_test_and_what_it_looks_at_is_not_reused(shop):
    sell(shop)
    lost = [*small_shop()["order_items"], line(1, 1, 1, "2.50", at(5))]  # a key twice
    shop.write(order_items=lost)
    with pytest.raises(BuildFailed, match="fct_sales_sale_key_is_unique"):
        run()
    assert would_build(shop) >= OF_ORDERS | {"int_shop_order_items"}
    assert any("is_unique" in name for name in would_build(shop))
    sell(shop)
    run()
    assert not would_build(shop)


def test_the_country_of_the_holidays_is_news(shop, monkeypatch):
    monkeypatch.setenv("HOLIDAY_SUBDIVISION", "CA")
    report = run()
    assert not names(report, reused=True)
    chavez = "select count(*) from marts.dim_date where holiday_name like 'Cesar Chavez%'"
    with duck.connect(shop.layout.build, read_only=True) as connection:
        assert connection.execute(chavez).fetchall() != [(0,)]
    assert not would_build(shop)


@pytest.mark.parametrize("changed", ["macros/keys.sql", "models/marts/dim_store.sql", "dbt_project.yml"])
def test_a_changed_file_of_the_project_is_news(shop, tmp_path: Path, changed: str):
    other = Layout(shop.root, shutil.copytree(PROJECT, tmp_path / "project"))
    assert news.project(other) == news.project(shop.layout)
    with (other.project / changed).open("a") as file:
        file.write("\n")
    assert news.project(other) != news.project(shop.layout)


def test_a_variable_that_a_model_asks_for_is_news_and_the_keys_of_the_connection_are_not(
    shop, tmp_path: Path, monkeypatch
):
    other = Layout(shop.root, shutil.copytree(PROJECT, tmp_path / "project"))
    (other.project / "macros" / "own.sql").write_text('{% macro own() %} {{ env_var("OWN_RATE", "1") }} {% endmacro %}')
    before = news.project(other)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "another")
    assert news.project(other) == before
    monkeypatch.setenv("OWN_RATE", "2")
    assert news.project(other) != before


def test_the_calendar_has_news_each_day_and_what_asks_the_clock_always(shop, monkeypatch):
    monkeypatch.setattr(news, "today", lambda: "2099-01-01")
    assert {"int_calendar_days", "dim_date"} <= would_build(shop)
    assert not {"dim_customer", "fct_sales"} & would_build(shop)
    known = build.manifest()
    for code in ("select current_date as day", "select * from read_csv('rates.csv')", "{{ run_started_at }}"):
        asked = {**known["nodes"]["model.watershed.dim_store"], "raw_code": code}
        project = {**known, "nodes": {**known["nodes"], asked["unique_id"]: asked}}
        plan = news.plan(shop.layout, proof.proof(shop.layout), project)
        assert asked["unique_id"] not in plan.basis
        assert asked["unique_id"] in plan.build


def roll_back(place) -> None:
    publish.publish()
    publish.publish()
    publish.rollback()


def put_another_in_place(place) -> None:
    place.layout.build.unlink()
    with duck.connect(place.layout.build) as connection:
        connection.execute("create schema marts; create table marts.fct_sales as select 1 as sale_key")


def lose(place) -> None:
    place.layout.build.unlink()


def be_killed(place) -> None:
    proof.withdraw(place.layout)  # as a build does when it begins


@pytest.mark.parametrize("happened", [roll_back, put_another_in_place, lose, be_killed])
def test_all_is_built_where_the_build_file_may_be_another_than_what_was_proven(shop, happened):
    assert planned(shop).reuse
    happened(shop)
    assert not planned(shop).reuse


def test_a_table_that_is_missing_in_the_build_file_is_built(shop):
    with duck.connect(shop.layout.build) as connection:
        connection.execute("drop table marts.dim_store")
    assert {"dim_store", "dim_store_store_key_is_unique"} <= would_build(shop)
    assert "dim_customer" not in would_build(shop)


def test_after_a_build_of_a_part_it_and_what_rests_on_it_are_built(shop):
    assert not would_build(shop)
    build.run(select=["int_product_versions"], unit_tests=False)
    assert {"int_product_versions", "dim_product", "fct_sales", "fct_sales_monthly"} <= would_build(shop)
    assert not {"dim_customer", "stg_shop__orders"} & would_build(shop)


def test_a_table_that_was_put_back_is_the_same_and_a_new_one_with_its_version_is_not(shop, tmp_path: Path):
    stores = shop.lake / "processed" / "shop" / "stores"
    kept, rows = shutil.copytree(stores, tmp_path / "stores"), small_shop()["stores"]
    assert deltalake.DeltaTable(stores).version() == 0
    shutil.rmtree(stores)
    shop.write(stores=rows)
    assert deltalake.DeltaTable(stores).version() == 0
    assert "stg_shop__stores" in would_build(shop)
    shutil.rmtree(stores)
    shutil.copytree(kept, stores)
    assert not would_build(shop)
    shutil.rmtree(stores)
    assert "stg_shop__stores" in would_build(shop)


def test_dagster_sees_every_model_and_every_verdict_of_what_is_reused(shop):
    import dagster as dg

    from orchestration import models

    path = shop.layout.build.with_name("verdicts.json")
    known = json.loads(path.read_text())
    warned = next(it for it in known if ".dim_store_store_key_is_unique" in it)
    known[warned] |= {"status": "warn", "failures": 2}
    path.write_text(json.dumps(known))
    done = dg.materialize([models.assets()[0]])
    told = {it.asset_key.path[-1]: it.metadata for it in done.asset_materializations_for_node("dbt")}
    assert {it["status"].value for it in told.values()} == {"reused"}
    assert set(told) == {it.name for it in run().of_kind("model")}
    assert told["fct_sales"]["dagster/row_count"].value == 7
    checks = {it.check_name: it for it in done.get_asset_check_evaluations()}
    assert [it.check_name for it in checks.values() if not it.passed] == ["dim_store_store_key_is_unique"]
    assert checks["dim_store_store_key_is_unique"].metadata["failing_rows"].value == 2
