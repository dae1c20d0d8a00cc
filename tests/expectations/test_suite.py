"""What a declaration turns into, and what it is told when it is wrong."""

import datetime as dt
from types import SimpleNamespace
from typing import Any

import pytest

from ingestion import spec
from ingestion.expectations.registry import KINDS, check
from ingestion.expectations.suite import suite_for, suite_from_json
from lake.errors import SpecError


def table(**told: Any) -> Any:
    empty = {"key": ("order_id",), "cursor": None, "partition": None, "mask": {}, "columns": {}, "expect": ()}
    return SimpleNamespace(**{"name": "orders", **empty, **told})


def short(suite: Any) -> list[tuple[str, Any]]:
    return [
        (item.type.removeprefix("expect_").removeprefix("column_values_to_"), item.columns)
        for item in suite.expectations
    ]


def test_key_cursor_and_partition_are_expected_without_a_word():
    suite = suite_for("shop", table(cursor="updated_at", partition=SimpleNamespace(column="ordered_at")))

    assert suite.name == "shop.orders"
    assert short(suite) == [
        ("table_columns_to_match_set", ()),
        ("not_be_null", ("order_id",)),
        ("be_unique", ("order_id",)),
        ("not_be_null", ("ordered_at",)),
        ("not_be_null", ("updated_at",)),
        ("be_between", ("ordered_at",)),
        ("be_between", ("updated_at",)),
        ("not_be_null", ("_loaded_at",)),
    ]
    needed = suite.expectations[0].kwargs["column_set"]
    assert {"order_id", "updated_at", "ordered_at", "year", "month", "day", "_loaded_at", "_load_id", "_op"} == set(
        needed
    )


def test_a_key_of_two_columns_is_unique_as_a_pair_and_null_in_neither():
    suite = suite_for("shop", table(key=("order_id", "line_number")))

    assert ("compound_columns_to_be_unique", ("order_id", "line_number")) in short(suite)
    assert [columns for kind, columns in short(suite) if kind == "not_be_null"][:2] == [("order_id",), ("line_number",)]


def test_declared_types_are_expected_but_not_of_masked_columns():
    columns = {
        "amount": SimpleNamespace(type="numeric(12,2)"),
        "note": SimpleNamespace(type=None),
        "email": SimpleNamespace(type="text"),
    }
    suite = suite_for("shop", table(columns=columns, mask={"email": "sha256"}))

    assert [columns for kind, columns in short(suite) if kind == "be_of_type"] == [("amount",)]
    assert ("match_regex", ("email",)) in short(suite)


def test_a_declared_expectation_takes_the_place_of_the_generated_one():
    softer = {"expect_column_values_to_not_be_null": {"column": "updated_at", "mostly": 0.9, "severity": "warning"}}
    suite = suite_for("shop", table(cursor="updated_at", expect=(softer,)))

    found = [item for item in suite.expectations if item.columns == ("updated_at",) and "null" in item.type]
    assert [(item.kwargs.get("mostly"), item.severity) for item in found] == [(0.9, "warning")]
    assert suite.expectations[-1] == found[0]


def test_two_declared_expectations_of_one_type_and_column_both_stay():
    low, high = (
        {"expect_column_values_to_be_between": {"column": "quantity", **bound}}
        for bound in ({"min_value": 0}, {"max_value": 99, "severity": "info"})
    )
    suite = suite_for("shop", table(expect=(low, high)))

    assert [item.severity for item in suite.expectations[-2:]] == ["critical", "info"]


def test_every_table_of_every_declared_source_has_a_suite_that_survives_json():
    for source in spec.sources():
        for declared in source.tables:
            suite = suite_for(source.name, declared)
            assert suite_from_json(suite.to_json()) == suite
            assert len(suite.expectations) >= 5


def test_a_suite_is_great_expectations_own_json(gx):
    columns = {"amount": SimpleNamespace(type="decimal(12,2)")}
    expect = (
        {
            "expect_column_values_to_be_between": {
                "column": "quantity",
                "min_value": 0,
                "notes": "Returns are a status.",
                "severity": "warning",
                "row_condition": {"column": "status_code", "operator": "!=", "parameter": "returned"},
            }
        },
    )
    suite = suite_for(
        "shop",
        table(
            cursor="updated_at",
            partition=SimpleNamespace(column="ordered_at"),
            columns=columns,
            mask={"email": "sha256"},
            expect=expect,
        ),
    )

    theirs = gx.ExpectationSuite(**suite.to_json()).to_json_dict()

    assert suite_from_json(theirs) == suite
    assert len(theirs["expectations"]) == len(suite.expectations)


def test_dates_become_texts_that_json_can_say():
    _, told = check("here", {"expect_column_values_to_be_between": {"column": "day", "min_value": dt.date(2026, 1, 1)}})

    assert told["min_value"] == "2026-01-01"


