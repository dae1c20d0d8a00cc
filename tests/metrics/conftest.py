"""A fresh database with TimescaleDB per test module, and the rows the tests load."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from metrics_rows import Readings, fresh_database

from metrics import spec, state
from metrics.server import connected

# The community edition's own policies are tried where such a server is given; Debian has no package of it.
collect_ignore = [] if os.environ.get("METRICS_COMMUNITY_DSN") else ["test_metrics_community.py"]


@pytest.fixture(scope="session")
def metrics_server() -> str:
    if given := os.environ.get("METRICS_DSN"):
        return given
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
    return spec.read()


@pytest.fixture
def store(metrics_dsn: str, declared: spec.Spec) -> str:
    """The DSN of a database in which the declaration is applied and every hypertable is empty."""
    with connected(metrics_dsn) as connection:
        connection.execute("DROP SCHEMA IF EXISTS metrics CASCADE")
        connection.commit()
        state.apply(connection, declared)
    return metrics_dsn


@pytest.fixture(scope="session")
def readings(declared: spec.Spec) -> Readings:
    return Readings(declared["sensor_readings"])
