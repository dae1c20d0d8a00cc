"""Real series through their real time span by a moved clock: hot and cold rows together are what the files say."""

import math
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from metrics_rows import fresh_database
from nab_series import Series
from psycopg.conninfo import conninfo_to_dict

from lake.layout import Lake
from metrics import spec, state, tier
from metrics.load import load
from metrics.server import connected
from warehouse import access

LONG_AFTER = timedelta(days=120)


@pytest.fixture
def dsn(metrics_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for dsn in fresh_database(metrics_server):
        parts = conninfo_to_dict(dsn)
        reader = f"postgresql://{parts['user']}:{parts['password']}@{parts['host']}:{parts['port']}/{parts['dbname']}"
        monkeypatch.setenv("METRICS_READER_DSN", reader)
        monkeypatch.setenv("LAKE_ROOT", str(tmp_path / "lake"))
        yield dsn


# Rows, and a checksum of all three columns whatever their order.
SUM = "SELECT count(*), sum(hash(epoch_us(measured_at), series, value)::HUGEINT) FROM"


def both(hypertable: str) -> tuple[object, ...]:
    """The checksum of hot and cold rows as analysts see them."""
    with closing(access.empty()) as connection:
        _, missing = access.prepare(connection)
        assert missing == {}
        return connection.execute(f"{SUM} metrics_all.{hypertable}").fetchall()[0]


def hot(dsn: str, hypertable: str) -> int:
    with connected(dsn, read_only=True) as connection:
        return connection.execute(f"SELECT count(*) FROM metrics.{hypertable}").fetchall()[0][0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", ["host_metrics", "web_metrics"])
def test_hot_and_cold_rows_are_the_files_at_every_stop_of_the_clock(
    dsn: str, name: str, declared: spec.Spec, nab: list[Series], points: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    table = declared[name].model_copy(update={"tier": True})
    alone, lake = spec.Spec(hypertables=(table,)), Lake(str(tmp_path / "lake"))
    with connected(dsn) as connection:
        state.apply(connection, alone)
    ends = {one.name: one.last_at(table) for one in nab if one.hypertable == name}
    stops: list[datetime] = sorted({*ends.values(), max(ends.values()) + LONG_AFTER})
    left = []
    for now in stops:
        for one in nab:
            if ends.get(one.name) == now:
                load(dsn, table, one.table(table).to_reader(), now=now)
        tier.run(dsn, lake, table, now)
        loaded = [one for one, end in ends.items() if end <= now]
        assert both(name) == points.execute(f"{SUM} points WHERE series = ANY (?)", [loaded]).fetchall()[0]
        left.append(hot(dsn, name))
    assert left[0] > 0
    assert left[-1] == 0
    days_are_the_files(dsn, name, points)


def days_are_the_files(dsn: str, name: str, points: duckdb.DuckDBPyConnection) -> None:
    """The daily roll-up outlives the rows, also those that have gone to the lake."""
    plain = points.execute(
        "SELECT date_trunc('day', measured_at), series, count(*), sum(value), min(value), max(value) FROM points"
        " WHERE hypertable = ? GROUP BY ALL ORDER BY 1, 2",
        [name],
    ).fetchall()
    columns = "bucket_at, series, sample_count, value_sum, value_min, value_max"
    with connected(dsn, read_only=True) as connection:
        held = connection.execute(f"SELECT {columns} FROM metrics.{name}_1d ORDER BY 1, 2").fetchall()
    assert len(held) == len(plain) > 0
    for one, other in zip(held, plain, strict=True):
        assert one[:3] == other[:3]
        assert all(math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9) for a, b in zip(one[3:], other[3:], strict=True))
