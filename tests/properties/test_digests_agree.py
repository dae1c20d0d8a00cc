"""Whatever the values are: both databases and DuckDB give a row the same number, and no change keeps a table's sum."""

import decimal
import functools
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, Literal

import duckdb
import fix_servers
import psycopg
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ingestion.connectors import Connector, Window, connector
from ingestion.spec import Source, Table
from lake import digest, duck
from lake.digest import Digests

VARIABLE = "DIGESTED_DSN"
TABLE = Table(name="digested", key=("id", "one"), load="replace")
SCHEMA = pa.schema(
    {
        "id": pa.int32(),
        "flag": pa.bool_(),
        "count": pa.int64(),
        "price": pa.decimal128(18, 4),
        "share": pa.decimal128(38, 10),
        "ratio": pa.float64(),
        "one": pa.string(),
        "other": pa.string(),
        "bytes": pa.binary(),
        "born_on": pa.date32(),
        "at": pa.timestamp("us"),
    }
)
TYPES = {
    "postgres": "int, bool, bigint, numeric(18,4), numeric(38,10), float8, text, text, bytea, date, timestamp",
    "mysql": "int, bit(1), bigint, decimal(18,4), decimal(38,10), double, text, text, blob, date, datetime(6)",
}
NAMES = list(SCHEMA.names)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def rows(floats: st.SearchStrategy[float]) -> st.SearchStrategy[list[tuple[Any, ...]]]:
    values = (
        st.integers(-(2**31), 2**31 - 1),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.decimals(-(10**14) + 1, 10**14 - 1, places=4, allow_nan=False),
        st.integers(-(10**38) + 1, 10**38 - 1).map(lambda n: Decimal(n).scaleb(-10)),
        floats,
        TEXTS,
        TEXTS,
        st.binary(max_size=12),
        st.dates(),
        st.datetimes(),
    )
    return st.lists(st.tuples(*(st.none() | value for value in values)), min_size=1, max_size=6)


@pytest.fixture(scope="module", autouse=True)
def exact() -> Iterator[None]:
    """Decimals with all their digits."""
    with decimal.localcontext(prec=60):
        yield


@pytest.fixture(scope="module")
def postgres() -> Iterator[tuple[Any, Connector]]:
    with fix_servers.database(fix_servers.address("SHOP_DSN")) as dsn, psycopg.connect(dsn, autocommit=True) as session:
        yield from opened("postgres", dsn, session.execute)


@pytest.fixture(scope="module")
def mysql() -> Iterator[tuple[Any, Connector]]:
    with (
        fix_servers.mysql_database(fix_servers.address("MYSQL_DSN")) as dsn,
        fix_servers.mysql(dsn) as session,
        session.cursor() as cursor,
    ):
        yield from opened("mysql", dsn, cursor.execute)


def opened(kind: Literal["postgres", "mysql"], dsn: str, execute: Any) -> Iterator[tuple[Any, Connector]]:
    mark = '"' if kind == "postgres" else "`"
    columns = ", ".join(
        f"{mark}{name}{mark} {sql} null" for name, sql in zip(NAMES, TYPES[kind].split(", "), strict=True)
    )
    execute(f"create table digested ({columns})")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, dsn)
        source = Source(name="trial", connector=kind, connection=VARIABLE, tables=(TABLE,))
        session = connector(source)
        yield execute, session
        session.close()


def of_rows(values: Sequence[tuple[Any, ...]]) -> Digests:
    """The digest of these rows in DuckDB, with the types that the lake has."""
    arrays = [pa.array(column, kind) for column, kind in zip(zip(*values, strict=True), SCHEMA.types, strict=True)]
    connection = engine().cursor()
    connection.register("held", pa.table(arrays, schema=SCHEMA))
    columns = dict(zip(NAMES, SCHEMA.types, strict=True))
    return digest.of(connection, "held", key=["id", "one"], columns=columns, day=None)


@functools.cache
def engine() -> duckdb.DuckDBPyConnection:
    """One DuckDB for all examples."""
    return duck.connect()


def of_server(server: tuple[Any, Connector], values: Sequence[tuple[Any, ...]]) -> Digests:
    """The digest of these rows in a database."""
    execute, session = server
    execute("delete from digested")
    for row in values:
        execute(f"insert into digested values ({', '.join(['%s'] * len(row))})", row)
    shape = session.shape(TABLE)
    columns = dict(zip(NAMES, SCHEMA.types, strict=True))
    assert session.incomparable(TABLE, shape, columns) == {}
    return session.digests(TABLE, shape, Window(), columns)


