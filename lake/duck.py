"""DuckDB connections as the platform uses them: extensions from wheels, S3 from the AWS variables, bounded memory."""

import importlib.util
import os
from collections.abc import Iterable
from pathlib import Path

import duckdb

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
    connection.execute("SET GLOBAL TimeZone = 'UTC'; SET enable_progress_bar = false")
    for name in extensions:
        connection.execute(f"LOAD {quoted(name)}")
    if "httpfs" in extensions:
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
        for name in missing:
            installer.execute(f"INSTALL {literal(str(_wheel(name) or name))}")
        installer.close()
    return directory


def s3_secret() -> list[str]:
    """The statements that give DuckDB the S3 access named by the usual AWS variables; empty if none are set."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
    key, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    if not (key and secret):
        return []
    options = {"KEY_ID": key, "SECRET": secret, "REGION": region}
    if token := os.environ.get("AWS_SESSION_TOKEN"):
        options["SESSION_TOKEN"] = token
    if endpoint:
        scheme, _, host = endpoint.partition("://")
        options |= {"ENDPOINT": host.rstrip("/"), "URL_STYLE": "path", "USE_SSL": str(scheme == "https").lower()}
    pairs = ", ".join(f"{name} {literal(value)}" for name, value in options.items())
    return [f"CREATE OR REPLACE SECRET lake (TYPE s3, {pairs})"]


def quoted(identifier: str) -> str:
    """`identifier` quoted for SQL."""
    return '"' + identifier.replace('"', '""') + '"'


def literal(text: str) -> str:
    """`text` as an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def _wheel(name: str) -> Path | None:
    spec = importlib.util.find_spec(f"duckdb_extension_{name}")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension"
    return path if path.exists() else None
