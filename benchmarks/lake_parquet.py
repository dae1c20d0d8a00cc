"""What the details of Parquet are worth on real tables: `python -m benchmarks.lake_parquet --data <folder>`.

Each set is written as one file as `lake.parquet` writes it, and again with one thing changed; size, the CPU of writing,
of scanning all columns, of looking one key up and of reading one day (DuckDB, one thread) are told as ratios to it.
Rounds are interleaved and the least of each counts, so that what else the machine does weighs little.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lake import parquet
from lake.duck import literal, quoted

MONEY = "DECIMAL(12,2)"
LEAST_CPU_S = 0.05  # a step that takes less is repeated until it has taken so much


@dataclass(frozen=True)
class Real:
    """A real table: the SQL that reads it, its key (one column is looked up by), and its cursor."""

    name: str
    query: str
    key: str
    cursor: str
    shifts: Mapping[str, str] = field(default_factory=dict)


SETS = (
    Real(
        "transactions",
        f"""SELECT household_id::INTEGER AS household_id, store_id::INTEGER AS store_id, basket_id::BIGINT AS basket_id,
            product_id::BIGINT AS product_id, quantity::INTEGER AS quantity, sales_value::{MONEY} AS sales_value,
            retail_disc::{MONEY} AS retail_disc, coupon_disc::{MONEY} AS coupon_disc,
            coupon_match_disc::{MONEY} AS coupon_match_disc, week, transaction_timestamp
            FROM '{{data}}/completejourney/transactions_sample.parquet'""",
        "basket_id",
        "transaction_timestamp",
        {
            "basket_id": "basket_id + i * 10_000_000_000",
            "transaction_timestamp": "transaction_timestamp + i * INTERVAL 365 DAY",
        },
    ),
    Real(
        "payments",
        f"""SELECT order_id, payment_sequential, payment_type, payment_installments,
            payment_value::{MONEY} AS payment_value FROM '{{data}}/olist_full/olist_order_payments_dataset.parquet'""",
        "order_id",
        "",
    ),
    Real(
        "geolocation",
        "SELECT row_number() OVER () * 2 AS place_id, * FROM '{data}/olist/olist_geolocation_dataset.csv.gz'",
        "place_id",
        "",
    ),
    Real(
        "taxi",
        f"""SELECT row_number() OVER () * 2 AS trip_id, * REPLACE (fare_amount::{MONEY} AS fare_amount,
            extra::{MONEY} AS extra, mta_tax::{MONEY} AS mta_tax, tip_amount::{MONEY} AS tip_amount,
            tolls_amount::{MONEY} AS tolls_amount, improvement_surcharge::{MONEY} AS improvement_surcharge,
            total_amount::{MONEY} AS total_amount, congestion_surcharge::{MONEY} AS congestion_surcharge)
            FROM read_csv('{{data}}/nyc_taxi/*.csv.gz', union_by_name = true, strict_mode = false, sample_size = -1)""",
        "trip_id",
        "pickup_datetime",
    ),
    Real(
        "edits",
        """SELECT row_number() OVER () * 2 AS edit_id, * REPLACE ("time"::TIMESTAMPTZ AS "time")
            FROM read_json('{data}/wikipedia_edits/*.json.gz')""",
        "edit_id",
        "time",
    ),
)


@dataclass
class Variant:
    """One thing changed: arguments of the writer, made of the table; rows per group; how the rows are sorted."""

    name: str
    options: Callable[[pa.Table, Real, Sequence[str]], dict[str, Any]] = lambda *_: {}
    group_rows: int = parquet.GROUP_ROWS
    sort: str = ""


def _encoded(wanted: Callable[[pa.DataType], str | None]) -> Callable[[pa.Table, Real, Sequence[str]], dict[str, Any]]:
    """Another encoding for the columns without a dictionary whose type it suits."""

    def options(rows: pa.Table, _: Real, dictionary: Sequence[str]) -> dict[str, Any]:
        found = {
            entry.name: encoding
            for entry in rows.schema
            if entry.name not in dictionary and (encoding := wanted(entry.type))
        }
        return {"column_encoding": found} if found else {}

    return options


def _delta(kind: pa.DataType) -> str | None:
    return "DELTA_BINARY_PACKED" if pa.types.is_integer(kind) or pa.types.is_temporal(kind) else None


def _delta_decimals(kind: pa.DataType) -> str | None:
    return "DELTA_BINARY_PACKED" if pa.types.is_decimal(kind) and kind.precision <= 18 else None


def _split(kind: pa.DataType) -> str | None:
    return "BYTE_STREAM_SPLIT" if pa.types.is_floating(kind) or pa.types.is_decimal(kind) else None


def _lengths(kind: pa.DataType) -> str | None:
    return "DELTA_LENGTH_BYTE_ARRAY" if pa.types.is_string(kind) else None


def _prefixes(kind: pa.DataType) -> str | None:
    return "DELTA_BYTE_ARRAY" if pa.types.is_string(kind) else None


def _split_floats(kind: pa.DataType) -> str | None:
    return "BYTE_STREAM_SPLIT" if pa.types.is_floating(kind) else None


def _now(rows: pa.Table, _: Real, dictionary: Sequence[str]) -> dict[str, Any]:
    return {"max_rows_per_page": parquet.PAGE_ROWS, **parquet.encoded(rows.schema, dictionary)}


def _bloom(rows: pa.Table, real: Real, _: Sequence[str]) -> dict[str, Any]:
    return {"bloom_filter_options": {real.key: {"ndv": rows.num_rows, "fpp": 0.01}}}


def _together(*parts: Callable[[pa.Table, Real, Sequence[str]], dict[str, Any]]) -> Any:
    return lambda *given: {name: value for part in parts for name, value in part(*given).items()}


def _always(**options: Any) -> Callable[[pa.Table, Real, Sequence[str]], dict[str, Any]]:
    return lambda *_: options


VARIANTS = (
    Variant("zstd 1, dictionaries where values repeat"),
    Variant("zstd 3", _always(compression_level=3)),
    Variant("zstd 9", _always(compression_level=9)),
    Variant("dictionaries everywhere", _always(use_dictionary=True)),
    Variant("no dictionaries", _always(use_dictionary=False)),
    Variant("integers and times as deltas", _encoded(_delta)),
    Variant("integers and times split by bytes", _encoded(lambda kind: "BYTE_STREAM_SPLIT" if _delta(kind) else None)),
    Variant("decimals and floats split by bytes", _encoded(_split)),
    Variant("floats split by bytes", _encoded(_split_floats)),
    Variant("texts with lengths apart", _encoded(_lengths)),
    Variant("texts without shared prefixes", _encoded(_prefixes)),
    Variant("decimals as integers", _always(store_decimal_as_integer=True)),
    Variant(
        "decimals as integers and deltas", _together(_always(store_decimal_as_integer=True), _encoded(_delta_decimals))
    ),
    Variant("bloom filter on the key", _bloom),
    Variant("page index", _always(write_page_index=True)),
    Variant("page index, 2,000 rows a page", _always(write_page_index=True, max_rows_per_page=2000)),
    Variant("100,000 rows a page (20,000)", _always(max_rows_per_page=100_000)),
    Variant("data pages 2.0", _always(data_page_version="2.0")),
    Variant("no statistics", _always(write_statistics=False)),
    Variant("page checksums", _always(write_page_checksum=True)),
    Variant("sorted by key", sort="key"),
    Variant("sorted by cursor", sort="cursor"),
    Variant("10,000 rows a group", group_rows=10_000),
    Variant("50,000 rows a group", group_rows=50_000),
    Variant("as the lake writes now", _now),
    Variant("as the lake writes now, bloom filter on the key", _together(_now, _bloom)),
)
MEASURES = ("MB", "write", "scan", "key", "no key", "day")


def table(data: Path, real: Real) -> pa.Table:
    """The rows of a real table, as they come."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        found = connection.execute(real.query.format(data=data)).to_arrow_table().combine_chunks()
    names = [entry.name for entry in found.schema if pa.types.is_null(entry.type)]
    return found.drop_columns(names)


