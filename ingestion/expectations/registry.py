"""The expectation types a declaration may use, in Great Expectations' names, and what each may be told.

Kept here so that a source file is checked without importing Great Expectations. A type belongs in the register when
`plan` can turn it into SQL; `tests/expectations` holds every one of them against Great Expectations' own verdict.
"""

import datetime
import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from lake.errors import SpecError

SEVERITIES = ("critical", "warning", "info")
PARAMETERS = ("now", "today", "tomorrow")
IGNORED_PAIRS = ("both_values_are_missing", "either_value_is_missing", "neither")
IGNORED_COMPOUNDS = ("all_values_are_missing", "any_value_is_missing", "never")
OPERATORS = ("==", "!=", "<", "<=", ">", ">=", "IN", "NOT_IN")
ABOUT = frozenset({"severity", "notes", "meta", "description"})


@dataclass(frozen=True)
class Kind:
    """What one expectation type may be told: the keys it needs, those it may have, and how it is measured."""

    form: str  # map | pair | compound | aggregate | table
    required: frozenset[str]
    optional: frozenset[str]
    one_of: frozenset[str] = frozenset()
    whole: bool = False  # its bounds are counts; Great Expectations would cut a fraction off

    @property
    def known(self) -> frozenset[str]:
        """Every key the type understands."""
        return self.required | self.optional


def _kind(
    form: str, required: Iterable[str] = (), optional: Iterable[str] = (), bounded: bool = False, whole: bool = False
) -> Kind:
    extras = {
        "map": {"mostly", "row_condition"},
        "pair": {"mostly", "row_condition", "ignore_row_if"},
        "compound": {"mostly", "row_condition", "ignore_row_if"},
        "aggregate": {"row_condition"},
    }
    columns = {
        "map": {"column"},
        "aggregate": {"column"},
        "pair": {"column_A", "column_B"},
        "compound": {"column_list"},
    }
    bounds = frozenset({"min_value", "max_value"}) if bounded else frozenset()
    strict = {"strict_min", "strict_max"} if bounded else set()
    return Kind(
        form,
        frozenset({*required, *columns.get(form, set())}),
        frozenset({*optional, *extras.get(form, set()), *bounds, *strict}),
        bounds,
        whole,
    )


KINDS: Mapping[str, Kind] = {
    "expect_column_values_to_not_be_null": _kind("map"),
    "expect_column_values_to_be_null": _kind("map"),
    "expect_column_values_to_be_unique": _kind("map"),
    "expect_column_values_to_be_in_set": _kind("map", ["value_set"]),
    "expect_column_values_to_not_be_in_set": _kind("map", ["value_set"]),
    "expect_column_values_to_be_between": _kind("map", bounded=True),
    "expect_column_values_to_match_regex": _kind("map", ["regex"]),
    "expect_column_values_to_not_match_regex": _kind("map", ["regex"]),
    "expect_column_value_lengths_to_be_between": _kind("map", bounded=True, whole=True),
    "expect_column_value_lengths_to_equal": _kind("map", ["value"]),
    "expect_column_values_to_be_of_type": _kind("table", ["column", "type_"]),
    "expect_column_values_to_be_in_type_list": _kind("table", ["column", "type_list"]),
    "expect_column_pair_values_a_to_be_greater_than_b": _kind("pair", optional=["or_equal"]),
    "expect_column_pair_values_to_be_equal": _kind("pair"),
    "expect_compound_columns_to_be_unique": _kind("compound"),
    "expect_column_min_to_be_between": _kind("aggregate", bounded=True),
    "expect_column_max_to_be_between": _kind("aggregate", bounded=True),
    "expect_column_mean_to_be_between": _kind("aggregate", bounded=True),
    "expect_column_median_to_be_between": _kind("aggregate", bounded=True),
    "expect_column_stdev_to_be_between": _kind("aggregate", bounded=True),
    "expect_column_sum_to_be_between": _kind("aggregate", bounded=True),
    "expect_column_unique_value_count_to_be_between": _kind("aggregate", bounded=True, whole=True),
    "expect_column_proportion_of_unique_values_to_be_between": _kind("aggregate", bounded=True),
    "expect_column_proportion_of_non_null_values_to_be_between": _kind("aggregate", bounded=True),
    "expect_column_to_exist": _kind("table", ["column"], ["column_index"]),
    "expect_table_columns_to_match_set": _kind("table", ["column_set"], ["exact_match"]),
    "expect_table_column_count_to_equal": _kind("table", ["value"]),
    "expect_table_row_count_to_be_between": _kind("table", optional=["row_condition"], bounded=True, whole=True),
    "expect_table_row_count_to_equal": _kind("table", ["value"], ["row_condition"]),
}


