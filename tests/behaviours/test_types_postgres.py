"""Every type of PostgreSQL stands in the lake as `postgres_cases` says, whatever the server's settings are."""

import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fix_servers
import psycopg
import pytest
import trial_source
from postgres_cases import CASES, SETUP, Case
from trial_source import Trial

from ingestion.connectors import Shape
from ingestion.connectors.postgres import Postgres
from ingestion.connectors.postgres_types import CATALOGUE, Catalogue
from lake import commit
from lake.duck import quoted

# What a server, a database or a role may be set to; none of it may be seen in the lake.
ODD = {
    "datestyle": "German, DMY",
    "intervalstyle": "sql_standard",
    "timezone": "'Asia/Kathmandu'",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "quote_all_identifiers": "on",
    "xmlbinary": "hex",
    "search_path": "public, pg_catalog",
    "standard_conforming_strings": "off",
    "client_encoding": "LATIN1",
}
# The kind of a column in Delta's log, by Arrow's.
STORED = {
    "bool": "boolean",
    "int16": "short",
    "int32": "integer",
    "int64": "long",
    "float": "float",
    "double": "double",
    "decimal128": "decimal",
    "string": "string",
    "binary": "binary",
    "date32[day]": "date",
    "timestamp[us]": "timestamp_ntz",
    "timestamp[us, tz=UTC]": "timestamp",
}
NAMES = [f"c{number}" for number in range(len(CASES))]
LENGTH = max(len(case.values) for case in CASES) + 1  # the last row holds nothing but NULL
DECLARED = {name: case.declared for name, case in zip(NAMES, CASES, strict=True) if case.declared}
DECLARATION: dict[str, Any] = {"load": "replace", "cursor": None, "partition": None, "columns": DECLARED}
each_case = pytest.mark.parametrize(
    ("name", "case"), list(zip(NAMES, CASES, strict=True)), ids=[case.name for case in CASES]
)


@pytest.fixture(scope="module", params=["usual", "odd"])
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    """A table with a column for every case and a row for every value, loaded into processed."""
    with fix_servers.database(fix_servers.address("SHOP_DSN")) as dsn, pytest.MonkeyPatch.context() as patch:
        patch.setenv(trial_source.VARIABLE, dsn)
        root = str(tmp_path_factory.mktemp("lake"))
        with trial_source.trial(dsn, root, schema="", **DECLARATION) as trial:
            fill(trial)
            for name, value in ODD.items() if request.param == "odd" else ():
                trial.sql(f"alter database {quoted(trial.connection.info.dbname)} set {name} = {value}")
            trial.run()
            yield trial


def fill(trial: Trial) -> None:
    """A row for each place in the cases' values, NULL where a case has fewer."""
    for statement in SETUP:
        trial.sql(statement)
    columns = ", ".join(f"{name} {case.type}" for name, case in zip(NAMES, CASES, strict=True))
    trial.sql(f"create table orders (order_id int primary key, {columns})")
    for row in range(LENGTH):
        given = {name: case.values[row][0] for name, case in zip(NAMES, CASES, strict=True) if row < len(case.values)}
        given["order_id"] = str(row)
        places = ", ".join(f"%({name})s" for name in given)
        trial.sql(f"insert into orders ({', '.join(given)}) values ({places})", given)


@pytest.fixture(scope="module")
def shape(loaded: Trial) -> Iterator[Shape]:
    """What the connector says of the table."""
    connector = Postgres(loaded.source)
    yield connector.shape(loaded.table)
    connector.close()


@pytest.fixture(scope="module")
def held(loaded: Trial) -> dict[str, list[str | None]]:
    """What the lake holds in each column, as DuckDB shows it, by row."""
    shown = ", ".join(f"{name}::VARCHAR" for name in NAMES)
    rows = [row[1:] for row in loaded.rows(f"order_id, {shown}")]
    return {name: [row[number] for row in rows] for number, name in enumerate(NAMES)}


@pytest.fixture(scope="module")
def set_aside(loaded: Trial) -> set[tuple[Any, ...]]:
    """Column and row of each value in quarantine."""
    return set(loaded.rows("_column, order_id", zone="quarantine"))


@each_case
def test_a_type_arrives_as_documented(loaded: Trial, shape: Shape, name: str, case: Case) -> None:
    assert shape.schema.field(name).type == case.arrow
    delta = commit.table(loaded.lake, loaded.address())
    assert delta is not None
    stored = next(field for field in delta.schema().fields if field.name == name).type
    assert str(stored).split('"')[1].split("(")[0] == STORED[str(case.arrow).split("(")[0]]


