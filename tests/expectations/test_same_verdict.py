"""Every supported expectation gives the verdict and the numbers of Great Expectations' own pandas execution."""

import datetime as dt
import math
from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from ingestion.expectations.evaluate import evaluate
from ingestion.expectations.registry import KINDS
from ingestion.expectations.suite import Suite, declared_expectation

SHOWN = (
    "element_count",
    "unexpected_count",
    "unexpected_percent",
    "missing_count",
    "missing_percent",
    "unexpected_percent_total",
    "unexpected_percent_nonmissing",
    "observed_value",
    "details",
)
DAYS = [dt.datetime(2026, 1, day, 12, tzinfo=dt.UTC) for day in (1, 2, 3, 4)]
NAN = float("nan")
COLUMNS: dict[str, tuple[pa.DataType, list[Any]]] = {
    "whole": (pa.int64(), [1, 2, 2, None, 5, 9]),
    "real": (pa.float64(), [1.5, -2.0, None, 3.25, 0.0, NAN]),
    "exact": (pa.decimal128(12, 2), [Decimal(text) for text in ("1.10", "-3.00", "2.00", "0.00", "2.00", "7.25")]),
    "word": (pa.string(), ["a", "bb", None, "bb", "ccc", "é'\"$"]),
    "instant": (pa.timestamp("us", "UTC"), [DAYS[0], DAYS[1], None, DAYS[2], DAYS[3], DAYS[1]]),
    "date": (pa.date32(), [dt.date(2026, 1, day) if day else None for day in (1, 2, 0, 3, 4, 2)]),
    "flag": (pa.bool_(), [True, False, True, True, False, True]),
    "low": (pa.float64(), [1.0, 2.0, 3.0, None, 5.0, None]),
    "high": (pa.float64(), [0.0, 2.0, 4.0, 1.0, None, None]),
    "empty": (pa.int64(), [None] * 6),
    "distinct": (pa.int64(), [1, 2, 3, 4, 5, 6]),
}
PREFIX = "expect_column_values_to_"
CASES: list[tuple[str, dict[str, Any]]] = [
    *[(f"{PREFIX}not_be_null", {"column": name}) for name in ("whole", "real", "distinct", "empty")],
    (f"{PREFIX}not_be_null", {"column": "whole", "mostly": 0.8}),
    (f"{PREFIX}not_be_null", {"column": "whole", "mostly": 0.9}),
    *[(f"{PREFIX}be_null", {"column": name}) for name in ("whole", "empty", "real")],
    (f"{PREFIX}be_null", {"column": "whole", "mostly": 0.1}),
    *[(f"{PREFIX}be_unique", {"column": name}) for name in ("whole", "word", "exact", "distinct", "empty", "instant")],
    (f"{PREFIX}be_unique", {"column": "whole", "mostly": 0.5}),
    (f"{PREFIX}be_in_set", {"column": "word", "value_set": ["a", "bb", "é'\"$"]}),
    (f"{PREFIX}be_in_set", {"column": "word", "value_set": ["a", "bb", "é'\"$"], "mostly": 0.8}),
    (f"{PREFIX}be_in_set", {"column": "whole", "value_set": [1, 2, 5, 9]}),
    (f"{PREFIX}be_in_set", {"column": "exact", "value_set": [2, 7.25]}),
    (f"{PREFIX}be_in_set", {"column": "flag", "value_set": [True]}),
    (f"{PREFIX}be_in_set", {"column": "word", "value_set": []}),
    (f"{PREFIX}not_be_in_set", {"column": "word", "value_set": ["a"]}),
    (f"{PREFIX}not_be_in_set", {"column": "whole", "value_set": [77]}),
    (f"{PREFIX}not_be_in_set", {"column": "word", "value_set": []}),
    (f"{PREFIX}be_between", {"column": "real", "min_value": 0}),
    (f"{PREFIX}be_between", {"column": "real", "min_value": 0, "strict_min": True, "max_value": 3}),
    (f"{PREFIX}be_between", {"column": "real", "max_value": 3.25, "strict_max": True}),
    (f"{PREFIX}be_between", {"column": "exact", "min_value": -3, "max_value": 7.25}),
    (f"{PREFIX}be_between", {"column": "exact", "min_value": 0.0}),
    (f"{PREFIX}be_between", {"column": "whole", "min_value": 2, "mostly": 0.75}),
    (f"{PREFIX}be_between", {"column": "empty", "min_value": 2}),
    (f"{PREFIX}be_between", {"column": "instant", "max_value": "2026-01-02T12:00:00+00:00"}),
    (f"{PREFIX}be_between", {"column": "date", "min_value": "2026-01-02", "max_value": "2026-01-03"}),
    (f"{PREFIX}match_regex", {"column": "word", "regex": "^b"}),
    (f"{PREFIX}match_regex", {"column": "word", "regex": "b$", "mostly": 0.4}),
    (f"{PREFIX}match_regex", {"column": "word", "regex": "."}),
    (f"{PREFIX}match_regex", {"column": "word", "regex": "'\"\\$"}),
    (f"{PREFIX}not_match_regex", {"column": "word", "regex": "b"}),
    ("expect_column_value_lengths_to_be_between", {"column": "word", "min_value": 2, "max_value": 3}),
    ("expect_column_value_lengths_to_be_between", {"column": "word", "min_value": 1, "strict_min": True}),
    ("expect_column_value_lengths_to_equal", {"column": "word", "value": 2}),
    *[
        ("expect_column_pair_values_a_to_be_greater_than_b", {"column_A": "low", "column_B": "high", **extra})
        for extra in (
            {},
            {"or_equal": True},
            {"ignore_row_if": "both_values_are_missing"},
            {"ignore_row_if": "either_value_is_missing"},
            {"ignore_row_if": "either_value_is_missing", "mostly": 0.3},
        )
    ],
    ("expect_column_pair_values_to_be_equal", {"column_A": "low", "column_B": "high"}),
    ("expect_column_pair_values_to_be_equal", {"column_A": "distinct", "column_B": "distinct"}),
    (
        "expect_column_pair_values_to_be_equal",
        {"column_A": "low", "column_B": "high", "ignore_row_if": "either_value_is_missing"},
    ),
    *[
        ("expect_compound_columns_to_be_unique", {"column_list": columns, **extra})
        for columns, extra in (
            (["whole", "word"], {}),
            (["whole", "empty"], {}),
            (["low", "empty"], {}),
            (["distinct", "word"], {}),
            (["whole", "empty"], {"ignore_row_if": "any_value_is_missing"}),
            (["low", "empty"], {"ignore_row_if": "never"}),
            (["exact", "empty"], {"mostly": 0.5}),
        )
    ],
    *[
        (f"expect_column_{what}_to_be_between", {"column": column, "min_value": 0, "max_value": 4})
        for what in ("min", "max", "mean", "median", "stdev", "sum")
        for column in ("whole", "real", "exact", "distinct")
        if not (column == "exact" and what in ("median", "stdev"))  # pandas cannot compute these of decimals
    ],
    ("expect_column_min_to_be_between", {"column": "instant", "min_value": "2026-01-01T13:00:00+00:00"}),
    ("expect_column_max_to_be_between", {"column": "instant", "max_value": "2026-01-04T12:00:00+00:00"}),
    (
        "expect_column_max_to_be_between",
        {"column": "instant", "max_value": "2026-01-04T12:00:00+00:00", "strict_max": True},
    ),
    ("expect_column_max_to_be_between", {"column": "date", "max_value": "2026-01-03"}),
    ("expect_column_sum_to_be_between", {"column": "flag", "min_value": 4, "max_value": 4}),
    ("expect_column_mean_to_be_between", {"column": "flag", "min_value": 0.5, "strict_min": True}),
    *[
        (f"expect_column_{what}_to_be_between", {"column": column, "min_value": low, "max_value": 4})
        for low in (0.7, 0)
        for what in ("unique_value_count", "proportion_of_unique_values", "proportion_of_non_null_values")
        for column in ("whole", "word", "distinct")
        if low == 0 or what != "unique_value_count"
    ],
    ("expect_column_to_exist", {"column": "word"}),
    ("expect_column_to_exist", {"column": "wrod"}),
    ("expect_column_to_exist", {"column": "word", "column_index": 3}),
    ("expect_column_to_exist", {"column": "word", "column_index": 2}),
    ("expect_column_to_exist", {"column": "word", "column_index": 99}),
    ("expect_table_columns_to_match_set", {"column_set": list(COLUMNS)}),
    ("expect_table_columns_to_match_set", {"column_set": ["word", "wrod"]}),
    ("expect_table_columns_to_match_set", {"column_set": ["word", "wrod"], "exact_match": False}),
    ("expect_table_columns_to_match_set", {"column_set": ["word"], "exact_match": False}),
    ("expect_table_column_count_to_equal", {"value": len(COLUMNS)}),
    ("expect_table_column_count_to_equal", {"value": 2}),
    ("expect_table_row_count_to_be_between", {"min_value": 1, "max_value": 6}),
    ("expect_table_row_count_to_be_between", {"min_value": 6, "strict_min": True}),
    ("expect_table_row_count_to_equal", {"value": 6}),
    ("expect_table_row_count_to_equal", {"value": 7}),
    *[
        (f"{PREFIX}be_of_type", {"column": column, "type_": kind})
        for column, kind in (("distinct", "int64"), ("real", "float64"), ("real", "int64"), ("word", "str"))
    ],
    (f"{PREFIX}be_in_type_list", {"column": "real", "type_list": ["int64", "float64"]}),
    (f"{PREFIX}be_in_type_list", {"column": "real", "type_list": ["int64", "int32"]}),
    *[
        (kind, {**kwargs, "row_condition": condition})
        for kind, kwargs in (
            (f"{PREFIX}be_between", {"column": "whole", "min_value": 2}),
            (f"{PREFIX}not_be_null", {"column": "whole", "mostly": 0.6}),
            ("expect_column_max_to_be_between", {"column": "distinct", "max_value": 4}),
            ("expect_compound_columns_to_be_unique", {"column_list": ["whole", "word"]}),
            ("expect_column_pair_values_to_be_equal", {"column_A": "low", "column_B": "high"}),
            ("expect_table_row_count_to_be_between", {"max_value": 2}),
        )
        for condition in (
            {"type": "comparison", "column": {"name": "word"}, "operator": "==", "parameter": "bb"},
            {"type": "comparison", "column": {"name": "word"}, "operator": "!=", "parameter": "bb"},
            {"type": "comparison", "column": {"name": "word"}, "operator": "NOT_IN", "parameter": ["bb", "a"]},
            {"type": "nullity", "column": {"name": "real"}, "is_null": True},
            {
                "type": "or",
                "conditions": [
                    {"type": "comparison", "column": {"name": "whole"}, "operator": ">=", "parameter": 5},
                    {"type": "comparison", "column": {"name": "word"}, "operator": "IN", "parameter": ["a"]},
                ],
            },
        )
    ],
]


