"""A small source of its own for a test: a table in a real PostgreSQL, its declaration, and a lake to load it into."""

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from ingestion import load
from ingestion.load import Loaded
from ingestion.spec import Source, Table
from lake import commit, read
from lake.fold import Folded, fold, fold_history
from lake.layout import Address, Lake

# For a behaviour that does not depend on where the lake is: a test on S3 takes twenty times as long.
on_folder = pytest.mark.parametrize("lake_root", ["folder"], indirect=True)
# For one that depends on S3, but not on which server: what is about commits, folds and faults runs on all.
on_ceph = pytest.mark.parametrize("lake_root", ["folder", "ceph"], indirect=True)
VARIABLE = "TRIAL_DSN"
SALT = "a long and random text for tests"
ORDERS = """create table orders (
    order_id bigint primary key, customer_email text, amount numeric(12, 2), ordered_at timestamptz not null,
    updated_at timestamptz not null default clock_timestamp())"""
DECLARED: dict[str, Any] = {
    "name": "orders",
    "key": ["order_id"],
    "cursor": "updated_at",
    "partition": "day(ordered_at)",
    "deletes": "sweep",
}


@dataclass
class Trial:
    """One table, from source to processed."""

    connection: psycopg.Connection
    lake: Lake
    declared: dict[str, Any] = field(default_factory=lambda: dict(DECLARED))

    @property
    def source(self) -> Source:
        return Source(name="trial", connector="postgres", connection=VARIABLE, tables=[self.table])

    @property
    def table(self) -> Table:
        return Table(**self.declared)

    @property
    def name(self) -> str:
        return str(self.declared["name"])

    def declare(self, **changes: Any) -> None:
        self.declared |= changes

    def sql(self, statement: str, values: Any = None) -> None:
        self.connection.execute(statement, values)

    def order(self, number: int, day: str = "2026-01-05", amount: Any = 10, **more: Any) -> None:
        """Insert one order at noon of `day`."""
        row = {"order_id": number, "amount": amount, "ordered_at": f"{day} 12:00:00+00", **more}
        names, places = ", ".join(row), ", ".join(f"%({name})s" for name in row)
        self.sql(f"insert into orders ({names}) values ({places})", row)

    def orders(self, count: int, day: str = "2026-01-05", first: int = 1) -> None:
        """Insert `count` orders of one day in one statement."""
        self.sql(
            "insert into orders (order_id, amount, ordered_at) select n, n, %s from generate_series(%s, %s::bigint) n",
            [f"{day} 12:00:00+00", first, first + count - 1],
        )

    def load(self, **options: Any) -> Loaded:
        """Load what changed and leave it in raw."""
        return load.changes(self.lake, self.source, self.table, **options)

    def fold(self) -> Folded:
        folded = fold(self.lake, load.subject(self.source, self.table))
        if self.table.history:
            fold_history(self.lake, load.subject(self.source, self.table))
        return folded

    def run(self, **options: Any) -> Loaded:
        """Load what changed and fold it."""
        loaded = self.load(**options)
        self.fold()
        return loaded

    def reload(self, first: str, last: str | None = None) -> Loaded:
        """Load whole days again and fold them."""
        days = [datetime.date.fromisoformat(day) for day in (first, last or first)]
        loaded = load.days(self.lake, self.source, self.table, days[0], days[1])
        self.fold()
        return loaded

    def address(self, zone: Any = "processed", suffix: str = "") -> Address:
        return Address(zone, "trial", self.name + suffix)

    def version(self, zone: str = "processed", suffix: str = "") -> int:
        """The version of a lake table; -1 if there is none."""
        delta = commit.table(self.lake, self.address(zone, suffix))
        return -1 if delta is None else delta.version()

    def versions(self) -> dict[str, int]:
        return {zone: self.version(zone) for zone in ("raw", "processed", "quarantine")}

    def rows(self, columns: str = "*", zone: str = "processed", suffix: str = "", where: str = "TRUE") -> list[Any]:
        """Rows of a lake table, sorted by all `columns`."""
        query = f"SELECT {columns} FROM {read.relation(self.lake, self.address(zone, suffix))} WHERE {where}"
        with read.connect(self.lake) as connection:
            return connection.execute(f"{query} ORDER BY ALL").fetchall()

    def at_source(self, columns: str) -> list[Any]:
        return sorted(self.connection.execute(f"select {columns} from {self.name}").fetchall(), key=repr)

    def assert_same(self, columns: str = "order_id, amount, ordered_at, updated_at") -> None:
        """Processed holds exactly the source's rows, each key once."""
        assert sorted(self.rows(columns), key=repr) == self.at_source(columns)


@contextmanager
def trial(dsn: str, root: str, schema: str = ORDERS, **declared: Any) -> Iterator[Trial]:
    """A trial on an empty database; `declared` changes the declaration of table orders."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("set timezone = 'UTC'")
        if schema:
            connection.execute(schema)
        yield Trial(connection, Lake(root), DECLARED | declared)
