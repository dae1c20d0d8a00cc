"""What files hold arrives as it was meant: headers that drift, encodings, torn lines, types, nested values."""

import datetime
import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from drops import Drops

from lake.errors import PermanentError, SchemaDrift
from lake.layout import Lake

NO_RECORD = "the line is no record of this table"


@pytest.fixture
def drops(tmp_path: Path) -> Drops:
    (tmp_path / "drops").mkdir()
    return Drops(str(tmp_path / "drops"), Lake(str(tmp_path / "lake")), files={"path": "*"})


def parquet(drops: Drops, name: str, columns: dict[str, Any], **options: Any) -> None:
    pyarrow.parquet.write_table(pa.table(columns), Path(drops.root, name), **options)


# CSV


def test_columns_go_by_their_names_whatever_order_case_or_number_the_header_has(drops: Drops) -> None:
    drops.drop("1.csv", "id,name\n1,a\n")
    drops.drop("2.csv", "Name ,ID\nb,2\n")
    drops.run()
    drops.drop("3.csv", "id,city\n3,Rome\n")
    loaded = drops.run()
    assert drops.rows("id, name, city") == [(1, "a", None), (2, "b", None), (3, None, "Rome")]
    assert loaded.notes == ("new column city",)


def test_headers_that_the_lake_cannot_have_get_names(drops: Drops) -> None:
    drops.drop("1.csv", 'id,id,,year,"a ""b"".c",select,Größe\n1,2,3,2026,x,y,z\n')
    drops.run()
    assert list(drops.types()) == ["id", "id_2", "column_3", "year_", 'a "b".c', "select", "Größe"]


@pytest.mark.parametrize(
    "content",
    [
        "id,name\n1,Zoë €\n2,b\n".encode(),
        "\ufeffid,name\n1,Zoë €\n2,b\n".encode(),
        "id,name\n1,Zoë €\n2,b\n".encode("cp1252"),
        "id,name\n1,Zoë €\n2,b\n".encode("utf-16"),
        "id,name\r\n1,Zoë €\r\n2,b\r\n".encode("utf-16-le"),
        "\ufeffid,name\n1,Zoë €\n2,b".encode("utf-16-be"),
        "id;name\r\n1;Zoë €\n2;b\r\n".encode(),
        "id\tname\r1\tZoë €\r2\tb\r".encode(),
        gzip.compress(b"id,name\n") + gzip.compress("1,Zoë €\n2,b\n".encode()),
        pa.Codec("zstd").compress("id|name\n1|Zoë €\n2|b\n".encode(), asbytes=True),
        '\n\n"id","name"\n"1","Zoë €"\n\n"2","b"\n\n'.encode(),
    ],
    ids=["utf-8", "bom", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "crlf-lf", "cr", "gzip", "zstd", "quoted"],
)  # fmt: skip
def test_a_file_reads_the_same_in_every_encoding_and_packing(drops: Drops, content: bytes) -> None:
    drops.files |= {"format": "csv"}
    drops.drop("1.csv", content)
    drops.run()
    assert drops.rows("id, name, _row") == [(1, "Zoë €", 1), (2, "b", 2)]


def test_a_declared_encoding_is_binding(drops: Drops) -> None:
    drops.files |= {"encoding": "cp1250"}
    drops.drop("1.csv", "id,name\n1,Łódź\n".encode("cp1250"))
    drops.run()
    assert drops.rows("name") == [("Łódź",)]
    drops.files |= {"encoding": "utf-8"}
    drops.drop("2.csv", "id,name\n1,Łódź\n".encode("cp1250"))
    with pytest.raises(PermanentError, match=r"file 2\.csv: is not in utf-8 as declared \(byte 0xA3\); correct"):
        drops.run()


def test_lines_with_too_few_or_too_many_fields_are_set_aside_with_their_text(drops: Drops) -> None:
    drops.drop("1.csv", 'id,name\n1,a\n2\n3,"c,\r\nc"\n4,d,e\n5,""\n')
    loaded = drops.run()
    assert (loaded.taken.rows_read, loaded.taken.inserted, loaded.taken.quarantined) == (5, 3, 2)
    assert drops.rows("id, name, _row") == [(1, "a", 1), (3, "c,\r\nc", 3), (5, "", 5)]
    assert drops.quarantined() == [(NO_RECORD, "2"), (NO_RECORD, "4,d,e")]


