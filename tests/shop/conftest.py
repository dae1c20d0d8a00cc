"""A database of its own per test module or test on the shop's server, and what to ask of it."""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def shop_server() -> str:
    """The server's address; a missing server fails."""
    dsn = os.environ.get("SHOP_DSN")
    file = ROOT / ".services" / "env"
    if not dsn and file.is_file():
        dsn = dict(line.split("=", 1) for line in file.read_text().split() if "=" in line).get("SHOP_DSN")
    if not dsn:
        pytest.fail("no PostgreSQL for the shop: set SHOP_DSN or start the services")
    return dsn


@contextmanager
def database(server: str) -> Iterator[str]:
    name = f"t_shop_{secrets.token_hex(5)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    try:
        yield make_conninfo(server, dbname=name)
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            # `with (force)` is refused to a plain role while the server's autovacuum is in that database
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s and usename = current_user",
                [name],
            )
            connection.execute(sql.SQL("drop database {}").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def shop_dsn(shop_server: str) -> Iterator[str]:
    """An empty database for a module's tests."""
    with database(shop_server) as dsn:
        yield dsn


@pytest.fixture
def empty_dsn(shop_server: str) -> Iterator[str]:
    """An empty database for one test."""
    with database(shop_server) as dsn:
        yield dsn


@pytest.fixture
def other_dsn(shop_server: str) -> Iterator[str]:
    """A second empty database for one test."""
    with database(shop_server) as dsn:
        yield dsn


@pytest.fixture(scope="session")
def ask() -> Callable[..., list[tuple[object, ...]]]:
    """The rows a query answers, in UTC."""

    def rows(dsn: str, query: str) -> list[tuple[object, ...]]:
        with psycopg.connect(dsn, options="-c timezone=UTC") as connection:
            return connection.execute(query).fetchall()

    return rows


@pytest.fixture(scope="session")
def checksum(ask: Callable[..., list[tuple[object, ...]]]) -> Callable[[str], dict[str, object]]:
    """Per table, a checksum of every value of every row."""
    from shop.premises import TABLES

    def sums(dsn: str) -> dict[str, object]:
        query = "select count(*), md5(string_agg(t::text, '|' order by t::text collate \"C\")) from public.{} as t"
        return {table: ask(dsn, query.format(table))[0] for table in TABLES}

    return sums


@pytest.fixture(scope="session")
def changed_column() -> Callable[[str], str]:
    """The column that tells when a row of a table was last written."""
    named = {"sensor_readings": "received_at", "stock_movements": "received_at", "order_events": "recorded_at"}
    return lambda table: named.get(table, "updated_at")


@pytest.fixture(scope="session")
def journey() -> Path:
    """The folder of Complete Journey's files; missing data fails."""
    folder = Path(os.environ.get("WATERSHED_TEST_DATA") or ROOT.parent / "shared" / "data") / "completejourney"
    if not folder.is_dir():
        pytest.fail(f"no test data in {folder}: set WATERSHED_TEST_DATA")
    return folder
