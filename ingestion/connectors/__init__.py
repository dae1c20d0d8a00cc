"""Connectors: each reads tables of one kind of source into DuckDB, read-only and in bounded memory."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import duckdb

    from ingestion.spec import Source, Table


@dataclass(frozen=True)
class Shape:
    """A table as the source has it: how each column is read, and what the source itself makes sure of."""

    expressions: Mapping[str, str]
    native_types: Mapping[str, str]
    key_is_enforced: bool
    cursor_may_be_null: bool = False


@dataclass(frozen=True)
class Window:
    """Which rows to read: those whose cursor is above `after`, or whose event day lies in [first, last]."""

    after: str | None = None
    first: datetime.date | None = None
    last: datetime.date | None = None


class Connector(Protocol):
    """An open, read-only connection to one source."""

    def shape(self, table: Table) -> Shape:
        """The table's columns. Raises SchemaDrift if the table or a declared column is missing."""

    def horizon(self) -> datetime.datetime:
        """The instant (UTC) before which every change is stamped and visible."""

    def extent(self, table: Table) -> tuple[datetime.date, datetime.date] | None:
        """The first and last UTC day of a partitioned table at the source."""

    def query(self, table: Table, shape: Shape, window: Window) -> str:
        """The SQL that reads the window's rows, in DuckDB, once `attach` was called."""

    def keys_query(self, table: Table, shape: Shape) -> str:
        """The SQL that reads just the keys of all rows, in DuckDB."""

    def attach(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Make the source readable in a DuckDB connection."""

    def close(self) -> None:
        """Give the connection back."""


def connector(source: Source) -> Connector:
    """Open the connector that `source` declares. Raises SourceUnavailable, AccessDenied or SpecError."""
    from ingestion.connectors.postgres import Postgres

    return Postgres(source)