@settings(max_examples=40, deadline=None)
@given(values=rows(FLOATS | st.sampled_from([float("nan"), float("inf"), float("-inf")])))
def test_postgresql_and_duckdb_agree(postgres: tuple[Any, Connector], values: list[tuple[Any, ...]]) -> None:
    assert of_server(postgres, values) == of_rows(values)


@settings(max_examples=40, deadline=None)
@given(values=rows(FLOATS))
def test_mysql_and_duckdb_agree(mysql: tuple[Any, Connector], values: list[tuple[Any, ...]]) -> None:
    assert of_server(mysql, values) == of_rows(values)


@settings(max_examples=40, deadline=None)
@given(values=rows(FLOATS), data=st.data())
def test_the_order_of_rows_does_not_matter_and_parts_add_up(values: list[tuple[Any, ...]], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(values))
    cut = data.draw(st.integers(0, len(values)))
    parts = [of_rows(part) for part in (shuffled[:cut], shuffled[cut:]) if part]
    assert digest.total(parts) == of_rows(values)


@settings(max_examples=40, deadline=None)
@given(values=rows(FLOATS), data=st.data())
def test_one_other_value_makes_another_sum(values: list[tuple[Any, ...]], data: st.DataObject) -> None:
    row, column = data.draw(st.integers(0, len(values) - 1)), data.draw(st.integers(0, len(NAMES) - 1))
    other = data.draw(rows(FLOATS))[0][column]
    assume(other != values[row][column])
    changed = [
        tuple(other if (n, m) == (row, column) else value for m, value in enumerate(one))
        for n, one in enumerate(values)
    ]
    assert of_rows(changed)[None].checksum != of_rows(values)[None].checksum


@settings(max_examples=40, deadline=None)
@given(values=rows(FLOATS), data=st.data())
def test_values_that_change_places_make_another_sum(values: list[tuple[Any, ...]], data: st.DataObject) -> None:
    assume(len(values) > 1)
    column = data.draw(st.integers(0, len(NAMES) - 1))
    first, second = (list(row) for row in values[:2])
    assume(
        first[column] != second[column]
        and first[:column] + first[column + 1 :] != second[:column] + second[column + 1 :]
    )
    first[column], second[column] = second[column], first[column]
    changed = [tuple(first), tuple(second), *values[2:]]
    assert of_rows(changed)[None].checksum != of_rows(values)[None].checksum


def test_flags_turned_in_the_pattern_that_keeps_every_low_power_are_seen() -> None:
    """Thue and Morse's pattern: turned so, flags of 64 rows keep every sum of products of up to six values of a row."""
    signs = [number.bit_count() % 2 for number in range(64)]
    plain = [(number, bool(sign), *[None] * 9) for number, sign in enumerate(signs)]
    turned = [(number, not sign, *[None] * 9) for number, sign in enumerate(signs)]
    assert of_rows(plain)[None].checksum != of_rows(turned)[None].checksum


@pytest.mark.parametrize(
    ("left", "right"),
    [(("ab", "c"), ("a", "bc")), (("", None), (None, "")), (("a", ""), ("", "a")), (("a", None), (None, "a"))],
)
def test_texts_are_not_taken_for_their_neighbours(left: tuple[Any, Any], right: tuple[Any, Any]) -> None:
    sums = [of_rows([(1, *[None] * 5, *pair, *[None] * 3)])[None].checksum for pair in (left, right)]
    assert sums[0] != sums[1]


@pytest.mark.parametrize("kind", [pa.int64(), pa.float64(), pa.timestamp("us", "UTC"), pa.decimal128(19, 0)])
def test_nothing_is_not_taken_for_a_small_number(kind: pa.DataType) -> None:
    """Modulo a prime, a careless number for NULL is 1, and the double 2.0 is, too."""
    sums = []
    for value in (None, 0, 1, 2):
        column = pa.array([value], pa.int64()).cast(kind, safe=False)
        with engine().cursor() as connection:
            connection.register("held", pa.table({"n": column}))
            sums.append(digest.of(connection, "held", key=[], columns={"n": kind}, day=None)[None].checksum)
    assert sums[0] not in sums[1:]
