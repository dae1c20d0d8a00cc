"""Real series as host_metrics and web_metrics: loaded, loaded again, rolled up, kept by a moved clock."""

import math
from datetime import datetime, timedelta

import duckdb
import pyarrow as pa
import pytest
from metrics_rows import fresh_database, summed_up
from nab_series import Series

from lake import duck
from metrics import spec, state, upkeep
from metrics.load import Loaded, load
from metrics.server import connected

HYPERTABLES = ("host_metrics", "web_metrics")
MEASURES = ("avg", "sum", "count", "min", "max", "first", "last")
PLAIN = """
    SELECT date_trunc('{unit}', measured_at) AS bucket_at, series, count(*) AS sample_count, avg(value), sum(value),
        count(value), min(value), max(value), arg_min(value, measured_at), arg_max(value, measured_at)
    FROM {points} GROUP BY ALL ORDER BY 1, 2
"""


@pytest.fixture(scope="module")
def some(declared: spec.Spec) -> spec.Spec:
    return declared.model_copy(update={"hypertables": tuple(declared[name] for name in HYPERTABLES)})


@pytest.fixture(scope="module")
def filled(metrics_dsn: str, some: spec.Spec, nab: list[Series]) -> tuple[str, dict[str, Loaded]]:
    """A store with all series in it, rolled up, and what each load said."""
    with connected(metrics_dsn) as connection:
        state.apply(connection, some)
    loads = {one.name: loaded(metrics_dsn, some, one) for one in nab}
    summed_up(metrics_dsn, some, earliest(some, nab))
    return metrics_dsn, loads


def loaded(dsn: str, declared: spec.Spec, one: Series) -> Loaded:
    """Load a series as of its own end: the years between the series are longer than any retention."""
    table = declared[one.hypertable]
    return load(dsn, table, one.table(table).to_reader(), now=one.last_at(table))


def earliest(declared: spec.Spec, nab: list[Series]) -> datetime:
    """A clock by which nothing has to go yet."""
    return min(one.last_at(declared[one.hypertable]) for one in nab)


def rows(dsn: str, relation: str, columns: str = "*") -> list[tuple[object, ...]]:
    with connected(dsn, read_only=True) as connection:
        query = f"SELECT {columns} FROM metrics.{relation} ORDER BY 1, 2"
        return connection.execute(query).fetchall()  # type: ignore[arg-type]


def equal(held: list[tuple[object, ...]], plain: list[tuple[object, ...]]) -> None:
    assert len(held) == len(plain) > 0
    for left, right in zip(held, plain, strict=True):
        assert left[:3] == right[:3]
        for one, other in zip(left[3:], right[3:], strict=True):
            assert isinstance(one, float | int)
            assert isinstance(other, float | int)
            assert math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9), (left[:2], one, other)


def test_all_series_are_loaded_as_the_files_hold_them(
    filled: tuple[str, dict[str, Loaded]], points: duckdb.DuckDBPyConnection
) -> None:
    dsn, loads = filled
    assert len(loads) == 24
    assert sum(load.rows for load in loads.values()) == 142_317
    for name in HYPERTABLES:
        query = "SELECT measured_at, series, value FROM points WHERE hypertable = ? ORDER BY 1, 2"
        assert rows(dsn, name, "measured_at, series, value") == points.execute(query, [name]).fetchall()


def test_of_instants_that_a_file_has_twice_the_last_row_counts_and_the_load_tells(
    filled: tuple[str, dict[str, Loaded]],
) -> None:
    dsn, loads = filled
    doubled = {name: load.rows - load.changed for name, load in loads.items() if load.rows != load.changed}
    assert doubled == {"ec2_network_in_5abac7": 11, "exchange-2_cpc_results": 1, "exchange-2_cpm_results": 1}
    with connected(dsn, read_only=True) as connection:
        held = connection.execute(
            "SELECT value FROM metrics.host_metrics WHERE series = 'ec2_network_in_5abac7'"
            " AND measured_at = '2014-03-09T03:00:00Z'"
        ).fetchall()
    assert held == [(60.0,)]  # the last of twelve in the hour in which the clocks went forward


