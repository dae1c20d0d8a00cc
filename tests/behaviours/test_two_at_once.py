"""Transactions that commit late, and two processes at one table."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta, tzinfo
from types import SimpleNamespace

import psycopg
import pytest
from trial_source import Trial, on_folder

from ingestion import load
from lake import commit, upkeep
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
def test_of_two_folds_one_commits_and_the_other_finds_nothing_left(
    trial: Trial, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    trial.orders(5)
    if known:
        trial.run()
        trial.sql("update orders set amount = 50, updated_at = clock_timestamp()")
    trial.load()
    version = trial.version()
    _in_between(monkeypatch, folding, "_rewritten" if known else "_taken_over", trial.fold)
    assert trial.fold().loads == 0
    assert trial.version() == version + 1
    trial.assert_same()


@pytest.mark.parametrize("known", [False, True])
def test_of_two_folds_of_a_history_one_commits_and_the_other_finds_nothing_left(
    trial: Trial, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    trial.declare(history=True, partition=None)
    trial.orders(5)
    if known:
        trial.run()
        trial.sql("update orders set amount = 50, updated_at = clock_timestamp()")
    trial.load()
    about = load.subject(trial.source, trial.table)
    _in_between(monkeypatch, commit, "append", lambda: folding.fold_history(trial.lake, about))
    assert folding.fold_history(trial.lake, about).loads == 0
    assert len(trial.rows(suffix="_history")) == (10 if known else 5)


def _changed(trial: Trial) -> None:
    """Two days of orders in the lake; then on each a row changes, one is new and one is gone, past the cursor."""
    trial.orders(20, day="2026-01-05")
    trial.orders(20, day="2026-01-06", first=21)
    trial.run()
    trial.sql("update orders set amount = 50 where order_id in (1, 21)")
    for day, number in (("2026-01-05", 100), ("2026-01-06", 200)):
        trial.order(number, day=day, updated_at="2026-01-01")
    trial.sql("delete from orders where order_id in (2, 22)")


def test_two_loads_of_different_days_at_once_both_succeed(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    _changed(trial)
    version = trial.version("raw")
    _in_between(monkeypatch, load, "take", lambda: trial.reload("2026-01-06"))
    taken = trial.reload("2026-01-05").taken
    assert (taken.inserted, taken.updated, taken.deleted) == (1, 1, 1)
    assert trial.version("raw") == version + 2
    trial.assert_same()
    assert trial.run().taken.rows_read == 0


def test_days_and_changes_at_once_both_succeed_and_the_cursor_is_kept(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    _changed(trial)
    trial.orders(3, day="2026-01-07", first=300)
    _in_between(monkeypatch, load, "take", lambda: trial.run())
    assert trial.reload("2026-01-05").taken.inserted == 1
    assert trial.run().taken.rows_read == 0
    trial.reload("2026-01-06")
    trial.assert_same()


def test_of_two_loads_of_overlapping_days_one_commits(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    _changed(trial)
    version = trial.version("raw")
    both = (date(2026, 1, 5), date(2026, 1, 6))
    _in_between(monkeypatch, load, "take", lambda: load.days(trial.lake, trial.source, trial.table, *both))
    with pytest.raises(Busy, match="another process committed at the same time"):
        trial.reload("2026-01-06")
    assert trial.version("raw") == version + 1
    trial.fold()
    trial.assert_same()


@on_folder
def test_small_files_put_together_meanwhile_do_not_disturb_a_load(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial.run()
    for number in range(4):
        trial.orders(5, first=10 * number)
        trial.run()
    trial.sql("update orders set amount = 50, updated_at = clock_timestamp() where order_id = 1")
    _in_between(monkeypatch, load, "take", lambda: upkeep.keep(trial.lake, trial.address("raw")))
    version = trial.version("raw")
    assert trial.run().taken.updated == 1
    assert trial.version("raw") == version + 2
    trial.assert_same()


@on_folder
def test_a_load_of_other_days_that_tells_of_the_same_row_is_taken_into_account(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    _changed(trial)

    def moves() -> None:
        trial.sql("update orders set ordered_at = '2026-01-06 12:00Z', amount = 70 where order_id = 1")
        trial.reload("2026-01-06")

    _in_between(monkeypatch, load, "take", moves)
    trial.reload("2026-01-05")
    trial.assert_same()


@on_folder
@pytest.mark.parametrize("day", ["2026-01-06", "2026-01-05"], ids=["other", "same"])
def test_of_two_first_loads_of_days_both_commit_if_the_days_differ(
    trial: Trial, monkeypatch: pytest.MonkeyPatch, day: str
) -> None:
    trial.orders(20, day="2026-01-05")
    trial.orders(20, day="2026-01-06", first=21)
    _in_between(monkeypatch, load.bulk, "write", lambda: trial.reload(day))
    if day == "2026-01-05":
        with pytest.raises(Busy):
            trial.reload("2026-01-05")
    else:
        trial.reload("2026-01-05")
        trial.assert_same()


def _backfill(trial: Trial, days: list[str], outcomes: list[object]) -> None:
    with psycopg.connect(trial.connection.info.dsn, password=trial.connection.info.password) as connection:
        mine = Trial(connection, trial.lake, dict(trial.declared))
        try:
            for day in days:
                outcomes.append(mine.reload(day))
        except Exception as error:
            outcomes.append(error)


def test_loads_of_many_days_in_many_threads_all_succeed(trial: Trial) -> None:
    for number in range(12):
        trial.orders(5, day=f"2026-01-{number + 1:02}", first=10 * number)
    trial.run()
    trial.sql("update orders set amount = amount + 1 where order_id % 2 = 0")
    outcomes: list[object] = []
    days = [[f"2026-01-{number + 1:02}" for number in range(first, 12, 3)] for first in range(3)]
    threads = [threading.Thread(target=_backfill, args=(trial, mine, outcomes)) for mine in days]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [error for error in outcomes if isinstance(error, Exception)] == []
    assert len(outcomes) == 12
    trial.assert_same()


@on_folder
@pytest.mark.parametrize("known", [False, True])
def test_a_commit_that_was_made_though_the_store_said_no_counts_as_made(
    trial: Trial, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    trial.orders(5)
    if known:
        trial.run()
        trial.orders(5, first=6)
    name = "_committing"
    real = getattr(commit, name)

    @contextmanager
    def lost(*given: object) -> Iterator[None]:
        with real(*given):
            yield
        raise Busy("lake table raw/trial/orders", "another process committed at the same time", "run again")

    with monkeypatch.context() as patch:
        patch.setattr(commit, name, lost)
        assert trial.run().taken.inserted == 5
    trial.assert_same()
    assert len(trial.rows("order_id", "raw")) == (10 if known else 5)


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
