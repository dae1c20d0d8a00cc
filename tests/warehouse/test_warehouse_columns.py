"""What is written about the models is what was built: every column, no other, and the types of the marts."""

import json

import duckdb
from conftest import Place

from warehouse import build


def test_every_column_of_every_model_is_described_and_none_that_is_not_there(built: Place):
    found = build.relations()
    nodes = json.loads(build.parse().read_text())["nodes"].values()
    models = [node for node in nodes if node["resource_type"] == "model"]
    for node in models:
        columns = [name for name, _ in found[f"{node['schema']}.{node['name']}"].columns]
        assert sorted(columns) == sorted(node["columns"]), node["name"]
    assert len(models) > 20


def test_the_types_of_the_marts_are_those_of_their_contracts(built: Place):
    found = build.relations()
    nodes = json.loads(build.parse().read_text())["nodes"].values()
    for node in (it for it in nodes if it["resource_type"] == "model" and it["schema"] in ("marts", "metrics")):
        built_types = dict(found[f"{node['schema']}.{node['name']}"].columns)
        for name, column in node["columns"].items():
            assert built_types[name] == spelled(column["data_type"]), f"{node['name']}.{name}"


def spelled(kind: str) -> str:
    """A type as DuckDB writes it."""
    return str(duckdb.sqltype(kind))
