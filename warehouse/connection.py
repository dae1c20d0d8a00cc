"""One connection for analysts' Python, with everything on it at once: marts, the lake's tables, the metrics store."""

import datetime
from collections.abc import Callable, Mapping

import duckdb

from lake import instant
from lake.duck import literal, quoted
from lake.errors import PlatformError
from warehouse import access, metrics_store
from warehouse.limits import limits

Tables = Mapping[str, Mapping[str, str]]


def everything(
    as_of: str | None = None,
    memory_limit: str | None = None,
    threads: int | None = None,
    *,
    locked: bool = False,
    tables: Callable[[], Tables] = dict,
) -> duckdb.DuckDBPyConnection:
    """As `watershed.connect()`, in the site that the environment names; `tables` are the metrics store's, as declared.

    Raises a PlatformError if there is nothing to show.
    """
    when = instant.past(as_of, datetime.datetime.now(datetime.UTC)) if as_of else None
    bounds = limits(memory_limit, threads)
    connection, _ = access.open_at(when, bounds) if when else access.open_version(access.in_force(), bounds)
    try:
        _complete(connection, when, tables, locked=locked)
    except BaseException:
        connection.close()
        raise
    return connection


def _complete(
    connection: duckdb.DuckDBPyConnection,
    when: datetime.datetime | None,
    tables: Callable[[], Tables],
    *,
    locked: bool,
) -> None:
    lake, missing = access.prepare(connection)
    if lake:
        from warehouse import lake_views

        try:
            lake_views.add(connection, lake, when)
        except PlatformError as error:
            missing["lake"] = error
    for name in (metrics_store.NAME, metrics_store.ALL):
        if reason := missing.get(name):
            _stand_in(connection, name, tables(), reason)
    if locked:
        access.lock(connection, lake)


def _stand_in(connection: duckdb.DuckDBPyConnection, home: str, tables: Tables, reason: PlatformError) -> None:
    """Put views in the store's place that say why it cannot be asked, whatever is asked of them."""
    connection.execute(f"ATTACH IF NOT EXISTS ':memory:' AS {home}")
    for name, columns in tables.items():
        nulls = ", ".join(f"NULL::{kind} AS {quoted(column)}" for column, kind in columns.items())
        view = f"{home}.main.{quoted(name)}"
        connection.execute(
            f"CREATE OR REPLACE VIEW {view} AS SELECT {nulls} WHERE error({literal(str(reason))})::boolean"
        )
