"""Watershed: the command `watershed`; `watershed.connect()` and `watershed.metric()` for analysts' Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    import duckdb


def connect(
    shop: str | None = None,
    as_of: str | None = None,
    *,
    memory_limit: str | None = None,
    threads: int | None = None,
    locked: bool = False,
) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection to the published warehouse, the lake and the metrics store, all read-only.

    The marts need no schema (`fct_sales`), the lake's tables are `source.table`, the hypertables and their roll-ups
    `metrics_store.table`; `metrics_all.table` has their rows and those that went to the lake. It keeps showing the
    version in force now; connect again to see a newer one. If the metrics
    server does not answer, the rest works, and a question to it says so.

    Args:
        shop: Which shop; the variable SHOP, or `retail`, if not given.
        as_of: Warehouse and lake as they were: `2026-11-20` (its end, UTC) or `2026-11-20T12:00Z`. The metrics store
            is as it is now.
        memory_limit: As `4GB`; what needs more spills to disk. SQL_MEMORY_LIMIT, or 2GB, if not given.
        threads: SQL_THREADS, or 2, if not given.
        locked: Shut out all other files, servers, extensions and settings, for SQL that somebody else wrote. Otherwise
            the connection reads and writes files of your own, with your own rights.

    Raises:
        PlatformError: nothing was published yet (or by then), or what is there cannot be read.
    """
    from orchestration import site
    from warehouse import connection
    from watershed.stand_ins import metrics_tables

    site.enter(shop)
    return connection.everything(as_of, memory_limit, threads, locked=locked, tables=metrics_tables)


def metric(
    names: str,
    by: str = "",
    *,
    where: Sequence[str] = (),
    since: date | None = None,
    until: date | None = None,
    order: str = "",
    limit: int | None = None,
    shop: str | None = None,
) -> duckdb.DuckDBPyRelation:
    """The answer of `watershed metric` as a DuckDB relation: `metric("revenue", "month,region").df()`.

    Raises PlatformError if a name is not known, or nothing was published yet.
    """
    from orchestration import site
    from warehouse import semantics

    site.enter(shop)
    asked, groups, columns = ([it.strip() for it in text.split(",") if it.strip()] for text in (names, by, order))
    return semantics.ask(asked, groups, where=where, since=since, until=until, order=columns, limit=limit)[1]
