"""dbt models as assets, their tests as asset checks, and the publication of what passed; dbt runs in this process."""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings, DbtProject, dbt_assets
from dagster_dbt.asset_utils import DAGSTER_DBT_UNIQUE_ID_METADATA_KEY

from orchestration import outcome, page
from warehouse import build, publish
from warehouse.report import REUSED, BuildReport, Progress

POOL = "warehouse"  # one build at a time, across processes; the build's own lock guards it where no daemon runs
WAIT_S = 900.0


class Translator(DagsterDbtTranslator):
    """Groups by stage, descriptions without the SQL, and the tests' own descriptions on their checks."""

    def get_description(self, dbt_resource_props: Mapping[str, Any]) -> str:
        """What the model's YAML says."""
        return str(dbt_resource_props.get("description") or dbt_resource_props["name"])

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        """The schema: staging, intermediate, marts or metrics; seeds lie with staging."""
        schema = str(dbt_resource_props.get("schema") or "")
        return schema if schema in ("staging", "intermediate", "marts", "metrics") else "staging"

    def get_tags(self, dbt_resource_props: Mapping[str, Any]) -> Mapping[str, str]:
        """None: the group says it all."""
        return {}

    def get_asset_check_spec(
        self, asset_spec: dg.AssetSpec, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None
    ) -> dg.AssetCheckSpec | None:
        """What the test's YAML says; dagster-dbt looks for it under `meta` only."""
        spec = super().get_asset_check_spec(asset_spec, manifest, unique_id, project)
        description = manifest["nodes"].get(unique_id, {}).get("description")
        return spec._replace(description=description) if spec and description else spec


def assets() -> list[dg.AssetsDefinition]:
    """The dbt project's assets, and the published warehouse that rests on its marts and metrics."""
    manifest = json.loads(build.parse().read_text())

    @dbt_assets(
        manifest=manifest,
        dagster_dbt_translator=Translator(DagsterDbtTranslatorSettings(enable_asset_checks=True)),
        name="dbt",
        pool=POOL,
    )
    def dbt(context: dg.AssetExecutionContext) -> Iterator[Any]:
        whole = len(context.selected_asset_keys) == len(set(context.assets_def.keys_by_output_name.values()))
        select = () if whole else _names(context)
        with outcome.explained(context):
            # unit tests try the code on made-up rows: CI's business, not every run's
            report = build.run(
                select,
                unit_tests=False,
                must_pass=False,
                wait_s=WAIT_S,
                on_progress=lambda step: _tell(context, step),
            )
        if report.note:
            context.log.warning(report.note)
        models, tests = report.of_kind("model", "seed"), report.of_kind("test", "unit_test")
        passed = sum(result.is_ok for result in tests)
        reused = sum(result.status == REUSED for result in models)
        built = f"{len(models) - reused} models built" + (f", {reused} reused" if reused else "")
        context.log.info(f"{built}, {passed} of {len(tests)} tests passed")
        yield from _events(context, report)
        if not report.is_ok:
            raise dg.Failure(_failure(report), allow_retries=False)

    @dg.asset(
        key=["warehouse", "published"],
        group_name="marts",
        kinds={"duckdb"},
        owners=["team:data_platform"],
        description="The warehouse as analysts see it: an immutable file that took the place of the last one after "
        "every test had passed.",
        deps=[key for key in dbt.keys if dbt.group_names_by_key[key] in ("marts", "metrics")],
        pool=POOL,
    )
    def published(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        started = time.monotonic()
        with outcome.explained(context):
            version = publish.publish(wait_s=WAIT_S)
        context.log.info(f"published version {version.number}: {version.path}")
        rows = build.table_rows(version.path)
        return dg.MaterializeResult(
            metadata={
                "path": dg.MetadataValue.path(str(version.path)),
                "version": version.number,
                "bytes": version.bytes,
                "duration_s": round(time.monotonic() - started, 3),
                "curated": f"{os.environ['LAKE_ROOT']}/curated/marts",
                **page.written(context),
                "dagster/row_count": sum(rows.values()),
                "tables": dg.MetadataValue.table(
                    [dg.TableRecord({"table": name, "rows": count}) for name, count in sorted(rows.items())]
                ),
            }
        )

    return [dbt, published]


def _names(context: dg.AssetExecutionContext) -> Sequence[str]:
    ids = (_dbt_id(context.assets_def.get_asset_spec(key)) for key in context.selected_asset_keys)
    return sorted(name.split(".")[-1] for name in ids)


def _dbt_id(spec: dg.AssetSpec | dg.AssetCheckSpec) -> str:
    return str((spec.metadata or {})[DAGSTER_DBT_UNIQUE_ID_METADATA_KEY])


def _tell(context: dg.AssetExecutionContext, step: Progress) -> None:
    if step.status != "started" and step.kind in ("model", "seed"):
        context.log.info(f"{step.name}: {step.status} in {step.seconds:.1f} s")


def _events(context: dg.AssetExecutionContext, report: BuildReport) -> Iterator[Any]:
    by_id = {result.unique_id: result for result in report.results}
    keys = {_dbt_id(context.assets_def.get_asset_spec(key)): key for key in context.selected_asset_keys}
    for result in report.results:  # in the order of the build, which is one in which nothing precedes its parents
        if result.unique_id in keys and result.is_ok:
            metadata: dict[str, Any] = {"duration_s": round(result.seconds, 3), "status": result.status}
            if result.rows is not None:
                metadata |= {"dagster/row_count": result.rows, "bytes": result.bytes}
            yield dg.MaterializeResult(asset_key=keys[result.unique_id], metadata=metadata)
    for check in context.selected_asset_check_keys:
        spec = context.assets_def.get_spec_for_check_key(check)
        found = by_id.get(_dbt_id(spec))
        if found is None or found.status == "skipped":
            continue
        yield dg.AssetCheckResult(
            asset_key=check.asset_key,
            check_name=check.name,
            passed=found.is_ok and found.verdict != "warn",
            severity=dg.AssetCheckSeverity.WARN if found.verdict == "warn" else dg.AssetCheckSeverity.ERROR,
            metadata={
                "failing_rows": found.failures or 0,
                "duration_s": round(found.seconds, 3),
                "status": found.status,
            },
            description=found.message or None,
        )


def _failure(report: BuildReport) -> str:
    from warehouse.layout import layout

    return str(report.failure(layout()))
