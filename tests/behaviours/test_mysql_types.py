"""Every type of MySQL and MariaDB stands in the lake as `mysql_cases` says, whatever the server's settings are."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import fix_servers
import pytest
import trial_source
from mysql_cases import CASES, Case
from mysql_trial import MySQLTrial, mysql_trial

from ingestion.connectors import Shape
from ingestion.connectors.mysql import MySQL
from lake import commit

# What a server may be set to; none of it may be seen in the lake.
ODD = {
    "time_zone": "'+05:45'",
    "sql_mode": "'ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES,PAD_CHAR_TO_FULL_LENGTH,STRICT_ALL_TABLES'",
    "character_set_connection": "latin1",
    "div_precision_increment": "0",
}
NAMES = [f"c{number}" for number in range(len(CASES))]
LENGTH = max(len(case.values) for case in CASES) + 1  # the last row holds nothing but NULL
DECLARED = {name: case.declared for name, case in zip(NAMES, CASES, strict=True) if case.declared}
each_case = pytest.mark.parametrize(
    ("name", "case"), list(zip(NAMES, CASES, strict=True)), ids=[case.name for case in CASES]
)


@pytest.fixture(scope="module", params=["usual", "odd"])
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MySQLTrial]:
    """A table with a column for every case and a row for every value, loaded into processed."""
    dsn = fix_servers.address("MYSQL_DSN")
    with fix_servers.mysql_database(dsn) as fresh, pytest.MonkeyPatch.context() as patch:
        patch.setenv(trial_source.VARIABLE, fresh)
        root = str(tmp_path_factory.mktemp("lake"))
        with mysql_trial(fresh, root, schema="", partition=None, columns=DECLARED) as trial:
            fill(trial)
            with odd_server(trial) if request.param == "odd" else nullcontext():
                trial.run()
            yield trial


@contextmanager
def odd_server(trial: MySQLTrial) -> Iterator[None]:
    """The server with `ODD` settings for new sessions."""
    before = trial.ask("select " + ", ".join(f"@@global.{name}" for name in ODD))[0]
    try:
        for name, value in ODD.items():
            trial.sql(f"set global {name} = {value}")
        yield
    finally:
        for name, value in zip(ODD, before, strict=True):
            trial.sql(f"set global {name} = %s", [value])


def fill(trial: MySQLTrial) -> None:
    """A row for each place in the cases' values, NULL where a case has fewer."""
    trial.sql("set sql_mode = 'ALLOW_INVALID_DATES'")
    (server,) = trial.ask("select version()")[0]
    here = dict(zip(NAMES, CASES, strict=True))
    unknown = {name for name, case in here.items() if case.only and case.only not in server}
    kinds = {name: "int" if name in unknown else case.type for name, case in here.items()}
    columns = ", ".join(f"{name} {kind} null" for name, kind in kinds.items())
    trial.sql(f"create table orders (order_id int primary key, {columns}, updated_at timestamp(6) default now(6))")
    for row in range(LENGTH):
        known = {name: case for name, case in here.items() if row < len(case.values) and name not in unknown}
        given = {name: case.values[row][0] for name, case in known.items()}
        names = ", ".join(["order_id", *given])
        trial.sql(f"insert into orders ({names}) values ({', '.join([str(row), *given.values()])})")


def needs(trial: MySQLTrial, case: Case) -> None:
    """Skip a type that this kind of server does not have."""
    if case.only and case.only not in trial.ask("select version()")[0][0]:
        pytest.skip(f"only {case.only} has {case.type}")


@pytest.fixture(scope="module")
def shape(loaded: MySQLTrial) -> Iterator[Shape]:
    """What the connector says of the table."""
    connector = MySQL(loaded.source)
    yield connector.shape(loaded.table)
    connector.close()


@pytest.fixture(scope="module")
def held(loaded: MySQLTrial) -> dict[str, list[str | None]]:
    """What the lake holds in each column, as DuckDB shows it, by row."""
    shown = ", ".join(f"{name}::VARCHAR" for name in NAMES)
    rows = [row[1:] for row in loaded.rows(f"order_id, {shown}")]
    return {name: [row[number] for row in rows] for number, name in enumerate(NAMES)}


@pytest.fixture(scope="module")
def set_aside(loaded: MySQLTrial) -> dict[tuple[str, int], str]:
    """Each value in quarantine, by column and row."""
    rows = loaded.rows("_column, order_id, _value", zone="quarantine")
    return {(column, row): value for column, row, value in rows}


@each_case
def test_a_type_arrives_as_documented(loaded: MySQLTrial, shape: Shape, name: str, case: Case) -> None:
    needs(loaded, case)
    assert shape.schema.field(name).type == case.arrow
    delta = commit.table(loaded.lake, loaded.address())
    assert delta is not None
    stored = next(field for field in delta.schema().fields if field.name == name).type
    assert str(stored).split('"')[1].split("(")[0] == STORED[str(case.arrow).split("(")[0]]


@each_case
def test_a_value_stands_in_the_lake_as_documented(
    loaded: MySQLTrial, held: dict[str, list[str | None]], name: str, case: Case
) -> None:
    needs(loaded, case)
    assert held[name] == [shown for _, shown in case.values] + [None] * (LENGTH - len(case.values))


@each_case
def test_a_value_that_does_not_fit_is_in_quarantine_as_the_server_writes_it_and_no_other(
    set_aside: dict[tuple[str, int], str], name: str, case: Case
) -> None:
    wrong = {(name, row): written.strip("'") for row, (written, shown) in enumerate(case.values) if shown is None}
    found = {place: value.removesuffix(".000000").rstrip("0") for place, value in set_aside.items() if place[0] == name}
    told = {place: value.rstrip("0") for place, value in wrong.items()}
    if case.type == "decimal(65,30)":  # the server writes all thirty digits
        assert found.keys() == told.keys()
    else:
        assert found == told


def test_reading_all_types_again_finds_nothing_changed(loaded: MySQLTrial) -> None:
    loaded.sql("update orders set updated_at = now(6) + interval 1 second")
    loaded.declare(drop=["updated_at"], cursor=None, load="replace")
    try:
        assert loaded.run().taken.unchanged == LENGTH
    finally:
        loaded.declare(drop=[], cursor="updated_at", load="merge")


STORED = {
    "bool": "boolean",
    "int8": "byte",
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


def test_the_published_matrix_is_what_the_cases_say() -> None:
    project = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, str(project / "docs" / "type_matrix_mysql.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
