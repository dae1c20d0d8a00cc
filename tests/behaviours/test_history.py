"""Histories: every observed version of a key, once."""

import shutil

import pytest
from trial_source import Trial, on_folder

from ingestion import load
from lake.fold import fold_history


@pytest.fixture(autouse=True)
def _history(trial: Trial) -> None:
    trial.declare(history=True, partition=None)


def _versions(trial: Trial, columns: str = "order_id, amount, _op") -> list[tuple[object, ...]]:
    return trial.rows(columns, suffix="_history")


def test_every_version_is_kept_once(trial: Trial) -> None:
    trial.orders(3)
    trial.run()
    for amount in (50, 60):
        trial.sql("update orders set amount = %s, updated_at = clock_timestamp() where order_id = 2", [amount])
        trial.run()
    assert _versions(trial) == [(1, 1, "i"), (2, 2, "i"), (2, 50, "u"), (2, 60, "u"), (3, 3, "i")]
    trial.assert_same()


@on_folder
def test_versions_that_waited_are_all_folded_at_once(trial: Trial) -> None:
    trial.orders(1)
    trial.load()
    for amount in (50, 60):
        trial.sql("update orders set amount = %s, updated_at = clock_timestamp()", [amount])
        trial.load()
    trial.fold()
    assert _versions(trial, "amount, _op") == [(1, "i"), (50, "u"), (60, "u")]


@on_folder
def test_folding_again_adds_nothing(trial: Trial) -> None:
    trial.orders(3)
    trial.run()
    before = trial.version(suffix="_history")
    assert fold_history(trial.lake, load.subject(trial.source, trial.table)).loads == 0
    trial.run()
    assert trial.version(suffix="_history") == before


def test_a_deletion_is_a_version_with_the_key_and_the_time(trial: Trial) -> None:
    trial.orders(3)
    trial.run()
    trial.sql("delete from orders where order_id = 2")
    trial.run()
    (row,) = trial.rows("order_id, amount, updated_at = _loaded_at", suffix="_history", where="_op = 'd'")
    assert row == (2, None, True)
    trial.run()
    assert len(_versions(trial)) == 4


@on_folder
def test_all_rows_of_the_table_are_in_its_history(trial: Trial) -> None:
    trial.orders(5)
    trial.run()
    trial.sql("update orders set amount = 7, updated_at = clock_timestamp() where order_id < 3")
    trial.orders(2, first=20)
    trial.run()
    columns = "order_id, amount, updated_at"
    assert set(trial.rows(columns)) <= set(_versions(trial, columns))


@on_folder
def test_a_version_that_was_corrected_without_a_new_time_is_observed_again(trial: Trial) -> None:
    trial.orders(3)
    trial.run()
    trial.sql("update orders set amount = 50 where order_id = 2")
    assert trial.reload("2026-01-05").taken.updated == 1
    assert _versions(trial) == [(1, 1, "i"), (2, 2, "i"), (2, 50, "u"), (3, 3, "i")]
    (latest,) = trial.rows(
        "max_by(amount, _loaded_at), count(distinct updated_at)", "processed", "_history", "order_id = 2"
    )
    assert latest == (50, 1)


@on_folder
def test_a_row_that_comes_back_as_it_was_is_observed_again(trial: Trial) -> None:
    trial.orders(3)
    trial.run()
    trial.sql("create table kept as select * from orders where order_id = 2; delete from orders where order_id = 2")
    trial.run()
    trial.sql("insert into orders select * from kept")
    trial.reload("2026-01-05")
    (seen,) = trial.rows("list(_op order by _loaded_at)", suffix="_history", where="order_id = 2")
    assert seen == (["i", "d", "i"],)
    trial.assert_same()


@on_folder
def test_a_history_folded_anew_from_raw_is_the_same(trial: Trial) -> None:
    trial.orders(3)
    trial.run()
    for amount in (50, 60):
        trial.sql("update orders set amount = %s, updated_at = clock_timestamp() where order_id = 2", [amount])
        trial.run()
    trial.sql("delete from orders where order_id = 1")
    trial.run()
    before, processed = _versions(trial, "*"), trial.rows()
    shutil.rmtree(f"{trial.lake.root}/processed")
    trial.fold()
    assert _versions(trial, "*") == before
    assert trial.rows() == processed
