"""The rules of the dbt project, read from its manifest."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from warehouse import build, reconcile
from warehouse.layout import PROJECT

SCHEMAS = {"staging": "staging", "intermediate": "intermediate", "marts": "marts", "metrics": "metrics"}
MAY_READ = {"staging": {"source"}, "intermediate": {"staging", "intermediate"}}
MAY_READ |= {"marts": {"staging", "intermediate", "marts"}, "metrics": {"intermediate", "marts"}}
SHARED_KEYS = {"metric_sales_hourly", "metric_sensor_readings"}


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


def layer(node: dict[str, Any]) -> str:
    return "seed" if node["resource_type"] == "seed" else node["fqn"][1]


def generic_tests(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    return [node for node in manifest["nodes"].values() if node.get("test_metadata")]


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


def test_every_layer_has_its_schema(models):
    assert {layer(node): node["schema"] for node in models.values()} == SCHEMAS


def test_a_layer_reads_only_what_it_may(manifest, models):
    for node in models.values():
        parents = node["depends_on"]["nodes"]
        read = {"source" if name in manifest["sources"] else layer(manifest["nodes"][name]) for name in parents}
        assert read <= MAY_READ[layer(node)], node["name"]


def test_names_tell_the_layer_and_the_source_table(manifest, models):
    prefixes = {"staging": ("stg_",), "intermediate": ("int_",), "marts": ("fct_", "dim_"), "metrics": ("metric_",)}
    for name, node in models.items():
        assert name.startswith(prefixes[layer(node)]), name
    staged = {name for name in models if name.startswith("stg_")}
    assert staged == {f"stg_{it['source_name']}__{it['name']}" for it in manifest["sources"].values()}


def test_every_model_and_column_is_described_and_owned(models, manifest):
    for name, node in models.items():
        assert node["description"].startswith("One row per "), f"{name}: the first sentence gives the grain"
        assert node["config"]["meta"]["owner"], name
        assert node["columns"], name
        for column in node["columns"].values():
            assert column["description"], f"{name}.{column['name']}"
    for source in manifest["sources"].values():
        assert source["description"], source["name"]


def test_marts_and_metrics_have_a_contract_of_every_column(models):
    for name, node in models.items():
        if layer(node) in ("marts", "metrics"):
            assert node["config"]["contract"]["enforced"], name
            assert all(column["data_type"] for column in node["columns"].values()), name


def test_every_mart_and_metric_has_a_tested_key(models, manifest):
    kinds: dict[str, set[str]] = {}
    for node in generic_tests(manifest):
        kinds.setdefault(node["attached_node"], set()).add(node["test_metadata"]["name"])
    for name, node in models.items():
        if layer(node) in ("marts", "metrics"):
            key = "unique_combination" if name in SHARED_KEYS else "unique"
            assert {key, "not_null"} <= kinds[node["unique_id"]], name


def test_every_key_of_a_fact_is_related_to_its_dimension(models, manifest):
    related = {
        (node["attached_node"], node["column_name"])
        for node in generic_tests(manifest)
        if node["test_metadata"]["name"] == "relationships"
    }
    unique = {
        (node["attached_node"], node["column_name"])
        for node in generic_tests(manifest)
        if node["test_metadata"]["name"] == "unique"
    }
    for name in (name for name in models if name.startswith("fct_")):
        keys = {column for column in models[name]["columns"] if column.endswith("_key")}
        own = {key for key in keys if (models[name]["unique_id"], key) in unique}
        assert {(models[name]["unique_id"], key) for key in keys - own} <= related, name


def test_every_test_has_a_readable_name_and_a_description(manifest):
    tests = [node for node in manifest["nodes"].values() if node["resource_type"] == "test"]
    assert tests
    for node in tests:
        assert node["description"], node["name"]
        assert "__dbt_tmp" not in node["name"]
        assert len(node["name"]) <= 70, node["name"]


def test_logic_has_unit_tests_named_as_claims(manifest):
    units = manifest["unit_tests"].values()
    assert {"int_customer_versions", "int_sale_lines", "int_product_versions", "metric_sales_hourly"} <= {
        unit["model"] for unit in units
    }
    assert all(unit["description"] and len(unit["name"].split("_")) > 4 for unit in units)


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
