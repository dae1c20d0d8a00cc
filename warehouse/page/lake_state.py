"""How fresh the lake's tables are and what lies in quarantine, from the Delta logs: no data is read for freshness."""

import datetime
import json
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lake import commit, quarantine
from lake.layout import DAY_COLUMNS, Address, Lake
from warehouse.page.record import Freshness, Held

HOURS = {"minute": 1 / 60, "hour": 1, "day": 24}


def freshness(lake: Lake, sources: Iterable[Mapping[str, Any]], now: datetime.datetime) -> tuple[Freshness, ...]:
    """The state of the tables behind dbt's `sources` (the manifest's nodes). Raises PlatformError without a lake."""
    found = []
    for source in sorted(sources, key=lambda node: (node["source_name"], node["name"])):
        one = _freshness(lake, source, now)
        if one is not None:
            found.append(one)
    return tuple(found)


def held(lake: Lake, sources: Iterable[Mapping[str, Any]]) -> tuple[Held, ...]:
    """What lies in quarantine of the same tables, most first. Raises PlatformError without a lake."""
    found = [
        Held(f"{source['source_name']}.{source['name']}", one.reason, one.rows, one.values)
        for source in sources
        for one in quarantine.summary(lake, Address("quarantine", source["source_name"], source["name"]))
    ]
    return tuple(sorted(found, key=lambda one: (-one.rows - one.values, one.table, one.reason)))


def _freshness(lake: Lake, source: Mapping[str, Any], now: datetime.datetime) -> Freshness | None:
    name, table = source["source_name"], source["name"]
    processed = commit.table(lake, Address("processed", name, table))
    if processed is None:
        return None
    raw = commit.table(lake, Address("raw", name, table.removesuffix("_history")))
    state = commit.state(raw)
    loaded_at = _instant(state.get("loaded_at"))
    limit = _limit_hours(source)
    actions = pa.table(processed.get_add_actions(flatten=True))
    column, newest = _newest(actions, state)
    return Freshness(
        table=f"{name}.{table}",
        rows=int(pc.sum(actions["num_records"]).as_py() or 0),
        event_column=column,
        newest=newest,
        loaded_at=loaded_at.isoformat(timespec="seconds") if loaded_at else None,
        limit_hours=limit,
        is_stale=bool(limit and loaded_at and now - loaded_at > datetime.timedelta(hours=limit)),
    )


def _newest(actions: pa.Table, state: Mapping[str, Any]) -> tuple[str, str | None]:
    """The column that dates a row (its partition, or its cursor), and its greatest value as the log has it."""
    declared = json.loads(state.get("declared") or "{}")
    for column in (declared.get("partition"), declared.get("cursor")):
        name = f"max.{column}"
        if column and name in actions.column_names and actions.num_rows:
            value = pc.max(actions[name]).as_py()
            if isinstance(value, datetime.datetime):
                return column, value.replace(tzinfo=value.tzinfo or datetime.UTC).isoformat(timespec="seconds")
            if isinstance(value, datetime.date):
                return column, value.isoformat()
    return declared.get("partition") or "", _newest_day(actions)


def _newest_day(actions: pa.Table) -> str | None:
    names = [f"partition.{name}" for name in DAY_COLUMNS]
    if not actions.num_rows or not set(names) <= set(actions.column_names):
        return None
    days = ("-".join(map(str, day)) for day in zip(*(actions[name].to_pylist() for name in names), strict=True))
    return max(days)


def _limit_hours(source: Mapping[str, Any]) -> int | None:
    allowed = ((source.get("freshness") or {}).get("warn_after")) or {}
    count, period = allowed.get("count"), allowed.get("period")
    return int(count * HOURS[period]) if count and period in HOURS else None


def _instant(text: str | None) -> datetime.datetime | None:
    return datetime.datetime.fromisoformat(text) if text else None
