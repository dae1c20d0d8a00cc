"""Digests of a source that has no engine (files, Python functions): its rows are read, and summed up by DuckDB here.

So rows do travel, once, in batches; what is held in memory does not grow with their number, but with that of the days.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from ingestion.connectors import Window
from lake import digest, duck
from lake.digest import Digests

if TYPE_CHECKING:
    from ingestion.connectors import Connector, Shape
    from ingestion.spec import Table

ROWS = 250_000  # of a chunk: as many as loads read in one


def digests(
    session: Connector,
    table: Table,
    shape: Shape,
    window: Window,
    columns: Mapping[str, pa.DataType],
    key: Sequence[str],
) -> Digests:
    """The digests of what the connector reads of a window; values that do not fit their column are NULL there, too."""
    names = list(dict.fromkeys([*columns, *([table.partition.column] if table.partition else [])]))
    schema = pa.schema([shape.schema.field(name) for name in names])

    def batches() -> Iterator[pa.RecordBatch]:
        for chunk in session.chunks(table, shape, window, ROWS):
            for batch in session.read(table, shape, window, chunk):
                yield batch.select(names).cast(schema)

    with duck.connect() as connection:
        connection.execute("SET memory_limit = '256MB'; SET threads = 1")
        connection.register("arriving", pa.RecordBatchReader.from_batches(schema, batches()))
        day = table.partition.column if table.partition else None
        return digest.of(connection, "arriving", key=key, columns=columns, day=day)
