"""A build file without its dead blocks: every build leaves those of the tables that it has replaced."""

from pathlib import Path

import duckdb

from lake.duck import literal, quoted

DEAD_SHARE = 0.5
LEAST_BYTES = 64 << 20


def is_worth_it(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether more than half of a file that is not small is dead: then writing its tables anew beats a plain copy."""
    # no parameter in it: the first one lets DuckDB import pandas, which costs 0.7 CPU-seconds
    query = "select free_blocks, total_blocks, block_size from pragma_database_size()"
    free, total, size = connection.execute(f"{query} where database_name = current_database()").fetchall()[0]
    return bool(total * size >= LEAST_BYTES and free > total * DEAD_SHARE)


def copy(connection: duckdb.DuckDBPyConnection, target: Path, schemas: tuple[str, ...]) -> None:
    """Write the tables of `schemas`, with constraints and comments, to the new file `target`."""
    source = connection.execute("select current_database()").fetchall()[0][0]
    target.unlink(missing_ok=True)
    connection.execute(f"attach {literal(str(target))} as compacted")
    try:
        for schema in schemas:
            connection.execute(f"create schema if not exists compacted.{quoted(schema)}")
        names = connection.execute(
            "select schema_name, table_name from duckdb_tables() "
            "where database_name = ? and schema_name in (select unnest(?)) order by all",
            [source, list(schemas)],
        ).fetchall()
        for schema, name in names:
            table(connection, f"{quoted(source)}.{quoted(schema)}.{quoted(name)}", "compacted")
        connection.execute("checkpoint compacted")
    finally:
        connection.execute("detach compacted")


def table(connection: duckdb.DuckDBPyConnection, name: str, database: str) -> None:
    """Copy one table (its full, quoted name) to a database that is attached, under the same schema and name."""
    facts = connection.execute(
        "select schema_name, table_name, sql, comment from duckdb_tables() "
        'where format(\'"{}"."{}"."{}"\', database_name, schema_name, table_name) = ?',
        [name],
    ).fetchall()
    [(schema, bare, statement, comment)] = facts
    target = f"{quoted(database)}.{quoted(schema)}.{quoted(bare)}"
    body = statement.partition("(")[2]
    connection.execute(f"create table {target} ({body}")
    connection.execute(f"insert into {target} from {name}")
    if comment:
        connection.execute(f"comment on table {target} is {literal(comment)}")
    columns = connection.execute(
        "select column_name, comment from duckdb_columns() where comment is not null and "
        'format(\'"{}"."{}"."{}"\', database_name, schema_name, table_name) = ?',
        [name],
    ).fetchall()
    for column, words in columns:
        connection.execute(f"comment on column {target}.{quoted(column)} is {literal(words)}")
