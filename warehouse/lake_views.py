"""The lake's processed tables beside the warehouse, as views `source.table`: as they are now or were at an instant.

A source is a database in memory that holds nothing but views, so that `shop.orders` needs no catalogue in front of it.
"""

import datetime
from dataclasses import dataclass, field

import duckdb

from lake import duck, inventory, moment, read
from lake.access import explained
from lake.errors import PlatformError
from lake.layout import Address, Lake

TAKEN = (
    "warehouse",
    "memory",
    "system",
    "temp",
    "main",
    "metrics_store",
    "metrics_all",
)  # databases of the connection itself


@dataclass(frozen=True)
class Views:
    """Views by name with what each one shows, and the tables that have none, with the reason."""

    shown: dict[str, str] = field(default_factory=dict)
    missing: dict[str, PlatformError] = field(default_factory=dict)


def add(connection: duckdb.DuckDBPyConnection, lake: Lake, instant: datetime.datetime | None = None) -> Views:
    """Make a view of every processed table, as of `instant` (UTC) if given, on a connection that has had `load`.

    Raises a PlatformError without a lake.
    """
    try:
        tables = [one for one in inventory.tables(lake) if one.zone == "processed" and one.source not in TAKEN]
    except OSError as error:
        raise explained(lake, error) from None
    if tables and lake.on_s3:
        connection.execute(duck.s3_secret()[-1])  # temporary keys may have changed since `load`
    views = Views()
    for source in dict.fromkeys(one.source for one in tables):
        connection.execute(f"ATTACH IF NOT EXISTS ':memory:' AS {duck.quoted(source)}")
    for address in tables:
        name = f"{address.source}.{address.table}"
        try:
            views.shown[name] = _view(connection, lake, address, instant)
        except PlatformError as error:
            views.missing[name] = error
    return views


def load(connection: duckdb.DuckDBPyConnection, lake: Lake) -> None:
    """Load what reads the lake, before `add` and before the connection is locked. Raises a PlatformError."""
    try:
        connection.execute("LOAD delta")
        if lake.on_s3:
            connection.execute("LOAD httpfs")
            for statement in duck.s3_secret():
                connection.execute(statement)
    except duckdb.Error as error:
        raise explained(lake, error) from None


def _view(
    connection: duckdb.DuckDBPyConnection, lake: Lake, address: Address, instant: datetime.datetime | None
) -> str:
    delta, shows = None, "as it is in the lake now"
    if instant is not None:
        version = moment.whole_at(lake, address, instant)
        delta, shows = moment.table_at(lake, address, version), f"version {version} in the lake"
    name = f"{duck.quoted(address.source)}.main.{duck.quoted(address.table)}"
    try:
        connection.execute(f"CREATE OR REPLACE VIEW {name} AS SELECT * FROM {read.relation(lake, address, delta)}")
    except duckdb.Error as error:
        raise explained(lake, error) from None
    return shows
