"""What DuckDB, Polars, Daft, Spark and `deltalake` read of the lake is the same, and is what was written."""

import datetime
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars
import pyarrow as pa
import pytest
from fix_servers import PROJECT
from tiny_warehouse import Tiny
from trial_source import Trial

from lake import commit, duck, parquet, read, s3, upkeep
from lake.layout import Address, Lake
from warehouse import publish

PAGE = PROJECT / "docs" / "how-to" / "read-the-lake-elsewhere.md"
ROWS = 1500
DAYS = (datetime.date(1969, 12, 31), datetime.date(2026, 1, 5), datetime.date(2026, 1, 6))
UTC = datetime.UTC
TYPES = Address("processed", "trial", "types")
Reader = Callable[[Lake, Address], pa.Table]
EVERY_TYPE = """create table orders (
    order_id bigint, small smallint, number integer, amount numeric(12, 2), exact numeric(38, 10), loose numeric,
    ratio real, share double precision, is_paid boolean, "größe" text, photo bytea, born date, local_at timestamp,
    ordered_at timestamptz, updated_at timestamptz default clock_timestamp(), tags text[], detail jsonb, ref uuid)"""


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    """One Spark session: it takes 20 seconds to come up."""
    from pyspark.sql import SparkSession

    settings = {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "768m",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "1",
    }
    builder = SparkSession.builder.master("local[1]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        session = builder.getOrCreate()
        session.sparkContext.setLogLevel("ERROR")
        yield session
        session.stop()


@pytest.fixture(autouse=True)
def _as_large_files_without_tracking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "SMALL_ROWS", 1000)  # so that these files have all that large ones have
    monkeypatch.setenv("DO_NOT_TRACK", "true")  # Daft tells its makers that it is used, unless told not to


def by_duckdb(lake: Lake, address: Address) -> pa.Table:
    with read.connect(lake) as connection:
        return connection.execute(f"SELECT * FROM {read.relation(lake, address)}").to_arrow_table()


def by_polars(lake: Lake, address: Address) -> pa.Table:
    return polars.scan_delta(lake.uri(address), storage_options=lake.storage_options()).collect().to_arrow()


def by_deltalake(lake: Lake, address: Address) -> pa.Table:
    delta = commit.table(lake, address)
    assert delta is not None
    return delta.to_pyarrow_table()


def by_daft(lake: Lake, address: Address) -> pa.Table:
    """The snapshot's files: `daft.read_deltalake` knows deltalake up to 0.25 only."""
    import daft
    from daft.io import IOConfig, S3Config

    delta = commit.table(lake, address)
    assert delta is not None
    # The first file would tell the columns else, and the path that month 01 is the number 1.
    schema = {entry.name: daft.DataType.from_arrow_type(entry.type) for entry in pa.schema(delta.schema().to_arrow())}
    config = None
    if lake.on_s3:
        at = s3.server()
        config = IOConfig(
            s3=S3Config(endpoint_url=at.endpoint, region_name=at.region, key_id=at.key, access_key=at.secret)
        )
    found = daft.read_parquet(delta.file_uris(), schema=schema, hive_partitioning=True, io_config=config)
    return found.to_arrow()


def by_spark(session: Any) -> Reader:
    """The snapshot's files, with the columns as Delta's log tells them, which is Spark's own form."""
    from pyspark.sql.types import StructType

    def found(lake: Lake, address: Address) -> pa.Table:
        delta = commit.table(lake, address)
        assert delta is not None
        schema = StructType.fromJson(json.loads(delta.schema().to_json()))
        frame = session.read.schema(schema).option("basePath", lake.uri(address)).parquet(*delta.file_uris())
        return frame.toArrow()

    return found


MART_OF_TYPES = """create or replace table marts.types as select n as id, (n / 7)::decimal(38, 10) as exact,
    (n * 1.25)::decimal(9, 2) as price, date '1931-05-06' + n::int as born, n % 2 = 0 as is_even,
    timestamptz '1969-12-31 23:59:59.123456+00' + n * interval '1 hour' as seen_at,
    timestamp '1960-01-01 00:00:00.000001' + n * interval '1 day' as local_at, n / 3.0 as ratio,
    case when n % 5 > 0 then 'größe ☃ ' || n end as name, [n, null] as several
    from range(1500) as numbers(n)"""
