"""Every kind of value arrives in DuckDB as `ingestion/connectors/postgres.py` says."""

import datetime
import uuid
from decimal import Decimal
from typing import Any

import pytest
from trial_source import Trial, on_folder

UTC = datetime.UTC
# column type, value written, type in DuckDB, value read back as text
KINDS = [
    ("smallint", -3, "SMALLINT", "-3"),
    ("integer", 2**31 - 1, "INTEGER", "2147483647"),
    ("bigint", -(2**63), "BIGINT", "-9223372036854775808"),
    ("boolean", True, "BOOLEAN", "true"),
    ("real", "-Infinity", "FLOAT", "-inf"),
    ("double precision", "NaN", "DOUBLE", "nan"),
    ("numeric(12,2)", Decimal("-9999999999.99"), "DECIMAL(12,2)", "-9999999999.99"),
    ("numeric(12,2)", "NaN", "DECIMAL(12,2)", None),
    ("numeric(38,10)", "1234567890123456789012345678.0123456789", "DECIMAL(38,10)",
     "1234567890123456789012345678.0123456789"),
    ("numeric(5)", 12345, "DECIMAL(5,0)", "12345"),
    ("numeric", "0.1000000000000000000000000000000000000000001", "VARCHAR",
     "0.1000000000000000000000000000000000000000001"),
    ("numeric", "NaN", "VARCHAR", "NaN"),
    ("numeric(40,2)", "1.5", "VARCHAR", "1.50"),
    ("numeric(3,5)", "0.00123", "VARCHAR", "0.00123"),
    ("numeric(5,-2)", "12300", "VARCHAR", "12300"),
    ("text", "tab\t, Ünïcödé ☃ 🦆, 'quotes' and \"more\"", "VARCHAR", "tab\t, Ünïcödé ☃ 🦆, 'quotes' and \"more\""),
    ("text", "", "VARCHAR", ""),
    ("varchar(20)", "short", "VARCHAR", "short"),
    ("uuid", uuid.UUID(int=2**128 - 2), "VARCHAR", "ffffffff-ffff-ffff-ffff-fffffffffffe"),
    ("json", '{"a":  [1, null]}', "VARCHAR", '{"a":  [1, null]}'),
    ("jsonb", '{"b": 1, "a": "é"}', "VARCHAR", '{"a": "é", "b": 1}'),
    ("integer[]", "{{1,2},{3,4}}", "VARCHAR", "{{1,2},{3,4}}"),
    ("text[]", ["a,b", None], "VARCHAR", '{"a,b",NULL}'),
    ("bytea", b"\x00\xff'\\", "BLOB", "\\x00\\xFF\\x27\\x5C"),
    ("interval", "1 year 2 days 03:04:05", "VARCHAR", "1 year 2 days 03:04:05"),
    ("time", "23:59:59.999999", "VARCHAR", "23:59:59.999999"),
    ("inet", "10.1.2.3/8", "VARCHAR", "10.1.2.3/8"),
    ("date", "2024-02-29", "DATE", "2024-02-29"),
    ("date", "infinity", "DATE", "9999-12-31"),
    ("date", "-infinity", "DATE", "0001-01-01"),
    ("timestamp", "2026-03-29 02:30:00.123456", "TIMESTAMP", "2026-03-29 02:30:00.123456"),
    ("timestamptz", "2026-03-29 02:30:00.123456-05", "TIMESTAMP WITH TIME ZONE", "2026-03-29 07:30:00.123456+00"),
    ("timestamptz", "infinity", "TIMESTAMP WITH TIME ZONE", "infinity"),
    ("mood", "happy", "VARCHAR", "happy"),
    ("price", "12.50", "DECIMAL(8,2)", "12.50"),
]  # fmt: skip


@pytest.fixture
def typed(trial: Trial) -> Trial:
    """A table with a column of every kind, one row of values and one of NULLs, loaded twice."""
    trial.sql("create type mood as enum ('happy', 'sad')")
    trial.sql("create domain price as numeric(8, 2) check (value >= 0)")
    trial.sql("drop table orders")
    names = [f"c{number}" for number in range(len(KINDS))]
    columns = ", ".join(f"{name} {kind[0]}" for name, kind in zip(names, KINDS, strict=True))
    trial.sql(
        f"""create table orders (order_id bigint primary key, {columns},
            ordered_at timestamptz default now(), updated_at timestamptz default clock_timestamp())"""
    )
    places = ", ".join(["%s"] * len(KINDS))
    trial.sql(f"insert into orders (order_id, {', '.join(names)}) values (1, {places})", [kind[1] for kind in KINDS])
    trial.sql("insert into orders (order_id) values (2)")
    trial.run()
    return trial


def test_each_kind_of_value_arrives_as_documented(typed: Trial) -> None:
    names = [f"c{number}" for number in range(len(KINDS))]
    asked = ", ".join(f"typeof({name}), {name}::VARCHAR" for name in names)
    (row,) = typed.rows(asked, where="order_id = 1")
    found = [(row[2 * number], row[2 * number + 1]) for number in range(len(KINDS))]
    for kind, pair in zip(KINDS, found, strict=True):
        assert pair == kind[2:], kind[0]


@on_folder
def test_a_null_of_each_kind_stays_null(typed: Trial) -> None:
    names = ", ".join(f"c{number}" for number in range(len(KINDS)))
    assert typed.rows(names, where="order_id = 2") == [(None,) * len(KINDS)]


@on_folder
def test_equal_values_of_each_kind_are_seen_to_be_equal(typed: Trial) -> None:
    before = typed.versions()
    assert typed.reload(str(datetime.datetime.now(UTC).date())).taken.unchanged == 2
    assert typed.versions() == before


@on_folder
@pytest.mark.parametrize("kind", ["timestamp", "timestamptz"])
def test_a_cursor_with_or_without_a_zone_finds_what_changed(trial: Trial, kind: str) -> None:
    trial.sql(f"alter table orders alter updated_at type {kind}, alter ordered_at type {kind}")
    trial.orders(5)
    trial.run()
    trial.sql("update orders set amount = 50, updated_at = clock_timestamp() where order_id = 1")
    trial.sql("delete from orders where order_id = 2")
    taken = trial.run().taken
    assert (taken.rows_read, taken.updated, taken.deleted) == (1, 1, 1)
    trial.assert_same("order_id, amount")


@on_folder
@pytest.mark.parametrize(
    ("declared", "wanted"),
    [("decimal(20, 4)", ("DECIMAL(20,4)", Decimal("1.5000"))), ("text", ("VARCHAR", "1.5"))],
)
def test_a_declared_type_takes_the_place_of_the_catalogues(trial: Trial, declared: str, wanted: Any) -> None:
    trial.sql("alter table orders alter amount type numeric")
    trial.declare(columns={"amount": declared})
    trial.order(1, amount="1.5")
    trial.run()
    assert trial.rows("typeof(amount), amount") == [wanted]


@on_folder
def test_a_key_may_have_any_type(trial: Trial) -> None:
    trial.sql("alter table orders alter order_id type text using order_id::text")
    trial.declare(key=["order_id", "ordered_at"])
    for key in ("a", "A", "a ", "'; drop table orders; --", "é"):
        trial.order(key, amount=1)  # type: ignore[arg-type]
    trial.run()
    trial.sql("delete from orders where order_id = 'A'")
    trial.sql("update orders set amount = 2, updated_at = clock_timestamp() where order_id like '%%drop%%'", [])
    trial.run()
    trial.assert_same("order_id, amount")
