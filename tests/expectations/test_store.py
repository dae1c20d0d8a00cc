"""Results are kept as files that appear whole, twenty of them, the last one findable."""

import datetime as dt
import json

import pytest

from ingestion.expectations.evaluate import evaluate
from ingestion.expectations.store import latest, read, store, stored_files, stored_suites
from ingestion.expectations.suite import Suite, declared_expectation

MORNING = dt.datetime(2026, 1, 10, 6, tzinfo=dt.UTC)


@pytest.fixture
def result_at(connection):
    rules = (
        {"expect_column_values_to_be_between": {"column": "i", "max_value": 5}},
        {"expect_column_values_to_not_be_null": {"column": "gone"}},
        {"expect_compound_columns_to_be_unique": {"column_list": ["i", "at"]}},
    )
    suite = Suite("shop.orders", tuple(declared_expectation("here", rule) for rule in rules))
    relation = "SELECT i, now() AS at, 1.5::DECIMAL(9,1) AS amount FROM range(10) t(i)"
    return lambda minute: evaluate(connection, relation, suite, now=MORNING + dt.timedelta(minutes=minute))


def test_a_stored_result_is_read_back_as_it_was(tmp_path, result_at):
    result = result_at(0)
    path = store(tmp_path, result)

    assert path == tmp_path / "expectations" / "shop.orders" / "20260110T060000Z.json"
    assert read(path) == result
    assert latest(tmp_path, "shop.orders") == result
    assert stored_suites(tmp_path) == ["shop.orders"]


def test_the_last_twenty_are_kept_and_the_latest_is_the_last(tmp_path, result_at):
    for minute in range(23):
        store(tmp_path, result_at(minute))
    files = stored_files(tmp_path, "shop.orders")

    assert len(files) == 20
    assert files[0].name == "20260110T062200Z.json"
    assert latest(tmp_path, "shop.orders").at == MORNING + dt.timedelta(minutes=22)
    assert {path.name for path in files[0].parent.iterdir()} == {path.name for path in files} | {"latest.json"}


def test_a_failed_write_leaves_the_former_file_and_no_scrap(tmp_path, result_at, monkeypatch):
    store(tmp_path, result_at(0))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        store(tmp_path, result_at(1))

    assert latest(tmp_path, "shop.orders") == result_at(0)
    assert sorted(path.name for path in (tmp_path / "expectations" / "shop.orders").iterdir()) == [
        "20260110T060000Z.json",
        "latest.json",
    ]


def test_a_table_never_evaluated_has_no_result(tmp_path):
    assert latest(tmp_path, "shop.orders") is None
    assert stored_suites(tmp_path) == []


def test_great_expectations_loads_a_stored_result_without_loss(gx, tmp_path, result_at):
    from great_expectations.core.expectation_validation_result import expectationSuiteValidationResultSchema

    text = json.loads(store(tmp_path, result_at(0)).read_text())
    theirs = expectationSuiteValidationResultSchema.load(text).to_json_dict()

    assert theirs["statistics"] == text["statistics"]
    assert [item["result"] for item in theirs["results"]] == [item["result"] for item in text["results"]]
    assert [item["success"] for item in theirs["results"]] == [False, False, True]
