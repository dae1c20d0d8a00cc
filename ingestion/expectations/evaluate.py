"""Measure a suite on a table of any size: one scan for all counts and aggregates, one per uniqueness, by DuckDB."""

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import duckdb

from ingestion.expectations.measure import Plan, Relation, Verdict, with_examples
from ingestion.expectations.plan import plan
from ingestion.expectations.registry import KINDS, is_parameter
from ingestion.expectations.result import Result, SuiteResult
from ingestion.expectations.suite import HIDE, Expectation, Suite
from ingestion.expectations.values import UnfitError
from lake.errors import redact

_QUERY = re.compile(r"\s*(SELECT|WITH|FROM|VALUES)\b", re.IGNORECASE)
_SHOWING_VALUES = ("partial_unexpected_list", "partial_unexpected_counts", "observed_value")
_TYPE_NAME = re.compile(r"[A-Za-z][\w ]*(\(\d+(\s*,\s*\d+)?\))?(\[\])*")


def evaluate(
    connection: duckdb.DuckDBPyConnection, relation_sql: str, suite: Suite, *, now: datetime.datetime | None = None
) -> SuiteResult:
    """Measure every expectation of `suite` on a relation; nothing but counts and up to 20 examples leaves DuckDB.

    `relation_sql` is a query or what may follow FROM, such as `delta_scan('…')`. The connection's time zone must be
    UTC, as `lake.duck.connect` sets it; its `memory_limit` and `temp_directory` bound the memory. `now` fills in the
    parameters `now`, `today` and `tomorrow` (24 hours later). A missing relation or column, or a comparison of types
    that do not fit, fails the expectation with a reason; it never raises.
    """
    instant = (now or datetime.datetime.now(datetime.UTC)).astimezone(datetime.UTC).replace(microsecond=0)
    parameters = _parameters(instant)
    expectations = [_filled(item, parameters) for item in suite.expectations]
    try:
        relation = _relation(connection, relation_sql, expectations)
    except duckdb.Error as error:
        reason = f"the table cannot be read: {_first_line(error)}"
        results = [Result(suite.name, item, False, {}, reason) for item in expectations]
        return SuiteResult(suite.name, tuple(results), instant, None, parameters)
    tasks = [_task(item, relation) for item in expectations]
    rows = _measure(connection, relation, tasks)
    _show_examples(connection, relation, tasks)
    results = [Result(suite.name, task.expectation, *task.outcome()) for task in tasks]
    return SuiteResult(suite.name, tuple(results), instant, rows, parameters)


@dataclass
class _Task:
    """An expectation on its way from plan to verdict."""

    expectation: Expectation
    plan: Plan | None = None
    verdict: Verdict | None = None
    reason: str | None = None

    def judge(self, values: Sequence[Any]) -> None:
        if self.plan:
            self.verdict = self.plan.judge(values)

    def outcome(self) -> tuple[bool, dict[str, Any], str | None]:
        if self.verdict is None or self.reason:
            return False, {}, self.reason
        shown = self.verdict.result
        if self.expectation.meta.get(HIDE) and KINDS[self.expectation.type].form != "table":
            shown = {key: shown[key] for key in shown if key not in _SHOWING_VALUES}
        return self.verdict.success, shown, None


def _task(expectation: Expectation, relation: Relation) -> _Task:
    try:
        return _Task(expectation, plan(expectation, relation))
    except UnfitError as error:
        return _Task(expectation, reason=str(error))


def _measure(connection: duckdb.DuckDBPyConnection, relation: Relation, tasks: Sequence[_Task]) -> int | None:
    """Judge all tasks; the number of rows, or None if not even they could be counted."""
    wanted = dict.fromkeys(["count(*)", *(sql for task in tasks if task.plan for sql in task.plan.measures)])
    measured = _aggregates(connection, relation, list(wanted))
    for task in tasks:
        if task.plan is None:
            continue
        try:
            values = [_value(measured[sql]) for sql in task.plan.measures]
            own = connection.execute(task.plan.grouped).fetchone() if task.plan.grouped else None
            task.judge([*values, *(own or ())])
        except duckdb.Error as error:
            task.reason = _first_line(error)
    rows = measured["count(*)"]
    return rows if isinstance(rows, int) else None


def _aggregates(
    connection: duckdb.DuckDBPyConnection, relation: Relation, wanted: Sequence[str]
) -> dict[str, Any | duckdb.Error]:
    """Each aggregate's value, or its error: if the scan fails, halves are tried until the culprit is alone."""
    try:
        return dict(zip(wanted, _row(connection, relation, wanted), strict=True))
    except duckdb.Error as error:
        if len(wanted) == 1:
            return {wanted[0]: error}
    middle = len(wanted) // 2
    return _aggregates(connection, relation, wanted[:middle]) | _aggregates(connection, relation, wanted[middle:])


def _value(measured: Any | duckdb.Error) -> Any:
    if isinstance(measured, duckdb.Error):
        raise measured
    return measured


def _show_examples(connection: duckdb.DuckDBPyConnection, relation: Relation, tasks: Sequence[_Task]) -> None:
    """One more scan, only if something was unexpected, for the smallest of the unexpected values."""
    wanted = [
        (task, task.plan.examples, task.verdict)
        for task in tasks
        if task.plan and task.plan.examples and task.verdict and task.verdict.result["unexpected_count"]
        if not task.expectation.meta.get(HIDE)
    ]
    if not wanted:
        return
    try:
        found = _row(connection, relation, [examples for _, examples, _ in wanted])
    except duckdb.Error:
        return  # the counts stand without examples: a type that has no order, such as a map
    for (task, _, verdict), values in zip(wanted, found, strict=True):
        task.verdict = with_examples(verdict, values)


def _row(connection: duckdb.DuckDBPyConnection, relation: Relation, measures: Sequence[str]) -> tuple[Any, ...]:
    query = f"SELECT {', '.join(measures)} FROM {relation.sql}"
    return connection.execute(query).fetchone() or ()


def _relation(
    connection: duckdb.DuckDBPyConnection, relation_sql: str, expectations: Sequence[Expectation]
) -> Relation:
    sql = f"({relation_sql})" if _QUERY.match(relation_sql) else relation_sql
    columns = {row[0]: row[1] for row in connection.execute(f"DESCRIBE SELECT * FROM {sql}").fetchall()}
    named = {name for item in expectations for name in (item.kwargs.get("type_"), *item.kwargs.get("type_list", ()))}
    canonical = {name: _canonical(connection, name) for name in named if name}
    return Relation(sql, columns, canonical)


def _canonical(connection: duckdb.DuckDBPyConnection, name: str) -> str:
    """DuckDB's own name of a type (`numeric(12,2)` is DECIMAL(12,2)); the given name if it knows no such type."""
    if not _TYPE_NAME.fullmatch(name):
        return name
    try:
        row = connection.execute(f"SELECT typeof(CAST(NULL AS {name}))").fetchone()
    except duckdb.Error:
        return name
    return str(row[0]) if row else name


def _parameters(instant: datetime.datetime) -> dict[str, str]:
    tomorrow = instant + datetime.timedelta(days=1)
    return {"now": instant.isoformat(), "today": instant.date().isoformat(), "tomorrow": tomorrow.isoformat()}


def _filled(expectation: Expectation, parameters: Mapping[str, str]) -> Expectation:
    kwargs = {
        key: parameters[value["$PARAMETER"]] if is_parameter(value) else value
        for key, value in expectation.kwargs.items()
    }
    return replace(expectation, kwargs=kwargs)


def _first_line(error: duckdb.Error) -> str:
    return redact(str(error).strip().splitlines()[0])
