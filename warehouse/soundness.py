"""Whether a DuckDB file can be read to its last row: opening it reads only its first block."""

from pathlib import Path

import duckdb

from lake import duck


def fault(path: Path, *, deep: bool = True) -> str | None:
    """What is wrong with the file, in DuckDB's words; None if every table can be read. Not `deep`: opened only."""
    try:
        with duck.connect(path, read_only=True) as connection:
            connection.execute("set memory_limit = '1GB'; set threads = 2")
            tables = connection.execute("select schema_name, table_name from duckdb_tables()").fetchall()
            for schema, name in tables if deep else ():
                connection.execute(f"select bit_xor(hash(t)) from {duck.quoted(schema)}.{duck.quoted(name)} as t")
                connection.fetchone()
    except (duckdb.Error, OSError) as error:
        return str(error).splitlines()[0]
    return None
