"""How a table's declaration differs from the one under which its rows were loaded, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    """What was changed, each in a few words; both are what `ingestion.load.declared` tells, read from its JSON."""
    found = [
        f"{key} was {_words(before.get(key))} and is {_words(now[key])}"
        for key in ("key", "cursor", "partition", "shards")
        if _words(before.get(key)) != _words(now.get(key))
    ]
    found += _of_columns("type", before.get("columns") or {}, now.get("columns") or {}, "the source's own")
    found += _of_columns("mask", before.get("mask") or {}, now.get("mask") or {}, "none")
    found += _of_columns("name at the source", before.get("from") or {}, now.get("from") or {}, "the lake's")
    old, new = set(before.get("drop") or ()), set(now.get("drop") or ())
    found += [f"{name} is dropped from now on" for name in sorted(new - old)]
    found += [f"{name} is no longer dropped" for name in sorted(old - new)]
    return tuple(found)


def newly_dropped(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    """Columns that are dropped now and were not: older versions of the lake's tables still hold them."""
    return tuple(sorted(set(now.get("drop") or ()) - set(before.get("drop") or ()))) if "drop" in before else ()


def _of_columns(word: str, before: Mapping[str, str], now: Mapping[str, str], none: str) -> list[str]:
    return [
        f"the {word} of {name} was {before.get(name, none)} and is {now.get(name, none)}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]


def _words(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(value)}]" if value else "none"
    return "none" if value is None else str(value)
