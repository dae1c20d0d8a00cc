"""Rows that break the contract go to quarantine with the reason; the others go on."""

import pytest
from trial_source import Trial, on_folder

LOOSE = """create table orders (order_id bigint, customer_email text, amount numeric(12, 2),
    ordered_at timestamptz, updated_at timestamptz default clock_timestamp())"""


@pytest.fixture(autouse=True)
def _loose(trial: Trial) -> None:
    trial.sql("drop table orders")
    trial.sql(LOOSE)


def test_a_row_without_its_key_is_set_aside(trial: Trial) -> None:
    trial.orders(5)
    trial.sql("insert into orders (amount, ordered_at) values (111, '2026-01-05')")
    taken = trial.run().taken
    assert (taken.rows_read, taken.inserted, taken.quarantined) == (6, 5, 1)
    assert taken.reasons == {"order_id (key) is NULL": 1}
    assert trial.rows("order_id, amount, _reason", zone="quarantine") == [(None, 111, "order_id (key) is NULL")]
    assert len(trial.rows()) == 5


@on_folder
def test_of_rows_with_one_key_the_latest_goes_on(trial: Trial) -> None:
    trial.orders(5)
    trial.order(2, amount=20, updated_at="2027-01-01")
    trial.order(2, amount=30, updated_at="2026-06-01")
    loaded = trial.run()
    assert loaded.taken.reasons == {"the key (order_id) is not unique": 2}
    assert "2 quarantined" in loaded.sentence
    assert trial.rows("order_id, amount") == [(1, 1), (2, 20), (3, 3), (4, 4), (5, 5)]
    assert trial.rows("order_id, amount", zone="quarantine") == [(2, 2), (2, 30)]


@on_folder
def test_a_twin_that_comes_with_a_later_load_takes_the_place(trial: Trial) -> None:
    trial.orders(5)
    trial.run()
    trial.order(2, amount=20)
    taken = trial.run().taken
    assert (taken.inserted, taken.updated, taken.quarantined) == (0, 1, 0)
    assert trial.rows("amount", where="order_id = 2") == [(20,)]


@on_folder
def test_rows_that_are_equal_in_all_columns_count_once(trial: Trial) -> None:
    for _ in range(3):
        trial.order(1, updated_at="2026-01-06")
    assert trial.run().taken.quarantined == 2
    assert len(trial.rows()) == 1


@on_folder
def test_a_row_without_a_day_is_set_aside(trial: Trial) -> None:
    trial.orders(5)
    trial.order(6, ordered_at=None)
    trial.order(7, ordered_at="infinity")
    trial.order(8, ordered_at="0044-03-15 BC")
    assert trial.run().taken.reasons == {"ordered_at (partition) is NULL": 1, "ordered_at (partition) is no day": 2}
    assert trial.rows("order_id") == [(1,), (2,), (3,), (4,), (5,)]
    assert trial.rows("order_id", zone="quarantine") == [(6,), (7,), (8,)]


@on_folder
def test_a_row_that_loses_its_day_keeps_its_last_good_version(trial: Trial) -> None:
    trial.declare(load="replace")
    trial.orders(5)
    trial.run()
    trial.sql("update orders set ordered_at = null where order_id = 2")
    taken = trial.run().taken
    assert (taken.quarantined, taken.deleted) == (1, 0)
    assert len(trial.rows()) == 5


def test_a_table_read_whole_is_quarantined_once_and_reported_each_time(trial: Trial) -> None:
    trial.declare(load="replace", partition=None, cursor=None)
    trial.orders(5)
    trial.sql("insert into orders (amount) values (111)")
    trial.order(2, amount=20)
    trial.run()
    before = trial.versions()
    assert trial.run().taken.quarantined == 2
    assert trial.versions() == before
    trial.sql("insert into orders (amount) values (112)")
    assert trial.run().taken.quarantined == 3
    assert len(trial.rows(zone="quarantine")) == 3


@on_folder
def test_a_table_of_bad_rows_only_is_an_empty_table(trial: Trial) -> None:
    trial.sql("insert into orders (amount, ordered_at) values (1, '2026-01-05'), (2, '2026-01-05')")
    assert trial.run().taken.quarantined == 2
    assert trial.rows("order_id") == []