def repeated(rows: pa.Table, real: Real, times: int) -> pa.Table:
    """A table `times` as long, whose keys and cursors go on."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        shifts = ", ".join(f"{change} AS {quoted(name)}" for name, change in real.shifts.items())
        return (
            connection.execute(f"SELECT t.* REPLACE ({shifts}) FROM range({int(times)}) r(i), rows t ORDER BY i")
            .to_arrow_table()
            .combine_chunks()
        )


def measured(
    rows: pa.Table, real: Real, variants: Sequence[Variant], folder: Path, rounds: int
) -> dict[str, dict[str, float]]:
    """Megabytes, CPU-seconds of writing, scanning, looking a key up, reading a day (where there are days).

    Of the first variant; of the others as ratios to it, taken side by side.
    """
    sorted_rows = {"": rows, "key": rows.sort_by(real.key)}
    if real.cursor:
        sorted_rows["cursor"] = rows.sort_by(real.cursor)
    plain, *others = variants
    seconds: dict[str, list[float]] = {}
    ratios: dict[str, dict[str, list[float]]] = {}
    for _ in range(rounds):
        for variant in others:
            if variant.sort not in sorted_rows:
                continue
            first = _once(rows, real, plain, folder / "one.parquet")
            then = _once(sorted_rows[variant.sort], real, variant, folder / "one.parquet")
            for name, value in then.items():
                seconds.setdefault(name, []).append(first[name])
                ratios.setdefault(variant.name, {}).setdefault(name, []).append(value / first[name])
    found = {name: {what: statistics.median(of) for what, of in each.items()} for name, each in ratios.items()}
    return {plain.name: {what: statistics.median(of) for what, of in seconds.items()}} | found


def _absent(keys: pa.ChunkedArray) -> Any:
    """A key that is not there, though it lies between those that are."""
    if pa.types.is_string(keys.type):
        return f"{keys[len(keys) // 2].as_py()}-"
    values = np.unique(keys.to_numpy())
    holes = values[:-1][np.diff(values) > 1]
    return int(holes[len(holes) // 2]) + 1


def _once(rows: pa.Table, real: Real, variant: Variant, file: Path) -> dict[str, float]:
    dictionary = parquet._repetitive(rows)
    options = {
        "compression": "zstd",
        "compression_level": 1,
        "use_dictionary": dictionary,
        "write_statistics": True,
        "store_schema": False,
    } | variant.options(rows, real, dictionary)

    def write() -> None:
        with pq.ParquetWriter(file, rows.schema, **options) as writer:
            writer.write_table(rows, row_group_size=variant.group_rows)

    spent = {"MB": 0.0, "write": _cpu_s(write)}
    spent["MB"] = file.stat().st_size / 1e6
    with duckdb.connect() as connection, suppress(duckdb.Error):
        connection.execute("SET threads = 1; SET TimeZone = 'UTC'; SET parquet_metadata_cache = false")
        source = f"read_parquet({literal(str(file))})"
        # Not max(): DuckDB answers that from the statistics.
        every = ", ".join(f"bit_xor(hash({quoted(name)}))" for name in rows.column_names)
        middle = rows.num_rows // 2
        spent["scan"] = _cpu_s(lambda: connection.execute(f"SELECT {every} FROM {source}").fetchall())
        key, absent = rows[real.key][middle].as_py(), _absent(rows[real.key])
        query = f"SELECT * FROM {source} WHERE {quoted(real.key)} = ?"
        spent["key"] = _cpu_s(lambda: connection.execute(query, [key]).fetchall())
        spent["no key"] = _cpu_s(lambda: connection.execute(query, [absent]).fetchall())
        if real.cursor:
            day, name = rows[real.cursor][middle].as_py().date(), quoted(real.cursor)
            query = f"SELECT {every} FROM {source} WHERE {name} >= ?::DATE AND {name} < ?::DATE + 1"
            spent["day"] = _cpu_s(lambda: connection.execute(query, [day, day]).fetchall())
    return spent


def _cpu_s(step: Callable[[], Any]) -> float:
    """The CPU-seconds of a step, the mean of as many as it takes to tell."""
    began, times = time.process_time(), 0
    while (spent := time.process_time() - began) < LEAST_CPU_S or times == 0:
        step()
        times += 1
    return spent / times


def markdown(found: Mapping[str, Mapping[str, Mapping[str, float]]], rows: Mapping[str, int]) -> str:
    """Two tables: what the first variant costs; the others as ratios to it, median (least to most) of the sets."""
    first, *others = dict.fromkeys(name for of in found.values() for name in of)
    units = ["set", "rows", "MB", *(f"{name}, ms" for name in MEASURES[1:])]
    lines = [f"{first}:", "", f"| {' | '.join(units)} |", "|---" * len(units) + "|"]
    for name, of in found.items():
        shown = [f"{of[first]['MB']:.2f}"]
        shown += [f"{of[first][what] * 1000:.1f}" if what in of[first] else "" for what in MEASURES[1:]]
        lines.append(f"| {name} | {rows[name]:,} | {' | '.join(shown)} |")
    lines += ["", f"| changed | {' | '.join(MEASURES)} |", "|---" * (len(MEASURES) + 1) + "|"]
    for variant in others:
        cells = [
            _cell([of[variant][what] for of in found.values() if what in of.get(variant, {})]) for what in MEASURES
        ]
        unread = [name for name, of in found.items() if variant in of and "scan" not in of[variant]]
        note = f" (DuckDB cannot read {', '.join(unread)})" if unread else ""
        lines.append(f"| {variant}{note} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(ratios: Sequence[float]) -> str:
    if not ratios:
        return ""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("WATERSHED_TEST_DATA", ""), help="folder with the real sets")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sets", default=",".join(real.name for real in SETS))
    parser.add_argument("--only", default="", help="a part of the names of what is changed")
    options = parser.parse_args()
    if not options.data:
        parser.error("--data: which folder holds the real sets? (or set WATERSHED_TEST_DATA)")
    found, rows = {}, {}
    with tempfile.TemporaryDirectory(prefix="watershed-bench-") as folder:
        for real in SETS:
            if real.name not in options.sets.split(","):
                continue
            whole = table(Path(options.data), real)
            rows[real.name] = whole.num_rows
            chosen = [VARIANTS[0], *(one for one in VARIANTS[1:] if options.only in one.name)]
            found[real.name] = measured(whole, real, chosen, Path(folder), options.rounds)
    print(markdown(found, rows))


if __name__ == "__main__":
    main()