@pytest.mark.parametrize("hypertable", HYPERTABLES)
@pytest.mark.parametrize(("bucket", "unit"), [("1h", "hour"), ("1d", "day")])
def test_roll_ups_equal_plain_sql_over_the_files(
    filled: tuple[str, dict[str, Loaded]],
    points: duckdb.DuckDBPyConnection,
    hypertable: str,
    bucket: str,
    unit: str,
) -> None:
    of_it = f"(SELECT * FROM points WHERE hypertable = {duck.literal(hypertable)})"
    plain = points.execute(PLAIN.format(unit=unit, points=of_it)).fetchall()
    columns = ", ".join(["bucket_at", "series", "sample_count", *(f"value_{measure}" for measure in MEASURES)])
    equal(rows(filled[0], f"{hypertable}_{bucket}", columns), plain)


def test_loading_all_again_changes_nothing(
    filled: tuple[str, dict[str, Loaded]], some: spec.Spec, nab: list[Series]
) -> None:
    before = {name: rows(filled[0], name) for name in (*HYPERTABLES, "host_metrics_1h", "web_metrics_1d")}
    again = [loaded(filled[0], some, one) for one in nab]
    # An instant that a file has twice is settled within the load: its last row is what is there already.
    assert [load.changed for load in again] == [0] * 24
    summed_up(filled[0], some, earliest(some, nab))
    assert {name: rows(filled[0], name) for name in before} == before


def test_rows_out_of_order_end_in_the_same_roll_ups(
    metrics_server: str, some: spec.Spec, nab: list[Series], points: duckdb.DuckDBPyConnection
) -> None:
    """Every fourth row comes a load later, and within a load the newest come first."""
    one = next(one for one in nab if one.name == "speed_6005")
    table = some[one.hypertable]
    whole, now = one.table(table), one.last_at(table)
    order = pa.array(range(whole.num_rows - 1, -1, -1))
    late = [n for n in order.to_pylist() if n % 4 == 0]
    early = [n for n in order.to_pylist() if n % 4]
    plain = points.execute(
        PLAIN.format(unit="hour", points="points").replace("GROUP", "WHERE series = ? GROUP"), [one.name]
    )
    for dsn in fresh_database(metrics_server):
        with connected(dsn) as connection:
            state.apply(connection, some)
        for part in (early, late):
            load(dsn, table, whole.take(pa.array(part)).to_reader(), now=now)
            summed_up(dsn, some, now)
        columns = ", ".join(["bucket_at", "series", "sample_count", *(f"value_{measure}" for measure in MEASURES)])
        equal(rows(dsn, "web_metrics_1h", columns), plain.fetchall())


@pytest.mark.edition("apache")
def test_retention_follows_a_moved_clock_through_the_real_time_span(
    metrics_server: str, some: spec.Spec, nab: list[Series], points: duckdb.DuckDBPyConnection
) -> None:
    """2014 to 2014 and a year on: rows go after 90 days by the chunk, roll-ups stay what the files say."""
    table = some["host_metrics"]
    of_hosts = [one for one in nab if one.hypertable == table.name]
    whole = pa.concat_tables([one.table(table) for one in of_hosts])
    first, last = min(whole["measured_at"].to_pylist()), max(whole["measured_at"].to_pylist())
    for dsn in fresh_database(metrics_server):
        with connected(dsn) as connection:
            state.apply(connection, some)
        now, held = first, []
        while now < last + timedelta(days=120):
            now += timedelta(days=30)
            came = pa.compute.and_(
                pa.compute.greater_equal(whole["measured_at"], pa.scalar(now - timedelta(days=30))),
                pa.compute.less(whole["measured_at"], pa.scalar(now)),
            )
            load(dsn, table, whole.filter(came).to_reader(), now=now)
            upkeep.run(dsn, some, now)
            oldest = rows(dsn, table.name, "min(measured_at), count(*)")[0][0]
            held.append(oldest)
            assert oldest is None or now - table.drop_after - table.chunk_interval <= oldest  # type: ignore[operator]
        assert held[0] is not None
        assert held[-1] is None
        plain = points.execute(
            PLAIN.format(unit="day", points="(SELECT * FROM points WHERE hypertable = 'host_metrics')")
        )
        columns = ", ".join(["bucket_at", "series", "sample_count", *(f"value_{measure}" for measure in MEASURES)])
        equal(rows(dsn, "host_metrics_1d", columns), plain.fetchall())
