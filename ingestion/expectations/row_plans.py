"""Plans for expectations about each value, each pair of values, or each row's key."""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain, repeat
from typing import Any

from ingestion.expectations.measure import (
    EXAMPLES,
    Plan,
    Relation,
    Verdict,
    bounds,
    considered,
    counted,
    counts,
    listed,
    mostly,
    share,
)
from ingestion.expectations.suite import Expectation
from ingestion.expectations.values import UnfitError, family, fitting


def each_value(about: str) -> Callable[[Expectation, Relation, str], Plan]:
    """A plan for values of one column; NULLs are missing, and `_HOLDS[about]` says which others are as expected."""

    def planned(expectation: Expectation, relation: Relation, where: str) -> Plan:
        column = expectation.kwargs["column"]
        value = relation.value(column)
        holds = _HOLDS[about](column, relation.type_of(column), value, expectation.kwargs)
        unexpected = (f"({value}) IS NOT NULL", f"({holds}) IS NOT TRUE")
        measures = (counted(where), counted(where, unexpected[0]), counted(where, *unexpected))
        examples = f"min({value}, {EXAMPLES}) FILTER (WHERE ({where}) AND {unexpected[0]} AND {unexpected[1]})"
        return Plan(measures, share(expectation), examples=examples)

    return planned


def _in_set(column: str, duck_type: str, value: str, kwargs: Mapping[str, Any]) -> str:
    literals = ", ".join(fitting(column, duck_type, item) for item in kwargs["value_set"])
    return f"({value}) IN ({literals})" if literals else "FALSE"


def _not_in_set(column: str, duck_type: str, value: str, kwargs: Mapping[str, Any]) -> str:
    return f"NOT ({_in_set(column, duck_type, value, kwargs)})"


def _matches(column: str, duck_type: str, value: str, kwargs: Mapping[str, Any]) -> str:
    return f"regexp_matches(CAST(({value}) AS VARCHAR), {fitting(column, 'VARCHAR', kwargs['regex'])})"


def _length(column: str, duck_type: str, value: str) -> str:
    if duck_type != "VARCHAR":
        raise UnfitError(f'column "{column}" is {duck_type}, which has no length')
    return f"length({value})"


_HOLDS: Mapping[str, Callable[[str, str, str, Mapping[str, Any]], str]] = {
    "in_set": _in_set,
    "not_in_set": _not_in_set,
    "between": bounds,
    "regex": _matches,
    "not_regex": lambda *given: f"NOT {_matches(*given)}",
    "lengths": lambda column, kind, value, kwargs: bounds(column, "BIGINT", _length(column, kind, value), kwargs),
    "length": lambda column, kind, value, kwargs: f"{_length(column, kind, value)} = {int(kwargs['value'])}",
}


def nulls(wanted: bool) -> Callable[[Expectation, Relation, str], Plan]:
    """A plan for a column that is expected to be NULL, or not."""

    def planned(expectation: Expectation, relation: Relation, where: str) -> Plan:
        value = relation.value(expectation.kwargs["column"])
        unexpected = f"({value}) IS {'NOT NULL' if wanted else 'NULL'}"

        def judge(values: Sequence[Any]) -> Verdict:
            elements, count = values
            found = counts(elements, elements, count)
            result = {key: found[key] for key in ("element_count", "unexpected_count", "unexpected_percent")}
            shown = [] if wanted else [None] * min(count, EXAMPLES)
            return Verdict(mostly(elements, count, expectation), result | listed(shown))

        examples = f"min({value}, {EXAMPLES}) FILTER (WHERE ({where}) AND {unexpected})" if wanted else None
        return Plan((counted(where), counted(where, unexpected)), judge, examples=examples)

    return planned


def pair(sign: Callable[[Mapping[str, Any]], str]) -> Callable[[Expectation, Relation, str], Plan]:
    """A plan for two columns of a row that compare by `sign`; a comparison with NULL does not hold."""

    def planned(expectation: Expectation, relation: Relation, where: str) -> Plan:
        names = (expectation.kwargs["column_A"], expectation.kwargs["column_B"])
        types = [relation.type_of(name) for name in names]
        if family(types[0]) != family(types[1]):
            raise UnfitError(f'"{names[0]}" is {types[0]} and "{names[1]}" is {types[1]}, which cannot be compared')
        first, second = (f"({relation.value(name)})" for name in names)
        paired = considered([first, second], expectation.kwargs.get("ignore_row_if", "both_values_are_missing"))
        unexpected = f"({first} {sign(expectation.kwargs)} {second}) IS NOT TRUE"
        measures = (counted(where), counted(where, paired), counted(where, paired, unexpected))
        both = f"row({first}, {second})"
        examples = f"min({both}, {EXAMPLES}) FILTER (WHERE ({where}) AND ({paired}) AND {unexpected})"
        return Plan(measures, share(expectation), examples=examples)

    return planned


def unique(expectation: Expectation, relation: Relation, where: str) -> Plan:
    """A plan for one column, or several together, whose values occur once: a query that DuckDB can spill to disk."""
    names = expectation.kwargs.get("column_list") or [expectation.kwargs["column"]]
    values = [f"({relation.value(name)})" for name in names]
    keyed = considered(values, expectation.kwargs.get("ignore_row_if", "all_values_are_missing"))
    columns = [f"key_{position}" for position in range(len(values))]
    keys = ", ".join(f"{value} AS {column}" for column, value in zip(columns, values, strict=True))
    grouped = (
        f"SELECT coalesce(sum(n) FILTER (WHERE n > 1), 0)::BIGINT, "
        f"max(row(n, {', '.join(columns)}), {EXAMPLES}) FILTER (WHERE n > 1) FROM "
        f"(SELECT {keys}, count(*) AS n FROM {relation.sql} WHERE ({where}) AND ({keyed}) GROUP BY ALL)"
    )

    def judge(found: Sequence[Any]) -> Verdict:
        elements, present, unexpected, groups = found
        rows = chain.from_iterable(repeat(key, min(times, EXAMPLES)) for times, *key in groups or ())
        several = "column_list" in expectation.kwargs
        shown = [dict(zip(names, key, strict=True)) if several else key[0] for key in rows]
        result = counts(elements, present, unexpected) | listed(shown)
        return Verdict(mostly(present, unexpected, expectation), result)

    return Plan((counted(where), counted(where, keyed)), judge, grouped=grouped)
