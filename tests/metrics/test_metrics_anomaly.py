"""How a value is judged: by its own past only, in whole sets, as declared."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from benchmarks import anomalies as benchmark
from lake.errors import SpecError
from metrics import anomaly, anomaly_spec
from metrics.anomaly_spec import Cause, Value, Watch

START = datetime(2026, 3, 2, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
WATCH = Watch(hypertable="host_metrics", every="1h", values={"value_avg": Value()}, season="day")


def hours(count: int, **odd: float) -> pa.Table:
    """A working day's curve with a little unrest; `h123=5.0` puts another value in hour 123."""
    values = [100.0 * (8 <= n % 24 < 20) + n * 7 % 11 for n in range(count)]
    for name, value in odd.items():
        values[int(name[1:])] = value
    return series(values)


def series(values: list[float], name: str = "value_avg") -> pa.Table:
    instants = [START + HOUR * n for n in range(len(values))]
    return pa.table([["a"] * len(values), [name] * len(values), instants, values], schema=anomaly.VALUES)


def odd(values: pa.Table, watch: Watch = WATCH) -> list[int]:
    """The hours that are odd."""
    found = anomaly.judged(values, watch)
    return [(at - START) // HOUR for at in found.filter(found["is_odd"])["measured_at"].to_pylist()]


def test_what_is_usual_by_day_is_odd_at_night() -> None:
    day, night = 24 * 20 + 12, 24 * 21 + 3
    assert odd(hours(24 * 25)) == []
    assert odd(hours(24 * 25, **{f"h{night}": 100.0})) == [night]
    assert odd(hours(24 * 25, **{f"h{day}": 2.0})) == [day]


def test_the_habit_that_was_nearest_is_told() -> None:
    found = anomaly.judged(hours(24 * 10), WATCH).to_pylist()
    assert {row["by"] for row in found[24 * 5 :]} == {"hour"}
    flat = anomaly.judged(series([float(n * 7 % 11 + n // 24) for n in range(24 * 10)]), WATCH).to_pylist()
    assert {row["by"] for row in flat[24 * 5 :]} == {"late"}


def test_a_week_is_a_season_of_its_own() -> None:
    weekdays = [0.0 if n // 24 % 7 >= 5 else 50.0 + n % 3 for n in range(24 * 7 * 6)]
    weekly = WATCH.model_copy(update={"season": "week"})
    later = [hour for hour in odd(series(weekdays), weekly) if hour >= 24 * 7 * 4]
    assert later == []
    sunday = 24 * (7 * 5 + 6) + 12
    weekdays[sunday] = 50.0
    assert sunday in odd(series(weekdays), weekly)


def test_nothing_after_a_value_changes_its_verdict() -> None:
    values = hours(24 * 30, h300=400.0, h500=-50.0, h610=900.0)
    whole = anomaly.judged(values, WATCH)
    for cut in (301, 480, 505, 611):
        part = anomaly.judged(values.slice(0, cut), WATCH)
        assert part.equals(whole.slice(0, part.num_rows))


def test_one_odd_day_does_not_hide_the_next_once_there_is_a_history() -> None:
    first, second = 24 * 30 + 5, 24 * 40 + 5
    assert odd(hours(24 * 45, **{f"h{first}": 900.0, f"h{second}": 300.0})) == [first, second]


def test_without_days_of_history_nothing_is_odd() -> None:
    assert odd(hours(70, h60=900.0)) == []
    assert odd(hours(100, h80=900.0)) == [80]


def test_a_regular_series_may_move_by_a_tenth() -> None:
    calm = [100.0] * 240
    assert odd(series([*calm, 109.0])) == []
    assert odd(series([*calm, 111.0])) == [240]


def test_sides_and_the_least_difference_are_as_declared() -> None:
    values = hours(24 * 20, h300=400.0, h450=-300.0)
    for value, expected in (
        (Value(side="above"), [300]),
        (Value(side="below"), [450]),
        (Value(least=1000), []),
        (Value(), [300, 450]),
    ):
        assert odd(values, WATCH.model_copy(update={"values": {"value_avg": value}})) == expected


def test_a_bucket_that_is_absent_counts_as_declared() -> None:
    values = hours(24 * 20)
    gap = values.filter(pc.not_equal(values["measured_at"], pa.scalar(START + HOUR * 396, pa.timestamp("us", "UTC"))))
    assert odd(gap) == []
    as_zero = WATCH.model_copy(update={"absent": 0.0})
    filled = anomaly.filled(gap, as_zero, START + 20 * DAY)
    assert filled.num_rows == 24 * 20
    assert odd(filled, as_zero) == [396]


def test_values_that_follow_each_other_are_one_incident() -> None:
    instants = [START, START + HOUR, START + 14 * HOUR, START + 3 * HOUR]
    table = pa.table({"cause": ["a", "a", "a", "b"], "measured_at": pa.array(instants, pa.timestamp("us", "UTC"))})
    found = [tuple(row.values()) for row in anomaly.runs(table, timedelta(hours=12)).to_pylist()]
    assert found == [
        ("a", START, START + HOUR, 2), ("b", START + 3 * HOUR, START + 3 * HOUR, 1),
        ("a", START + 14 * HOUR, START + 14 * HOUR, 1),
    ]  # fmt: skip


def test_causes_are_named_as_declared() -> None:
    series = {"asset": "shop/orders", "store_id": "3"}
    assert Cause(name="shop").of(series) == "shop"
    assert Cause(column="asset", pattern="^[^/]+").of(series) == "shop"
    assert Cause(column="store_id", name="sensors of store {}").of(series) == "sensors of store 3"


def test_the_declaration_of_the_repository_reads() -> None:
    assert {watch.hypertable for watch in anomaly_spec.read().watches} >= {"sales_hourly", "table_freshness"}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("  order_count_sum: {", "  orders: {", "watch of sales_hourly: values: `orders` is no number of it; it has"),
        ("every: 1h", "every: 1m", "every: sales_hourly has no roll-up 1m; choose one of 1h, 1d"),
        ("{column: source}", "{column: sauce}", "watch of table_freshness: cause: `sauce` does not tell its series"),
        ("{column: source}", "{pattern: a}", "cause: must either be a fixed `name`, or have a `column`"),
        ('pattern: "^[^/]+"', 'pattern: "^[/"', "cause.pattern: is no regular expression"),
        ("season: week", "season: year", "season: Input should be 'none', 'day' or 'week'"),
        ("hypertable: sales_hourly", "hypertable: sale_hourly", 'no hypertable `sale_hourly`; did you mean'),
        ("quiet: 12 hours", "quiet: a while", "quiet: is not a span of time; write it as `7 days`"),
    ],
)  # fmt: skip
def test_a_wrong_declaration_is_refused_in_words(tmp_path: Path, old: str, new: str, says: str) -> None:
    text = anomaly_spec.DECLARATION.read_text("utf-8")
    assert old in text
    path = tmp_path / "anomalies.yml"
    path.write_text(text.replace(old, new, 1), "utf-8")
    with pytest.raises(SpecError, match=r"^.*$") as caught:
        anomaly_spec.read(path=path)
    assert says in str(caught.value)


def test_labelled_windows_of_real_series_are_found_more_precisely_than_by_three_sigma(data: Path) -> None:
    """The level that docs/how-to/find-anomalies.md tells: data and method are fixed, so the figures are, too."""
    ours, plain = benchmark.scores(data / "nab")
    total, sigma = benchmark.total(ours), benchmark.total(plain)
    assert (total.windows, len(ours)) == (52, 24)
    assert total.recall >= 0.67
    assert total.precision >= 0.67
    assert total.precision > 2 * sigma.precision
    harmonic = [2 * it.precision * it.recall / (it.precision + it.recall) for it in (total, sigma)]
    assert harmonic[0] > harmonic[1] + 0.2
