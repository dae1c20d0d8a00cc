"""The servers that tests use: started by `watershed up all`, or given by variables. A missing one is an error."""

import os
import secrets
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import psycopg
import pytest
from psycopg import sql

from lake import probe, s3
from lake.layout import Lake
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


def free_port() -> int:
    """A port of loopback on which nothing listens."""
    with socket.socket() as probed:
        probed.bind(("127.0.0.1", 0))
        return int(probed.getsockname()[1])


@contextmanager
def s3_server(command: list[str], port: int, log: Path, **variables: str) -> Iterator[dict[str, str]]:
    """A server of the test's own, until the end of the block; gives the variables that reach it."""
    with log.open("wb") as written:
        process = subprocess.Popen(command, stdout=written, stderr=written, env={**os.environ, **variables})
    try:
        for _ in range(600):
            with closing(socket.socket()) as probed:
                if probed.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None:
                pytest.fail(f"{command[0]} ended: {log.read_text()[-500:]}")
            time.sleep(0.1)
        values = (f"http://127.0.0.1:{port}", "a-key", "a-secret", "us-east-1")
        yield dict(zip(S3_NAMES, values, strict=True))
    finally:
        process.kill()
        process.wait()


def program(name: str) -> str:
    """A program that came with a Python package."""
    return str(Path(sys.executable).parent / name)


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The server of moto, which enforces conditional PUT and takes any key."""
    port, folder = free_port(), tmp_path_factory.mktemp("moto")
    with s3_server([program("moto_server"), "-H", "127.0.0.1", "-p", str(port)], port, folder / "log") as variables:
        yield variables


@pytest.fixture(scope="session")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A folder served by rclone, which does not enforce conditional PUT and answers no ranged GET."""
    port, folder = free_port(), tmp_path_factory.mktemp("rclone")
    (folder / "data").mkdir()
    (folder / "config").touch()
    command = [program("rclone"), "serve", "s3", "--addr", f"127.0.0.1:{port}", str(folder / "data")]
    keys = {"RCLONE_CONFIG": str(folder / "config"), "RCLONE_AUTH_KEY": '"a-key,a-secret"'}
    with s3_server(command, port, folder / "log", **keys) as variables:
        yield variables


@pytest.fixture(scope="session")
def ceph() -> dict[str, str]:
    """The S3 server that `watershed up s3` starts: Ceph's gateway, or one that is given."""
    return {name: address(name) for name in S3_NAMES}


FOUND: dict[str, bytes] = {}


@contextmanager
def bucket_on(server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A new bucket on an S3 server, with the variables set that reach it; emptied and removed at the end."""
    for name, value in server.items():
        monkeypatch.setenv(name, value)
    client = s3.client()
    name = f"t-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=name)
    lake, known = Lake(f"s3://{name}/lake"), {"Bucket": name, "Key": f"lake/{probe.KNOWN}"}
    endpoint = server["AWS_ENDPOINT_URL"]
    if endpoint in FOUND:  # a server is tried once, not for each test
        client.put_object(**known, Body=FOUND[endpoint])
    else:
        probe.traits(lake)
        FOUND[endpoint] = client.get_object(**known)["Body"].read()
    yield name
    for name_, value in server.items():
        monkeypatch.setenv(name_, value)
    emptied(client, name)


def emptied(client: Any, bucket: str) -> None:
    """Remove a bucket with all that is in it."""
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        if keys := [{"Key": entry["Key"]} for entry in page.get("Contents", [])]:
            client.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
    if client.get_bucket_versioning(Bucket=bucket).get("Status"):
        for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
            for entry in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
                client.delete_object(Bucket=bucket, Key=entry["Key"], VersionId=entry["VersionId"])
    with suppress(client.exceptions.ClientError):  # rclone keeps folders of uploads that were begun
        client.delete_bucket(Bucket=bucket)


@pytest.fixture
def bucket(ceph: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A new bucket on Ceph, with the variables set that reach it; emptied and removed at the end."""
    with bucket_on(ceph, monkeypatch) as name:
        yield name


@pytest.fixture(params=["folder", "ceph", "moto", "rclone"])
def lake_root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A root for a lake: a folder, and a bucket on each S3 server that can be had."""
    if request.param == "folder":
        monkeypatch.setenv("LAKE_ROOT", root := str(tmp_path / "lake"))
        yield root
        return
    with bucket_on(request.getfixturevalue(request.param), monkeypatch) as name:
        monkeypatch.setenv("LAKE_ROOT", root := f"s3://{name}/lake")
        yield root
