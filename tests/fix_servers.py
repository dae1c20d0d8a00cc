"""The servers that tests use: started by `watershed up all`, or given by variables. A missing one is an error."""

import os
import secrets
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import psycopg
import pytest
from psycopg import sql

from services import record

if TYPE_CHECKING:
    import pymysql.connections

PROJECT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("WATERSHED_TEST_DATA") or PROJECT.parent / "shared" / "data")
S3_NAMES = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")


def address(name: str) -> str:
    """A variable of the environment, or what `watershed up` recorded; an error if there is neither."""
    value = os.environ.get(name) or record.environment(PROJECT).get(name)
    if not value:
        pytest.fail(f"{name}: no server is up; run `watershed up all` (make test does)")
    return value


def header() -> list[str]:
    """Versions of the servers, for the top of the test report."""
    lines = []
    for name in ("SHOP_DSN", "METRICS_DSN"):
        dsn = os.environ.get(name) or record.environment(PROJECT).get(name)
        if dsn:
            with psycopg.connect(dsn, connect_timeout=5) as connection:
                lines.append(f"{name}: PostgreSQL {connection.info.parameter_status('server_version')}")
    return lines


@contextmanager
def database(dsn: str, *, timescale: bool = False) -> Iterator[str]:
    """A new, empty database beside the one of `dsn`; dropped at the end."""
    name = f"t_{secrets.token_hex(6)}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    fresh = psycopg.conninfo.make_conninfo(dsn, dbname=name)
    parts = psycopg.conninfo.conninfo_to_dict(fresh)
    uri = f"postgresql://{parts['user']}:{parts['password']}@{parts['host']}:{parts['port']}/{name}"
    try:
        if timescale:
            with psycopg.connect(uri, autocommit=True) as connection:
                connection.execute("CREATE EXTENSION timescaledb")
        yield uri
    finally:
        with psycopg.connect(dsn, autocommit=True) as connection:
            # The plain role may end only its own sessions, so WITH (FORCE) fails while autovacuum is in there.
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND usename = current_user",
                [name],
            )
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder with the real data sets."""
    if not DATA.is_dir():
        pytest.fail(f"{DATA}: no test data; set WATERSHED_TEST_DATA")
    return DATA


@pytest.fixture
def operational_dsn() -> Iterator[str]:
    """An empty operational database for one test."""
    with database(address("SHOP_DSN")) as dsn:
        yield dsn


@pytest.fixture
def timescale_dsn() -> Iterator[str]:
    """An empty metrics database with TimescaleDB for one test."""
    with database(address("METRICS_DSN"), timescale=True) as dsn:
        yield dsn


@contextmanager
def mysql_database(dsn: str) -> Iterator[str]:
    """A new, empty database beside the one of `dsn` on a MySQL or MariaDB server; dropped at the end."""
    name = f"t_{secrets.token_hex(6)}"
    with mysql(dsn) as connection:
        connection.cursor().execute(f"create database {name} character set utf8mb4")
    try:
        yield f"{dsn.rpartition('/')[0]}/{name}"
    finally:
        with mysql(dsn) as connection:
            connection.cursor().execute(f"drop database {name}")


@contextmanager
def mysql(dsn: str, **options: Any) -> Iterator["pymysql.connections.Connection[Any]"]:
    """A connection to a MySQL or MariaDB server, in UTC; each statement commits."""
    import pymysql

    parts = urlsplit(dsn)
    connection = pymysql.connect(
        host=parts.hostname,
        port=parts.port or 3306,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=parts.path.strip("/"),
        autocommit=True,
        init_command="set time_zone = '+00:00'",
        **options,
    )
    with closing(connection):
        yield connection


@pytest.fixture
def mysql_dsn() -> Iterator[str]:
    """An empty operational database on MariaDB (or MySQL) for one test."""
    with mysql_database(address("MYSQL_DSN")) as dsn:
        yield dsn


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A new bucket on the S3 server, with the variables set that reach it; emptied and removed at the end."""
    import boto3

    for name in S3_NAMES:
        monkeypatch.setenv(name, address(name))
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    client = boto3.client("s3")
    name = f"t-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=name)
    yield name
    everything = boto3.resource("s3").Bucket(name)
    everything.objects.all().delete()
    everything.delete()


@pytest.fixture(params=["folder", "s3"])
def lake_root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A root for a lake: once a folder, once a bucket on a real S3 server."""
    root = str(tmp_path / "lake") if request.param == "folder" else f"s3://{request.getfixturevalue('bucket')}/lake"
    monkeypatch.setenv("LAKE_ROOT", root)
    return root
