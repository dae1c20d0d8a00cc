"""A warehouse of three small tables without dbt: what publishing needs of a build, made in milliseconds.

Every table carries a stamp, by default one for all of them, so that a mixture of two versions shows.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import duckdb

from lake import duck
from lake.layout import Lake
from warehouse import proof, runner
from warehouse.layout import Layout, layout
from warehouse.report import NodeResult

DAYS = 4
MODELS = {"fct_sale": "marts", "dim_shop": "marts", "metric_hourly": "metrics"}
TEST = "test.tiny.sale_id_is_unique"


@dataclass(frozen=True)
class Tiny:
    """A warehouse root and the lake that goes with it."""

    root: Path
    lake: Lake

    @property
    def layout(self) -> Layout:
        return layout(self.root)

    def declare(self) -> None:
        """Write the manifest that dbt would, with the key that says that it is up to date."""
        place = self.layout
        place.target.mkdir(parents=True, exist_ok=True)
        (place.target / "manifest.json").write_text(json.dumps(manifest()))
        (place.target / "manifest.key").write_text(runner.project_key(place))

    def build(self, stamp: int, *more: str, rows: int = 40, shop: int | None = None) -> None:
        """Build all tables with a stamp, run some statements on the build file, and prove it."""
        self.layout.build.parent.mkdir(parents=True, exist_ok=True)
        with duck.connect(self.layout.build) as connection:
            create(connection, stamp, rows, stamp if shop is None else shop)
            for statement in more:
                connection.execute(statement)
        self.prove()

    def prove(self) -> None:
        """Say that every model and test has passed."""
        passed = [
            NodeResult(unique_id, node["name"], node["resource_type"], "success", 0, "", None, None, None)
            for unique_id, node in manifest()["nodes"].items()
        ]
        proof.record(self.layout, proof.Proof({}), passed, manifest())


def create(connection: duckdb.DuckDBPyConnection, stamp: int, rows: int, shop: int) -> None:
    """Make the tables anew: sales on four days, of which the last alone carries the stamp, and two others."""
    connection.execute("create schema if not exists marts; create schema if not exists metrics")
    connection.execute("create schema if not exists staging; create or replace table staging.private as select 1 as it")
    connection.execute(
        f"""
        create or replace table marts.fct_sale as
        select n as sale_id, timestamptz '2026-01-05 12:00:00+00' + n % {DAYS} * interval '1 day' as sold_at,
            (n * 1.25)::decimal(18, 2) as amount, case when n % {DAYS} = {DAYS - 1} then {stamp} else 0 end as stamp
        from range({rows}) as numbers(n);
        create or replace table marts.dim_shop as select n as shop_id, 'größe ' || n as name, {shop} as stamp
        from range(3) as numbers(n);
        comment on table marts.dim_shop is 'Shops. One row each.';
        create or replace table metrics.metric_hourly as select 1 as hour, {stamp} as stamp
        """
    )


def manifest() -> dict[str, dict[str, dict[str, object]]]:
    """What dbt would say of the project: three models, one test."""
    nodes: dict[str, dict[str, object]] = {
        f"model.tiny.{name}": {
            "name": name,
            "schema": schema,
            "resource_type": "model",
            "checksum": {"checksum": name},
            "config": {
                "materialized": "incremental" if name == "fct_sale" else "table",
                "meta": {"reconcile": {"day": "sold_at"}} if name == "fct_sale" else {},
            },
        }
        for name, schema in MODELS.items()
    }
    nodes[TEST] = {"name": "sale_id_is_unique", "schema": "tests", "resource_type": "test", "config": {}}
    sale = "model.tiny.fct_sale"
    return {"nodes": nodes, "child_map": {sale: [TEST]}, "parent_map": {TEST: [sale]}}  # type: ignore[dict-item]
