"""The limit on rows per second, with a clock that moves only when somebody sleeps."""

import threading
from collections.abc import Iterator

import pyarrow as pa
import pytest

from ingestion.connectors.pace import Pace


class Clock:
    """Time that passes by sleeping only; `log` says when how many rows went through."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def batches(*sizes: int) -> Iterator[pa.RecordBatch]:
    start = 0
    for size in sizes:
        yield pa.record_batch({"n": pa.array(range(start, start + size), pa.int64())})
        start += size


def passed(pace: Pace, clock: Clock, *sizes: int) -> list[tuple[float, int]]:
    return [(clock.now, batch.num_rows) for batch in pace.paced(batches(*sizes))]


def most_in_any_second(events: list[tuple[float, int]]) -> int:
    return max(sum(rows for at, rows in events if start <= at < start + 0.999999) for start, _ in events)


def test_no_second_sees_much_more_than_the_limit_even_of_one_big_batch(clock):
    pace = Pace(1_000, clock=clock, sleep=clock.sleep)
    events = passed(pace, clock, 10_000)
    assert most_in_any_second(events) <= 1_250
    assert sum(rows for _, rows in events) == 10_000
    assert events[-1][0] - events[0][0] == pytest.approx(9.75)


def test_small_batches_are_paced_like_big_ones(clock):
    pace = Pace(1_000, clock=clock, sleep=clock.sleep)
    events = passed(pace, clock, *[7] * 1_000)
    assert most_in_any_second(events) <= 1_007
    assert events[-1][0] - events[0][0] == pytest.approx(6.993)


def test_a_pause_is_not_saved_up_for_a_burst(clock):
    pace = Pace(1_000, clock=clock, sleep=clock.sleep)
    passed(pace, clock, 1_000)
    clock.now += 3_600
    assert most_in_any_second(passed(pace, clock, 5_000)) <= 1_250


def test_the_rows_and_their_order_are_kept(clock):
    pace = Pace(40, clock=clock, sleep=clock.sleep)
    seen = [n for batch in pace.paced(batches(33, 0, 1, 100)) for n in batch["n"].to_pylist()]
    assert seen == list(range(134))


def test_an_empty_batch_passes_with_its_schema(clock):
    found = list(Pace(10, clock=clock, sleep=clock.sleep).paced(batches(0)))
    assert [batch.num_rows for batch in found] == [0]
    assert found[0].schema.names == ["n"]


def test_without_a_limit_batches_pass_as_they_are(clock):
    assert passed(Pace(None, clock=clock, sleep=clock.sleep), clock, 1_000_000, 5) == [(100.0, 1_000_000), (100.0, 5)]


def test_a_limit_of_less_than_a_piece_lets_single_rows_pass(clock):
    events = passed(Pace(1, clock=clock, sleep=clock.sleep), clock, 5)
    assert events == [(100.0 + n, 1) for n in range(5)]


def test_threads_share_one_limit():
    slept: list[float] = []
    pace = Pace(1_000, clock=lambda: 0.0, sleep=slept.append)  # time stands still: each waits for all before it
    readers = [threading.Thread(target=lambda: list(pace.paced(batches(1_000)))) for _ in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert sorted(slept) == pytest.approx([0.25 * n for n in range(1, 16)])


@pytest.mark.parametrize("limit", [0, -5])
def test_a_limit_that_lets_nothing_pass_is_refused(limit):
    with pytest.raises(ValueError, match="above 0"):
        Pace(limit)
