"""A suite on real tables: nothing crashes, nothing is shown that may not be, memory stays bounded."""

import datetime as dt
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from ingestion.expectations.evaluate import evaluate
from ingestion.expectations.sentences import sentence
from ingestion.expectations.suite import Suite, declared_expectation, suite_for
from lake import duck

NOW = dt.datetime(2026, 1, 10, 12, tzinfo=dt.UTC)


def suite(*items):
    return Suite("shop.order_items", tuple(declared_expectation("here", item) for item in items))


@pytest.fixture
def items(connection):
    connection.execute("""
        CREATE TABLE order_items AS
        SELECT i AS order_id, 1 AS line_number, CASE WHEN i < 3 THEN i - 3 ELSE i END AS quantity,
               TIMESTAMPTZ '2026-01-01' + INTERVAL (i) HOUR AS ordered_at, 'x' || i AS "od""d name",
               sha256(i::VARCHAR) AS email
        FROM range(300) t(i)""")
    return connection


def test_a_failure_is_one_sentence_with_counts_and_examples(items):
    result = evaluate(
        items, "order_items", suite({"expect_column_values_to_be_between": {"column": "quantity", "min_value": 0}})
    ).results[0]

    assert sentence(result) == "shop.order_items: 3 of 300 values of quantity are below 0 (e.g. -3, -2, -1)"
    assert result.result["partial_unexpected_list"] == [-3, -2, -1]


def test_at_most_twenty_examples_are_kept(items):
    result = evaluate(
        items,
        "order_items",
        suite(
            {"expect_column_values_to_be_null": {"column": "quantity"}},
            {"expect_column_values_to_be_unique": {"column": "line_number"}},
            {"expect_column_pair_values_to_be_equal": {"column_A": "order_id", "column_B": "line_number"}},
        ),
    )

    assert [item.result["unexpected_count"] for item in result.results] == [300, 300, 299]
    assert [len(item.result["partial_unexpected_list"]) for item in result.results] == [20, 20, 20]


def test_a_missing_column_fails_its_own_expectation_and_no_other(items):
    result = evaluate(
        items,
        "order_items",
        suite(
            {"expect_column_values_to_not_be_null": {"column": "quantiti"}},
            {"expect_column_values_to_not_be_null": {"column": "quantity"}},
            {"expect_column_values_to_be_of_type": {"column": "gone", "type_": "BIGINT"}},
        ),
    )

    assert [item.success for item in result.results] == [False, True, False]
    assert sentence(result.results[0]) == (
        "shop.order_items: expect_column_values_to_not_be_null(quantiti) could not be measured: "
        'column "quantiti" does not exist; did you mean "quantity"?'
    )
    assert result.row_count == 300


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (
            {"expect_column_values_to_be_between": {"column": "email", "min_value": 0}},
            "is VARCHAR, which cannot be compared",
        ),
        (
            {"expect_column_values_to_be_in_set": {"column": "quantity", "value_set": ["one"]}},
            "is BIGINT, which cannot",
        ),
        (
            {"expect_column_values_to_be_between": {"column": "ordered_at", "min_value": 5}},
            "TIMESTAMP WITH TIME ZONE, which",
        ),
        ({"expect_column_sum_to_be_between": {"column": "email", "min_value": 5}}, "cannot be added up"),
        ({"expect_column_value_lengths_to_equal": {"column": "quantity", "value": 5}}, "has no length"),
        (
            {"expect_column_pair_values_to_be_equal": {"column_A": "quantity", "column_B": "email"}},
            "cannot be compared",
        ),
        (
            {"expect_table_row_count_to_equal": {"value": 1, "row_condition": {"column": "gone", "is_null": True}}},
            'column "gone" of its row_condition does not exist',
        ),
    ],
)
def test_types_that_do_not_fit_fail_with_a_reason(items, item, reason):
    result = evaluate(items, "order_items", suite(item, {"expect_table_row_count_to_equal": {"value": 300}}))

    assert [found.success for found in result.results] == [False, True]
    assert reason in (result.results[0].reason or "")