def frames(rows: int) -> tuple[pa.Table, pd.DataFrame]:
    """The same rows for DuckDB and for pandas, decimals and dates as objects, as Great Expectations likes them."""
    arrays = {name: pa.array(values[:rows], kind, from_pandas=False) for name, (kind, values) in COLUMNS.items()}
    table = pa.table(arrays)
    frame = table.to_pandas(date_as_object=True)
    frame["empty"] = frame["empty"].astype("float64")
    return table, frame


def near(ours: Any, theirs: Any) -> bool:
    if isinstance(theirs, float) and isinstance(ours, int | float):
        return math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-9)
    return bool(ours == theirs)


def label(case: tuple[str, dict[str, Any]]) -> str:
    return f"{case[0].removeprefix('expect_')}-{'-'.join(str(value)[:30] for value in case[1].values())}"


@pytest.mark.parametrize("rows", [6, 0], ids=["six rows", "no row"])
@pytest.mark.parametrize("case", CASES, ids=label)
def test_our_verdict_is_great_expectations_own(connection, gx_verdict, case, rows):
    kind, kwargs = case
    table, frame = frames(rows)
    connection.register("relation", table)
    ours = evaluate(connection, "relation", Suite("t.t", (declared_expectation("here", {kind: kwargs}),))).results[0]
    theirs = gx_verdict(frame, kind, kwargs)

    assert ours.reason is None
    assert ours.success == theirs["success"]
    if kind.endswith(("of_type", "in_type_list")):
        return  # we name DuckDB's types, pandas its own
    for key in SHOWN:
        left, right = ours.result.get(key), theirs["result"].get(key)
        right = None if right == "NaT" else right
        assert near(left, right), (key, left, right)
    assert same_values(ours.result.get("partial_unexpected_list"), theirs["result"].get("partial_unexpected_list"))


def same_values(ours: Any, theirs: Any) -> bool:
    """The same values as often, in any order: we show the smallest, pandas the first."""
    if ours is None or theirs is None:
        return ours is theirs
    left, right = sorted(map(repr_of, ours)), sorted(map(repr_of, theirs))
    return left == right


def repr_of(value: Any) -> str:
    if isinstance(value, dict):
        return repr({key: repr_of(item) for key, item in value.items()})
    if isinstance(value, list):
        return repr([repr_of(item) for item in value])
    return repr(float(value)) if isinstance(value, int | float) else repr(value)


def test_every_supported_type_is_compared_with_great_expectations():
    assert {kind for kind, _ in CASES} == set(KINDS)


def test_every_supported_type_and_key_is_one_of_great_expectations(gx):
    from great_expectations.expectations.registry import get_expectation_impl

    for kind, told in KINDS.items():
        fields = get_expectation_impl(kind).__fields__
        assert told.known <= set(fields), (kind, told.known - set(fields))