ON_ANY_STORE: dict[str, Reader] = {
    "duckdb": by_duckdb,
    "polars": by_polars,
    "deltalake": by_deltalake,
    "daft": by_daft,
}


def _plain(value: Any) -> Any:
    """A value in one form for all readers: instants in UTC, maps as lists of pairs."""
    if isinstance(value, datetime.datetime):
        return (value.astimezone(UTC) if value.tzinfo else value).isoformat()
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value


def _checksum(values: list[Any]) -> int:
    """The sum of the values' digests: no order, but each as often as it is there."""
    digests = (hashlib.sha256(repr(_plain(value)).encode()).digest() for value in values)
    return sum(int.from_bytes(digest[:8]) for digest in digests) % 2**64


def _sums(rows: pa.Table) -> dict[str, tuple[int, int]]:
    """Of each column, and of the rows as a whole: how many values, and their checksum."""
    names = sorted(rows.column_names)
    columns = {name: rows[name].to_pylist() for name in names}
    whole = list(zip(*columns.values(), strict=True))
    return {name: (len(values), _checksum(values)) for name, values in {**columns, "": whole}.items()}


def _assert_same(lake: Lake, address: Address, readers: dict[str, Reader], wanted: pa.Table) -> None:
    expected = _sums(wanted)
    assert wanted.num_rows
    for name, reader in readers.items():
        found = _sums(reader(lake, address))
        assert found.keys() == expected.keys(), f"{name} reads other columns of {address}"
        differing = [column or "the rows" for column in expected if found[column] != expected[column]]
        assert not differing, f"{name} reads other values of {address} in {differing}"


def _every_type(first: int, *, has_later: bool) -> pa.Table:
    """Rows of all types that the lake holds: NULLs, ends of ranges, before 1970, microseconds, many alphabets."""
    numbers = range(first, first + ROWS)
    instants = [datetime.datetime(1931, 1, 1) + datetime.timedelta(days=n * 9, microseconds=n) for n in numbers]  # noqa: DTZ001
    instants[:2] = [datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31, 23, 59, 59, 999999)]  # noqa: DTZ001
    columns: dict[str, tuple[list[Any], pa.DataType]] = {
        "tiny": ([n % 256 - 128 for n in numbers], pa.int8()),
        "small": ([n % 65536 - 32768 for n in numbers], pa.int16()),
        "number": ([n * 100_003 % 2**32 - 2**31 for n in numbers], pa.int32()),
        "large": ([(n * 10_000_000_019 - 2**62) * (-1) ** n for n in numbers], pa.int64()),
        "single": ([n / 3 for n in numbers], pa.float32()),
        "double": ([float("inf") if n % 50 == 1 else n / 7 - 100 for n in numbers], pa.float64()),
        "money": ([Decimal(n * 37 - 20_000) / 100 for n in numbers], pa.decimal128(9, 2)),
        "amount": ([Decimal((n - 700) * 10**11 + n) / 100 for n in numbers], pa.decimal128(18, 2)),
        "exact": ([Decimal(f"{n - 700}{n:018}.{n:010}") for n in numbers], pa.decimal128(38, 10)),
        "rate": ([Decimal(n % 9) / 10 for n in numbers], pa.decimal128(4, 1)),
        "is_so": ([n % 3 == 0 for n in numbers], pa.bool_()),
        "text": (["" if n % 40 == 3 else f"žluť 🐎 {n} 漢字\n\t'\"\\ {'x' * (n % 90)}" for n in numbers], pa.string()),
        "code": ([f"status {n % 4}" for n in numbers], pa.string()),
        "bytes": ([b"" if n % 40 == 3 else bytes([n % 256, 0, 255]) for n in numbers], pa.binary()),
        "day_of": ([one.date() for one in instants], pa.date32()),
        "local_at": (instants, pa.timestamp("us")),
        "seen_at": ([one.replace(tzinfo=UTC) for one in instants], pa.timestamp("us", "UTC")),
        "several": ([[n, None, -n] if n % 4 else [] for n in numbers], pa.list_(pa.int64())),
        "nested": (
            [{"name": f"é{n}", "at": {"price": Decimal(n) / 100}} for n in numbers],
            pa.struct([("name", pa.string()), ("at", pa.struct([("price", pa.decimal128(9, 2))]))]),
        ),
        "named": ([[(f"k{n % 3}", n)] if n % 4 else [] for n in numbers], pa.map_(pa.string(), pa.int64())),
        "nothing": ([None] * ROWS, pa.int64()),
    }
    if has_later:
        columns["later"] = ([f"later {n}" for n in numbers], pa.string())
    arrays = {"key": pa.array(numbers, pa.int64())}
    for place, (name, (values, kind)) in enumerate(columns.items()):
        gaps = [None if (n + place) % 11 == 5 else value for n, value in enumerate(values)]
        arrays[name] = pa.array(gaps, kind)
    return pa.table(arrays)


