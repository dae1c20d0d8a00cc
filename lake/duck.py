"""DuckDB connections as the platform uses them: extensions from wheels, S3 from the AWS variables, bounded memory."""

import importlib.util
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import duckdb

from lake import s3

EXTENSIONS = ("delta", "httpfs")
INSTALLED = (*EXTENSIONS, "postgres_scanner", "mysql_scanner")


def connect(
    database: Path | str = ":memory:", *, read_only: bool = False, extensions: Iterable[str] = ()
) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB connection in UTC with `extensions` loaded and, if S3 is configured, a secret for it.

    Extensions come from their wheels where these are installed, so nothing is downloaded; without the wheel DuckDB's
    own installation is tried.
    """
    config: dict[str, str | bool | int | float | list[str]] = {
        "extension_directory": str(extension_directory()),
        "autoinstall_known_extensions": "false",
    }
    connection = duckdb.connect(str(database), read_only=read_only, config=config)
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    with suppress(duckdb.InvalidInputException):  # a notebook without ipywidgets has no bar that could be put off
        connection.execute("SET enable_progress_bar = false")
    for name in extensions:
        connection.execute(f"LOAD {quoted(name)}")
    if "httpfs" in extensions and (
        os.environ.get("LAKE_ROOT", "").startswith("s3://") or "AWS_ACCESS_KEY_ID" in os.environ
    ):
        for statement in s3_secret():
            connection.execute(statement)
    return connection


def extension_directory() -> Path:
    """The private directory into which the wheels' extensions are installed once, per DuckDB version."""
    base = Path(os.environ.get("DUCKDB_EXTENSIONS") or Path(__file__).resolve().parent.parent / ".data" / "duckdb")
    directory = base / f"v{duckdb.__version__}"
    missing = [name for name in INSTALLED if not any(directory.glob(f"*/*/{name}.*extension"))]
    if missing:
        directory.mkdir(parents=True, exist_ok=True)
        installer = duckdb.connect(config={"extension_directory": str(directory)})
        installer.execute("SET enable_progress_bar = false")  # it would go to the caller's output
        for name in missing:
            installer.execute(f"INSTALL {literal(str(_wheel(name) or name))}")
        installer.close()
    return directory


def s3_options() -> dict[str, str]:
    """The S3 access of the usual AWS chain as it is now, in the words of a DuckDB secret; AccessDenied without keys."""
    at = s3.server()
    options = {"KEY_ID": at.key, "SECRET": at.secret, "REGION": at.region}
    if at.token:
        options["SESSION_TOKEN"] = at.token
    options["URL_STYLE"] = "vhost" if at.is_virtual_hosted else "path"
    if at.endpoint:
        options |= {"ENDPOINT": at.host, "USE_SSL": str(at.has_tls).lower()}
    return options


def s3_secret() -> list[str]:
    """The statements that give DuckDB the S3 access of the usual AWS chain as it is now; AccessDenied without keys."""
    pairs = ", ".join(f"{name} {literal(value)}" for name, value in s3_options().items())
    verified = ["SET GLOBAL enable_server_cert_verification = true"]  # not DuckDB's default
    if ca := s3.server().ca:
        verified.append(f"SET GLOBAL ca_cert_file = {literal(ca)}")
    return [*verified, f"CREATE OR REPLACE SECRET lake (TYPE s3, {pairs})"]


def quoted(identifier: str) -> str:
    """`identifier` quoted for SQL."""
    return '"' + identifier.replace('"', '""') + '"'


def literal(text: str) -> str:
    """`text` as an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def count(connection: duckdb.DuckDBPyConnection, relation: str) -> int:
    """How many rows a relation has: the name of a table or view, quoted by the caller."""
    row = connection.execute(f"SELECT count(*) FROM {relation}").fetchone()
    return int(row[0]) if row else 0


def _wheel(name: str) -> Path | None:
    spec = importlib.util.find_spec(f"duckdb_extension_{name}")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension"
    return path if path.exists() else None
