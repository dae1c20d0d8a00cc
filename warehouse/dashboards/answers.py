"""The panels' queries put to the metrics store by the role that may only read it."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import duckdb

from lake import duck
from lake.errors import redact
from warehouse import metrics_store
from warehouse.dashboards.described import Dashboard, Panel
from warehouse.dashboards.macros import quoted, seconds, written_out

EVERY = "1d"  # the finest width of buckets on a page of weeks
REPEATED = 12  # values of a variable for which a panel is drawn again; the first of them


@dataclass(frozen=True)
class Answer:
    """What a panel's query answered, in a stretch of time; `trouble` says in a sentence why it did not.

    A panel that is repeated has the variable's value as a first column, called `each`; `left_out` values of it are not
    among the rows.
    """

    panel: Panel
    since: datetime
    until: datetime
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    trouble: str | None = None
    left_out: int = 0


def answers(chosen: Iterable[Dashboard], ends: Mapping[str, datetime]) -> dict[str, tuple[Answer, ...]]:
    """The panels with `page: true` of every dashboard, by its uid; its time ends by the clock it names.

    Raises PlatformError if the metrics store cannot be read at all; what is wrong with one panel stands in its answer.
    """
    with duck.connect() as connection:
        connection.execute("SET memory_limit = '512MB'; SET threads = 2")
        if trouble := metrics_store.attach(connection):
            raise trouble
        return {it.uid: tuple(_of(connection, it, ends[it.clock])) for it in chosen}


def _of(connection: duckdb.DuckDBPyConnection, dashboard: Dashboard, until: datetime) -> Iterator[Answer]:
    midnight = until.replace(hour=0, minute=0, second=0, microsecond=0)
    since = midnight - timedelta(days=dashboard.days - 1)
    for panel in (it for it in dashboard.panels if it.page):
        try:
            yield _answer(connection, dashboard, panel, since, until)
        except duckdb.Error as error:
            if metrics_store.is_its(error) and "ERROR:" not in str(error):  # not of this query, but of the connection
                raise metrics_store.unreachable(error) from None
            yield Answer(panel, since, until, trouble=_in_words(error))


def _in_words(error: duckdb.Error) -> str:
    """What the server said, without the query."""
    if "permission denied" in str(error) or "statement timeout" in str(error):
        return f"{metrics_store.unreachable(error)}."
    said = re.search(r"ERROR:\s+(.*)", str(error))
    what = redact(said[1] if said else str(error).splitlines()[0]).rstrip(".")
    mend = "; `watershed metrics apply` makes what is missing" if "does not exist" in what else ""
    return f"This could not be read: {what}{mend}."


def _answer(
    connection: duckdb.DuckDBPyConnection, dashboard: Dashboard, panel: Panel, since: datetime, until: datetime
) -> Answer:
    every = max(panel.every, EVERY, key=seconds)
    # All values of a variable are a subquery: nothing is read beforehand.
    values = {it.name: it.sql.strip() for it in dashboard.variables}

    def ask(values: Mapping[str, str]) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        return _asked(connection, written_out(panel.sql, since, until, every, values))

    if panel.repeat is None:
        columns, rows = ask(values)
        return Answer(panel, since, until, columns, tuple(rows))
    _, found = _asked(connection, values[panel.repeat])
    columns, together = (), []
    for (value,) in found[:REPEATED]:
        columns, rows = ask({**values, panel.repeat: quoted([value])})
        together += [(str(value), *row) for row in rows]
    left_out = max(len(found) - REPEATED, 0)
    return Answer(panel, since, until, ("each", *columns), tuple(together), left_out=left_out)


def _asked(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    # Not as parameters: DuckDB imports pandas for them, which takes as long as all the queries.
    found = connection.execute(f"FROM postgres_query({duck.literal(metrics_store.NAME)}, {duck.literal(query)})")
    return tuple(column[0] for column in found.description), found.fetchall()


def series(answer: Answer) -> dict[str, list[tuple[datetime, float]]]:
    """A plot's points by the name of their series, in order of time; the largest series first."""
    found: dict[str, list[tuple[datetime, float]]] = {}
    has_names = "metric" in answer.columns
    for row in answer.rows:
        named = [(str(row[1]), row[2])] if has_names else zip(answer.columns[1:], row[1:], strict=True)
        for name, value in named:
            if value is not None:
                found.setdefault(name, []).append((row[0], float(value)))
    return dict(sorted(found.items(), key=lambda it: -sum(value for _, value in it[1])))