def test_what_fails_while_it_is_computed_spoils_no_other_measurement(connection):
    relation = "SELECT i, CASE WHEN i = 77 THEN error('broken') ELSE 'x' END AS text FROM range(100) t(i)"
    result = evaluate(
        connection,
        relation,
        suite(
            *[{"expect_column_max_to_be_between": {"column": "i", "max_value": bound}} for bound in range(95, 105)],
            {"expect_column_values_to_match_regex": {"column": "text", "regex": "x"}},
            {"expect_column_values_to_be_unique": {"column": "text"}},
        ),
    )

    assert [item.success for item in result.results] == [False] * 4 + [True] * 6 + [False, False]
    assert all("broken" in (item.reason or "") for item in result.results[-2:])
    assert result.row_count == 100


def test_a_missing_table_fails_every_expectation_with_the_reason(connection):
    result = evaluate(
        connection,
        "nowhere",
        suite({"expect_column_to_exist": {"column": "a"}}, {"expect_table_row_count_to_be_between": {"min_value": 1}}),
    )

    assert not result.success
    assert result.row_count is None
    assert all("the table cannot be read" in sentence(item) and "nowhere" in sentence(item) for item in result.results)


def test_names_and_values_with_quotes_are_data(items):
    value = "x'; DROP TABLE order_items; --"
    result = evaluate(
        items,
        "order_items",
        suite(
            {"expect_column_values_to_not_be_null": {"column": 'od"d name'}},
            {"expect_column_values_to_be_unique": {"column": 'od"d name'}},
            {"expect_column_values_to_be_in_set": {"column": 'od"d name', "value_set": [value]}},
            {
                "expect_column_values_to_be_of_type": {
                    "column": "quantity",
                    "type_": "BIGINT)); DROP TABLE order_items; --",
                }
            },
        ),
    )

    assert [item.success for item in result.results] == [True, True, False, False]
    assert items.execute("SELECT count(*) FROM order_items").fetchone() == (300,)


def test_tomorrow_is_a_day_after_the_given_clock(items):
    rule = {"expect_column_values_to_be_between": {"column": "ordered_at", "max_value": {"$PARAMETER": "tomorrow"}}}
    early, late = (evaluate(items, "order_items", suite(rule), now=now) for now in (NOW, NOW + dt.timedelta(days=5)))

    assert (early.success, late.success) == (False, True)
    assert early.parameters["tomorrow"] == "2026-01-11T12:00:00+00:00"
    assert early.results[0].expectation.kwargs["max_value"] == "2026-01-11T12:00:00+00:00"
    assert early.results[0].result["unexpected_count"] == 300 - 10 * 24 - 12 - 1


def test_declared_types_may_have_any_of_their_names(connection):
    relation = "SELECT 1::DECIMAL(12,2) AS amount, now() AS at, 'a' AS note, 1::DOUBLE AS share, '{}' AS doc"
    names = {
        "amount": "numeric(12, 2)",
        "at": "timestamptz",
        "note": "text",
        "share": "double precision",
        "doc": "jsonb",
    }
    result = evaluate(
        connection,
        relation,
        suite(
            *[
                {"expect_column_values_to_be_of_type": {"column": column, "type_": name}}
                for column, name in names.items()
            ],
            {"expect_column_values_to_be_of_type": {"column": "amount", "type_": "decimal(10,2)"}},
        ),
    )

    assert [item.success for item in result.results] == [True] * 5 + [False]
    assert sentence(result.results[-1]) == "shop.order_items: column amount is DECIMAL(12,2), not decimal(10,2)"


