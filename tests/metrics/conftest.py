"""A fresh database with TimescaleDB per test module, on every server that is given, and the rows the tests load.

METRICS_DSN is a server of the Apache-2 edition, by default the one that the services bring along.
METRICS_COMMUNITY_DSN, if given, is one of the community edition, with a superuser: every test runs there, too. A test
of one edition only says so: `@pytest.mark.edition("community")`.
"""

import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import duckdb
import pytest
from metrics_rows import Address, Readings, emptied, fresh_database
from nab_series import Series, files, series
from platform_rows import fill, now, reading

from metrics import spec, state
from metrics.server import connected

COMMUNITY = os.environ.get("METRICS_COMMUNITY_DSN", "")
EDITIONS = ["apache", *(["community"] if COMMUNITY else [])]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "edition(name): runs only on servers of that edition of TimescaleDB")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is not of the server's edition; pytest tells how many that are."""
    others = [item for item in items if not _is_of_edition(item)]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]


def _is_of_edition(item: pytest.Item) -> bool:
    mark, call = item.get_closest_marker("edition"), getattr(item, "callspec", None)
    server = call.params.get("metrics_server") if call else None
    return mark is None or server is None or mark.args[0] == server


@pytest.fixture(scope="session", params=EDITIONS)
def metrics_server(request: pytest.FixtureRequest) -> Address:
    return Address(COMMUNITY if request.param == "community" else os.environ.get("METRICS_DSN") or _installed())


def _installed() -> str:
    lines = (Path(__file__).parents[2] / ".services" / "env").read_text("utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)["METRICS_DSN"]


@pytest.fixture(scope="module")
def metrics_dsn(metrics_server: str) -> Iterator[str]:
    yield from fresh_database(metrics_server)


@pytest.fixture
def bare_dsn(metrics_server: str) -> Iterator[str]:
    """A database of its own without the extension."""
    yield from fresh_database(metrics_server, with_extension=False)


@pytest.fixture(scope="session")
def declared() -> spec.Spec:
    """As declared, but nothing goes to the lake: tests of that say so."""
    found = spec.read()
    kept = tuple(one.model_copy(update={"tier": False}) for one in found.hypertables)
    return found.model_copy(update={"hypertables": kept})


@pytest.fixture
def store(metrics_dsn: str, declared: spec.Spec) -> str:
    """The DSN of a database in which the declaration is applied and every hypertable is empty."""
    return emptied(metrics_dsn, declared)


@pytest.fixture(scope="session")
def readings(declared: spec.Spec) -> Readings:
    return Readings(declared["sensor_readings"])


@pytest.fixture(scope="module")
def until() -> datetime:
    """The instant up to which `store_with_rows` is filled."""
    return now()


@pytest.fixture(scope="module")
def store_with_rows(metrics_server: str, declared: spec.Spec, until: datetime) -> Iterator[tuple[str, str]]:
    """A store that the platform has filled for some days: its DSN, and that of a role which may only read."""
    for dsn in fresh_database(metrics_server):
        with connected(dsn) as connection:
            state.apply(connection, declared)
        fill(dsn, declared, until)
        with reading(dsn) as reader:
            yield dsn, reader


@pytest.fixture(scope="module")
def nab(data: Path) -> list[Series]:
    """The real series."""
    return series(data)


@pytest.fixture(scope="module")
def points(nab: list[Series]) -> Iterator[duckdb.DuckDBPyConnection]:
    """Their files as tables of DuckDB."""
    with files(nab) as connection:
        yield connection
