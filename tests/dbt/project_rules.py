"""The rules of the dbt project as functions: each takes dbt's manifest and names what breaks it."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

Manifest = dict[str, Any]
Node = dict[str, Any]

SCHEMAS = {"staging": "staging", "intermediate": "intermediate", "marts": "marts", "metrics": "metrics"}
PREFIXES = {"staging": ("stg_",), "intermediate": ("int_",), "marts": ("fct_", "dim_"), "metrics": ("metric_",)}
# source -> staging -> intermediate -> marts -> metrics: never backwards, and only staging reads a source. A mart may
# read staging where an intermediate model would only repeat it.
MAY_READ = {
    "staging": {"source"},
    "intermediate": {"staging", "intermediate"},
    "marts": {"staging", "intermediate", "marts"},
    "metrics": {"intermediate", "marts"},
}
KEY_TESTS = ("unique", "unique_combination")


def models(manifest: Manifest) -> list[Node]:
    return [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]


def layer(node: Node) -> str:
    return node["resource_type"] if node["resource_type"] != "model" else node["fqn"][1]


def published(manifest: Manifest) -> list[Node]:
    return [node for node in models(manifest) if layer(node) in ("marts", "metrics")]


def tests_of(manifest: Manifest) -> dict[str, list[Node]]:
    """The generic tests of each model, by its unique id."""
    found = defaultdict(list)
    for node in manifest["nodes"].values():
        if node.get("test_metadata"):
            found[node["attached_node"]].append(node)
    return found


def tested(manifest: Manifest, node: Node, kind: str) -> set[str]:
    """The columns of a model that a kind of test looks at."""
    tests = [it for it in tests_of(manifest)[node["unique_id"]] if it["test_metadata"]["name"] == kind]
    columns = [it["test_metadata"]["kwargs"].get("columns") or [it["column_name"]] for it in tests]
    return {name for names in columns for name in names}


def layers_are_read_in_order(manifest: Manifest) -> Iterator[str]:
    for node in models(manifest):
        for parent in node["depends_on"]["nodes"]:
            read = "source" if parent in manifest["sources"] else layer(manifest["nodes"][parent])
            if read not in MAY_READ[layer(node)]:
                yield f"{node['name']} ({layer(node)}) reads {parent}"


def layers_have_their_schemas(manifest: Manifest) -> Iterator[str]:
    for node in models(manifest):
        if node["schema"] != SCHEMAS[layer(node)]:
            yield f"{node['name']} lies in the schema {node['schema']}"


def staging_has_one_view_per_source_table(manifest: Manifest) -> Iterator[str]:
    tables = {f"stg_{it['source_name']}__{it['name']}" for it in manifest["sources"].values()}
    staged = {node["name"]: node for node in models(manifest) if layer(node) == "staging"}
    yield from (f"{name} is missing, or has no source table" for name in tables ^ staged.keys())
    for name, node in staged.items():
        if len(node["depends_on"]["nodes"]) != 1 or node["config"]["materialized"] != "view":
            yield f"{name} is no view of one table"


def names_tell_the_layer(manifest: Manifest) -> Iterator[str]:
    for node in models(manifest):
        if not node["name"].startswith(PREFIXES[layer(node)]):
            yield f"{node['name']} lies in {layer(node)}"


def models_tell_their_grain(manifest: Manifest) -> Iterator[str]:
    for node in models(manifest):
        if not node["description"].startswith("One row per "):
            yield f"{node['name']}: the first sentence of its description does not give the grain"


def columns_are_described(manifest: Manifest) -> Iterator[str]:
    for node in models(manifest):
        if not node["columns"]:
            yield f"{node['name']} describes no column"
        for column in node["columns"].values():
            if not column["description"].strip():
                yield f"{node['name']}.{column['name']} is not described"
    for source in manifest["sources"].values():
        if not source["description"].strip():
            yield f"source {source['name']} is not described"


def models_have_an_owner(manifest: Manifest) -> Iterator[str]:
    for node in models(manifest):
        if not node["config"]["meta"].get("owner"):
            yield f"{node['name']} has no owner"


def marts_have_a_contract(manifest: Manifest) -> Iterator[str]:
    for node in published(manifest):
        if not node["config"]["contract"]["enforced"]:
            yield f"{node['name']} has no enforced contract"
        for column in node["columns"].values():
            if not column["data_type"]:
                yield f"{node['name']}.{column['name']} has no type"


def marts_have_a_tested_key(manifest: Manifest) -> Iterator[str]:
    for node in published(manifest):
        keys = set().union(*(tested(manifest, node, kind) for kind in KEY_TESTS))
        if not keys:
            yield f"{node['name']} has no key that is tested to be unique"
        elif not keys & tested(manifest, node, "not_null"):
            yield f"{node['name']}: no part of its key is tested to be present"


def foreign_keys_are_tested(manifest: Manifest) -> Iterator[str]:
    for node in published(manifest):
        own = set().union(*(tested(manifest, node, kind) for kind in KEY_TESTS))
        foreign = {name for name in node["columns"] if name.endswith("_key")} - own
        for name in sorted(foreign - tested(manifest, node, "relationships")):
            yield f"{node['name']}.{name} is not held against its dimension"


def tests_say_what_they_claim(manifest: Manifest) -> Iterator[str]:
    for node in (it for it in manifest["nodes"].values() if it["resource_type"] == "test"):
        if not node["description"].strip() or len(node["name"]) > 70:
            yield f"test {node['name']} has no description, or a name over 70 characters"
        if not node["depends_on"]["nodes"]:
            yield f"test {node['name']} looks at nothing"
    for unit in manifest["unit_tests"].values():
        if not unit["description"].strip() or len(unit["name"].split("_")) <= 4:
            yield f"unit test {unit['name']} is no claim"


RULES = (
    layers_are_read_in_order,
    layers_have_their_schemas,
    staging_has_one_view_per_source_table,
    names_tell_the_layer,
    models_tell_their_grain,
    columns_are_described,
    models_have_an_owner,
    marts_have_a_contract,
    marts_have_a_tested_key,
    foreign_keys_are_tested,
    tests_say_what_they_claim,
)