WRONG = [
    (
        {"expect_column_values_to_be_betwen": {"column": "a", "min_value": 0}},
        'did you mean "expect_column_values_to_be_between"',
    ),
    ({"expect_column_vals_not_null": {"column": "a"}}, 'did you mean "expect_column_values_to_not_be_null"'),
    ({"not_null": {"column": "a"}}, 'did you mean "expect_column_values_to_not_be_null"'),
    ({"xyz": {}}, "known are: expect_column_values_to_not_be_null"),
    (
        {"expect_column_values_to_be_between": {"colum": "a", "min_value": 0}},
        'unknown key "colum"; did you mean "column"?',
    ),
    ({"expect_column_values_to_be_in_set": {"column": "a", "mostley": 1, "value_set": []}}, 'did you mean "mostly"?'),
    ({"expect_column_values_to_be_between": {"min_value": 0}}, '"column" is missing; add column:'),
    ({"expect_column_values_to_be_between": {"column": "a"}}, "has no bound; give max_value or min_value"),
    (
        {"expect_column_values_to_be_between": {"column": "a", "min_value": 5, "max_value": 1}},
        "above max_value 1; swap",
    ),
    (
        {"expect_column_values_to_be_between": {"column": "a", "min_value": 5, "max_value": "2026-01-01"}},
        "different types",
    ),
    ({"expect_column_values_to_be_between": {"column": "a", "min_value": "many"}}, "'many' is no bound"),
    ({"expect_column_values_to_be_between": {"column": "a", "min_value": float("nan")}}, "nan is no number"),
    ({"expect_column_values_to_be_between": {"column": "a", "min_value": {"$PARAMETER": "tomorow"}}}, "known are: now"),
    ({"expect_table_row_count_to_be_between": {"min_value": 0.5}}, "min_value: 0.5 is no count"),
    ({"expect_column_values_to_not_be_null": {"column": "a", "mostly": 95}}, "mostly: 95 is no share"),
    (
        {"expect_column_values_to_not_be_null": {"column": "a", "severity": "fatal"}},
        "known are: critical, warning, info",
    ),
    ({"expect_column_values_to_not_be_null": {"column": ["a", "b"]}}, "is no column; name one column"),
    ({"expect_column_values_to_not_be_null": "a"}, "does not say what to expect"),
    ({"expect_column_values_to_be_in_set": {"column": "a", "value_set": "b"}}, "is no list of values; write [a, b]"),
    ({"expect_column_values_to_match_regex": {"column": "a", "regex": "("}}, "is no regular expression"),
    ({"expect_column_values_to_match_regex": {"column": "a", "regex": "(?=a)"}}, "looks ahead"),
    ({"expect_compound_columns_to_be_unique": {"column_list": "a"}}, "is no list of columns"),
    (
        {"expect_table_row_count_to_be_between": {"min_value": 1, "row_condition": "a > 1"}},
        "is no condition; write {column",
    ),
    (
        {
            "expect_table_row_count_to_be_between": {
                "min_value": 1,
                "row_condition": {"column": "a", "operator": "=", "parameter": 1},
            }
        },
        "is no condition",
    ),
    (
        {"expect_column_to_exist": {"column": "a"}, "expect_column_values_to_be_null": {"column": "a"}},
        "one name, not 2",
    ),
]


@pytest.mark.parametrize(("item", "said"), WRONG, ids=[said for _, said in WRONG])
def test_a_wrong_declaration_is_one_sentence_that_names_the_place(item, said):
    with pytest.raises(SpecError) as error:
        check("ingestion/sources/shop.yml, table orders", item)

    assert str(error.value).startswith("ingestion/sources/shop.yml, table orders")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_what_we_accept_great_expectations_accepts_too(gx):
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    values = {
        "column": "a",
        "column_A": "a",
        "column_B": "b",
        "column_list": ["a", "b"],
        "column_set": ["a"],
        "value_set": ["x"],
        "min_value": 1,
        "max_value": 2,
        "regex": "^a",
        "value": 3,
        "type_": "BIGINT",
        "type_list": ["BIGINT"],
        "mostly": 0.5,
        "strict_min": True,
        "strict_max": False,
        "or_equal": True,
        "exact_match": False,
        "column_index": 1,
        "row_condition": {"column": "c", "is_null": True},
    }
    for kind, told in KINDS.items():
        keys = {key: values[key] for key in told.known if key in values}
        _, checked = check("here", {kind: keys})
        ExpectationConfiguration(type=kind, kwargs=checked).to_domain_obj()


def test_declarations_are_checked_without_importing_great_expectations():
    import subprocess
    import sys

    code = (
        "import sys, ingestion.spec, ingestion.expectations.evaluate, ingestion.expectations.store, "
        "ingestion.expectations.docs; ingestion.spec.sources(); print('great_expectations' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
