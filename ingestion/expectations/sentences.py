"""One line in plain words for an expectation that did not hold."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ingestion.expectations.result import Result

_SHOWN = 3
_LENGTH = 60


def sentence(result: Result) -> str:
    """What is wrong, such as `shop.order_items: 3 of 51,204 values of quantity are below 0 (e.g. -2, -1)`."""
    if result.success:
        return f"{result.suite}: {result.expectation.type} holds"
    if result.reason:
        about = ", ".join(result.expectation.columns)
        subject = f"{result.expectation.type}({about})" if about else result.expectation.type
        return f"{result.suite}: {subject} could not be measured: {result.reason}"
    kwargs = result.expectation.kwargs
    said = _rows(result) if "unexpected_count" in result.result else _observed(result)
    condition = f", where {_condition(kwargs['row_condition'])}" if "row_condition" in kwargs else ""
    return f"{result.suite}: {said}{condition}"


def _rows(result: Result) -> str:
    kwargs, found = result.expectation.kwargs, result.result
    unexpected, considered = found["unexpected_count"], found["element_count"] - found.get("missing_count", 0)
    one = unexpected == 1
    fault = _FAULTS[result.expectation.type](kwargs, "is" if one else "are", "does" if one else "do")
    noun = "row" if "column_A" in kwargs or "column_list" in kwargs else f"value of {kwargs['column']}"
    of = (
        noun
        if considered == 1
        else noun.replace("row", "rows", 1)
        if noun == "row"
        else noun.replace("value", "values", 1)
    )
    allowed = f"; at most {(1 - kwargs['mostly']) * 100:g} % may" if kwargs.get("mostly", 1) < 1 else ""
    return f"{unexpected:,} of {considered:,} {of} {fault}{_examples(found.get('partial_unexpected_list'))}{allowed}"


def _examples(values: Sequence[Any] | None) -> str:
    texts = list(dict.fromkeys(_shown(value) for value in values or () if value is not None))[:_SHOWN]
    return f" (e.g. {', '.join(texts)})" if texts else ""


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "(" + ", ".join(f"{name} {_shown(item)}" for name, item in value.items()) + ")"
    if isinstance(value, list):
        return "(" + ", ".join(_shown(item) for item in value) + ")"
    if isinstance(value, float):
        return f"{value:.10g}"
    text = "NULL" if value is None else str(value)
    return text if len(text) <= _LENGTH else f"{text[:_LENGTH]}…"


def _range(kwargs: Mapping[str, Any], unit: str = "") -> str:
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    if low is None:
        return f"{'not below' if kwargs.get('strict_max') else 'above'} {_shown(high)}{unit}"
    if high is None:
        return f"{'not above' if kwargs.get('strict_min') else 'below'} {_shown(low)}{unit}"
    return f"not between {_shown(low)} and {_shown(high)}{unit}"


def _set(kwargs: Mapping[str, Any]) -> str:
    values = [_shown(value) for value in kwargs["value_set"]]
    return ", ".join(values[:8]) + (f" and {len(values) - 8} more" if len(values) > 8 else "")


def _against(kwargs: Mapping[str, Any]) -> str:
    return f"{kwargs['column_A']} not {'at least' if kwargs.get('or_equal') else 'greater than'} {kwargs['column_B']}"


_FAULTS: Mapping[str, Callable[[Mapping[str, Any], str, str], str]] = {
    "expect_column_values_to_not_be_null": lambda _, be, __: f"{be} NULL",
    "expect_column_values_to_be_null": lambda _, be, __: f"{be} not NULL",
    "expect_column_values_to_be_unique": lambda _, be, __: f"{be} not unique",
    "expect_column_values_to_be_in_set": lambda kwargs, be, _: f"{be} none of {_set(kwargs)}",
    "expect_column_values_to_not_be_in_set": lambda kwargs, be, _: f"{be} one of {_set(kwargs)}",
    "expect_column_values_to_be_between": lambda kwargs, be, _: f"{be} {_range(kwargs)}",
    "expect_column_values_to_match_regex": lambda kwargs, _, do: f"{do} not match {kwargs['regex']}",
    "expect_column_values_to_not_match_regex": lambda kwargs, be, _: f"{be} matched by {kwargs['regex']}",
    "expect_column_value_lengths_to_be_between": lambda kwargs, be, _: f"{be} {_range(kwargs)} characters long",
    "expect_column_value_lengths_to_equal": lambda kwargs, be, _: f"{be} not {kwargs['value']} characters long",
    "expect_column_pair_values_a_to_be_greater_than_b": lambda kwargs, _, __: f"with {_against(kwargs)}",
    "expect_column_pair_values_to_be_equal": lambda kwargs, _, __: (
        f"with {kwargs['column_A']} not equal to {kwargs['column_B']}"
    ),
    "expect_compound_columns_to_be_unique": lambda kwargs, _, __: f"share {', '.join(kwargs['column_list'])}",
}


def _observed(result: Result) -> str:
    kwargs, observed = result.expectation.kwargs, result.result.get("observed_value")
    kind = result.expectation.type
    if kind in _TABLE_FAULTS:
        return _TABLE_FAULTS[kind](kwargs, result.result)
    what = kind.removeprefix("expect_column_").removesuffix("_to_be_between").replace("_", " ")
    subject = f"the {what} of {kwargs['column']}"
    if "observed_value" not in result.result:
        return f"{subject} is {_range(kwargs)}"
    if observed is None:
        return f"{subject} is unknown, for it has no values"
    return f"{subject} is {_shown(observed)}, which is {_range(kwargs)}"


def _mismatch(kwargs: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    gaps = found["details"]["mismatched"]
    exact = kwargs.get("exact_match", True)
    parts = [f"{word} {', '.join(gaps[word])}" for word in ("missing", "unexpected") if word in gaps]
    return f"columns {'; '.join(parts if exact else parts[:1])}"


def _count(kwargs: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    count = f"{found['observed_value']:,}"
    if "value" in kwargs:
        return f"has {count} rows, not {kwargs['value']:,}"
    return f"has {count} rows, which is {_range(kwargs)}"


_TABLE_FAULTS: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Any]], str]] = {
    "expect_column_to_exist": lambda kwargs, _: (
        f"column {kwargs['column']} is missing"
        if "column_index" not in kwargs
        else f"column {kwargs['column']} is not at position {kwargs['column_index']}"
    ),
    "expect_table_columns_to_match_set": _mismatch,
    "expect_table_column_count_to_equal": lambda kwargs, found: (
        f"has {found['observed_value']} columns, not {kwargs['value']}"
    ),
    "expect_table_row_count_to_be_between": _count,
    "expect_table_row_count_to_equal": _count,
    "expect_column_values_to_be_of_type": lambda kwargs, found: (
        f"column {kwargs['column']} is {found['observed_value']}, not {kwargs['type_']}"
    ),
    "expect_column_values_to_be_in_type_list": lambda kwargs, found: (
        f"column {kwargs['column']} is {found['observed_value']}, none of {', '.join(kwargs['type_list'])}"
    ),
}


def _condition(condition: Mapping[str, Any]) -> str:
    if "conditions" in condition:
        return f" {condition['type']} ".join(_condition(part) for part in condition["conditions"])
    column = condition["column"]["name"]
    if condition["type"] == "nullity":
        return f"{column} is {'' if condition['is_null'] else 'not '}NULL"
    return f"{column} {condition['operator'].replace('_', ' ')} {_shown(condition['parameter'])}"
