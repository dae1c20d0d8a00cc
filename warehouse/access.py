"""Analysts' access: read-only connections to the published warehouse, bounded so that they cannot starve a build."""

import datetime
import os
from pathlib import Path

import duckdb

from lake import duck
from lake import layout as lake_layout
from lake.errors import AccessDenied, Busy, PermanentError, PlatformError, SpecError
from lake.layout import Lake
from warehouse import limits as limited
from warehouse import metrics_store, releases
from warehouse.layout import layout
from warehouse.limits import Limits, limits
from warehouse.versions import Version, current


def connect(
    *, memory_limit: str | None = None, threads: int | None = None, root: Path | str | None = None
) -> duckdb.DuckDBPyConnection:
    """A connection on which the version in force is attached read-only as `warehouse`; its tables need no schema.

    The connection keeps reading that version when a newer one is published; connect again to see the newer one.
    Raises PermanentError if nothing is published.
    """
    return open_version(in_force(root), limits(memory_limit, threads))[0]


def in_force(root: Path | str | None = None) -> Version:
    """The version in force. Raises PermanentError if nothing is published."""
    version = current(root)
    if version is None:
        raise PermanentError(str(layout(root).pointer), "no warehouse has been published yet", "run `make run` first")
    return version


def open_version(version: Version, bounds: Limits | None = None) -> tuple[duckdb.DuckDBPyConnection, Version]:
    """A connection to `version`, or to the one in force by now if that was deleted meanwhile, and which it is.

    Raises a PlatformError for a file that is damaged, locked or not to be read.
    """
    connection = empty(bounds)
    try:
        return connection, attach(connection, version)
    except BaseException:
        connection.close()
        raise


def open_at(
    instant: datetime.datetime, bounds: Limits | None = None, root: Path | str | None = None
) -> tuple[duckdb.DuckDBPyConnection, Version | None]:
    """The published version that was in force at `instant` (UTC); an empty connection if none of then is kept."""
    then = releases.in_force_at(layout(root), instant)
    if then is None:
        return empty(bounds), None
    connection, opened = open_version(then, bounds)
    if opened == then:
        return connection, opened
    connection.close()  # deleted meanwhile, and a newer one opened in its place
    return empty(bounds), None


def empty(bounds: Limits | None = None) -> duckdb.DuckDBPyConnection:
    """A bounded connection to which nothing is attached."""
    connection = duck.connect()
    try:
        (bounds or limits()).set_on(connection)
    except duckdb.Error as error:
        connection.close()
        raise SpecError("SQL_MEMORY_LIMIT", str(error).splitlines()[0], "write sizes as 2GB or 500MB") from None
    return connection


def attach(connection: duckdb.DuckDBPyConnection, version: Version) -> Version:
    """Make `version` the one that a connection shows, in place of the one before; as `open_version`.

    The version's own path is opened, not the pointer: DuckDB shares databases by path within a process, and would
    hand out the old one under the pointer's unchanged name.
    """
    root = version.path.parent.parent
    connection.execute("USE memory; DETACH DATABASE IF EXISTS warehouse")
    while True:
        try:
            connection.execute(f"ATTACH {duck.literal(str(version.path))} AS warehouse (READ_ONLY)")
            break
        except duckdb.Error as error:
            latest = in_force(root)
            if latest == version:
                raise broken(version.path, error) from None
            version = latest
    connection.execute("USE warehouse; SET search_path = 'warehouse.marts,warehouse.metrics'")
    return version


def broken(path: Path, error: Exception) -> PlatformError:
    """What it means that a published file cannot be read."""
    text, where = str(error), str(path)
    if "Could not set lock" in text or "Conflicting lock" in text or "different configuration" in text:
        mend = "end the program that has opened it for writing; published files are only ever to be read"
        return Busy(where, "another program has locked it", mend)
    if "Permission denied" in text or not os.access(path, os.R_OK):
        return AccessDenied(where, "this user may not read it", "ask its owner for the right to read")
    what = f"the published file is damaged ({text.splitlines()[0][:120]})"
    return PermanentError(where, what, "run `watershed warehouse rollback`, or publish anew with `make run`")


def prepare(
    connection: duckdb.DuckDBPyConnection, *, store: bool = True
) -> tuple[Lake | None, dict[str, PlatformError]]:
    """Load what the lake and, with `store`, the metrics store need; the lake, and why what is missing cannot be had.

    Each costs more than most questions to the warehouse, so a session does it when it has to.
    """
    missing: dict[str, PlatformError] = {}
    connection.execute("SET allow_persistent_secrets = false")
    if store and (reason := metrics_store.attach(connection)):
        missing[metrics_store.NAME] = missing[metrics_store.ALL] = reason
    lake: Lake | None = None
    try:
        from warehouse import lake_views  # Delta and Arrow

        found = lake_layout.from_environment()
        lake_views.load(connection, found)
        lake = found
    except PlatformError as error:
        missing["lake"] = error
    if store and metrics_store.NAME not in missing:
        from warehouse import metrics_all  # Delta and Arrow

        try:
            metrics_all.add(connection, lake, missing.get("lake"))
        except PlatformError as error:
            missing[metrics_store.ALL] = error
    return lake, missing


def lock(connection: duckdb.DuckDBPyConnection, lake: Lake | None, root: Path | str | None = None) -> None:
    """Let a connection read the published files, the lake's tables for analysts and its cold zone, and nothing else."""
    folders = [str(layout(root).published)]
    zones = ("processed", "curated", "metrics_cold")
    limited.lock(connection, [*folders, *(f"{lake.root}/{zone}" for zone in zones)] if lake else folders)