def _written(lake: Lake) -> pa.Table:
    """The table of all types, of whose three days the first lacks a column; gives the rows that it must hold."""
    parts = []
    for number, day in enumerate(DAYS):
        rows = _every_type(number * ROWS, has_later=number > 0)
        writer = parquet.Writer(lake, TYPES, f"{number:08x}", told=("key", "local_at", "text"))
        writer.rows_of(day, [rows])
        base = commit.table(lake, TYPES)
        commit.add(lake, TYPES, rows.schema, writer.written, {}, base=base, by_day=True)
        for name, value in parquet.partition_values(day).items():
            rows = rows.append_column(name, pa.array([value] * ROWS))
        parts.append(rows)
    return pa.concat_tables(parts, promote_options="default")


def test_values_of_every_type_are_read_alike_by_all(spark: Any, tmp_path: Path):
    lake = Lake(str(tmp_path / "lake"))
    wanted = _written(lake)
    _assert_same(lake, TYPES, {**ON_ANY_STORE, "spark": by_spark(spark)}, wanted)


def test_values_of_every_type_are_read_alike_on_s3(bucket: str):
    lake = Lake(f"s3://{bucket}/lake")
    _assert_same(lake, TYPES, ON_ANY_STORE, _written(lake))


def test_what_upkeep_has_put_together_is_read_as_before(spark: Any, tmp_path: Path):
    lake = Lake(str(tmp_path / "lake"))
    wanted = _written(lake)
    rows = _every_type(3 * ROWS, has_later=True)
    writer = parquet.Writer(lake, TYPES, "f" * 8, told=("key", "text"))
    writer.rows_of(DAYS[0], [rows])
    commit.add(lake, TYPES, rows.schema, writer.written, {}, base=commit.table(lake, TYPES), by_day=True)
    for name, value in parquet.partition_values(DAYS[0]).items():
        rows = rows.append_column(name, pa.array([value] * ROWS))
    kept = upkeep.keep(lake, TYPES)
    assert (kept.before.files, kept.after.files) == (4, 3)
    wanted = pa.concat_tables([wanted, rows], promote_options="default")
    _assert_same(lake, TYPES, {**ON_ANY_STORE, "spark": by_spark(spark)}, wanted)


def test_an_engine_that_read_one_value_otherwise_would_be_told(tmp_path: Path):
    lake = Lake(str(tmp_path / "lake"))
    wanted = _written(lake)

    def cut_to_seconds(lake: Lake, address: Address) -> pa.Table:
        rows = by_duckdb(lake, address)
        place = rows.schema.get_field_index("seen_at")
        cut = [one and one.replace(microsecond=0) for one in rows["seen_at"].to_pylist()]
        return rows.set_column(place, "seen_at", pa.array(cut, pa.timestamp("us", "UTC")))

    with pytest.raises(AssertionError, match=r"off reads other values of .* in \['seen_at', 'the rows'\]"):
        _assert_same(lake, TYPES, {"off": cut_to_seconds}, wanted)


@pytest.mark.parametrize("lake_root", ["folder"], indirect=True)
def test_all_zones_of_a_table_are_read_alike_by_all(spark: Any, trial: Trial):
    _zones(trial)
    readers = {name: reader for name, reader in ON_ANY_STORE.items() if name != "duckdb"} | {"spark": by_spark(spark)}
    for zone in ("raw", "processed", "quarantine"):
        wanted = by_duckdb(trial.lake, trial.address(zone))
        assert wanted.num_rows == {"raw": 610, "processed": 600, "quarantine": 3}[zone]
        _assert_same(trial.lake, trial.address(zone), readers, wanted)


