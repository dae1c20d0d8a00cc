"""A hypertable that is tiered, rows for it, and what became of them in the server and in the lake."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import psycopg
import pytest
from metrics_rows import NOW, Readings
from psycopg.conninfo import conninfo_to_dict

from lake import cold, commit, read
from lake.cold import Range
from lake.layout import Lake
from lake.parquet import Written
from metrics import spec, tier, tier_sql
from metrics.load import load
from metrics.server import connected
from warehouse import access

DAY = timedelta(days=1)
START = (NOW - 5 * DAY).replace(hour=0, minute=0)  # five whole days and a part of the sixth
LATER = NOW + 29 * DAY  # the first four of them are past their 30 days
RANGES = [Range(START + n * DAY, START + (n + 1) * DAY) for n in range(6)]
STEP = timedelta(minutes=30)


def tiered(declared: spec.Spec, name: str = "sensor_readings") -> spec.Spec:
    """The declaration of one hypertable, with `tier: true`."""
    return spec.Spec(hypertables=(declared[name].model_copy(update={"tier": True}),))


def fill(dsn: str, readings: Readings, days: int = 5) -> int:
    """Load some days of rows; how many."""
    table = readings.table(START, 48 * days, step=STEP)
    load(dsn, readings.hypertable, table.to_reader(), now=NOW)
    return table.num_rows


def hot(dsn: str) -> tuple[int, float]:
    return of(dsn, "SELECT count(*), coalesce(sum(temperature_celsius), 0) FROM metrics.sensor_readings")  # type: ignore[return-value]


def of(dsn: str, query: str) -> tuple[object, ...]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        return connection.execute(query).fetchone() or ()  # type: ignore[arg-type]


def in_lake(lake: Lake, name: str = "sensor_readings") -> int:
    with read.connect(lake) as connection:
        query = f"SELECT count(*) FROM {read.relation(lake, cold.address(name))}"
        return (connection.execute(query).fetchone() or (0,))[0]


def book(dsn: str) -> list[tuple[datetime, int, bool]]:
    """Of each range in the book its start, its rows and whether it was dropped."""
    with psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC") as connection:
        return connection.execute(
            "SELECT range_start, rows, dropped_at IS NOT NULL FROM metrics._cold ORDER BY 1"
        ).fetchall()


def cold_files(lake: Lake) -> list[Written]:
    """The live files of the cold rows of sensor_readings."""
    delta = commit.table(lake, cold.address("sensor_readings"))
    assert delta is not None
    return commit.files(delta)


def chunks(dsn: str) -> int:
    query = "SELECT count(*) FROM timescaledb_information.chunks WHERE hypertable_name = 'sensor_readings'"
    return of(dsn, query)[0]  # type: ignore[return-value]


@contextmanager
def moving(dsn: str, lake: Lake, one: spec.Spec) -> Iterator[tier.Mover]:
    """What moves the ranges of the one hypertable of a declaration, to be led step by step."""
    with connected(dsn) as connection:
        connection.autocommit = True
        with closing(tier.Mover(dsn, lake, one.hypertables[0], connection, LATER)) as mover:
            yield mover


def prepared(dsn: str, one: spec.Spec) -> None:
    with connected(dsn) as connection:
        tier_sql.prepare(connection, one.hypertables[0])


ALL = """
    SELECT count(*), sum(epoch_us(read_at) // 1000000 * device_id + round(temperature_celsius * 1000)::bigint),
        count(DISTINCT (read_at, device_id)) FROM metrics_all.sensor_readings
"""


@contextmanager
def analyst(dsn: str, *without: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A session as `watershed sql` has it, on the lake of LAKE_ROOT and the server, with its doors closed."""
    parts = conninfo_to_dict(dsn)
    address = f"postgresql://{parts['user']}:{parts['password']}@{parts['host']}:{parts['port']}/{parts['dbname']}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("METRICS_READER_DSN", address)
        connection = access.empty()
        lake, missing = access.prepare(connection)
        assert set(missing) == set(without)
        access.lock(connection, lake, root=Path(__file__).parent)
    try:
        yield connection
    finally:
        connection.close()


def whole(session: duckdb.DuckDBPyConnection, where: str = "", values: list[object] | None = None) -> tuple[int, ...]:
    """Rows, a sum over them and different keys; fetched to the end, which ends the transaction in the server."""
    return session.execute(ALL + where, values or []).fetchall()[0]  # type: ignore[no-any-return]