def test_values_of_a_masked_column_are_never_shown(connection):
    table = SimpleNamespace(
        name="customers",
        key=("email",),
        cursor=None,
        partition=None,
        mask={"email": "sha256"},
        columns={},
        expect=(
            {"expect_column_max_to_be_between": {"column": "email", "max_value": 3}},
            {"expect_column_values_to_be_in_set": {"column": "email", "value_set": ["x"]}},
        ),
    )
    relation = "SELECT unnest(['ann@example.org', 'ann@example.org', sha256('b')]) AS email"
    result = evaluate(connection, relation, suite_for("shop", table))

    assert len(result.failed()) >= 4
    assert "ann@" not in str(result.to_json())
    assert "shop.customers: 2 of 3 values of email do not match ^[0-9a-f]{64}$" in map(sentence, result.results)


def test_failures_come_gravest_first_and_by_severity(items):
    rules = [
        {"expect_column_values_to_be_null": {"column": "quantity", "severity": severity}}
        for severity in ("info", "critical", "warning")
    ]
    result = evaluate(items, "order_items", suite(*rules))

    assert [item.expectation.severity for item in result.failed()] == ["critical", "warning", "info"]
    assert [item.expectation.severity for item in result.failed("critical")] == ["critical"]


def test_a_table_larger_than_its_memory_is_measured_in_bounded_memory(tmp_path):
    code = textwrap.dedent("""
        import sys
        from pathlib import Path
        from lake import duck
        from ingestion.expectations.evaluate import evaluate
        from ingestion.expectations.suite import Suite, declared_expectation
        connection = duck.connect()
        connection.execute("SET memory_limit = '150MB'; SET threads = 2; SET preserve_insertion_order = false")
        connection.execute("SET temp_directory = '" + sys.argv[1] + "'")
        rows = "SELECT i AS id, md5(i::VARCHAR) AS code, (i % 1000)::DOUBLE AS amount FROM range(3000000) t(i)"
        connection.execute(f"COPY ({rows}) TO '{sys.argv[1]}/rows.parquet'")
        rules = [
            {"expect_compound_columns_to_be_unique": {"column_list": ["id", "code"]}},
            {"expect_column_values_to_be_unique": {"column": "amount"}},
            {"expect_column_values_to_match_regex": {"column": "code", "regex": "^[0-9a-f]{32}$"}},
            {"expect_column_values_to_be_between": {"column": "amount", "max_value": 10}},
        ]
        suite = Suite("t.t", tuple(declared_expectation("here", rule) for rule in rules))
        result = evaluate(connection, f"'{sys.argv[1]}/rows.parquet'", suite)
        print([(item.success, item.result.get("unexpected_count"), item.reason) for item in result.results])
        # not ru_maxrss: a child inherits that of the process that started it
        print(next(line.split()[1] for line in Path("/proc/self/status").open() if line.startswith("VmHWM")))
    """)
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    verdicts, memory = done.stdout.splitlines()

    assert verdicts == str([(True, 0, None), (False, 3_000_000, None), (True, 0, None), (False, 2_967_000, None)])
    assert int(memory) / 1024 < 350  # megabytes: 244 measured, 448 without the limit


def test_a_delta_table_of_the_lake_is_measured_where_it_lies(tmp_path):
    rows = pa.table({"order_id": [1, 2, 2], "day": ["01", "02", "02"]})
    write_deltalake(str(tmp_path / "orders"), rows, partition_by=["day"])
    write_deltalake(str(tmp_path / "orders"), rows.slice(0, 2), partition_by=["day"], mode="overwrite")
    rules = suite({"expect_column_values_to_be_unique": {"column": "order_id"}})
    with duck.connect(extensions=("delta",)) as opened:
        found = evaluate(opened, f"delta_scan('{tmp_path}/orders')", rules)
        missing = evaluate(opened, f"delta_scan('{tmp_path}/nowhere')", rules)

    assert (found.success, found.row_count) == (True, 2)
    assert "the table cannot be read" in sentence(missing.results[0])