def test_the_marts_of_a_published_version_are_read_alike_by_all(
    spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    tiny = Tiny(tmp_path / "root", Lake(str(tmp_path / "lake")))
    monkeypatch.setenv("WAREHOUSE_ROOT", str(tiny.root))
    monkeypatch.setenv("LAKE_ROOT", tiny.lake.root)
    tiny.declare()
    tiny.build(1, "update marts.fct_sale set sold_at = null where sale_id = 7", MART_OF_TYPES, rows=ROWS)
    version = publish.publish()
    for name, days in (("fct_sale", ", year, month, day"), ("dim_shop", ""), ("types", "")):
        address = Address("curated", "marts", name)
        with duck.connect(version.path, read_only=True) as connection:
            of_day = "strftime(coalesce(sold_at, timestamp '0001-01-01'), '%Y-%m-%d')"
            split = f"select *, {of_day}[:4] as year, {of_day}[6:7] as month, {of_day}[9:] as day"
            query = f"{split if days else 'select *'} from marts.{name}"
            wanted = connection.execute(query).to_arrow_table()
        _assert_same(tiny.lake, address, {**ON_ANY_STORE, "spark": by_spark(spark)}, wanted)


def _zones(trial: Trial) -> None:
    """Load a table of many types, a change with a new column, and rows that go to quarantine."""
    trial.sql("drop table orders")
    trial.sql(EVERY_TYPE)
    insert = """insert into orders
        select n, mod(n, 300), n * 7, n / 7.0, n * 1e20 / 7, n / 3.0, n / 3.0, n / 7.0, mod(n, 2) = 0, 'größe ☃ ' || n,
            decode(md5(n::text), 'hex'), date '1900-01-01' + n::int, timestamp '1960-01-01' + n * interval '1 day',
            timestamptz '1969-12-30 23:59:59.123456+00' + n * interval '1 minute', clock_timestamp(),
            array[n::text, null], '{"a": [1, null]}', md5(n::text)::uuid
        from generate_series(%s, %s::bigint) n"""
    trial.sql(insert, [1, 590])
    trial.sql("insert into orders (amount, ordered_at) values (1, '2026-01-05'), (2, null), (3, 'infinity')")
    trial.run()
    trial.sql("alter table orders add column later text")
    trial.sql(insert.replace("md5(n::text)::uuid", "md5(n::text)::uuid, 'later'"), [591, 600])
    trial.sql("update orders set later = 'now', updated_at = clock_timestamp() where order_id between 1 and 10")
    trial.run()


@pytest.mark.parametrize(
    "place", ["/data/lake/processed/shop/orders", "s3://my-bucket/watershed/processed/shop/orders"]
)
def test_the_examples_of_the_page_read_the_table(
    place: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
):
    examples = [text for text in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S) if place in text]
    on_s3 = place.startswith("s3://")
    lake = Lake(f"s3://{request.getfixturevalue('bucket')}/lake" if on_s3 else str(tmp_path / "lake"))
    _written(lake)
    if not on_s3:
        request.getfixturevalue("spark")  # the example takes the session that is there
        prepared = duck.connect()  # finds the extensions without a network
        monkeypatch.setattr(duckdb, "connect", lambda: prepared)
    of_2026 = len(DAYS[1:]) * ROWS
    for text in examples:
        names: dict[str, Any] = {}
        exec(text.replace(place, lake.uri(TYPES)), names)
        assert _counted(names["rows"]) in (of_2026, of_2026 + ROWS), text
    assert len(examples) == (1 if on_s3 else 5)


def _counted(rows: Any) -> int:
    """How many rows an example has read: as a table, or counted by it."""
    if isinstance(rows, polars.DataFrame):
        return int(rows.item())
    if isinstance(rows, list):
        return int(rows[0][0])
    if isinstance(rows, pa.Table):
        return int(rows.num_rows)
    return int(rows.count_rows() if hasattr(rows, "count_rows") else rows.count())
