"""The Apache-2 edition's upkeep, from its own books: when it last ran well, how long that took, what it has left."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from lake.errors import redact
from metrics.finding import ERRORS, LAG, POLICIES, Finding, Limits, Moment, at, join
from metrics.server import Connection, one
from metrics.spec import Hypertable
from metrics.words import counted, span

UPKEEP = (
    "mend it with `watershed metrics upkeep`, and for good by switching the schedule `metrics_upkeep` on in Dagster"
)


def run(connection: Connection, hypertable: Hypertable, moment: Moment, limits: Limits) -> Finding:
    """Whether upkeep ran since something is due: buckets marked as changed, or chunks past their time."""
    held = books(connection, hypertable)
    last = _instant(held.get("refreshed_at"))
    due_since = _instant(one(connection, _MARKED, (hypertable.name,)))
    figures: dict[str, float | int | str] = {"last_upkeep": at(last)}
    if held.get("upkeep_s") is not None:
        figures["duration_s"] = round(float(held["upkeep_s"]), 3)
    took = f", in {figures['duration_s']} s" if "duration_s" in figures else ""
    is_late = due_since is not None and due_since < moment.server - limits.grace
    if is_late and (last is None or last < moment.server - limits.grace):
        what = f"the platform's upkeep last ran {at(last)}{took}; something is due since {at(due_since)}"
        return Finding(POLICIES, hypertable.name, False, what, UPKEEP, figures=figures)
    return Finding(POLICIES, hypertable.name, True, f"upkeep last ran {at(last)}{took}", figures=figures)


def succeed(connection: Connection, hypertable: Hypertable) -> Finding:
    """Whether the last upkeep ended with an error."""
    held = books(connection, hypertable)
    failed, last = _instant(held.get("failed_at")), _instant(held.get("refreshed_at"))
    if failed and (last is None or failed > last):
        what = f"upkeep failed {at(failed)}: {redact(str(held.get('failure') or 'no message'))[:300]}"
        mend = "mend what the message says, then run `watershed metrics upkeep`"
        return Finding(ERRORS, hypertable.name, False, what, mend, figures={"failed": 1})
    return Finding(ERRORS, hypertable.name, True, "upkeep did not end with an error", figures={"failed": 0})


def lag(connection: Connection, hypertable: Hypertable, moment: Moment) -> Finding:
    """Whether a changed bucket waits for longer than its roll-up's refresh_lag."""
    late, figures = [], dict[str, float | int | str]()
    for bucket in hypertable.rollup_names:
        waiting, since = connection.execute(_WAITING, (hypertable.name, bucket)).fetchone() or (0, None)
        figures[f"{bucket}_waiting"] = waiting
        allowed = hypertable.rollups.every[bucket].refresh_lag if hypertable.rollups else None
        if waiting and since and allowed and moment.server - since > allowed:
            behind = f"roll-up {bucket} lacks {counted(waiting, 'changed bucket')}, the first since {at(since)}"
            late.append(f"{behind}; its refresh_lag is {span(allowed)}")
    if late:
        return Finding(LAG, hypertable.name, False, join(late), UPKEEP, figures=figures)
    return Finding(LAG, hypertable.name, True, "no roll-up is behind its refresh_lag", figures=figures)


def books(connection: Connection, hypertable: Hypertable) -> Mapping[str, Any]:
    """What the platform noted of the hypertable; empty before its first load or upkeep."""
    row = one(connection, "SELECT to_jsonb(held) FROM metrics._state AS held WHERE hypertable = %s", (hypertable.name,))
    return row or {}


def _instant(value: Any) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


_MARKED = "SELECT min(marked_at) FROM metrics._dirty WHERE hypertable = %s"
_WAITING = "SELECT count(*), min(marked_at) FROM metrics._dirty WHERE hypertable = %s AND rollup = %s"
