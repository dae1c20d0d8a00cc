"""Quarantine: rows and values that may not enter a table, kept with the reason; nothing is lost silently."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb

from lake.gate import Gate
from lake.layout import Lake

if TYPE_CHECKING:
    from lake.intake import Load


def record(
    connection: duckdb.DuckDBPyConnection, lake: Lake, load: Load, relation: str, number: str, entry: Gate
) -> None:
    """Append what `gate.faults` has listed of `relation` and quarantine does not hold yet, in one commit."""
    raise NotImplementedError
