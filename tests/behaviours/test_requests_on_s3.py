"""How many objects a query takes on S3: counted by a proxy before the server, not timed."""

import datetime
import os
import re

import polars
import pyarrow as pa
import pytest

from benchmarks.lake_requests import Seen, counted
from lake import commit, parquet, read
from lake.layout import Address, Lake

TABLE = Address("processed", "trial", "year")
FIRST = datetime.date(2025, 1, 1)
DAYS = 20
DAY = FIRST + datetime.timedelta(days=14)


@pytest.fixture
def lake(bucket: str) -> Lake:
    """A table of twenty days, a file each, the keys going on from day to day."""
    lake = Lake(f"s3://{bucket}/lake")
    writer = parquet.Writer(lake, TABLE, "0a", told=("key", "at"))
    for number in range(DAYS):
        day = FIRST + datetime.timedelta(days=number)
        noon = datetime.datetime.combine(day, datetime.time(12), datetime.UTC)
        keys = range(number * 10, number * 10 + 10)
        columns = {"key": pa.array(keys), "at": pa.array([noon] * 10), "text": [f"text {key}" for key in keys]}
        writer.rows_of(day, [pa.table(columns)])
    schema = pa.schema([("key", pa.int64()), ("at", pa.timestamp("us", "UTC")), ("text", pa.string())])
    commit.add(lake, TABLE, schema, writer.written, {}, base=None, by_day=True)
    return lake


@pytest.fixture
def seen(lake: Lake, monkeypatch: pytest.MonkeyPatch):
    with counted(os.environ["AWS_ENDPOINT_URL"]) as seen:
        monkeypatch.setenv("AWS_ENDPOINT_URL", seen.url)
        yield seen


def _by_duckdb(lake: Lake, condition: str) -> list[int]:
    with read.connect(lake) as connection:
        found = connection.execute(f"SELECT key, text FROM {read.relation(lake, TABLE)} WHERE {condition} ORDER BY 1")
        return [key for key, _ in found.fetchall()]


def _is_of_the_day(seen: Seen) -> bool:
    folder = parquet.day_folder(DAY)
    return all(re.search(rf"/{folder}/", key) for key in seen.objects)


def test_one_day_of_a_table_reads_three_objects_at_most_beyond_the_log(lake: Lake, seen: Seen):
    year, month, day = DAY.isoformat().split("-")
    found = _by_duckdb(lake, f"year = '{year}' AND month = '{month}' AND day = '{day}'")
    assert found == list(range(140, 150))
    assert 1 <= len(seen.objects) <= 3
    assert _is_of_the_day(seen)
    assert len(seen.data) <= 4, f"a small file takes a HEAD and a GET or two: {seen.data}"


def test_one_key_is_found_in_the_one_file_whose_bounds_hold_it(lake: Lake, seen: Seen):
    assert _by_duckdb(lake, "key = 145") == [145]
    assert len(seen.objects) == 1
    assert _is_of_the_day(seen)


def test_polars_reads_one_day_by_its_instants_alone(lake: Lake, seen: Seen):
    begin = datetime.datetime.combine(DAY, datetime.time(), datetime.UTC)
    rows = polars.scan_delta(lake.uri(TABLE), storage_options=lake.storage_options())
    of_day = rows.filter(polars.col("at").is_between(begin, begin + datetime.timedelta(days=1), closed="left"))
    assert sorted(of_day.collect()["key"]) == list(range(140, 150))
    assert 1 <= len(seen.objects) <= 3


def test_a_whole_table_reads_each_of_its_files_which_shows_that_they_are_counted(lake: Lake, seen: Seen):
    assert len(_by_duckdb(lake, "TRUE")) == DAYS * 10
    assert len(seen.objects) == DAYS
