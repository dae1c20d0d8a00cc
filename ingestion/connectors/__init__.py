"""Connectors: each reads the tables of one kind of source as Arrow batches, read-only and in bounded memory.

A load asks a connector for a table's shape, begins a snapshot, has the window cut into chunks, and reads each chunk as
Arrow batches. What becomes of the rows is not a connector's business.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

    from ingestion.spec import Source, Table
    from lake.digest import Digests

MISFIT = "_misfit"
SUM = "_sum"


@dataclass(frozen=True)
class Shape:
    """A table as the source has it and as it arrives.

    `schema` has the columns that arrive, in the source's order and with their Arrow types; dropped columns are not in
    it, masked ones are strings. `native_types` are the source's names of the types. `expressions` tell how a SQL
    source is asked for each column. `rows` is the catalogue's estimate, 0 if there is none.
    """

    schema: pa.Schema
    native_types: Mapping[str, str]
    key_is_enforced: bool
    cursor_may_be_null: bool = False
    expressions: Mapping[str, str] = field(default_factory=dict)
    rows: int = 0


@dataclass(frozen=True)
class Window:
    """Which rows to read; without any bound, all of them.

    `after`: rows whose cursor is above it (ISO instant in UTC, or the source's own commit order). `first`, `last`: rows
    of these UTC days. `since`: rows that changed since a snapshot that `Connector.begin` told of.
    """

    after: str | None = None
    first: datetime.date | None = None
    last: datetime.date | None = None
    since: str | None = None


@dataclass(frozen=True)
class Chunk:
    """A part of a window that is read in one go; `bounds` (JSON values) mean something to its connector only."""

    number: int
    bounds: Mapping[str, Any] = field(default_factory=dict)


class Connector(Protocol):
    """An open, read-only connection to one source."""

    def recall(self, table: Table, bookmark: str | None) -> None:
        """Say, before `shape`, where the last load ended: its cursor, or what `bookmark` told."""

    def shape(self, table: Table) -> Shape:
        """The table's columns. Raises SchemaDrift if the table or a declared column is missing."""

    def horizon(self, table: Table) -> datetime.datetime:
        """The instant (UTC) before which every change of the table is stamped and visible."""

    def extent(self, table: Table) -> tuple[datetime.date, datetime.date] | None:
        """The first and last UTC day of a partitioned table at the source."""

    def begin(self, *, hold: bool = True) -> str:
        """Fix what is read from now on, over all chunks and threads; answers a mark of it for `Window.since`.

        Without `hold` each read sees what is there at its own time; the mark is of now.
        """

    def state(self, table: Table) -> str:
        """What makes chunks of an earlier, interrupted reading worthless if it differs; else empty."""

    def bookmark(self, table: Table) -> str | None:
        """What comes back as `Window.after` with the next load, for a source without a cursor column; else None."""

    def chunks(self, table: Table, shape: Shape, window: Window, rows: int) -> Sequence[Chunk]:
        """The window cut into parts of about `rows` rows, so that reading all of them reads each row once."""

    def read(self, table: Table, shape: Shape, window: Window, chunk: Chunk) -> Iterator[pa.RecordBatch]:
        """The rows of one chunk, in batches of `shape.schema`; may be called from several threads at once.

        Where a value does not fit its column's type, the column is NULL and a further column `_misfit` (string, JSON
        object of column → the value as the source writes it) says what stood there; else the column may be left out.
        A column `_sum` (uint64) may carry each row's `lake.checksum.row`, where it is cheaper to take it here.
        """

    def keys(self, table: Table, shape: Shape) -> Iterator[pa.RecordBatch]:
        """Just the keys of all rows, with the types they have in `shape.schema`."""

    def digests(
        self, table: Table, shape: Shape, window: Window, columns: Mapping[str, pa.DataType], *, pause: float = 0.0
    ) -> Digests:
        """The digests of the window's rows by UTC day, computed inside the source where it has an engine.

        `columns` are those compared, with the types they have in the lake; none of `incomparable`. Values that do not
        fit their column count as NULL, masked ones as their hash: as the lake holds them. One aggregate query for each
        range of days; after each it sleeps `pause` seconds per second of work, and keeps the source's `max_rows_per_s`.
        """

    def incomparable(self, table: Table, shape: Shape, columns: Mapping[str, pa.DataType]) -> Mapping[str, str]:
        """The columns that `digests` cannot compare with the lake, each with the reason; to be told, never silent."""

    def can_catch_up(self, table: Table) -> bool:
        """Whether `Window.since` can be read: else an interrupted load cannot keep its chunks."""

    def close(self) -> None:
        """Give the connections back."""


def connector(source: Source) -> Connector:
    """Open the connector that `source` declares. Raises SourceUnavailable, AccessDenied or SpecError."""
    if source.connector == "mysql":
        from ingestion.connectors.mysql import MySQL

        return MySQL(source)
    if source.connector == "files":
        from ingestion.connectors.files import Files

        return Files(source)
    if source.connector == "python":
        from ingestion.connectors.function import Function

        return Function(source)
    from ingestion.connectors.postgres import Postgres

    return Postgres(source)
