"""Analysts' access: read-only connections to the published warehouse, bounded so that they cannot starve a build."""

from pathlib import Path

import duckdb

from lake import duck
from lake.errors import PermanentError
from warehouse.layout import layout
from warehouse.versions import Version, current


def connect(
    *, memory_limit: str = "2GB", threads: int = 2, root: Path | str | None = None
) -> duckdb.DuckDBPyConnection:
    """A connection on which the version in force is attached read-only as `warehouse`; its tables need no schema.

    The connection keeps reading that version when a newer one is published; connect again to see the newer one.
    Raises PermanentError if nothing is published.
    """
    return open_version(in_force(root), memory_limit=memory_limit, threads=threads)[0]


def in_force(root: Path | str | None = None) -> Version:
    """The version in force. Raises PermanentError if nothing is published."""
    version = current(root)
    if version is None:
        raise PermanentError(str(layout(root).pointer), "no warehouse has been published yet", "run `make run` first")
    return version


def open_version(
    version: Version, *, memory_limit: str = "2GB", threads: int = 2
) -> tuple[duckdb.DuckDBPyConnection, Version]:
    """A connection to `version`, or to the one in force by now if that was deleted meanwhile, and which it is.

    The version's own path is opened, not the pointer: DuckDB shares databases by path within a process, and would
    hand out the old one under the pointer's unchanged name.
    """
    root = version.path.parent.parent
    while True:
        try:
            return _attached(version, memory_limit, threads), version
        except duckdb.IOException:
            latest = in_force(root)
            if latest == version:
                raise
            version = latest


def _attached(version: Version, memory_limit: str, threads: int) -> duckdb.DuckDBPyConnection:
    connection = duck.connect()
    try:
        connection.execute(f"set memory_limit = {duck.literal(memory_limit)}; set threads = {int(threads)}")
        connection.execute(f"attach {duck.literal(str(version.path))} as warehouse (read_only)")
        connection.execute("use warehouse; set search_path = 'warehouse.marts,warehouse.metrics'")
    except duckdb.Error:
        connection.close()
        raise
    return connection
