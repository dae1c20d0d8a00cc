"""A program: some of the analysts' connections, each asking in a loop until standard input ends; one answer a line.

Arguments: the way in which they connect (`connect`, `session` or `plain`), and how many. An answer is the stamps of two
marts side by side, as one query has found them; or the error, after "FAILED".
"""

import csv
import io
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import duckdb

from warehouse import access
from warehouse.layout import layout

QUERY = """
    select distinct fct_sale.stamp as sold, dim_shop.stamp as shop, (select count(*) from marts.fct_sale) as sales
    from marts.fct_sale cross join marts.dim_shop where fct_sale.stamp <> 0"""
REST_S = 0.3
Ask = Callable[[], list[tuple[object, ...]]]


@contextmanager
def connect() -> Iterator[Ask]:
    """A connection of `access.connect()` for every question."""

    def ask() -> list[tuple[object, ...]]:
        with access.connect(threads=1, memory_limit="100MB") as connection:
            return connection.execute(QUERY).fetchall()

    yield ask


@contextmanager
def session() -> Iterator[Ask]:
    """One session that follows the versions."""
    from warehouse.output import Target
    from warehouse.session import Session

    out = io.StringIO()
    with Session(Target(out), "csv") as it:

        def ask() -> list[tuple[object, ...]]:
            out.seek(0)
            out.truncate()
            it.answer(QUERY)
            return [tuple(row) for row in list(csv.reader(out.getvalue().splitlines()))[1:]]

        yield ask


@contextmanager
def plain() -> Iterator[Ask]:
    """DuckDB's own connection to the pointer's path, opened anew for every question."""

    def ask() -> list[tuple[object, ...]]:
        with duckdb.connect(str(layout().pointer), read_only=True, config={"threads": 1}) as connection:
            return connection.execute(QUERY).fetchall()

    yield ask


def analyse(way: str, stop: threading.Event, said: threading.Lock) -> None:
    """Ask until told to stop."""
    try:
        with {"connect": connect, "session": session, "plain": plain}[way]() as ask:
            while not stop.wait(REST_S):
                found = ask()
                with said:
                    print(found, flush=True)
    except Exception as error:
        with said:
            print(f"FAILED {type(error).__name__}: {error}", flush=True)


if __name__ == "__main__":
    os.nice(5)  # fifty people must not starve the publishes
    stop, said = threading.Event(), threading.Lock()
    threads = [threading.Thread(target=analyse, args=(sys.argv[1], stop, said)) for _ in range(int(sys.argv[2]))]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join()
