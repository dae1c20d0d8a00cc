"""A small source on MariaDB or MySQL for a test: a table, its declaration, and a lake to load it into."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import fix_servers
from trial_source import DECLARED, VARIABLE, Trial

from ingestion.spec import Source
from lake.layout import Lake

ORDERS = """create table orders (
    order_id bigint primary key, customer_email varchar(200), amount decimal(12, 2), ordered_at timestamp not null,
    updated_at timestamp(6) not null default current_timestamp(6) on update current_timestamp(6))"""


@dataclass
class MySQLTrial(Trial):
    """One table, from source to processed; `more` are further keys of the source's declaration."""

    @property
    def source(self) -> Source:
        return Source(name="trial", connector="mysql", connection=VARIABLE, tables=[self.table], **self.more)

    more: Any = None

    def sql(self, statement: str, values: Any = None) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(statement, values)

    def order(self, number: int, day: str = "2026-01-05", amount: Any = 10, **more: Any) -> None:
        super().order(number, amount=amount, **{"ordered_at": f"{day} 12:00:00", **more})

    def orders(self, count: int, day: str = "2026-01-05", first: int = 1) -> None:
        rows = [(number, number, f"{day} 12:00:00") for number in range(first, first + count)]
        with self.connection.cursor() as cursor:
            cursor.executemany("insert into orders (order_id, amount, ordered_at) values (%s, %s, %s)", rows)

    def ask(self, query: str) -> list[Any]:
        with self.connection.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())

    def at_source(self, columns: str) -> list[Any]:
        return sorted(self.ask(f"select {columns} from {self.name}"), key=repr)


@contextmanager
def mysql_trial(dsn: str, root: str, schema: str = ORDERS, **declared: Any) -> Iterator[MySQLTrial]:
    """A trial on an empty database; `declared` changes the declaration of table orders."""
    more = declared.pop("source", {})
    with fix_servers.mysql(dsn) as connection:
        trial = MySQLTrial(connection, Lake(root), DECLARED | declared, more)  # type: ignore[arg-type]
        if schema:
            trial.sql(schema)
        yield trial