def check(where: str, item: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The expectation type and its keys, in JSON's own values, of one declared item `{type: {key: value, …}}`.

    Dates become ISO texts and a short `row_condition` is completed. Raises SpecError, which names `where`, the type
    and the key, for anything Great Expectations or DuckDB would refuse later.
    """
    if not isinstance(item, Mapping) or len(item) != 1:
        raise SpecError(where, f"an expectation has one name, not {len(item)}", "write one item per expectation")
    name, keys = next(iter(item.items()))
    kind = KINDS.get(name)
    if kind is None:
        raise SpecError(where, f'unknown expectation "{name}"', _closest(str(name), KINDS))
    place = f"{where}, {name}"
    if not isinstance(keys, Mapping):
        raise SpecError(
            place, f"{keys!r} does not say what to expect", f"write {{{', '.join(sorted(kind.required))}: …}}"
        )
    _check_keys(place, kind, keys)
    told = {key: _json(place, key, value) for key, value in keys.items()}
    for key, value in told.items():
        if fault := _fault(key, value):
            raise SpecError(place, f"{key}: {value!r} {fault[0]}", fault[1])
    if "row_condition" in told:
        told["row_condition"] = _condition(place, told["row_condition"])
    _check_bounds(place, kind, told)
    return name, told


def _check_keys(place: str, kind: Kind, keys: Mapping[str, Any]) -> None:
    for key in keys:
        if key not in kind.known | ABOUT:
            raise SpecError(place, f'unknown key "{key}"', _closest(str(key), [*sorted(kind.known), *sorted(ABOUT)]))
    if missing := sorted(kind.required - set(keys)):
        raise SpecError(place, f'"{missing[0]}" is missing', f"add {missing[0]}:")
    if kind.one_of and not any(keys.get(key) is not None for key in kind.one_of):
        raise SpecError(place, "has no bound", f"give {' or '.join(sorted(kind.one_of))}")


def _check_bounds(place: str, kind: Kind, told: Mapping[str, Any]) -> None:
    low, high = told.get("min_value"), told.get("max_value")
    for key, bound in (("min_value", low), ("max_value", high)):
        if kind.whole and bound is not None and not isinstance(bound, int):
            raise SpecError(place, f"{key}: {bound!r} is no count", "give a whole number")
    if is_parameter(low) or is_parameter(high) or low is None or high is None:
        return
    if isinstance(low, str) != isinstance(high, str):
        raise SpecError(place, "min_value and max_value are of different types", "give two numbers or two dates")
    if low > high:
        raise SpecError(place, f"min_value {low!r} is above max_value {high!r}", "swap them")


def is_parameter(value: Any) -> bool:
    """Whether `value` is Great Expectations' `{"$PARAMETER": name}`, filled in when the suite is evaluated."""
    return isinstance(value, Mapping) and "$PARAMETER" in value


def _text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and value != [] and all(_text(item) for item in value)


_FORMS: Mapping[str, tuple[Callable[[Any], bool], str, str]] = {
    **dict.fromkeys(("column", "column_A", "column_B"), (_text, "is no column", "name one column")),
    **dict.fromkeys(("column_list", "column_set"), (_texts, "is no list of columns", "write [a, b]")),
    **dict.fromkeys(
        ("strict_min", "strict_max", "or_equal", "exact_match"),
        (lambda value: isinstance(value, bool), "is neither true nor false", "write true or false"),
    ),
    **dict.fromkeys(("notes", "description"), (_text, "is no text", "write a sentence")),
    "meta": (lambda value: isinstance(value, dict), "is no mapping", "write {name: value}"),
    "value_set": (
        lambda value: isinstance(value, list) and None not in value,
        "is no list of values",
        "write [a, b]; NULLs are never unexpected here",
    ),
    "type_": (_text, "is no type", "name a DuckDB type, such as BIGINT"),
    "type_list": (_texts, "is no list of types", "write [BIGINT, INTEGER]"),
    "mostly": (lambda value: _number(value) and 0 <= value <= 1, "is no share", "give a number from 0 to 1"),
    "value": (
        lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 0,
        "is no count",
        "give a whole number",
    ),
    "column_index": (lambda value: isinstance(value, int), "is no position", "give a whole number, 0 is the first"),
    "severity": (lambda value: value in SEVERITIES, "is no severity", f"known are: {', '.join(SEVERITIES)}"),
    "ignore_row_if": (
        lambda value: value in (*IGNORED_PAIRS, *IGNORED_COMPOUNDS),
        "is no rule",
        f"known are: {', '.join(dict.fromkeys((*IGNORED_PAIRS, *IGNORED_COMPOUNDS)))}",
    ),
}


def _fault(key: str, value: Any) -> tuple[str, str] | None:
    if key in ("min_value", "max_value"):
        return _bound_fault(value)
    if key == "regex":
        return _regex_fault(value)
    if key in _FORMS and not _FORMS[key][0](value):
        return _FORMS[key][1:]
    return None


def _bound_fault(value: Any) -> tuple[str, str] | None:
    if is_parameter(value):
        name = value["$PARAMETER"]
        return None if name in PARAMETERS else ("names no parameter", f"known are: {', '.join(PARAMETERS)}")
    if value is None or _number(value):
        return None
    try:
        datetime.datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return "is no bound", "give a number, a date or an instant (2026-01-31T12:00:00+00:00)"
    return None


def _regex_fault(value: Any) -> tuple[str, str] | None:
    if not _text(value):
        return "is no regular expression", "write one in quotes"
    try:
        re.compile(value)
    except re.error as error:
        return f"is no regular expression ({error})", "mend it"
    if re.search(r"\(\?(=|!|<=|<!|P=)|\\[1-9]", value):
        return "looks ahead, behind or back, which DuckDB's regular expressions cannot", "write it without"
    return None


def _condition(place: str, value: Any) -> dict[str, Any]:
    mend = "write {column: status_code, operator: '==', parameter: paid} or {column: paid_at, is_null: false}"
    if not isinstance(value, dict):
        raise SpecError(place, f"row_condition: {value!r} is no condition", mend)
    if "conditions" in value:
        if value.get("type") not in ("and", "or") or set(value) != {"type", "conditions"}:
            raise SpecError(place, "row_condition: several conditions need type: and, or type: or", mend)
        return {"type": value["type"], "conditions": [_condition(place, part) for part in value["conditions"]]}
    column = value.get("column")
    named = {"column": column if isinstance(column, dict) else {"name": column}}
    rest = set(value) - {"type", "column"}
    if not _text(named["column"].get("name")):
        raise SpecError(place, "row_condition: names no column", mend)
    if rest == {"is_null"} and isinstance(value["is_null"], bool):
        return {"type": "nullity", **named, "is_null": value["is_null"]}
    if rest == {"operator", "parameter"} and value["operator"] in OPERATORS and value["parameter"] is not None:
        if value["operator"] in ("IN", "NOT_IN") and not isinstance(value["parameter"], list):
            raise SpecError(place, f"row_condition: {value['operator']} needs a list", "write parameter: [a, b]")
        return {"type": "comparison", **named, "operator": value["operator"], "parameter": value["parameter"]}
    raise SpecError(place, f"row_condition: {value!r} is no condition", mend)


def _json(place: str, key: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _json(place, key, item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_json(place, key, item) for item in value]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise SpecError(place, f"{key}: {value} is no number", "give a finite one, or leave the bound out")
    return value


def _closest(word: str, known: Iterable[str]) -> str:
    names = list(known)
    # Nearly every name starts with expect_column_: compare what comes after, or everything looks alike.
    short = {name.removeprefix("expect_").removeprefix("column_").removeprefix("values_to_"): name for name in names}
    stem = word.removeprefix("expect_").removeprefix("column_").removeprefix("values_to_")
    close = difflib.get_close_matches(stem, short, n=1, cutoff=0.5)
    return f'did you mean "{short[close[0]]}"?' if close else f"known are: {', '.join(names)}"
