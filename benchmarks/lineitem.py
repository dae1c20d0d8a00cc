"""TPC-H `lineitem` in the servers that extraction is measured on: made once per scale, in a database of its own.

Run as a program it fills one server (`python -m benchmarks.lineitem postgres 0.1`, BENCH_DSN: any database of it), so
that the memory of making the rows is not held by the process that measures.
"""

import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from benchmarks import cpu

VARIABLES = {"postgres": "SHOP_DSN", "mariadb": "MYSQL_DSN"}
DATABASES = {"postgres": "select datname from pg_database", "mariadb": "show databases"}
KEY = "alter table lineitem add primary key (l_orderkey, l_linenumber)"
# By these it is judged whether a copy of the table is one.
FACTS = "select count(*), sum(l_orderkey), sum(l_extendedprice), count(distinct l_shipdate) from lineitem"


@dataclass(frozen=True)
class Place:
    """A database with `lineitem`: which kind of server, the address, and what the table holds."""

    kind: str
    dsn: str
    rows: int
    keys: int
    price: str
    days: int

    @property
    def port(self) -> int:
        """The server's port."""
        return urlsplit(self.dsn).port or {"postgres": 5432, "mariadb": 3306}[self.kind]


def database(kind: str, scale: float) -> str:
    """The name of the database for a scale; on MariaDB the platform's user may make those that begin with `t_`."""
    name = f"bench_extract_sf{scale:g}".replace(".", "_")
    return f"t_{name}" if kind == "mariadb" else name


def place(kind: str, server: str, scale: float) -> Place:
    """Make the database and its table unless they are there; `server` is the DSN of any database on the server."""
    name = database(kind, scale)
    dsn = urlsplit(server)._replace(path=f"/{name}").geturl()
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.lineitem", kind, f"{scale:g}"]
    done = cpu.measured(command, {**os.environ, "BENCH_DSN": server})
    if done.failure:
        raise SystemExit(f"{kind}: lineitem could not be made: {done.failure}")
    return Place(kind, dsn, **{key: value for key, value in done.answer.items() if key != "peak_bytes"})


def drop(kind: str, server: str, scale: float) -> None:
    """Remove the database of a scale."""
    with session(kind, server) as execute:
        execute(f"drop database if exists {database(kind, scale)}")


@contextmanager
def session(kind: str, dsn: str) -> Iterator[Any]:
    """A function that executes SQL, each statement for itself, and answers the rows if there are any."""
    if kind == "postgres":
        import psycopg

        with psycopg.connect(dsn, autocommit=True) as connection:
            yield lambda text: (found := connection.execute(text)).description and found.fetchall()
        return
    with closing(mariadb(dsn)) as connection, connection.cursor() as cursor:
        yield lambda text: [cursor.execute(text), cursor.fetchall()][1]


def mariadb(dsn: str) -> Any:
    """A connection to MariaDB that commits each statement."""
    import pymysql

    words = mariadb_words(dsn)
    return pymysql.connect(**words, charset="utf8mb4", autocommit=True, local_infile=True)


def mariadb_words(dsn: str) -> dict[str, Any]:
    """A DSN as its parts, named as PyMySQL names them."""
    parts = urlsplit(dsn)
    words = {"host": parts.hostname, "port": parts.port or 3306, "user": parts.username, "database": parts.path[1:]}
    return {**words, "password": unquote(parts.password or "")}


def scanner(kind: str, dsn: str) -> Any:
    """A DuckDB connection with the database attached as `source`."""
    from lake import duck

    connection = extended("postgres_scanner" if kind == "postgres" else "mysql_scanner")
    if kind == "postgres":
        connection.execute(f"ATTACH {duck.literal(dsn)} AS source (TYPE postgres)")
        return connection
    words = mariadb_words(dsn)
    names = {"host": "host", "port": "port", "user": "user", "database": "database", "passwd": "password"}
    text = " ".join(f"{theirs}={words[ours]}" for theirs, ours in names.items())
    connection.execute(f"ATTACH {duck.literal(text)} AS source (TYPE mysql)")
    return connection


def extended(name: str) -> Any:
    """A DuckDB connection with an extension from its wheel."""
    spec = importlib.util.find_spec(f"duckdb_extension_{name}")
    if spec is None or spec.origin is None:
        raise SystemExit(f"duckdb-extension-{name}: is not installed; run make install")
    import duckdb

    from lake import duck

    connection = duck.connect()
    file = Path(spec.origin).parent / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension"
    connection.execute(f"INSTALL {duck.literal(str(file))}; LOAD {name}")
    return connection


def _fill(kind: str, server: str, scale: float) -> Mapping[str, Any]:
    name = database(kind, scale)
    dsn = urlsplit(server)._replace(path=f"/{name}").geturl()
    if not _is_filled(kind, server, name):
        _make(kind, server, dsn, name, scale)
    with session(kind, dsn) as execute:
        rows, keys, price, days = execute(FACTS)[0]
    return {"rows": rows, "keys": int(keys), "price": str(price), "days": days}


def _is_filled(kind: str, server: str, name: str) -> bool:
    """Whether the database is there and its table has the key, which it gets last."""
    with session(kind, server) as execute:
        names = {row[0] for row in execute(DATABASES[kind])}
    if name not in names:
        return False
    with session(kind, urlsplit(server)._replace(path=f"/{name}").geturl()) as execute:
        query = "select 1 from information_schema.table_constraints where table_name = 'lineitem'"
        here = "table_schema = database()" if kind == "mariadb" else "table_schema = 'public'"
        return bool(execute(f"{query} and {here} and constraint_type = 'PRIMARY KEY'"))


def _make(kind: str, server: str, dsn: str, name: str, scale: float) -> None:
    with session(kind, server) as execute:
        execute(f"drop database if exists {name}")
        execute(f"create database {name}")
    with closing(extended("tpch")) as maker:
        maker.execute(f"CALL dbgen(sf = {scale})")
        with session(kind, dsn) as execute:
            (_postgres if kind == "postgres" else _mariadb)(maker, dsn, execute)


def _postgres(maker: Any, dsn: str, execute: Any) -> None:
    from lake import duck

    maker.execute(f"LOAD postgres_scanner; ATTACH {duck.literal(dsn)} AS source (TYPE postgres)")
    maker.execute("CREATE TABLE source.lineitem AS FROM lineitem")
    # So that no housekeeping falls into a measurement.
    execute("alter table lineitem set (autovacuum_enabled = false)")
    execute("vacuum (freeze, analyze) lineitem")
    execute(KEY)


def _mariadb(maker: Any, dsn: str, execute: Any) -> None:
    from lake import duck

    columns = maker.execute("SELECT column_name, column_type FROM (DESCRIBE lineitem)").fetchall()
    types = {"VARCHAR": "varchar(64)", "INTEGER": "int"}
    body = ", ".join(f"{name} {types.get(kind, kind)} not null" for name, kind in columns)
    execute(f"create table lineitem ({body}) default charset utf8mb4")
    with tempfile.TemporaryDirectory(prefix="watershed-bench-") as folder:
        file = f"{folder}/lineitem.csv"
        maker.execute(f"COPY lineitem TO {duck.literal(file)} (FORMAT csv, HEADER false, DELIMITER '\t', QUOTE '')")
        execute(f"load data local infile {duck.literal(file)} into table lineitem")
    execute(KEY)
    execute("analyze table lineitem")


if __name__ == "__main__":
    cpu.answer(_fill(sys.argv[1], os.environ["BENCH_DSN"], float(sys.argv[2])))