@each_case
def test_a_value_stands_in_the_lake_as_documented(held: dict[str, list[str | None]], name: str, case: Case) -> None:
    assert held[name] == [shown for _, shown in case.values] + [None] * (LENGTH - len(case.values))


@each_case
def test_a_value_that_does_not_fit_is_in_quarantine_and_no_other(
    set_aside: set[tuple[Any, ...]], name: str, case: Case
) -> None:
    misfits = {(name, row) for row, (_, shown) in enumerate(case.values) if shown is None}
    assert {one for one in set_aside if one[0] == name} == misfits


def test_a_value_in_quarantine_is_told_as_the_source_writes_it(loaded: Trial) -> None:
    name = NAMES[next(n for n, case in enumerate(CASES) if case.type == "date")]
    told = [value for (value,) in loaded.rows("_value", zone="quarantine", where=f"_column = '{name}'")]
    wanted = ["-infinity", "0001-12-31 BC", "10000-01-01", "4713-01-01 BC", "5874897-12-31", "infinity"]
    assert told == wanted


def test_reading_all_types_again_finds_nothing_changed(loaded: Trial) -> None:
    before = loaded.versions()
    assert loaded.run().taken.unchanged == LENGTH
    assert loaded.versions() == before


def test_what_the_scanner_can_read_costs_the_server_nothing(shape: Shape) -> None:
    plain = {"smallint", "integer", "bigint", "boolean", "real", "double precision", "text", "varchar", "bytea", "uuid"}
    plain |= {"date", "timestamp", "timestamptz"}
    sent = {case.type: shape.expressions[name] for name, case in zip(NAMES, CASES, strict=True) if not case.declared}
    assert {kind for kind in plain if "(" in sent[kind] or ":" in sent[kind]} == set()
    assert "::" not in sent["numeric(12,2)"]  # a cast beside the test for NaN would double its cost


def test_a_domain_that_forbids_null_makes_the_column_so(operational_dsn: str) -> None:
    with psycopg.connect(operational_dsn) as connection:
        connection.execute("create domain a as int not null; create domain b as a; create table t (x b, y int, z a[])")
        kinds = [Catalogue(*row) for row in connection.execute(CATALOGUE, ["public.t"]).fetchall()]
    assert [(kind.name, kind.base, kind.written, kind.not_null) for kind in kinds] == [
        ("x", "int4", "b", True),
        ("y", "int4", "integer", False),
        ("z", "_a", "a[]", False),
    ]


@pytest.fixture
def unencoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trial]:
    """A table in a database of encoding SQL_ASCII, which takes any bytes for text."""
    server = fix_servers.address("SHOP_DSN")
    name = f"t_{secrets.token_hex(6)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(
            f"create database {name} encoding 'SQL_ASCII' locale_provider libc lc_collate 'C' lc_ctype 'C' "
            "template template0"
        )
        dsn = psycopg.conninfo.make_conninfo(server, dbname=name)
        monkeypatch.setenv(trial_source.VARIABLE, dsn)
        try:
            with trial_source.trial(dsn, str(tmp_path / "lake")) as trial:
                yield trial
        finally:
            connection.execute(f"drop database {name}")


def test_text_that_is_no_utf_8_is_escaped_and_stops_nothing(unencoded: Trial) -> None:
    unencoded.sql("alter table orders add tags text[], add place varchar(20)")
    for number, text in enumerate(["636166e9", "c3a9f09fa686", "eda080", "c080", "f4908080", "61"], start=1):
        unencoded.order(number)
        unencoded.sql(
            f"""update orders set customer_email = v, tags = array[v], place = v
                from convert_from('\\x{text}'::bytea, 'SQL_ASCII') v where order_id = {number}"""
        )
    unencoded.run()
    wanted = ["caf\\351", "é🦆", "\\355\\240\\200", "\\300\\200", "\\364\\220\\200\\200", "a"]
    assert [row[1] for row in unencoded.rows("order_id, customer_email")] == wanted
    assert [row[1] for row in unencoded.rows("order_id, place")] == wanted
    assert unencoded.rows("tags", where="order_id IN (1, 2)") == [('["caf\\351"]',), ('["é🦆"]',)]


def test_the_published_matrix_is_what_these_cases_say() -> None:
    words = [sys.executable, "docs/type_matrix.py", "--check"]
    done = subprocess.run(words, cwd=fix_servers.PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
