"""Rows for the tests of the metrics store, and what is in it."""

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pyarrow as pa
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from lake.errors import redact
from metrics import spec, state, upkeep
from metrics.batches import arrow_schema
from metrics.server import connected, edition

NOW = datetime(2026, 6, 15, 10, 30, tzinfo=UTC)


class Address(str):
    """A DSN that pytest prints without its password."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(redact(str(self)))


def emptied(dsn: str, declared: spec.Spec) -> str:
    """The DSN of a database in which the declaration is applied and every hypertable is empty."""
    with connected(dsn) as connection:
        connection.execute("DROP SCHEMA IF EXISTS metrics CASCADE")
        connection.commit()
        state.apply(connection, declared)
    return dsn


def fresh_database(server: str, *, with_extension: bool = True) -> Iterator[str]:
    """A database of its own; a job of it runs only where a test says so, if the role may rule that."""
    name = f"t_metrics_{secrets.token_hex(4)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
    dsn = make_conninfo(server, dbname=name)
    try:
        if with_extension:
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute("CREATE EXTENSION timescaledb")
                if connection.info.parameter_status("is_superuser") == "on":
                    connection.execute("SELECT _timescaledb_functions.stop_background_workers()")
        yield Address(dsn)
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


class Readings:
    """Builds readers of sensor rows: one row per device every `step` from `first`, `count` times."""

    def __init__(self, hypertable: spec.Hypertable) -> None:
        self.hypertable = hypertable
        self.schema = arrow_schema(hypertable)

    def table(
        self, first: datetime, count: int, step: timedelta = timedelta(minutes=10), devices: int = 3, shift: float = 0.0
    ) -> pa.Table:
        rows = [
            (first + step * tick, device, device % 2 + 1, 20.0 + (tick * 7 + device) % 11 / 3 + shift, 50.0, 1013.25)
            for tick in range(count)
            for device in range(1, devices + 1)
        ]
        return pa.Table.from_arrays(
            [pa.array(values, field.type) for values, field in zip(zip(*rows, strict=True), self.schema, strict=True)],
            schema=self.schema,
        )

    def rows(self, *rows: tuple[object, ...]) -> pa.Table:
        return pa.Table.from_pylist([dict(zip(self.schema.names, row, strict=True)) for row in rows], self.schema)


def all_rows(dsn: str, relation: str) -> list[tuple[object, ...]]:
    name = sql.Identifier("metrics", relation)
    with psycopg.connect(make_conninfo(dsn, options="-c timezone=UTC")) as connection:
        return connection.execute(sql.SQL("SELECT * FROM {} ORDER BY 1, 2").format(name)).fetchall()


def summed_up(dsn: str, declared: spec.Spec, now: datetime) -> None:
    """Bring the roll-ups up to date, on the community edition by what its policies would do over all time."""
    upkeep.run(dsn, declared, now)
    with psycopg.connect(dsn, autocommit=True) as connection:
        if edition(connection) == "community":
            for table in declared.hypertables:
                for name in table.rollup_names.values():
                    connection.execute("CALL refresh_continuous_aggregate(%s, NULL, NULL)", (f"metrics.{name}",))


def address(dsn: str, **changed: str) -> str:
    return make_conninfo(**({k: str(v) for k, v in conninfo_to_dict(dsn).items()} | changed))
