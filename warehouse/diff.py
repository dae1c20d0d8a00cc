"""Compare two versions of the warehouse: which marts, columns and rows were added, removed or changed.

Nothing but the two files is needed. Columns of the platform (`_loaded_at`) are not compared: a table that was read
anew with the same rows is the same table. How rows are matched is the business of `diff_rows`, how a difference is
shown that of `diff_report`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from lake import duck
from lake.errors import Busy, PermanentError
from warehouse import diff_rows
from warehouse.diff_facts import Columns, MartDiff

__all__ = ["MartDiff", "compare"]
SCHEMAS = ("marts", "metrics")
MEMORY = "2GB"


def compare(old: Path, new: Path, *, examples: int = 5) -> tuple[MartDiff, ...]:
    """What differs between two DuckDB files, for every table of the schemas marts and metrics, in their names' order.

    `examples` bounds the example rows of each kind, the days and the largest changes. Both files are opened read-only;
    memory is bounded, what does not fit is put on disk. Tables are held to be equal if row count and the sum of the
    rows' 64-bit hashes are. Raises PermanentError if a file is missing or is no DuckDB file, Busy if it is being
    written.
    """
    old, new = old.resolve(), new.resolve()
    with _opened(old, new) as connection:
        before, after = (_tables(connection, side) for side in ("old", "new"))
        return tuple(
            diff_rows.compared(
                connection, schema, name, before.get((schema, name)), after.get((schema, name)), examples
            )
            for schema, name in sorted({*before, *after})
        )


def _tables(connection: duckdb.DuckDBPyConnection, side: str) -> dict[tuple[str, str], Columns]:
    found = connection.execute(
        """
        select schema_name, table_name, column_name, data_type
        from duckdb_columns()
        inner join duckdb_tables() using (database_name, schema_name, table_name)
        where database_name = ? and schema_name in (select unnest(?))
        order by schema_name, table_name, column_index
        """,
        [side, list(SCHEMAS)],
    ).fetchall()
    tables: dict[tuple[str, str], Columns] = {}
    for schema, table, column, kind in found:
        tables.setdefault((schema, table), {})[column] = kind
    return tables


@contextmanager
def _opened(old: Path, new: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection on which both files are attached, as `old` and `new`."""
    with duck.connect() as connection:
        connection.execute(f"set memory_limit = '{MEMORY}'; set preserve_insertion_order = false")
        for side, path in (("old", old), ("new", new)):
            _attach(connection, side, path, is_second=side == "new" and old == new)
        yield connection


def _attach(connection: duckdb.DuckDBPyConnection, side: str, path: Path, *, is_second: bool) -> None:
    if not path.is_file():
        raise PermanentError(str(path), "there is no such file", "name a version, `build` or a DuckDB file")
    if is_second:  # a connection attaches a file once
        raise PermanentError(str(path), "both sides are the same file", "name two versions")
    try:
        connection.execute(f"attach {duck.literal(str(path))} as {side} (read_only)")
    except duckdb.Error as error:
        if "lock" in str(error):
            raise Busy(str(path), "is being written", "wait until the build is finished") from None
        raise PermanentError(str(path), "is no whole DuckDB file", "name another version") from None
