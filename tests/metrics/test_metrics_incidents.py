"""Incidents on a server: one alert for what has one cause, once when it begins and once when it is over."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest
from click.testing import CliRunner
from metrics_rows import all_rows, summed_up

from metrics import anomaly_spec, anomaly_values, incidents, spec, state
from metrics.anomaly_spec import Anomalies
from metrics.batches import arrow_schema
from metrics.incidents import Alert
from metrics.load import load
from metrics.server import connected
from watershed.metrics_anomalies import anomalies

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
START = datetime(2026, 5, 4, tzinfo=UTC)
THEN = START + 20 * DAY + 15 * HOUR  # when it begins
STORES = range(1, 6)
TABLES = [f"t{number}" for number in range(10)]
QUIET = timedelta(hours=12)


@pytest.fixture(scope="module")
def some(declared: spec.Spec) -> spec.Spec:
    names = ("sales_hourly", "table_freshness")
    return declared.model_copy(update={"hypertables": tuple(declared[name] for name in names)})


@pytest.fixture(scope="module")
def watched(declared: spec.Spec, some: spec.Spec) -> Anomalies:
    whole = anomaly_spec.read(declared)
    names = {table.name for table in some.hypertables}
    return whole.model_copy(update={"watches": tuple(one for one in whole.watches if one.hypertable in names)})


@pytest.fixture(scope="module")
def applied(metrics_dsn: str, some: spec.Spec) -> str:
    with connected(metrics_dsn) as connection:
        state.apply(connection, some)
    return metrics_dsn


@pytest.fixture
def dsn(applied: str, some: spec.Spec) -> Iterator[str]:
    """Twenty days of usual hours for five stores and for ten tables of `shop` and one of `weather`."""
    with connected(applied) as connection:
        connection.execute("TRUNCATE metrics.sales_hourly, metrics.table_freshness, metrics._incidents")
        connection.commit()
    sales(applied, some, START, THEN)
    freshness(applied, some, START, THEN)
    summed_up(applied, some, THEN)
    return applied


def sales(dsn: str, some: spec.Spec, since: datetime, until: datetime, closed: tuple[int, ...] = ()) -> None:
    rows = [
        (at, store, count, count, count, Decimal(count * 10), Decimal(0), Decimal(count * 10))
        for at in every_hour(since, until)
        for store in STORES
        for count in [30 + 40 * (9 <= at.hour < 20) + (at.day * 7 + at.hour + store) % 5]
        if store not in closed
    ]
    put(dsn, some["sales_hourly"], rows, until)


def freshness(
    dsn: str, some: spec.Spec, since: datetime, until: datetime, late: Mapping[str, float] | None = None
) -> None:
    """Each hour half an hour behind, or `late` by source."""
    rows = [
        (at, source, table, None, None, (late or {}).get(source, 1800.0) + at.hour, None, 10, None)
        for at in every_hour(since, until)
        for source, tables in {"shop": TABLES, "weather": ["rain"]}.items()
        for table in tables
    ]
    put(dsn, some["table_freshness"], rows, until)


def every_hour(since: datetime, until: datetime) -> Iterator[datetime]:
    while since < until:
        yield since
        since += HOUR


def put(dsn: str, table: spec.Hypertable, rows: list[tuple[object, ...]], now: datetime) -> None:
    schema = arrow_schema(table)
    source = pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema)
    load(dsn, table, source.to_reader(), now=now)


def checked(dsn: str, some: spec.Spec, watched: Anomalies, now: datetime) -> list[Alert]:
    """Look, note and tell as the schedule does; the alerts that were sent."""
    sent: list[Alert] = []
    incidents.note(dsn, incidents.looks(dsn, some, watched, now), watched.quiet, now)
    incidents.tell(dsn, sent.append, now)
    return sent


def test_usual_hours_are_no_incident(dsn: str, some: spec.Spec, watched: Anomalies) -> None:
    seen = incidents.looks(dsn, some, watched, THEN)
    assert {look.hypertable: look.odd.num_rows for look in seen} == {"sales_hourly": 0, "table_freshness": 0}
    assert min(look.judged for look in seen) > 7 * 24
    assert checked(dsn, some, watched, THEN) == []


def test_four_silent_stores_are_one_alert_told_once_and_its_end_once(
    dsn: str, some: spec.Spec, watched: Anomalies
) -> None:
    sales(dsn, some, THEN, THEN + 3 * HOUR, closed=(1, 2, 3, 4))
    (begun,) = checked(dsn, some, watched, THEN + 3 * HOUR)
    assert (begun["event"], begun["cause"], begun["series"]) == ("anomaly", "shop", "8")
    assert begun["since"] == THEN.isoformat()
    assert "sales_hourly store_id 4: order_count_sum 0, expected 7" in begun["message"]
    assert "store_id 5" not in begun["message"]
    sales(dsn, some, THEN + 3 * HOUR, THEN + 6 * HOUR, closed=(1, 2, 3, 4))
    assert checked(dsn, some, watched, THEN + 6 * HOUR) == []
    assert checked(dsn, some, watched, THEN + 6 * HOUR) == []
    sales(dsn, some, THEN + 6 * HOUR, THEN + 30 * HOUR)
    (over,) = checked(dsn, some, watched, THEN + 30 * HOUR)
    assert (over["event"], over["cause"]) == ("anomaly_over", "shop")
    assert over["until"] == (THEN + 5 * HOUR).isoformat()
    assert checked(dsn, some, watched, THEN + 31 * HOUR) == []
    assert len(all_rows(dsn, "_incidents")) == 1


def test_ten_late_tables_of_a_source_and_its_missing_sales_are_one_alert_another_source_is_another(
    dsn: str, some: spec.Spec, watched: Anomalies
) -> None:
    sales(dsn, some, THEN, THEN + 3 * HOUR, closed=(2,))
    freshness(dsn, some, THEN, THEN + 3 * HOUR, late={"shop": 40_000.0, "weather": 90_000.0})
    alerts = {one["cause"]: one for one in checked(dsn, some, watched, THEN + 3 * HOUR)}
    assert sorted(alerts) == ["shop", "weather"]
    assert alerts["shop"]["series"] == "12"
    assert alerts["shop"]["message"].endswith("; and 2 more")
    assert "table_freshness source weather table_name rain: lag_s_max 90,0" in alerts["weather"]["message"]


def test_an_alert_that_could_not_be_sent_is_sent_the_next_time(dsn: str, some: spec.Spec, watched: Anomalies) -> None:
    freshness(dsn, some, THEN, THEN + 2 * HOUR, late={"weather": 90_000.0})
    incidents.note(dsn, incidents.looks(dsn, some, watched, THEN + 2 * HOUR), QUIET, THEN + 2 * HOUR)

    def refuse(alert: Alert) -> None:
        raise OSError("connection refused")

    with pytest.raises(OSError, match="refused"):
        incidents.tell(dsn, refuse, THEN + 2 * HOUR)
    assert [one["cause"] for one in checked(dsn, some, watched, THEN + 2 * HOUR)] == ["weather"]
    assert checked(dsn, some, watched, THEN + 2 * HOUR) == []


def test_an_incident_does_not_end_because_nothing_comes_in(dsn: str, some: spec.Spec, watched: Anomalies) -> None:
    freshness(dsn, some, THEN, THEN + 2 * HOUR, late={"weather": 90_000.0})
    assert len(checked(dsn, some, watched, THEN + 2 * HOUR)) == 1
    assert checked(dsn, some, watched, THEN + 60 * HOUR) == []
    (still,) = incidents.known(dsn, THEN + 60 * HOUR)
    assert still.ended_at is None
    assert str(still).startswith("weather: odd since 2026-05-24 15:00 UTC and still going on: table_freshness source")


def test_what_was_over_long_before_it_was_first_looked_at_is_kept_and_not_told(
    dsn: str, some: spec.Spec, watched: Anomalies
) -> None:
    freshness(dsn, some, THEN, THEN + 2 * HOUR, late={"weather": 90_000.0})
    freshness(dsn, some, THEN + 2 * HOUR, THEN + 5 * DAY)
    summed_up(dsn, some, THEN + 5 * DAY)
    assert checked(dsn, some, watched, THEN + 5 * DAY) == []
    (past,) = incidents.known(dsn, THEN - DAY)
    assert (past.cause, past.first_at, past.ended_at) == ("weather", THEN, THEN + 5 * DAY)
    assert incidents.known(dsn, THEN + 4 * DAY) == []
    assert incidents.known(dsn, THEN - DAY, "sales_hourly") == []


def test_an_hour_that_may_still_fill_is_not_judged(dsn: str, some: spec.Spec, watched: Anomalies) -> None:
    sales(dsn, some, THEN, THEN + HOUR, closed=(1, 2, 3, 4))
    assert checked(dsn, some, watched, THEN + 20 * timedelta(minutes=1)) == []


def test_the_long_past_is_read_from_the_roll_up_when_its_rows_are_gone(
    dsn: str, some: spec.Spec, watched: Anomalies
) -> None:
    """Rows of May go after 30 days, yet what is usual is still known from the hours that were summed up."""
    sales(dsn, some, THEN, THEN + 20 * DAY)
    summed_up(dsn, some, THEN + 20 * DAY)
    with connected(dsn) as connection:
        before = anomaly_values.values(connection, some["sales_hourly"], watched.watches[0], START, THEN + 20 * DAY)
        connection.execute("SELECT drop_chunks('metrics.sales_hourly', older_than => %s)", (THEN + 10 * DAY,))
        after = anomaly_values.values(connection, some["sales_hourly"], watched.watches[0], START, THEN + 20 * DAY)
        connection.commit()
    order = [("series", "ascending"), ("name", "ascending"), ("measured_at", "ascending")]
    assert after.sort_by(order).equals(before.sort_by(order))


def test_the_command_lists_what_is_open_and_looks_when_asked(
    dsn: str, some: spec.Spec, watched: Anomalies, monkeypatch: pytest.MonkeyPatch
) -> None:
    freshness(dsn, some, THEN, THEN + 2 * HOUR, late={"weather": 90_000.0})
    monkeypatch.setattr("orchestration.site.enter", lambda shop: None)
    monkeypatch.setattr("metrics.spec.read", lambda: some)
    monkeypatch.setattr("metrics.anomaly_spec.read", lambda declared: watched)
    monkeypatch.setenv("METRICS_DSN", dsn)
    assert CliRunner().invoke(anomalies, []).output == "Nothing was odd.\n"
    listed = CliRunner().invoke(anomalies, ["--look", "--hypertable", "table_freshness"]).output.splitlines()
    assert listed[0].startswith("open  weather: odd since 2026-05-24 15:00 UTC and still going on: table_freshness")
    assert listed[1:] == ["1 open, 0 over in 7 days."]
    assert CliRunner().invoke(anomalies, ["--hypertable", "sales_hourly"]).output == "Nothing was odd.\n"
