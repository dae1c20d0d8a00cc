"""The rules of the dbt project, read from its manifest."""

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import project_rules as rules
import pytest
from project_rules import RULES, Manifest

from warehouse import build, reconcile
from warehouse.layout import PROJECT


@pytest.fixture(scope="module", params=[("shop", "bigint"), ("marketplace", "varchar")], ids=lambda shop: shop[0])
def manifest(request, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The project as it is for one shop; the rules hold for each."""
    root = tmp_path_factory.mktemp("dbt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAKE_ROOT", str(root / "lake"))
        patch.setenv("SHOP_SOURCE", request.param[0])
        patch.setenv("SHOP_ID_TYPE", request.param[1])
        yield json.loads(build.parse(root).read_text())


@pytest.fixture(scope="module")
def models(manifest) -> dict[str, dict[str, Any]]:
    return {node["name"]: node for node in manifest["nodes"].values() if node["resource_type"] == "model"}


def test_the_project_is_that_of_one_shop(request, manifest, models):
    shop, id_type = request.node.callspec.params["manifest"]
    assert {source["source_name"] for source in manifest["sources"].values()} == {shop}
    assert models["fct_sales"]["columns"]["order_id"]["data_type"] == id_type
    tests = [node for node in manifest["nodes"].values() if node["resource_type"] == "test"]
    assert [node["name"] for node in tests if not node["depends_on"]["nodes"]] == []


def test_marts_are_reconciled_with_tables_of_the_shop_in_use(request, manifest):
    held = reconcile.of_manifest(manifest)
    assert {mart.source for mart in held} == {request.node.callspec.params["manifest"][0]}
    assert {f"{mart.source}.{mart.table}" for mart in held} <= {
        f"{source['source_name']}.{source['name']}" for source in manifest["sources"].values()
    }


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_project_keeps_the_rule(manifest, rule):
    assert list(rule(manifest)) == []


def model(manifest: Manifest, name: str) -> dict[str, Any]:
    return manifest["nodes"][f"model.watershed.{name}"]


def without_tests(manifest: Manifest, name: str, column: str, *kinds: str) -> None:
    """Take tests of a column away."""
    for node in rules.tests_of(manifest)[f"model.watershed.{name}"]:
        if node["test_metadata"]["name"] in kinds and node["column_name"] == column:
            del manifest["nodes"][node["unique_id"]]


def a_mart_reads_a_source(manifest: Manifest) -> None:
    model(manifest, "dim_store")["depends_on"]["nodes"].append(next(iter(manifest["sources"])))


def staging_reads_a_mart(manifest: Manifest) -> None:
    staged = next(node for node in rules.models(manifest) if node["name"].startswith("stg_"))
    staged["depends_on"]["nodes"].append("model.watershed.dim_store")


def an_intermediate_model_reads_a_mart(manifest: Manifest) -> None:
    model(manifest, "int_sale_lines")["depends_on"]["nodes"].append("model.watershed.dim_store")


def a_source_table_has_no_staging(manifest: Manifest) -> None:
    table = next(iter(manifest["sources"].values()))
    del manifest["nodes"][f"model.watershed.stg_{table['source_name']}__{table['name']}"]


def staging_joins_two_tables(manifest: Manifest) -> None:
    staged = next(node for node in rules.models(manifest) if node["name"].startswith("stg_"))
    staged["depends_on"]["nodes"] = list(manifest["sources"])[:2]


# what is done to the manifest -> the rule that must tell, and of whom
WRONGS: tuple[tuple[Callable[[Manifest], object], Callable[[Manifest], Iterator[str]], str], ...] = (
    (a_mart_reads_a_source, rules.layers_are_read_in_order, "dim_store"),
    (staging_reads_a_mart, rules.layers_are_read_in_order, "stg_"),
    (an_intermediate_model_reads_a_mart, rules.layers_are_read_in_order, "int_sale_lines"),
    (lambda it: model(it, "dim_store").update(schema="main"), rules.layers_have_their_schemas, "dim_store"),
    (a_source_table_has_no_staging, rules.staging_has_one_view_per_source_table, "stg_"),
    (staging_joins_two_tables, rules.staging_has_one_view_per_source_table, "stg_"),
    (lambda it: model(it, "dim_store").update(name="store"), rules.names_tell_the_layer, "store"),
    (lambda it: model(it, "dim_store").update(description="Stores."), rules.models_tell_their_grain, "dim_store"),
    (
        lambda it: model(it, "dim_store")["columns"]["city"].update(description=" "),
        rules.columns_are_described,
        "dim_store.city",
    ),
    (lambda it: model(it, "int_utc_offsets").update(columns={}), rules.columns_are_described, "int_utc_offsets"),
    (lambda it: model(it, "dim_store")["config"]["meta"].pop("owner"), rules.models_have_an_owner, "dim_store"),
    (
        lambda it: model(it, "fct_sales")["config"]["contract"].update(enforced=False),
        rules.marts_have_a_contract,
        "fct_sales",
    ),
    (
        lambda it: model(it, "dim_store")["columns"]["city"].update(data_type=None),
        rules.marts_have_a_contract,
        "dim_store.city",
    ),
    (
        lambda it: (
            without_tests(it, "dim_date", "date_key", "unique", "not_null")
            or without_tests(it, "dim_date", "date_day", "unique")
        ),
        rules.marts_have_a_tested_key,
        "dim_date",
    ),
    (
        lambda it: without_tests(it, "fct_sales", "sale_key", "not_null"),
        rules.marts_have_a_tested_key,
        "fct_sales",
    ),
    (
        lambda it: without_tests(it, "fct_sales", "store_key", "relationships"),
        rules.foreign_keys_are_tested,
        "fct_sales.store_key",
    ),
    (
        lambda it: rules.tests_of(it)["model.watershed.dim_store"][0].update(description=""),
        rules.tests_say_what_they_claim,
        "dim_store",
    ),
    (
        lambda it: next(iter(it["unit_tests"].values())).update(name="test_one"),
        rules.tests_say_what_they_claim,
        "test_one",
    ),
)


@pytest.mark.parametrize(("do", "rule", "whom"), WRONGS, ids=[f"{rule.__name__}-{whom}" for _, rule, whom in WRONGS])
def test_a_rule_tells_who_breaks_it(manifest, do, rule, whom):
    doctored = copy.deepcopy(manifest)
    do(doctored)
    assert any(whom in told for told in rule(doctored))


def test_every_rule_is_shown_to_be_able_to_fail():
    assert {rule for _, rule, _ in WRONGS} == set(RULES)


def test_logic_has_unit_tests_named_as_claims(manifest):
    units = manifest["unit_tests"].values()
    assert {"int_customer_versions", "int_sale_lines", "int_product_versions", "metric_sales_hourly"} <= {
        unit["model"] for unit in units
    }


def test_the_sources_lie_in_the_processed_zone(manifest):
    for source in manifest["sources"].values():
        location = (source["config"].get("meta") or source["meta"])["external_location"].format(name=source["name"])
        assert location.startswith("delta_scan('/"), location
        assert location.endswith(f"/lake/processed/{source['source_name']}/{source['name']}')"), location


def test_exposures_name_who_depends_on_the_marts(manifest):
    assert {it["name"] for it in manifest["exposures"].values()} == {"analysts_sql", "metrics_store", "sales_report"}


def test_the_sql_is_formatted():
    import subprocess
    import sys
    from pathlib import Path

    sqlfmt = Path(sys.executable).with_name("sqlfmt")
    done = subprocess.run([sqlfmt, "--check", "--line-length", "120", PROJECT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
