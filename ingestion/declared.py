"""What of a table's declaration decides which rows are read and what becomes of them: kept with each load, compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ingestion.spec import Table


def declared(table: Table) -> dict[str, Any]:
    """The part of a declaration that loaded rows depend on, as JSON values; it belongs into the state of a load."""
    return {
        "key": list(table.key),
        "load": table.load,
        "cursor": table.cursor,
        "partition": table.partition.column if table.partition else None,
        "types": {name: column.type for name, column in sorted(table.columns.items()) if column.type},
        "drop": sorted(table.drop),
        "mask": dict(sorted(table.mask.items())),
    }


def reasons_to_read_all(before: Mapping[str, Any], table: Table) -> tuple[str, ...]:
    """Why the whole table has to be read again since the load that kept `before`; empty if nothing asks for it.

    A key that is missing in `before` was not kept by that load and counts as unchanged.
    """
    now = declared(table)
    found = [
        f"{key} was {_words(before[key])} and is {_words(now[key])}"
        for key in ("key", "cursor", "partition")
        if key in before and before[key] != now[key]
    ]
    found += _of_columns("type", before.get("types"), now["types"], "the source's own")
    found += _of_columns("mask", before.get("mask"), now["mask"], "none")
    returned = sorted(set(before.get("drop", [])) - set(now["drop"]))
    found += [f"column {name} is no longer dropped" for name in returned]
    return tuple(found)


def newly_dropped(before: Mapping[str, Any], table: Table) -> tuple[str, ...]:
    """Columns that are dropped now and were not: what the lake holds of them stays there."""
    return tuple(sorted(set(table.drop) - set(before["drop"]))) if "drop" in before else ()


def _of_columns(word: str, before: Mapping[str, str] | None, now: Mapping[str, str], none: str) -> list[str]:
    if before is None:
        return []
    return [
        f"the {word} of {name} was {before.get(name, none)} and is {now.get(name, none)}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]


def _words(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(value)}]"
    return "none" if value is None else str(value)
