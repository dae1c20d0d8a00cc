"""What is measured of a table, and how Great Expectations judges the numbers.

Formulas and field names follow `great_expectations/expectations/expectation.py` (1.24): a map expectation judges
`(considered - unexpected) / considered` against `mostly`; rows that are not considered count as missing.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from ingestion.expectations.suite import Expectation
from ingestion.expectations.values import UnfitError, fitting, measurable, plain

EXAMPLES = 20


@dataclass(frozen=True)
class Relation:
    """A table to be measured: what may follow FROM, its columns' DuckDB types, and DuckDB's names of declared types."""

    sql: str
    columns: Mapping[str, str]
    canonical: Mapping[str, str]

    def type_of(self, column: str) -> str:
        """The DuckDB type of `column`; raises UnfitError with the nearest name if there is none."""
        if column in self.columns:
            return self.columns[column]
        close = get_close_matches(column, self.columns, n=1)
        raise UnfitError(f'column "{column}" does not exist' + (f'; did you mean "{close[0]}"?' if close else ""))

    def value(self, column: str) -> str:
        """The SQL of `column`'s value."""
        return measurable(column, self.type_of(column))


@dataclass(frozen=True)
class Verdict:
    """Whether an expectation holds, and Great Expectations' `result` for it."""

    success: bool
    result: dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """How one expectation is measured and judged.

    `measures` are aggregates of the shared scan; `grouped` is a query of its own that gives one row; `judge` takes the
    values of both, in this order. `examples` is an aggregate that lists up to 20 unexpected values, asked for only
    if there are any.
    """

    measures: tuple[str, ...]
    judge: Callable[[Sequence[Any]], Verdict]
    grouped: str | None = None
    examples: str | None = None


def counted(where: str, *predicates: str) -> str:
    """The aggregate that counts the rows for which all predicates hold."""
    wanted = [predicate for predicate in (where, *predicates) if predicate != "TRUE"]
    return "count(*)" + (f" FILTER (WHERE {' AND '.join(f'({item})' for item in wanted)})" if wanted else "")


def kept(aggregate: str, where: str) -> str:
    """An aggregate over the rows of a condition."""
    return aggregate if where == "TRUE" else f"{aggregate} FILTER (WHERE {where})"


def bounds(column: str, duck_type: str, value: str, kwargs: Mapping[str, Any]) -> str:
    """The predicate that the SQL `value` lies between `min_value` and `max_value`; raises UnfitError."""
    tests = []
    for key, loose, strict in (("min_value", ">=", ">"), ("max_value", "<=", "<")):
        if kwargs.get(key) is not None:
            sign = strict if kwargs.get(f"strict_{key[:3]}") else loose
            tests.append(f"({value}) {sign} {fitting(column, duck_type, kwargs[key])}")
    return " AND ".join(tests)


def inside(value: float, kwargs: Mapping[str, Any]) -> bool:
    """Whether a number already known lies between `min_value` and `max_value`."""
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    above = low is None or (value > low if kwargs.get("strict_min") else value >= low)
    return above and (high is None or (value < high if kwargs.get("strict_max") else value <= high))


def considered(values: Sequence[str], ignore: str) -> str:
    """The predicate of `ignore_row_if`: rows it leaves out count as missing."""
    if ignore in ("neither", "never"):
        return "TRUE"
    word = " OR " if ignore in ("both_values_are_missing", "all_values_are_missing") else " AND "
    return word.join(f"({value}) IS NOT NULL" for value in values)


def share(expectation: Expectation) -> Callable[[Sequence[Any]], Verdict]:
    """The judgement of (rows, rows considered, rows unexpected)."""

    def judge(values: Sequence[Any]) -> Verdict:
        elements, kept_rows, unexpected = values
        return Verdict(mostly(kept_rows, unexpected, expectation), counts(elements, kept_rows, unexpected))

    return judge


def mostly(considered: int, unexpected: int, expectation: Expectation) -> bool:
    """Whether enough of the considered rows are as expected; of none, all are."""
    return considered == 0 or (considered - unexpected) / considered >= expectation.kwargs.get("mostly", 1)


def counts(elements: int, considered: int, unexpected: int) -> dict[str, Any]:
    """The counts of a map expectation's result, without examples."""

    def percent(part: int, whole: int) -> float | None:
        return part / whole * 100 if whole else None

    return {
        "element_count": elements,
        "unexpected_count": unexpected,
        "unexpected_percent": percent(unexpected, considered),
        "partial_unexpected_list": [],
        "missing_count": elements - considered,
        "missing_percent": percent(elements - considered, elements),
        "unexpected_percent_total": percent(unexpected, elements),
        "unexpected_percent_nonmissing": percent(unexpected, considered),
        "partial_unexpected_counts": [],
    }


def listed(values: Sequence[Any]) -> dict[str, Any]:
    """The part of a result that shows unexpected values: at most 20, and how often each is among them."""
    shown = [plain(value) for value in values[:EXAMPLES]]
    often = Counter(_as_text(value) if isinstance(value, list | dict) else value for value in shown)
    return {
        "partial_unexpected_list": shown,
        "partial_unexpected_counts": [{"value": value, "count": count} for value, count in often.most_common()],
    }


def _as_text(values: list[Any] | dict[str, Any]) -> str:
    # Data Docs would print the values of a pair or a key without anything between them.
    items = values.values() if isinstance(values, dict) else values
    return ", ".join("NULL" if item is None else str(item) for item in items)


def with_examples(verdict: Verdict, values: Sequence[Any] | None) -> Verdict:
    """The verdict with its unexpected values shown."""
    return Verdict(verdict.success, verdict.result | listed(values or []))
