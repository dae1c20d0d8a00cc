"""One of the servers that a logical table is spread over: its rows say in `_shard` which one they are from."""

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import pyarrow as pa

from ingestion.connectors import SUM, Chunk, Connector, Shape, Window
from ingestion.spec import Table
from lake.digest import Digests
from lake.duck import literal

SHARD = "_shard"


class Shard:
    """A connector to one shard; `name` is the variable with its connection, and the value of `_shard`."""

    def __init__(self, name: str, inner: Connector) -> None:
        self.name, self.inner = name, inner

    def shape(self, table: Table) -> Shape:
        """The shape with `_shard` added."""
        shape = self.inner.shape(table)
        schema = shape.schema.append(pa.field(SHARD, pa.string()))
        return replace(shape, schema=schema, native_types={**shape.native_types, SHARD: "text"})

    def horizon(self, table: Table) -> datetime.datetime:
        """As the shard says."""
        return self.inner.horizon(table)

    def extent(self, table: Table) -> tuple[datetime.date, datetime.date] | None:
        """As the shard says."""
        return self.inner.extent(table)

    def begin(self, *, hold: bool = True) -> str:
        """A snapshot of this shard; shards have no common instant."""
        return self.inner.begin(hold=hold)

    def state(self, table: Table) -> str:
        """As the shard says."""
        return self.inner.state(table)

    def recall(self, table: Table, bookmark: str | None) -> None:
        """Say where this shard's last load ended."""
        self.inner.recall(table, bookmark)

    def bookmark(self, table: Table) -> str | None:
        """As the shard says."""
        return self.inner.bookmark(table)

    def chunks(self, table: Table, shape: Shape, window: Window, rows: int) -> Sequence[Chunk]:
        """As the shard says."""
        return self.inner.chunks(table, _bare(shape), window, rows)

    def read(self, table: Table, shape: Shape, window: Window, chunk: Chunk) -> Iterator[pa.RecordBatch]:
        """The rows, each with its `_shard`."""
        for batch in self.inner.read(table, _bare(shape), window, chunk):
            # Sums of rows without `_shard` would be recorded as those of rows with it.
            plain = batch.drop_columns([SUM]) if SUM in batch.schema.names else batch
            yield self._named(plain, len(shape.schema) - 1)

    def keys(self, table: Table, shape: Shape) -> Iterator[pa.RecordBatch]:
        """The keys, each with its `_shard`."""
        for batch in self.inner.keys(table, _bare(shape)):
            yield self._named(batch, batch.num_columns)

    def digests(
        self, table: Table, shape: Shape, window: Window, columns: Mapping[str, pa.DataType], *, pause: float = 0.0
    ) -> Digests:
        """The digests of the shard's rows, each with its `_shard`; those of all shards add up (`lake.digest.total`)."""
        named = replace(_bare(shape), expressions={**shape.expressions, SHARD: literal(self.name)})
        return self.inner.digests(table, named, window, columns, pause=pause)

    def incomparable(self, table: Table, shape: Shape, columns: Mapping[str, pa.DataType]) -> Mapping[str, str]:
        """As the shard says; its name can be compared."""
        rest = {name: kind for name, kind in columns.items() if name != SHARD}
        return self.inner.incomparable(table, _bare(shape), rest)

    def can_catch_up(self, table: Table) -> bool:
        """As the shard says."""
        return self.inner.can_catch_up(table)

    def close(self) -> None:
        """Give the connection back."""
        self.inner.close()

    def _named(self, batch: pa.RecordBatch, place: int) -> pa.RecordBatch:
        return batch.add_column(place, pa.field(SHARD, pa.string()), pa.repeat(self.name, batch.num_rows))


def _bare(shape: Shape) -> Shape:
    """The shape as the shard itself knows it."""
    fields = [entry for entry in shape.schema if entry.name != SHARD]
    return replace(shape, schema=pa.schema(fields))
