"""Whatever happens at the source, with loads in between: processed is the source, and raw tells it all again."""

import shutil
import tempfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
import trial_source
from fix_servers import address, database
from hypothesis import given, settings
from hypothesis import strategies as st
from trial_source import Trial

from lake import parquet
from lake.layout import Lake

COLUMNS = "order_id, customer_email, amount, ordered_at, updated_at"
KEYS = st.integers(1, 4)  # few, so that changes meet
DAYS = st.dates(date(2026, 1, 1), date(2026, 1, 4)).map(str)
CHANGES = st.one_of(
    st.tuples(st.just("insert"), KEYS, DAYS),
    st.tuples(st.just("update"), KEYS, st.integers(0, 99)),
    st.tuples(st.just("delete"), KEYS),
    st.tuples(st.just("move"), KEYS, DAYS),
    st.tuples(st.just("rekey"), KEYS, KEYS),
    st.tuples(st.just("quiet"), KEYS, st.integers(0, 99)),
)
STEPS = st.lists(
    st.one_of(
        st.lists(CHANGES, min_size=1, max_size=5),
        st.sampled_from(["load", "load twice", "load and fold"]),
        st.tuples(st.just("days"), DAYS, DAYS),
    ),
    min_size=3,
    max_size=12,
)
STATEMENTS = {
    "insert": """insert into orders (order_id, amount, ordered_at) values (%s, 1, %s::timestamptz + interval '12 hours')
        on conflict do nothing""",
    "update": "update orders set amount = %s, updated_at = clock_timestamp() where order_id = %s",
    "delete": "delete from orders where order_id = %s",
    "move": "update orders set ordered_at = %s, updated_at = clock_timestamp() where order_id = %s",
    "rekey": """update orders set order_id = %s, updated_at = clock_timestamp()
        where order_id = %s and not exists (select from orders where order_id = %s)""",
    "quiet": "update orders set customer_email = 'quiet ' || %s where order_id = %s",
}


@pytest.fixture(scope="module")
def source() -> Iterator[Trial]:
    """The table in one database for all examples; each empties it and takes a lake of its own."""
    with database(address("SHOP_DSN")) as dsn, pytest.MonkeyPatch.context() as patch:
        patch.setenv(trial_source.VARIABLE, dsn)
        with trial_source.trial(dsn, "/nowhere") as it:
            yield it


def _change(trial: Trial, change: tuple[object, ...]) -> None:
    kind, key, *rest = change
    values = {"insert": [key, *rest], "delete": [key], "rekey": [*rest, key, *rest]}.get(str(kind), [*rest, key])
    trial.sql(STATEMENTS[str(kind)], values)


def _step(trial: Trial, step: object) -> None:
    if isinstance(step, list):
        for change in step:
            _change(trial, change)
    elif isinstance(step, tuple):
        first, last = sorted(step[1:])
        trial.reload(first, last)
    elif step == "load":
        trial.load()
    else:
        trial.run()
        if step == "load twice":
            before = trial.versions()
            trial.run()
            assert trial.versions() == before


def _trial(source: Trial, folder: str, partition: str | None) -> Trial:
    source.sql("truncate orders")
    return Trial(source.connection, Lake(folder), source.declared | {"partition": partition, "history": True})


@settings(max_examples=15, deadline=None)
@given(steps=STEPS, partition=st.sampled_from(["day(ordered_at)", None]), file_rows=st.sampled_from([1, 100]))
def test_processed_is_the_source_after_any_history_and_raw_tells_it_again(
    source: Trial, steps: list[object], partition: str | None, file_rows: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "FILE_ROWS", file_rows)
        trial = _trial(source, folder, partition)
        trial.orders(3, day="2026-01-02")
        trial.run()
        for step in steps:
            _step(trial, step)
        trial.run()
        trial.reload("2026-01-01", "2026-01-04")  # finds what changed without a new time
        trial.assert_same(COLUMNS)
        everything = trial.rows("*")
        history = trial.rows("*", suffix="_history")
        shutil.rmtree(Path(folder) / "processed")
        trial.fold()
        assert trial.rows("*") == everything
        assert trial.rows("*", suffix="_history") == history


@settings(max_examples=15, deadline=None)
@given(
    rows=st.lists(st.tuples(KEYS, st.dates(date(2026, 1, 1), date(2026, 1, 10)), st.integers(0, 99)), max_size=12),
    cut=st.dates(date(2026, 1, 1), date(2026, 1, 9)),
)
def test_two_adjacent_windows_equal_their_union(source: Trial, rows: list[tuple[int, date, int]], cut: date) -> None:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        whole = _trial(source, one, "day(ordered_at)")
        for key, day, amount in rows:
            source.sql(
                "insert into orders (order_id, amount, ordered_at) values (%s, %s, %s) on conflict do nothing",
                [key, amount, day],
            )
        whole.reload("2026-01-01", "2026-01-10")
        halves = Trial(source.connection, Lake(other), whole.declared)
        halves.reload(str(date.fromordinal(cut.toordinal() + 1)), "2026-01-10")
        halves.reload("2026-01-01", str(cut))
        whole.assert_same(COLUMNS)
        halves.assert_same(COLUMNS)
