"""Days: loading one again repairs it, and a row is in one day only."""

import pytest
from trial_source import Trial, on_ceph, on_folder

from lake import commit, read
from lake.errors import TruncatedLoad


def _change_quietly(trial: Trial, statement: str) -> None:
    """Change the source in a way that no cursor shows."""
    trial.sql(f"update orders set {statement}")


def test_a_day_loaded_again_is_repaired(trial: Trial) -> None:
    trial.orders(5, day="2026-01-05")
    trial.orders(5, day="2026-01-06", first=6)
    trial.run()
    _change_quietly(trial, "amount = 500 where order_id in (1, 6)")
    assert trial.run().taken.updated == 0
    loaded = trial.reload("2026-01-05")
    assert (loaded.kind, loaded.window, loaded.taken.rows_read, loaded.taken.updated) == ("days", "of 2026-01-05", 5, 1)
    assert trial.rows("order_id", where="amount = 500") == [(1,)]
    trial.reload("2026-01-05", "2026-01-06")
    trial.assert_same()


@on_ceph
def test_a_day_loaded_twice_changes_nothing_the_second_time(trial: Trial) -> None:
    trial.orders(5)
    trial.run()
    _change_quietly(trial, "amount = 500 where order_id = 1")
    trial.reload("2026-01-05")
    before = trial.versions()
    trial.reload("2026-01-05")
    assert trial.versions() == before


@on_folder
def test_a_table_may_begin_with_one_day(trial: Trial) -> None:
    trial.orders(5, day="2026-01-05")
    trial.orders(5, day="2026-01-06", first=6)
    trial.reload("2026-01-06")
    assert len(trial.rows("order_id")) == 5
    assert trial.run().taken.rows_read == 10
    trial.assert_same()


@on_folder
def test_loading_a_day_leaves_the_cursor_where_it_was(trial: Trial) -> None:
    trial.orders(5)
    trial.run()
    trial.orders(5, day="2026-01-06", first=6)
    cursor = commit.state(commit.table(trial.lake, trial.address("raw")))["cursor"]
    _change_quietly(trial, "amount = 500 where order_id = 1")
    trial.reload("2026-01-05")
    assert commit.state(commit.table(trial.lake, trial.address("raw")))["cursor"] == cursor
    assert trial.run().taken.inserted == 5
    trial.assert_same()


@on_folder
def test_a_row_deleted_at_the_source_leaves_its_day_with_the_reload(trial: Trial) -> None:
    trial.orders(5)
    trial.run()
    trial.sql("delete from orders where order_id = 1")
    assert trial.reload("2026-01-05").taken.deleted == 1
    trial.assert_same()


@on_ceph
def test_a_day_that_became_empty_is_empty(trial: Trial) -> None:
    trial.orders(30, day="2026-01-05")
    trial.orders(300, day="2026-01-06", first=31)
    trial.run()
    trial.sql("delete from orders where order_id <= 30")
    assert trial.reload("2026-01-05").taken.deleted == 30
    trial.assert_same()
    facts = read.facts(trial.lake, trial.address())
    assert facts is not None
    assert [(str(day), count) for day, count in facts.rows_per_day.items()] == [("2026-01-06", 300)]


@on_folder
def test_a_day_without_rows_on_either_side_commits_nothing(trial: Trial) -> None:
    trial.orders(5)
    trial.run()
    before = trial.versions()
    assert trial.reload("2025-12-24").taken.rows_read == 0
    assert trial.versions() == before


@on_folder
def test_a_day_is_not_reloaded_from_a_source_that_was_truncated(trial: Trial) -> None:
    trial.orders(30)
    trial.run()
    trial.sql("truncate orders")
    with pytest.raises(TruncatedLoad, match="30 of 30 rows have vanished"):
        trial.reload("2026-01-05")
    assert len(trial.rows("order_id")) == 30


@on_folder
def test_a_day_purged_at_the_source_stays_where_deletions_are_ignored(trial: Trial) -> None:
    trial.declare(deletes="ignore", load="append")
    trial.orders(30)
    trial.run()
    trial.sql("delete from orders")
    assert trial.reload("2026-01-05").taken.deleted == 0
    assert len(trial.rows("order_id")) == 30


def test_a_row_that_moves_to_another_day_leaves_no_twin(trial: Trial) -> None:
    trial.orders(5)
    trial.run()
    trial.sql("update orders set ordered_at = '2026-01-09 01:00+00', updated_at = clock_timestamp() where order_id = 3")
    trial.run()
    trial.assert_same()
    assert trial.rows("order_id", where="day = '09'") == [(3,)]


@on_folder
def test_a_row_that_moved_unseen_is_not_lost_when_its_old_day_is_loaded_again(trial: Trial) -> None:
    trial.orders(5)
    trial.run()
    _change_quietly(trial, "ordered_at = '2026-01-09 01:00+00' where order_id = 3")
    trial.reload("2026-01-05")
    assert len(trial.rows("order_id")) == 5
    trial.reload("2026-01-09")
    trial.assert_same()


@on_folder
def test_days_are_days_of_utc(trial: Trial) -> None:
    trial.order(1, ordered_at="2026-01-05 23:30:00-05")
    trial.order(2, ordered_at="2026-01-06 00:30:00+03")
    trial.run()
    assert trial.rows("order_id, day") == [(1, "06"), (2, "05")]
    assert trial.reload("2026-01-06").taken.rows_read == 1


@on_folder
def test_a_table_may_be_partitioned_by_a_date(trial: Trial) -> None:
    trial.sql("alter table orders alter ordered_at type date")
    trial.orders(5, day="2026-01-05")
    trial.orders(5, day="2026-01-06", first=6)
    trial.run()
    _change_quietly(trial, "amount = 500")
    assert trial.reload("2026-01-06").taken.updated == 5
    assert trial.rows("DISTINCT day", where="amount = 500") == [("06",)]


@on_folder
def test_days_before_the_year_1000_are_days_too(trial: Trial) -> None:
    trial.orders(5, day="0026-01-05")
    trial.run()
    trial.sql("update orders set amount = 9, updated_at = clock_timestamp() where order_id = 3")
    trial.run()
    trial.assert_same("order_id, amount")
    assert trial.rows("DISTINCT year") == [("0026",)]
