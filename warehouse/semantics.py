"""Figures by name: the metrics that the dbt project defines, asked of the published warehouse.

dbt writes the definitions (`models/marts/_semantic_models.yml`, `_metrics_definitions.yml`) into its semantic manifest;
MetricFlow turns a question into SQL; the SQL runs on the version in force. What belongs here is only what MetricFlow
leaves open: short names (`semantics_names`), amounts that are never added up over currencies, and an end in time for
figures that would go on into the future.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from lake.duck import quoted
from lake.errors import PermanentError, SpecError
from warehouse import access, build
from warehouse.semantics_names import GRAINS, Dimension, Names, nearest, short

if TYPE_CHECKING:
    from metricflow.engine.metricflow_engine import MetricFlowEngine

CURRENCY = "currency"  # the dimension by which a metric in money is always shown
DAY = "{{ TimeDimension('metric_time', 'day') }}"


@dataclass(frozen=True)
class Metric:
    """One metric as it is defined; `kind` is simple, ratio, derived or cumulative.

    `is_money`: made of amounts, shown by currency. `needs_time`: counted along time; `grain` is then the only grain by
    which it makes sense, if there is one.
    """

    name: str
    label: str
    description: str
    kind: str
    is_money: bool
    needs_time: bool
    grain: str | None
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Question:
    """SQL that answers a question on the published warehouse, and the names of its columns."""

    sql: str
    columns: tuple[str, ...]


class Layer:
    """The metrics of one project; opening it costs a second of imports, a question a tenth of that."""

    def __init__(self, semantic_manifest: Path) -> None:
        """Raises SpecError if the project defines no metrics."""
        from metricflow_semantics.model.dbt_manifest_parser import parse_manifest_from_dbt_generated_manifest

        self.manifest = parse_manifest_from_dbt_generated_manifest(semantic_manifest.read_text())
        self.metrics = {it.name: _metric(it) for it in sorted(self.manifest.metrics, key=lambda it: it.name)}
        if not self.metrics:
            raise SpecError("dbt project", "defines no metrics", "add some to models/marts/_metrics_definitions.yml")

    @cached_property
    def _engine(self) -> MetricFlowEngine:
        from metricflow.engine.metricflow_engine import MetricFlowEngine
        from metricflow_semantics.model.semantic_manifest_lookup import SemanticManifestLookup

        return MetricFlowEngine(SemanticManifestLookup(self.manifest), _Dialect())  # type: ignore[arg-type]

    def dimensions(self, *metrics: str) -> tuple[Dimension, ...]:
        """What all of these metrics can be asked by, beside the grains of time."""
        found = self._engine.simple_dimensions_for_metrics(list(metrics))
        names = {(it.dunder_name, it.description or "") for it in found if not it.dunder_name.startswith("metric_time")}
        return tuple(Dimension(name, text) for name, text in sorted(names))

    def question(
        self,
        metrics: Sequence[str],
        by: Sequence[str] = (),
        *,
        where: Sequence[str] = (),
        since: date | None = None,
        until: date | None = None,
        order: Sequence[str] = (),
        limit: int | None = None,
    ) -> Question:
        """The SQL for `metrics`, one row per value of the dimensions and grains of time in `by`.

        `where` holds conditions on dimensions; `since` and `until` bound the days, both included. `order` names
        columns, a leading `-` reverses; by default the rows stand in the order of `by`. A metric in money is also shown
        by currency. Raises SpecError if a name is not known, or if a metric cannot be asked that way.
        """
        asked = tuple(dict.fromkeys(self._known(name) for name in metrics))
        if not asked:
            raise SpecError("watershed metric", "names no metric", f"there are: {', '.join(self.metrics)}")
        names = Names(" and ".join(it.name for it in asked), self.dimensions(*(it.name for it in asked)))
        groups = {short(name, names): names.resolved(name) for name in by}
        if any(it.is_money for it in asked):
            if not any(it.short == CURRENCY for it in names.dimensions):
                raise SpecError(f"metric {names.metrics}", "have no currency in common", "ask for them one by one")
            groups.setdefault(CURRENCY, names.resolved(CURRENCY))
        for metric in asked:
            _check_time(metric, [it for it in groups.values() if it.startswith("metric_time")])
        conditions = [names.condition(it) for it in where]
        conditions += [f"{DAY} >= '{since}'"] if since else []
        conditions += [f"{DAY} <= '{until}'"] if until else []
        inner = self._compiled([it.name for it in asked], list(groups.values()), conditions)
        columns = (*groups, *(it.name for it in asked))
        shown = [f"{_as_day(it)} as {quoted(name)}" for name, it in groups.items()] + [quoted(it.name) for it in asked]
        last = f"\nlimit {int(limit)}" if limit is not None else ""
        answer = f"select {', '.join(shown)}\nfrom (\n{inner}\n) as answer"
        return Question(answer + _ordered(columns, len(groups), order) + last, columns)

    def last_day(self, connection: duckdb.DuckDBPyConnection, metrics: Sequence[str]) -> date | None:
        """The last day with facts behind the metrics that would otherwise go on into the future; None for others."""
        measures = {name for it in metrics if self._known(it).needs_time for name in self.metrics[it].inputs}
        days = [
            f"select max(cast({time.expr or time.name} as date)) from {model.node_relation.relation_name}"
            for model in self.manifest.semantic_models
            if measures & {it.name for it in model.measures} and model.defaults
            for time in model.dimensions
            if time.name == model.defaults.agg_time_dimension
        ]
        found = [connection.execute(it).fetchall()[0][0] for it in days]
        return max((it for it in found if it), default=None)

    def _known(self, name: str) -> Metric:
        if name not in self.metrics:
            raise SpecError("watershed metric", f'there is no metric "{name}"', nearest(name, self.metrics))
        return self.metrics[name]

    def _compiled(self, metrics: list[str], groups: list[str], conditions: list[str]) -> str:
        from metricflow.engine.metricflow_engine import MetricFlowQueryRequest
        from metricflow_semantics.errors.error_classes import MetricFlowException

        request = MetricFlowQueryRequest.create(
            metric_names=metrics, group_by_names=groups, where_constraints=conditions or None
        )
        try:
            compiled: str = self._engine.explain(request).sql_statement.sql
        except MetricFlowException as error:
            raise SpecError(
                f"metric {', '.join(metrics)}", _reason(error), "run `watershed metric` to see what there is"
            ) from None
        return "\n".join(line for line in compiled.splitlines() if not line.lstrip().startswith("--"))


def layer(root: Path | str | None = None) -> Layer:
    """The metrics of the project as it is now; dbt parses it first if it has changed."""
    return Layer(build.parse(root).with_name("semantic_manifest.json"))


def ask(
    metrics: Sequence[str],
    by: Sequence[str] = (),
    *,
    where: Sequence[str] = (),
    since: date | None = None,
    until: date | None = None,
    order: Sequence[str] = (),
    limit: int | None = None,
    root: Path | str | None = None,
) -> tuple[Question, duckdb.DuckDBPyRelation]:
    """The question as SQL, and its answer from the version in force, see `Layer.question`.

    A metric that is counted along time (a cumulative one, a change against an earlier month) ends with the last day
    that has facts, unless `until` is given. Raises PermanentError if the SQL does not run there.
    """
    connection = access.connect(root=root)
    known = layer(root)
    try:
        end = until or known.last_day(connection, metrics)
        question = known.question(metrics, by, where=where, since=since, until=end, order=order, limit=limit)
        return question, connection.sql(question.sql)
    except duckdb.Error as error:
        what = str(error).splitlines()[0]
        raise PermanentError(
            f"metric {', '.join(metrics)}", what, "mend the condition, or publish the warehouse anew"
        ) from None


class _Dialect:
    """What MetricFlow asks of a database to write its SQL; it never runs any."""

    @cached_property
    def sql_engine_type(self) -> Any:
        from metricflow.protocols.sql_client import SqlEngine

        return SqlEngine.DUCKDB

    @cached_property
    def sql_plan_renderer(self) -> Any:
        from metricflow.sql.render.duckdb_renderer import DuckDbSqlPlanRenderer

        return DuckDbSqlPlanRenderer()


def _metric(defined: Any) -> Metric:
    params, meta = defined.type_params, defined.config.meta if defined.config else {}
    inputs = [*(params.metrics or ()), *(it for it in (params.numerator, params.denominator) if it)]
    return Metric(
        name=defined.name,
        label=defined.label or defined.name,
        description=defined.description or "",
        kind=defined.type.value,
        is_money=meta.get("unit") == "currency",
        needs_time=defined.type.value == "cumulative" or any(it.offset_window or it.offset_to_grain for it in inputs),
        grain=meta.get("grain"),
        inputs=tuple(it.name for it in params.input_measures),
    )


def _check_time(metric: Metric, grains: list[str]) -> None:
    if metric.needs_time and not grains:
        wanted = metric.grain or "day, week, month, quarter or year"
        raise SpecError(f"metric {metric.name}", "is counted along time", f"add {wanted} to --by")
    if metric.grain and grains != [f"metric_time__{metric.grain}"]:
        raise SpecError(f"metric {metric.name}", f"is counted by {metric.grain}", f"ask it with --by {metric.grain}")


def _as_day(group: str) -> str:
    """A grain of a day or more is a date."""
    is_date = group.startswith("metric_time") and not group.endswith("__hour")
    return f"cast({quoted(group)} as date)" if is_date else quoted(group)


def _ordered(columns: tuple[str, ...], groups: int, order: Sequence[str]) -> str:
    for name in order:
        if name.lstrip("-") not in columns:
            raise SpecError("--order", f'there is no column "{name.lstrip("-")}"', nearest(name.lstrip("-"), columns))
    asked = [f"{quoted(it.lstrip('-'))} {'desc nulls last' if it.startswith('-') else 'nulls first'}" for it in order]
    rest = [f"{quoted(it)} nulls first" for it in columns[:groups] if it not in {name.lstrip("-") for name in order}]
    return f"\norder by {', '.join(asked + rest)}" if asked + rest else ""


def _reason(error: Exception) -> str:
    """The first sentence of MetricFlow's message."""
    found = re.search(r"Message:\s*(.+?)(?:\n\s*\n|$)", str(error), re.DOTALL)
    return " ".join((found[1] if found else str(error).splitlines()[0]).split())


__all__ = ["GRAINS", "Dimension", "Layer", "Metric", "Question", "ask", "layer"]
