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


def register(connection: "duckdb.DuckDBPyConnection", staged: Sequence[Staged], table: Table) -> None:
    """Make `staged` of the main files, and of what was caught up with."""
    files = [file for one in staged for file in (*one.files, *filter(None, [one.caught_up]))]
    _view(connection, "staged", [file.path for file in files], staged[0].schema)


def collect(connection: "duckdb.DuckDBPyConnection", staged: Sequence[Staged], table: Table) -> None:
    """Make the table `incoming`: each row once, as of one instant, with `_misfit` where values did not fit."""
    key = table.key
    schema = staged[0].schema
    _view(connection, "main_files", [file.path for one in staged for file in one.files], schema)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE incoming AS SELECT *, NULL::VARCHAR AS {MISFIT} FROM main_files")
    wide = schema.append(pa.field(MISFIT, pa.string()))
    for one in staged:
        if one.caught_up is not None:
            _view(connection, "caught_up", [one.caught_up.path], schema)
            _replace(connection, "caught_up", key, "SELECT *, NULL FROM caught_up")
            _drop_gone(connection, one, table)
    misfits = [path for one in staged for path in one.misfits]
    if misfits:
        _view(connection, "misfits", misfits, wide)
        _replace(connection, "misfits", key, "SELECT * FROM misfits")


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


def _replace(connection: "duckdb.DuckDBPyConnection", newer: str, key: Sequence[str], query: str) -> None:
    same = " AND ".join(f"incoming.{quoted(column)} IS NOT DISTINCT FROM n.{quoted(column)}" for column in key)
    connection.execute(f"DELETE FROM incoming USING {newer} AS n WHERE {same}")
    connection.execute(f"INSERT INTO incoming {query}")


def _drop_gone(connection: "duckdb.DuckDBPyConnection", one: Staged, table: Table) -> None:
    """Rows that were deleted while the reading was interrupted."""
    if one.keys is None:
        return
    schema = pa.schema([one.schema.field(column) for column in table.key])
    _view(connection, "keys_now", [one.keys.path], schema)
    same = " AND ".join(f"k.{quoted(column)} IS NOT DISTINCT FROM incoming.{quoted(column)}" for column in table.key)
    connection.execute(f"DELETE FROM incoming WHERE NOT EXISTS (SELECT 1 FROM keys_now AS k WHERE {same})")
