"""How the files of the lake are encoded: what decision 0021 says is what is written."""

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from lake import parquet
from lake.layout import Address, Lake

TABLE = Address("processed", "shop", "orders")
LARGE = parquet.SMALL_ROWS


def _rows(count: int) -> pa.Table:
    instant = datetime.datetime(2026, 1, 5, tzinfo=datetime.UTC)
    numbers = range(count)
    return pa.table(
        {
            "number": pa.array(numbers, pa.int64()),
            "hex": [f"{n * 2654435761 % 2**32:08x}" for n in numbers],
            "status": ["new" if n % 2 else "paid" for n in numbers],
            "price": pa.array([Decimal(n) / 100 for n in numbers], pa.decimal128(12, 2)),
            "exact": pa.array([Decimal(n) for n in numbers], pa.decimal128(38, 0)),
            "at": [instant + datetime.timedelta(seconds=n) for n in numbers],
            "rate": [n / 7 for n in numbers],
            "tags": [[n] for n in numbers],
            "a.b": [f"odd name {n}" for n in numbers],
            "a": [{"b": n} for n in numbers],
        }
    )


def _written(folder: Path, count: int) -> str:
    writer = parquet.Writer(Lake(str(folder)), TABLE, "0a", told=("number", "hex", "status"))
    writer.rows_of(datetime.date(2026, 1, 5), [_rows(count)])
    assert [one.rows for one in writer.written] == [count]
    return str(folder / str(TABLE) / writer.written[0].path)


def _columns(file: str) -> dict[str, Any]:
    query = "SELECT path_in_schema, type, encodings, bloom_filter_offset IS NOT NULL FROM parquet_metadata(?)"
    return {name.replace(", ", "."): rest for name, *rest in duckdb.execute(query, [file]).fetchall()}


@pytest.mark.parametrize("count", [100, LARGE])
def test_columns_are_encoded_as_their_types_ask_for(tmp_path: Path, count: int):
    found = {name: (kind, encoding) for name, (kind, encoding, _) in _columns(_written(tmp_path, count)).items()}
    deltas, lengths = "RLE, DELTA_BINARY_PACKED", "RLE, DELTA_LENGTH_BYTE_ARRAY"
    assert found["number"] == ("INT64", deltas)
    assert found["price"] == ("INT64", deltas)
    assert found["at"] == ("INT64", deltas)
    assert found["hex"] == ("BYTE_ARRAY", lengths)
    assert "RLE_DICTIONARY" in found["status"][1]
    assert found["exact"] == ("FIXED_LEN_BYTE_ARRAY", "RLE, PLAIN")
    assert found["rate"] == ("DOUBLE", "RLE, PLAIN")


def test_a_text_by_which_rows_are_looked_up_has_a_bloom_filter_in_a_large_file(tmp_path: Path):
    large = _written(tmp_path / "large", LARGE)
    assert [name for name, (*_, has_filter) in _columns(large).items() if has_filter] == ["hex"]
    query = "SELECT bloom_filter_excludes FROM parquet_bloom_probe(?, 'hex', ?)"
    assert duckdb.execute(query, [large, "0000000g"]).fetchall() == [(True,)]
    assert duckdb.execute(query, [large, "00000000"]).fetchall() == [(False,)]
    small = _written(tmp_path / "small", LARGE - 1)
    assert not any(has_filter for *_, has_filter in _columns(small).values())


def test_a_name_with_a_point_does_not_stand_for_a_nested_value(tmp_path: Path):
    file = _written(tmp_path, 100)
    assert duckdb.execute('SELECT sum(a.b), max("a.b") FROM read_parquet(?)', [file]).fetchall() == [
        (4950, "odd name 99")
    ]
