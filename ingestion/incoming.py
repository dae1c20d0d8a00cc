"""Staged files as relations of DuckDB: `staged` is a view of what lies there, `incoming` what the lake compares."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.dataset as ds

from ingestion.connectors import MISFIT
from ingestion.extract import Staged
from ingestion.spec import Table
from lake.duck import quoted

if TYPE_CHECKING:
    import duckdb


def register(connection: "duckdb.DuckDBPyConnection", staged: Sequence[Staged]) -> None:
    """Make `staged` of the main files, and of what was caught up with."""
    files = [file for one in staged for file in (*one.files, *filter(None, [one.caught_up]))]
    _view(connection, "staged", [file.path for file in files], staged[0].schema)


def collect(connection: "duckdb.DuckDBPyConnection", staged: Sequence[Staged], table: Table) -> None:
    """Make the table `incoming`: each row once, as of one instant, with `_misfit` where values did not fit."""
    schema = staged[0].schema
    main = [file.path for one in staged for file in one.files]
    _table(connection, "incoming", f"*, NULL::VARCHAR AS {MISFIT}", main, schema)
    for one in staged:
        if one.caught_up is not None:
            _table(connection, "caught_up", f"*, NULL::VARCHAR AS {MISFIT}", [one.caught_up.path], schema)
            same = " AND ".join(f"i.{quoted(column)} IS NOT DISTINCT FROM n.{quoted(column)}" for column in table.key)
            connection.execute(f"DELETE FROM incoming AS i USING caught_up AS n WHERE {same}")
            connection.execute("INSERT INTO incoming SELECT * FROM caught_up")
            _drop_gone(connection, one, table)
    misfits = [path for one in staged for path in one.misfits]
    if misfits:
        _table(connection, "misfits", "*", misfits, schema.append(pa.field(MISFIT, pa.string())))
        # A connector may have sent these rows before it knew: the same rows, but for what is told of them.
        row = ", ".join(quoted(name) for name in schema.names)
        connection.execute(f"DELETE FROM incoming WHERE hash({row}) IN (SELECT hash({row}) FROM misfits)")
        connection.execute("INSERT INTO incoming SELECT * FROM misfits")


def present(connection: "duckdb.DuckDBPyConnection", keys: Sequence[Iterable[pa.RecordBatch]]) -> None:
    """Make the temporary table `present_keys` of keys as they come."""
    batches = chain.from_iterable(keys)
    first = next(batches, None)
    if first is None:
        connection.execute("CREATE OR REPLACE TEMP TABLE present_keys AS SELECT * FROM incoming LIMIT 0")
        return
    reader = pa.RecordBatchReader.from_batches(first.schema, _with(first, batches))
    connection.register("arriving_keys", reader)
    connection.execute("CREATE OR REPLACE TEMP TABLE present_keys AS SELECT * FROM arriving_keys")
    connection.unregister("arriving_keys")


def _with(first: pa.RecordBatch, others: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from others


def _view(connection: "duckdb.DuckDBPyConnection", name: str, files: Sequence[Path], schema: pa.Schema) -> None:
    connection.register(name, ds.dataset([str(path) for path in files], format="ipc", schema=schema))


def _table(
    connection: "duckdb.DuckDBPyConnection", name: str, what: str, files: Sequence[Path], schema: pa.Schema
) -> None:
    """A temporary table of staged files, batch by batch: a dataset would read ahead, 0.7 GB of 2 M rows."""

    def batches() -> Iterator[pa.RecordBatch]:
        for path in files:
            with pa.OSFile(str(path)) as source:
                reader = pa.ipc.open_file(source)
                for number in range(reader.num_record_batches):
                    yield reader.get_batch(number)

    connection.register("batches", pa.RecordBatchReader.from_batches(schema, batches()))
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT {what} FROM batches")
    connection.unregister("batches")


def _drop_gone(connection: "duckdb.DuckDBPyConnection", one: Staged, table: Table) -> None:
    """Rows that were deleted while the reading was interrupted."""
    if one.keys is None:
        return
    schema = pa.schema([one.schema.field(column) for column in table.key])
    _table(connection, "keys_now", "*", [one.keys.path], schema)
    same = " AND ".join(f"k.{quoted(column)} IS NOT DISTINCT FROM incoming.{quoted(column)}" for column in table.key)
    connection.execute(f"DELETE FROM incoming WHERE NOT EXISTS (SELECT 1 FROM keys_now AS k WHERE {same})")
