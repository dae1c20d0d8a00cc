"""Watershed: the command `watershed`, and `watershed.connect()` for analysts' Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb


def connect(shop: str | None = None) -> duckdb.DuckDBPyConnection:
    """A read-only DuckDB connection to the published warehouse (schemas `marts` and `metrics`).

    Raises PlatformError if nothing was published yet.
    """
    from orchestration import site
    from warehouse import access

    site.enter(shop)
    return access.connect()