def test_a_quote_that_is_never_closed_takes_no_line_with_it_unnoticed(drops: Drops) -> None:
    drops.drop("1.csv", 'id,name\n1,a\n2,"b\n3,c\n4,d\n')
    drops.run()
    assert drops.rows("id") == [(1,)]
    ((reason, text),) = drops.quarantined()
    assert reason == NO_RECORD
    assert text is not None
    assert "3,c\n4,d" in text


def test_torn_lines_do_not_show_what_is_dropped_or_masked(drops: Drops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATERSHED_MASK_SALT", "a long and random text")
    drops.declared = {"drop": ["card"], "mask": {"email": "sha256"}}
    drops.drop("1.csv", "id,card,email\n1,4111-1111,ann@example.org\n2,4222-2222,bob@example.org,more\n")
    drops.run()
    assert set(drops.types()) == {"id", "email"}
    assert len(drops.rows(zone="quarantine")) == 1
    for path in Path(drops.lake.root).rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            table = pa.parquet.read_table(path).to_pylist() if path.suffix == ".parquet" else ""
            for secret in ("4111", "4222", "example.org"):
                assert secret.encode() not in data, path
                assert secret not in str(table), path


def test_words_for_nothing_are_null_where_they_stand_without_quotes(drops: Drops) -> None:
    drops.files |= {"null": ["", "NULL", "n/a"]}
    drops.drop("1.csv", 'id,name,price\n1,NULL,n/a\n2,"NULL",""\n3,,2.5\n4,x,\n')
    drops.run()
    assert drops.rows("id, name, price") == [(1, None, None), (2, "NULL", None), (3, None, 2.5), (4, "x", None)]


def test_types_are_found_only_where_nothing_is_lost(drops: Drops) -> None:
    drops.drop(
        "1.csv",
        "n,zip,price,precise,ok,on_day,at,instant,german,mixed,big\n"
        "1,01069,9.50,0.1234567890123456789,true,2026-01-05,2026-01-05 08:00,2026-01-05T08:00:00Z,05.01.2026,1,"
        "12345678901234567890\n"
        "-2,1,1,1,False,2026-02-28,2026-01-05T08:00:00.123456,2026-01-05 08:00:00+02,06.01.2026,x,1\n",
    )
    drops.run()
    assert drops.types() == {
        "n": "BIGINT",
        "zip": "VARCHAR",
        "price": "DOUBLE",
        "precise": "VARCHAR",
        "ok": "BOOLEAN",
        "on_day": "DATE",
        "at": "TIMESTAMP",
        "instant": "TIMESTAMP WITH TIME ZONE",
        "german": "VARCHAR",
        "mixed": "VARCHAR",
        "big": "VARCHAR",
    }


def test_a_type_is_found_from_all_values_of_all_files(drops: Drops) -> None:
    drops.drop("1.csv", "id\n" + "1\n" * 5_000)
    drops.drop("2.csv", "id\n" + "2\n" * 5_000 + "x3\n")
    drops.run()
    assert drops.types() == {"id": "VARCHAR"}


def test_declared_types_read_more_ways_of_writing(drops: Drops) -> None:
    kinds = {
        "n": "bigint", "f": "double", "ok": "boolean", "on_day": "date", "at": "timestamp", "instant": "timestamptz",
        "amount": "decimal(8,2)", "zip": "text",
    }  # fmt: skip
    drops.declared = {"columns": kinds}
    drops.drop(
        "1.csv", "n,f,ok,on_day,at,instant,amount,zip\n+007, 1e3,Y,2026-01-05 00:00:00,2026-01-05,2026-01-05,.5,1\n"
    )
    drops.run()
    midnight = datetime.datetime(2026, 1, 5)  # noqa: DTZ001 (a timestamp without zone)
    utc = midnight.replace(tzinfo=datetime.UTC)
    ((*values, amount, zipped),) = drops.rows('n, f, ok, on_day, "at", instant, amount, zip')
    assert values == [7, 1000.0, True, midnight.date(), midnight, utc]
    assert (amount, zipped) == (Decimal("0.50"), "1")


def test_later_values_that_do_not_fit_are_set_aside_and_the_table_lives_on(drops: Drops) -> None:
    drops.drop("1.csv", "id,price\n1,9.50\n2,1\n")
    drops.run()
    drops.drop("2.csv", "id,price\n3,free\n4x,2.25\n")
    taken = drops.run().taken
    assert (taken.inserted, taken.values_quarantined) == (2, 2)
    assert drops.types() == {"id": "BIGINT", "price": "DOUBLE"}
    assert drops.rows("id, price") == [(1, 9.5), (2, 1.0), (3, None), (None, 2.25)]
    assert sorted(text or "" for _, text in drops.quarantined()) == ["4x", "free"]


def test_with_types_that_may_evolve_a_column_is_widened(drops: Drops) -> None:
    drops.declared = {"contract": {"types": "evolve"}}
    drops.drop("1.csv", "id,price\n1,9\n")
    drops.run()
    drops.drop("2.csv", "id,price\n2,9.5\n")
    drops.run()
    assert drops.types() == {"id": "BIGINT", "price": "VARCHAR"}
    assert drops.rows("id, price") == [(1, "9"), (2, "9.5")]


def test_a_column_appears_with_its_first_value_and_its_type(drops: Drops) -> None:
    drops.drop("1.csv", "id,surcharge\n1,\n")
    drops.run()
    assert drops.types() == {"id": "BIGINT"}
    drops.drop("2.csv", "id,surcharge\n2,2.5\n")
    drops.run()
    assert drops.rows("id, surcharge") == [(1, None), (2, 2.5)]


def test_a_frozen_contract_refuses_a_new_column(drops: Drops) -> None:
    drops.declared = {"contract": {"columns": "freeze"}}
    drops.drop("1.csv", "id\n1\n")
    drops.run()
    drops.drop("2.csv", "id,more\n2,x\n")
    with pytest.raises(SchemaDrift, match='column "more" is new at the source'):
        drops.run()
    Path(drops.root, "2.csv").unlink()
    drops.drop("3.csv", "id\n3\n")
    assert drops.run().taken.inserted == 1


def test_files_without_rows_are_taken_too(drops: Drops) -> None:
    drops.drop("0.csv", "")
    drops.drop("1.csv", "id,name\n1,a\n")
    drops.drop("2.csv", "id,name")
    assert drops.run().taken.inserted == 1
    assert drops.run().rows_read == 0


def test_a_table_of_1600_columns_is_read(drops: Drops) -> None:
    names = [f"c{number}" for number in range(1_600)]
    drops.drop("1.csv", f"{','.join(names)}\n{','.join(map(str, range(1_600)))}\n")
    drops.run()
    assert drops.rows("c0, c1599") == [(0, 1599)]


# JSON


def lines(*values: Any) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


def test_json_lines_keep_what_they_nest(drops: Drops) -> None:
    one = {"id": 1, "at": "2026-01-05T08:00:00Z", "user": {"name": "Ann", "age": 7}, "tags": ["a", "b"], "ok": True}
    two = {"id": 2, "user": {"name": "Bob", "home": {"city": "Rome"}}, "tags": [], "lines": [{"sku": "x", "n": 1.5}]}
    drops.drop("1.ndjson", lines(one, two))
    drops.run()
    types = {name: kind.replace('"', "") for name, kind in drops.types().items()}
    assert types == {
        "id": "BIGINT",
        "at": "TIMESTAMP WITH TIME ZONE",
        "user": "STRUCT(name VARCHAR, age BIGINT, home STRUCT(city VARCHAR))",
        "tags": "VARCHAR[]",
        "ok": "BOOLEAN",
        "lines": "STRUCT(sku VARCHAR, n DOUBLE)[]",
    }
    assert drops.rows('id, "user".name, "user".home.city, tags, lines[1].n') == [
        (1, "Ann", None, ["a", "b"], None),
        (2, "Bob", "Rome", [], 1.5),
    ]
    drops.drop("2.ndjson", lines({"id": 3, "user": {"name": "Cy"}, "tags": None}))
    drops.run()
    assert drops.rows('id, "user".name')[2] == (3, "Cy")


def test_json_may_be_an_array_or_stand_over_many_lines(drops: Drops) -> None:
    values = [{"id": 1, "name": "Zoë"}, {"id": 2, "name": "b"}]
    drops.drop("1.json", json.dumps(values))
    drops.drop("2.json", json.dumps(values, indent=2).encode("utf-16"))
    drops.drop("3.json", gzip.compress("\n".join(json.dumps(value, indent=1) for value in values).encode()))
    drops.run()
    assert drops.rows("id, name, _row") == sorted([(1, "Zoë", 1), (2, "b", 2)] * 3)


def test_lines_that_are_no_objects_are_set_aside(drops: Drops) -> None:
    drops.drop("1.ndjson", '{"id": 1}\n{"id": \n[1]\n\n{"id": 2}\n')
    assert drops.run().taken.inserted == 2
    assert drops.quarantined() == [(NO_RECORD, "[1]"), (NO_RECORD, '{"id": ')]
    assert drops.rows("id, _row") == [(1, 1), (2, 4)]


def test_values_of_one_key_in_two_kinds_are_kept_as_text(drops: Drops) -> None:
    drops.drop(
        "1.ndjson", lines({"v": 1, "n": 12345678901234567890}, {"v": {"a": [1]}, "n": 1}, {"v": "x"}, {"v": "7"})
    )
    drops.run()
    assert drops.rows("v") == [("1",), ("7",), ("x",), ('{"a":[1]}',)]
    assert drops.rows("n") == [("1",), ("12345678901234567890",), (None,), (None,)]


def test_what_a_nested_column_cannot_hold_later_is_set_aside_whole(drops: Drops) -> None:
    drops.drop("1.ndjson", lines({"id": 1, "user": {"name": "Ann", "age": 7}}))
    drops.run()
    later = [
        {"name": "Bob", "shoe": 43},
        {"name": "Cy", "age": 1.5},
        {"name": "Di"},
        "nobody",
        {"name": "Ed", "age": 10**20},
    ]
    drops.drop("2.ndjson", lines(*({"id": number, "user": user} for number, user in enumerate(later, 2))))
    assert drops.run().taken.values_quarantined == 4
    assert drops.rows('id, "user".name') == [(1, "Ann"), (2, None), (3, None), (4, "Di"), (5, None), (6, None)]
    held = sorted(text or "" for _, text in drops.quarantined())
    assert held == sorted(
        ['{"name":"Bob","shoe":43}', '{"name":"Cy","age":1.5}', "nobody", '{"name":"Ed","age":100000000000000000000}']
    )


# Parquet


def test_parquet_types_stay_as_they_are(drops: Drops) -> None:
    instant = datetime.datetime(2026, 1, 5, 8, tzinfo=datetime.UTC)
    parquet(
        drops,
        "1.parquet",
        {
            "i": pa.array([1], pa.int32()),
            "u": pa.array([2**64 - 1], pa.uint64()),
            "d": pa.array([Decimal("1.50")], pa.decimal128(12, 2)),
            "s": pa.array(["a"]).dictionary_encode(),
            "b": pa.array([b"\x00"]),
            "t": pa.array([instant], pa.timestamp("ns", "Europe/Rome")),
            "n": pa.array([{"x": [1, None]}]),
            "clock": pa.array([datetime.time(12, 30)]),
            "wide": pa.array([Decimal("1.5")], pa.decimal256(60, 1)),
        },
    )
    drops.run()
    assert drops.types() == {
        "i": "INTEGER",
        "u": "DECIMAL(20,0)",
        "d": "DECIMAL(12,2)",
        "s": "VARCHAR",
        "b": "BLOB",
        "t": "TIMESTAMP WITH TIME ZONE",
        "n": "STRUCT(x BIGINT[])",
        "clock": "VARCHAR",
        "wide": "VARCHAR",
    }
    ((i, u, d, s, b, t, n, clock, wide),) = drops.rows("i, u, d, s, b, t, n, clock, wide")
    assert (i, u, d, s, b, t, n) == (1, 2**64 - 1, Decimal("1.50"), "a", b"\x00", instant, {"x": [1, None]})
    assert (clock, wide) == ("12:30:00", "1.5")


def test_parquet_columns_drift_by_name_and_a_wider_type_is_set_aside_value_by_value(drops: Drops) -> None:
    parquet(drops, "1.parquet", {"id": pa.array([1], pa.int32()), "name": ["a"]})
    drops.run()
    parquet(drops, "2.parquet", {"more": [1.5, 2.5], "id": pa.array([2, 2**40], pa.int64())})
    assert drops.run().taken.values_quarantined == 1
    assert drops.rows("id, name, more") == [(1, "a", None), (2, None, 1.5), (None, None, 2.5)]
    assert [text for _, text in drops.quarantined()] == [str(2**40)]


def test_a_large_parquet_file_is_read_in_parts_with_its_rows_numbered_through(drops: Drops) -> None:
    from ingestion.connectors import Window
    from ingestion.connectors.files import Files

    parquet(drops, "1.parquet", {"id": range(10_000)}, row_group_size=1_000)
    session = Files(drops.source)
    shape = session.shape(drops.table)
    chunks = session.chunks(drops.table, shape, Window(), 2_000)
    batches = [batch for chunk in chunks for batch in session.read(drops.table, shape, Window(), chunk)]
    session.close()
    assert len(chunks) == 5
    rows = pa.Table.from_batches(batches)
    assert rows["id"].to_pylist() == list(range(10_000))
    assert rows["_row"].to_pylist() == list(range(1, 10_001))
