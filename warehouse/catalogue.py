"""What a session can ask of: tables, columns and functions of warehouse, lake and metrics store, as psql lists them."""

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field

import duckdb

from lake.duck import literal, quoted
from warehouse import metrics_store

TABLES = """
    select database_name, schema_name, table_name, split_part(comment, '. ', 1)
    from duckdb_tables() where database_name in ('warehouse', 'temp', $store)
    union all
    select database_name, schema_name, view_name, comment from duckdb_views() where database_name = $all
    order by all"""
COLUMNS = """
    select
        column_name as "column", data_type as "type", if(is_nullable, '', 'not null') as "null",
        comment as "description"
    from duckdb_columns()
    where
        case database_name
            when 'warehouse' then list_contains([table_name, schema_name || '.' || table_name], $name)
            when 'temp' then table_name = $name
            else database_name || '.' || table_name = $name or database_name || '.main.' || table_name = $name
        end
    order by database_name, schema_name, column_index"""


@dataclass(frozen=True)
class Names:
    """Names that completion offers: the tables of each schema with their columns, and the functions."""

    tables: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    functions: tuple[str, ...] = ()


def tables(
    connection: duckdb.DuckDBPyConnection, lake: Mapping[str, str], pattern: str = "*"
) -> duckdb.DuckDBPyRelation | None:
    """The tables whose name matches `pattern` (`fct_*`, `shop.*`); `lake` says of the lake's what each shows.

    None if there is none. Rows are counted in the warehouse only: elsewhere that is work for a server.
    """
    found = connection.execute(TABLES, {"store": metrics_store.NAME, "all": metrics_store.ALL}).fetchall()
    here = [(_home(database, schema), database, schema, name, comment) for database, schema, name, comment in found]
    listed = [
        f'select {literal(home)} as "schema", {literal(name)} as "table", {_rows(database, schema, name)} as "rows", '
        f'{literal(comment or "")} as "description"'
        for home, database, schema, name, comment in here
        if _matches(pattern, home, name)
    ]
    for full, shows in lake.items():
        source, _, name = full.partition(".")
        if _matches(pattern, source, name):
            listed.append(f"select {literal(source)}, {literal(name)}, null::bigint, {literal(shows)}")
    return connection.query(" union all ".join(listed)) if listed else None


def columns(connection: duckdb.DuckDBPyConnection, name: str) -> duckdb.DuckDBPyRelation | None:
    """The columns of a table with their meaning; None if there is no such table."""
    found = connection.query(COLUMNS, params={"name": name.replace('"', "")})
    return found if len(found) else None


def names(connection: duckdb.DuckDBPyConnection) -> Names:
    """All names there are now."""
    by_schema: dict[str, dict[str, list[str]]] = {}
    rows = connection.execute(
        """
        select database_name, schema_name, table_name, column_name from duckdb_columns()
        where not internal order by database_name, schema_name, table_name, column_index"""
    ).fetchall()
    for database, schema, table, column in rows:
        by_schema.setdefault(_home(database, schema), {}).setdefault(table, []).append(column)
    functions = connection.execute(
        """
        select distinct function_name from duckdb_functions()
        where regexp_matches(function_name, '^[a-z][a-z0-9_]{2,}$') and not starts_with(function_name, 'pg_')
        order by 1"""
    ).fetchall()
    tables = {home: {table: tuple(names) for table, names in held.items()} for home, held in by_schema.items()}
    return Names(tables, tuple(name for (name,) in functions))


def _home(database: str, schema: str) -> str:
    """What stands before a table's name: the schema in the warehouse, elsewhere the database."""
    return schema if database == "warehouse" else database


def _rows(database: str, schema: str, name: str) -> str:
    if database in (metrics_store.NAME, metrics_store.ALL):
        return "null::bigint"
    return f"(select count(*) from {quoted(database)}.{quoted(schema)}.{quoted(name)})"


def _matches(pattern: str, home: str, name: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(f"{home}.{name}", pattern)
