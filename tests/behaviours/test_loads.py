"""What a load brings: everything at first, then what changed, each row once."""

from trial_source import Trial, on_ceph, on_folder

from ingestion import load
from lake import commit


@on_ceph
def test_the_first_load_reads_the_whole_table(trial: Trial) -> None:
    trial.orders(30)
    loaded = trial.run()
    assert (loaded.kind, loaded.taken.rows_read, loaded.taken.inserted) == ("full", 30, 30)
    trial.assert_same()


def test_a_load_with_nothing_changed_reads_nothing_and_commits_nothing(trial: Trial) -> None:
    trial.orders(30)
    trial.run()
    before = trial.versions()
    loaded = trial.run()
    assert (loaded.kind, loaded.taken.rows_read, loaded.taken.inserted, loaded.taken.updated) == ("changes", 0, 0, 0)
    assert trial.versions() == before


@on_ceph
def test_only_changed_rows_are_read(trial: Trial) -> None:
    trial.orders(30)
    trial.run()
    trial.sql("update orders set amount = 99, updated_at = clock_timestamp() where order_id <= 4")
    trial.orders(2, first=31)
    loaded = trial.run()
    assert (loaded.taken.rows_read, loaded.taken.inserted, loaded.taken.updated) == (6, 2, 4)
    trial.assert_same()


@on_folder
def test_the_sentence_says_what_happened(trial: Trial) -> None:
    trial.orders(30)
    trial.run()
    trial.sql("update orders set amount = 99, updated_at = '2030-01-01' where order_id = 1")
    trial.sql("delete from orders where order_id = 2")
    sentence = trial.run().sentence
    assert sentence.startswith("trial.orders: read 1 rows changed since 20")
    assert sentence.endswith(": 0 new, 1 changed, 1 deleted (30 keys compared)")


def test_deleted_rows_leave_with_the_next_load(trial: Trial) -> None:
    trial.orders(30)
    trial.orders(10, day="2026-01-06", first=31)
    trial.run()
    trial.sql("delete from orders where order_id in (3, 31)")
    assert trial.run().taken.deleted == 2
    trial.assert_same()
    assert trial.rows("order_id", zone="raw", where="_op = 'd'") == [(3,), (31,)]


@on_folder
def test_deletions_are_ignored_where_the_declaration_says_so(trial: Trial) -> None:
    trial.declare(deletes="ignore")
    trial.orders(30)
    trial.run()
    trial.sql("delete from orders where order_id = 3")
    assert trial.run().taken.deleted == 0
    assert len(trial.rows("order_id")) == 30


@on_folder
def test_a_key_that_comes_back_after_its_deletion_is_there_again(trial: Trial) -> None:
    trial.orders(30)
    trial.run()
    trial.sql("delete from orders where order_id = 3")
    trial.run()
    trial.order(3, amount=77)
    assert trial.run().taken.inserted == 1
    trial.assert_same()


def test_a_load_folds_what_the_one_before_left(trial: Trial) -> None:
    trial.orders(30)
    trial.load()
    trial.sql("update orders set amount = 1, updated_at = clock_timestamp() where order_id = 5")
    trial.load()
    trial.sql("update orders set amount = 2, updated_at = clock_timestamp() where order_id = 5")
    trial.load()
    assert trial.rows("amount", where="order_id = 5") == [(1,)]
    trial.fold()
    trial.assert_same()
    assert trial.rows("amount", where="order_id = 5") == [(2,)]


@on_folder
def test_rows_with_an_old_day_and_a_new_cursor_are_brought(trial: Trial) -> None:
    trial.orders(30)
    trial.run()
    trial.orders(5, day="2024-02-29", first=100)
    loaded = trial.run()
    assert (loaded.taken.rows_read, loaded.taken.inserted) == (5, 5)
    trial.assert_same()


@on_folder
def test_a_lookback_reads_rows_stamped_before_the_last_cursor(trial: Trial) -> None:
    trial.orders(30)
    trial.run()
    trial.order(50, updated_at="now")
    trial.sql("update orders set updated_at = clock_timestamp() - interval '5 minutes' where order_id = 50")
    assert trial.run().taken.inserted == 0
    trial.declare(lookback="PT10M")
    assert trial.run().taken.inserted == 1
    trial.assert_same()
    before = trial.versions()
    trial.run()
    assert trial.versions() == before


@on_folder
def test_a_row_without_a_cursor_value_is_not_lost(trial: Trial) -> None:
    trial.sql("alter table orders alter updated_at drop not null")
    trial.orders(30)
    trial.run()
    trial.order(31, updated_at=None)
    assert trial.run().taken.inserted == 1
    trial.assert_same()
    before = trial.versions()
    trial.run()
    assert trial.versions() == before


@on_folder
def test_a_row_stamped_in_the_future_is_brought_at_once_and_its_changes_too(trial: Trial) -> None:
    trial.orders(30)
    trial.run()
    trial.order(31, updated_at="2090-01-01 00:00:00+00")
    assert trial.run().taken.inserted == 1
    trial.sql("update orders set amount = 3, updated_at = clock_timestamp() where order_id = 31")
    assert trial.run().taken.updated == 1
    trial.order(32)
    assert trial.run().taken.inserted == 1
    trial.assert_same()


@on_ceph
def test_an_empty_table_is_loaded_as_an_empty_table(trial: Trial) -> None:
    assert trial.run().taken.rows_read == 0
    assert trial.rows("order_id") == []
    before = trial.versions()
    assert before["processed"] == 0
    trial.run()
    assert trial.versions() == before
    trial.orders(3)
    trial.run()
    trial.assert_same()


def test_a_replaced_table_follows_its_source_whole(trial: Trial) -> None:
    trial.declare(load="replace", cursor=None, partition=None, deletes="ignore")
    trial.orders(30)
    trial.run()
    before = trial.versions()
    assert trial.run().taken.rows_read == 30
    assert trial.versions() == before
    trial.sql("update orders set amount = 5 where order_id = 1")
    trial.sql("delete from orders where order_id = 2")
    trial.orders(1, first=50)
    taken = trial.run().taken
    assert (taken.inserted, taken.updated, taken.deleted) == (1, 1, 1)
    trial.assert_same()


def test_the_state_belongs_to_the_commit_of_its_rows(trial: Trial) -> None:
    trial.orders(3)
    loaded = trial.run()
    state = commit.state(commit.table(trial.lake, trial.address("raw")))
    assert {load_id for (load_id,) in trial.rows("_load_id", zone="raw")} == {state["load_id"]}
    assert state["kind"] == loaded.kind
    newest = max(row[0] for row in trial.at_source("updated_at"))
    assert state["cursor"] == newest.isoformat()


@on_folder
def test_the_span_goes_from_the_lakes_newest_day_to_the_sources(trial: Trial) -> None:
    assert load.span(trial.lake, trial.source) is None
    trial.orders(3, day="2026-01-05")
    trial.orders(3, day="2026-01-09", first=10)
    first, last = load.span(trial.lake, trial.source) or (None, None)
    assert (str(first), str(last)) == ("2026-01-05", "2026-01-09")
    trial.run()
    trial.order(20, day="2026-02-01")
    first, last = load.span(trial.lake, trial.source) or (None, None)
    assert (str(first), str(last)) == ("2026-01-09", "2026-02-01")
