"""Every type of PostgreSQL arrives in the lake as `postgres_cases` says, whatever the server's settings are."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import fix_servers
import psycopg
import pyarrow as pa
import pytest
from postgres_cases import CASES, SETUP, Case
from psycopg.conninfo import make_conninfo

from ingestion.connectors.postgres_types import CATALOGUE, SESSION, Catalogue, Reading, reading
from ingestion.spec import Column
from lake import commit, read
from lake.duck import connect, literal, quoted
from lake.layout import Address, Lake

ODD = {
    "datestyle": "German, DMY",
    "intervalstyle": "sql_standard",
    "timezone": "Asia/Kathmandu",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "quote_all_identifiers": "on",
    "xmlbinary": "hex",
    "search_path": "public, pg_catalog",
    "standard_conforming_strings": "off",
}
COLUMNS = [f"c {number}" for number in range(len(CASES))]
PLACE = Address("raw", "trial", "types")


@dataclass(frozen=True)
class Arrived:
    """One table of all types: how each column was read, its Arrow type, and its values in the lake, by row."""

    readings: dict[str, Reading]
    schema: pa.Schema
    in_lake: dict[str, list[tuple[str | None, bool]]]
    misfits: dict[str, list[bool | None]]
    seen: dict[str, list[bool | None]]


@pytest.fixture(scope="module", params=["usual", "odd"])
def arrived(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arrived]:
    """All cases in one table, read through DuckDB's scanner, committed to a lake and read back."""
    with fix_servers.database(fix_servers.address("SHOP_DSN")) as dsn:
        fill(dsn)
        if request.param == "odd":
            with psycopg.connect(dsn, autocommit=True) as connection:
                for name, value in ODD.items():
                    database = quoted(connection.info.dbname)
                    connection.execute(
                        f"alter database {database} set {name} = {value if ',' in value else literal(value)}"
                    )
        yield taken(dsn, Lake(str(tmp_path_factory.mktemp("lake"))))


def fill(dsn: str) -> None:
    """A row for each value, NULL where a column has fewer."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in SETUP:
            connection.execute(statement)
        columns = ", ".join(f"{quoted(name)} {case.type}" for name, case in zip(COLUMNS, CASES, strict=True))
        connection.execute(f"create table types (row int primary key, {columns})")
        for row in range(max(len(case.values) for case in CASES) + 1):
            given = [(name, case.values[row][0]) for name, case in zip(COLUMNS, CASES, strict=True)
                     if row < len(case.values)]  # fmt: skip
            names = ", ".join(["row", *(quoted(name) for name, _ in given)])
            places = ", ".join(["%s"] * (len(given) + 1))
            connection.execute(f"insert into types ({names}) values ({places})", [row, *(value for _, value in given)])


def taken(dsn: str, lake: Lake) -> Arrived:
    """What becomes of the table on its way."""
    options = " ".join(f"-c {name}={value}" for name, value in SESSION.items())
    address = make_conninfo(dsn, options=options)
    with psycopg.connect(address) as session:
        kinds = [Catalogue(*row) for row in session.execute(CATALOGUE, ["public.types"]).fetchall()]
        readings = {kind.name: reading(kind.name, kind, _declared(kind.name)) for kind in kinds}
        conditions = ", ".join(one.misfit or "false" for one in readings.values())
        told = session.execute(f"select {conditions} from public.types order by row").fetchall()
    inner = ", ".join(f"{one.expression} as {quoted(name)}" for name, one in readings.items())
    outer = ", ".join(f"{one.outer} AS {quoted(name)}" for name, one in readings.items())
    seen = ", ".join(f"{one.seen or 'NULL'} AS {quoted(name)}" for name, one in readings.items())
    origin = f"postgres_query('source', {literal(f'select {inner} from public.types order by row')})"
    with connect(extensions=["postgres_scanner"]) as engine:
        engine.execute(f"ATTACH {literal(address)} AS source (TYPE postgres, READ_ONLY)")
        rows = engine.execute(f"SELECT {outer} FROM {origin}").to_arrow_table()
        visible = engine.execute(f"SELECT {seen} FROM {origin}").fetchall()
    commit.append(lake, PLACE, rows.to_reader(), {}, base=None, by_day=False)
    shown = ", ".join(f"({quoted(name)}::VARCHAR, {quoted(name)} IS NULL)" for name in readings)
    with read.connect(lake) as engine:
        held = engine.execute(f"SELECT {shown} FROM {read.relation(lake, PLACE)} ORDER BY row").fetchall()
    return Arrived(
        readings, rows.schema, _by_name(readings, held), _by_name(readings, told), _by_name(readings, visible)
    )


def _declared(name: str) -> Column | None:
    declared = CASES[COLUMNS.index(name)].declared if name in COLUMNS else None
    return Column(type=declared) if declared else None


def _by_name(names: dict[str, Reading], rows: list[Any]) -> dict[str, list[Any]]:
    return {name: [row[number] for row in rows] for number, name in enumerate(names)}


each_case = pytest.mark.parametrize(
    ("name", "case"), list(zip(COLUMNS, CASES, strict=True)), ids=[c.name for c in CASES]
)


@each_case
def test_a_type_arrives_as_documented(arrived: Arrived, name: str, case: Case) -> None:
    assert arrived.readings[name].arrow == case.arrow
    assert arrived.schema.field(name).type == case.arrow


@each_case
def test_each_value_stands_in_the_lake_as_documented_or_is_told_to_be_a_misfit(
    arrived: Arrived, name: str, case: Case
) -> None:
    wanted = [shown for _, shown in case.values]
    count = len(wanted)
    assert [shown for shown, _ in arrived.in_lake[name][:count]] == wanted
    assert [bool(told) for told in arrived.misfits[name][:count]] == [shown is None for shown in wanted]
    if arrived.readings[name].seen:
        assert arrived.seen[name][:count] == [shown is None for shown in wanted]


@each_case
def test_a_null_stays_null_and_is_no_misfit(arrived: Arrived, name: str, case: Case) -> None:
    rest = slice(len(case.values), None)
    assert {is_null for _, is_null in arrived.in_lake[name][rest]} == {True}
    assert not any(arrived.misfits[name][rest])
    assert not any(arrived.seen[name][rest])
