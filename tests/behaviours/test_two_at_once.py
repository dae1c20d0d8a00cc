"""Transactions that commit late, and two processes at one table."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from types import SimpleNamespace

import psycopg
import pytest
from trial_source import Trial, on_folder

from ingestion import load
from lake import commit
from lake import fold as folding
from lake.errors import Busy


@pytest.fixture
def other(operational_dsn: str) -> Iterator[psycopg.Connection]:
    """A second session of the application that writes to the source."""
    with psycopg.connect(operational_dsn) as connection:
        yield connection


STAMPED = "insert into orders (order_id, amount, ordered_at, updated_at) values (%s, 1, '2026-01-05', now())"


def test_a_row_that_was_stamped_early_and_commits_late_is_not_missed(trial: Trial, other: psycopg.Connection) -> None:
    trial.orders(5)
    trial.run()
    other.execute(STAMPED, [100])
    trial.orders(2, first=6)
    assert trial.run().taken.inserted == 2
    other.commit()
    trial.orders(1, first=8)
    assert trial.run().taken.inserted == 2
    trial.assert_same()


@on_folder
def test_a_transaction_that_had_not_yet_written_is_not_missed(trial: Trial, other: psycopg.Connection) -> None:
    trial.orders(5)
    trial.run()
    other.execute("select now()")
    trial.orders(2, first=6)
    assert trial.run().taken.inserted == 2
    other.execute(STAMPED, [100])
    other.commit()
    trial.orders(1, first=8)
    assert trial.run().taken.inserted == 2
    trial.assert_same()


@on_folder
def test_the_first_load_does_not_pass_an_open_transaction_either(trial: Trial, other: psycopg.Connection) -> None:
    other.execute(STAMPED, [100])
    trial.orders(5)
    trial.run()
    other.commit()
    trial.run()
    trial.assert_same()


@on_folder
def test_rows_behind_an_open_transaction_are_read_again_and_committed_once(
    trial: Trial, other: psycopg.Connection
) -> None:
    trial.orders(5)
    trial.run()
    other.execute(STAMPED, [100])
    trial.orders(2, first=6)
    trial.run()
    before = trial.versions()
    assert trial.run().taken.rows_read == 2
    assert trial.versions() == before
    other.rollback()
    trial.run()
    assert trial.run().taken.rows_read == 0
    trial.assert_same()


def _in_between(monkeypatch: pytest.MonkeyPatch, module: object, name: str, act: Callable[[], object]) -> None:
    """Let `act` happen once, just before the next call of `module.name`."""
    real, waiting = getattr(module, name), [act]

    def patched(*values: object, **named: object) -> object:
        if waiting:
            waiting.pop()()
        return real(*values, **named)

    monkeypatch.setattr(module, name, patched)


def test_of_two_first_loads_one_commits(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    trial.orders(5)
    _in_between(monkeypatch, load.bulk, "write", trial.load)
    with pytest.raises(Busy, match="lake table raw/trial/orders: another process"):
        trial.load()
    assert trial.version("raw") == 0
    trial.run()
    trial.assert_same()


def test_of_two_loads_that_read_the_same_state_one_commits(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    trial.orders(5)
    trial.run()
    trial.sql("update orders set amount = 50, updated_at = clock_timestamp() where order_id = 1")
    version = trial.version("raw")
    _in_between(monkeypatch, load, "take", trial.load)
    with pytest.raises(Busy, match="another process committed at the same time; wait for the other run to end"):
        trial.load()
    assert trial.version("raw") == version + 1
    assert len(trial.rows("order_id", zone="raw", where="order_id = 1")) == 2
    trial.fold()
    trial.assert_same()


@on_folder
def test_an_old_reading_does_not_overtake_a_newer_one(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    trial.orders(5)
    trial.run()
    trial.sql("update orders set amount = 50, updated_at = clock_timestamp() where order_id = 1")

    def newer() -> None:
        trial.sql("update orders set amount = 60, updated_at = clock_timestamp() where order_id = 1")
        trial.run()

    _in_between(monkeypatch, load, "take", newer)
    with pytest.raises(Busy):
        trial.run()
    assert trial.rows("amount", where="order_id = 1") == [(60,)]


@pytest.mark.parametrize("known", [False, True])
def test_of_two_folds_one_commits(trial: Trial, monkeypatch: pytest.MonkeyPatch, known: bool) -> None:
    trial.orders(5)
    if known:
        trial.run()
        trial.sql("update orders set amount = 50, updated_at = clock_timestamp()")
    trial.load()
    _in_between(monkeypatch, folding, "_rewritten" if known else "_taken_over", trial.fold)
    with pytest.raises(Busy, match="lake table processed/trial/orders"):
        trial.fold()
    trial.assert_same()
    assert trial.fold().loads == 0


@pytest.mark.parametrize("known", [False, True])
def test_of_two_folds_of_a_history_one_commits(trial: Trial, monkeypatch: pytest.MonkeyPatch, known: bool) -> None:
    trial.declare(history=True, partition=None)
    trial.orders(5)
    if known:
        trial.run()
        trial.sql("update orders set amount = 50, updated_at = clock_timestamp()")
    trial.load()
    about = load.subject(trial.source, trial.table)
    _in_between(monkeypatch, commit, "append", lambda: folding.fold_history(trial.lake, about))
    with pytest.raises(Busy, match="orders_history"):
        folding.fold_history(trial.lake, about)
    assert len(trial.rows(suffix="_history")) == (10 if known else 5)


def test_many_loads_at_once_leave_each_row_once(trial: Trial) -> None:
    trial.orders(50)
    trial.run()
    trial.sql("update orders set amount = 500, updated_at = clock_timestamp() where order_id <= 10")
    trial.orders(10, first=51)
    outcomes: list[str] = []
    ready = threading.Barrier(4)

    def one() -> None:
        ready.wait()
        try:
            taken = trial.run().taken
            outcomes.append("loaded" if taken.inserted else "nothing to do")
        except Busy:
            outcomes.append("busy")

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 4
    assert outcomes.count("loaded") <= 1
    trial.run()
    trial.assert_same()
    assert len(trial.rows("order_id", zone="raw", where="amount = 500")) == 10


@on_folder
def test_rows_and_keys_are_of_one_instant(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    trial.orders(30)
    trial.run()
    trial.sql("update orders set amount = 50, updated_at = clock_timestamp() where order_id = 1")
    _in_between(monkeypatch, load, "_gone", lambda: trial.sql("delete from orders where order_id = 1"))
    taken = trial.run().taken
    assert (taken.updated, taken.deleted) == (1, 0)
    taken = trial.run().taken
    assert (taken.updated, taken.deleted) == (0, 1)
    trial.assert_same()


@on_folder
def test_a_deletion_between_the_rows_and_the_keys_of_a_loose_snapshot_is_the_newer_news(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial.orders(30)
    trial.declare(snapshot="loose")
    trial.run()
    trial.sql("update orders set amount = 50, updated_at = clock_timestamp() where order_id = 1")
    _in_between(monkeypatch, load, "_gone", lambda: trial.sql("delete from orders where order_id = 1"))
    taken = trial.run().taken
    assert (taken.updated, taken.deleted) == (0, 1)
    trial.assert_same()


class Past(datetime):
    """A clock that stands in 2001."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "Past":
        return cls(2001, 1, 1, tzinfo=tz)


@on_folder
def test_the_clock_going_back_does_not_make_an_old_load_win(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    trial.orders(5)
    trial.load()
    first = trial.rows("max(_loaded_at)", zone="raw")[0][0]
    monkeypatch.setattr(load, "datetime", SimpleNamespace(datetime=Past, timedelta=timedelta, UTC=UTC))
    trial.sql("update orders set amount = 50, updated_at = clock_timestamp() where order_id = 1")
    trial.load()
    assert trial.rows("max(_loaded_at)", zone="raw")[0][0] > first
    trial.fold()
    trial.assert_same()
