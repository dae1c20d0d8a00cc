"""Incidents: what is odd at the same time and has the same cause, from its beginning to its end, told once each.

They are kept in `metrics._incidents`. Looking reads only; noting writes them down; telling sends what was not told yet.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from lake import duck
from metrics import anomaly, anomaly_values
from metrics.anomaly_spec import Anomalies, Watch
from metrics.server import Connection, connected, lock, one
from metrics.spec import SCHEMA, Hypertable, Spec

BACK = timedelta(days=7)  # so far back is looked each time: late rows, and days on which nobody looked
STALE = timedelta(days=2)  # what was over so long before the newest data when it was first seen is not told
SAID = 10  # series that an alert lists
Alert = dict[str, str]

ODD = pa.schema(
    [
        pa.field("cause", pa.string()),
        pa.field("hypertable", pa.string()),
        *anomaly.VALUES,
        pa.field("expected", pa.float64()),
        pa.field("off", pa.float64()),
        pa.field("limit", pa.float64()),
    ]
)


@dataclass(frozen=True)
class Look:
    """What a look at one hypertable showed: how many values were judged, which were odd (`ODD`), and up to where.

    `horizon` is None if there was nothing to judge.
    """

    hypertable: str
    judged: int
    odd: pa.Table
    horizon: datetime | None


@dataclass(frozen=True)
class Part:
    """One value of one series that was odd in an incident; `value` and `expected` where it was furthest off."""

    hypertable: str
    series: str
    name: str
    first_at: str
    last_at: str
    value: float
    expected: float

    def __str__(self) -> str:
        """`sales_hourly store_id 3: order_count_sum 0, expected 41`."""
        return f"{self.hypertable} {self.series}: {self.name} {self.value:,.6g}, expected {self.expected:,.6g}"


@dataclass(frozen=True)
class Incident:
    """An incident; it is open while `ended_at` is None. Instants have a time zone."""

    id: int
    cause: str
    first_at: datetime
    last_at: datetime
    ended_at: datetime | None
    parts: tuple[Part, ...]

    def __str__(self) -> str:
        """One line: its cause, when it was, and what was odd."""
        until = f"until {self.last_at:%Y-%m-%d %H:%M} UTC" if self.ended_at else "and still going on"
        said = "; ".join(str(part) for part in self.parts[:SAID])
        more = f"; and {len(self.parts) - SAID} more" if len(self.parts) > SAID else ""
        return f"{self.cause}: odd since {self.first_at:%Y-%m-%d %H:%M} UTC {until}: {said}{more}"


def looks(dsn: str, declared: Spec, anomalies: Anomalies, now: datetime) -> list[Look]:
    """Judge what the last days brought; one look for each hypertable that is watched. Reads only.

    Raises PermanentError if the declaration was not applied, TransientError if the server does not answer.
    """
    found: dict[str, list[Look]] = {}
    with connected(dsn, read_only=True) as connection:
        for watch in anomalies.watches:
            seen = _look(connection, declared[watch.hypertable], watch, now)
            found.setdefault(watch.hypertable, []).append(seen)
    return [_together(name, seen) for name, seen in found.items()]


def note(dsn: str, looks: Sequence[Look], quiet: timedelta, now: datetime) -> None:
    """Write down what the looks show: new incidents, those that go on, those that are over. Twice is as once."""
    with connected(dsn) as connection, connection.transaction():
        lock(connection, "_incidents")
        horizons = {look.hypertable: look.horizon for look in looks}
        for cause, began, ended, found in _runs(looks, quiet):
            parts = [Part(**part) for part in found]
            newest = max(at for part in parts if (at := horizons[part.hypertable]))
            told = now if ended < newest - STALE else None
            _enter(connection, cause, (began, ended), parts, quiet, told)
        for incident in _read(connection, "ended_at IS NULL"):
            if _is_over(incident, horizons, quiet):
                connection.execute(f"UPDATE {_TABLE} SET ended_at = %s WHERE id = %s", (now, incident.id))


def tell(dsn: str, post: Callable[[Alert], object], now: datetime) -> int:
    """Send an alert for each incident that has begun and each that is over, if that was not told yet; how many.

    Each is marked as told once `post` has returned, so that one which could not be sent is sent the next time. What
    `post` raises ends the telling.
    """
    told = 0
    while True:
        with connected(dsn) as connection, connection.transaction():
            found = list(_read(connection, _UNTOLD, " LIMIT 1 FOR UPDATE SKIP LOCKED"))
            if not found:
                return told
            post(alert(found[0]))
            connection.execute(_TOLD, (now, now, found[0].id))
        told += 1


def alert(incident: Incident) -> Alert:
    """What is sent of an incident: that it began, or that it is over."""
    said = {
        "event": "anomaly_over" if incident.ended_at else "anomaly",
        "cause": incident.cause,
        "since": incident.first_at.isoformat(),
        "series": str(len(incident.parts)),
        "message": str(incident),
    }
    return said | ({"until": incident.last_at.isoformat()} if incident.ended_at else {})


def known(dsn: str, since: datetime, hypertable: str | None = None) -> list[Incident]:
    """Open incidents, and those whose last odd value is no older than `since`; the newest first."""
    with connected(dsn, read_only=True) as connection:
        if one(connection, "SELECT to_regclass(%s)", (_TABLE,)) is None:
            return []
        found = list(_read(connection, "ended_at IS NULL OR last_at >= %s", "", (since,)))
    return [
        one for one in reversed(found) if not hypertable or any(part.hypertable == hypertable for part in one.parts)
    ]


def _look(connection: Connection, hypertable: Hypertable, watch: Watch, now: datetime) -> Look:
    until = anomaly_values.horizon(connection, hypertable, watch, now)
    if until is None:
        return Look(hypertable.name, 0, ODD.empty_table(), None)
    since = until - BACK
    values = anomaly_values.values(connection, hypertable, watch, since - anomaly.past(watch), until)
    judged = anomaly.judged(values, watch)
    with duck.connect() as database:
        database.register("judged", judged)
        recent = database.execute("FROM judged WHERE measured_at >= ?", [since]).to_arrow_table()
    odd = recent.filter(recent["is_odd"])
    series = [json.loads(text) for text in odd["series"].to_pylist()]
    words = [" ".join(f"{key} {value}" for key, value in sorted(one.items())) for one in series]
    odd = odd.set_column(odd.schema.get_field_index("series"), "series", pa.array(words, pa.string()))
    causes = [_cause(watch, one, f"{hypertable.name} {said}") for one, said in zip(series, words, strict=True)]
    odd = odd.append_column("cause", pa.array(causes, pa.string()))
    odd = odd.append_column("hypertable", pa.repeat(hypertable.name, odd.num_rows))
    return Look(hypertable.name, recent.num_rows, odd.select(ODD.names).cast(ODD), until)


def _cause(watch: Watch, series: dict[str, Any], itself: str) -> str:
    """What stands behind a series; without a declared cause it is the series itself."""
    return watch.cause.of({key: str(value) for key, value in series.items()}) if watch.cause else itself


def _together(name: str, seen: Sequence[Look]) -> Look:
    horizons = [look.horizon for look in seen if look.horizon]
    odd = pa.concat_tables([look.odd for look in seen])
    return Look(name, sum(look.judged for look in seen), odd, min(horizons, default=None))


def _runs(looks: Sequence[Look], quiet: timedelta) -> list[tuple[str, datetime, datetime, list[dict[str, Any]]]]:
    """The looks' odd values as incidents: cause, beginning, end, parts."""
    odd = pa.concat_tables([ODD.empty_table(), *(look.odd for look in looks)])
    with duck.connect() as connection:
        connection.register("odd", odd)
        connection.register("runs", anomaly.runs(odd, quiet))
        return connection.execute(_PARTS).fetchall()


def _enter(
    connection: Connection,
    cause: str,
    span: tuple[datetime, datetime],
    parts: list[Part],
    quiet: timedelta,
    told: datetime | None,
) -> None:
    """Write one run down: as a part of the incident it belongs to, or as a new one, `told` or still to be told."""
    began, ended = span
    near = "cause = %s AND first_at <= %s AND last_at >= %s"
    held = list(_read(connection, near, "", (cause, ended + quiet, began - quiet)))
    if not held:
        connection.execute(_NEW, (cause, began, ended, told, told, _stored(parts)))
        return
    incident = next((one for one in held if one.ended_at is None), held[-1])
    grown = _merged(incident.parts, parts)
    if incident.first_at <= began and ended <= incident.last_at and grown == incident.parts:
        return
    connection.execute(_GROWN, (began, ended, ended, ended, _stored(grown), incident.id))


def _merged(held: Sequence[Part], came: Sequence[Part]) -> tuple[Part, ...]:
    parts = {(part.hypertable, part.series, part.name): part for part in held}
    for part in came:
        before = parts.get((part.hypertable, part.series, part.name), part)
        first, last = min(before.first_at, part.first_at), max(before.last_at, part.last_at)
        furthest = max(before, part, key=lambda one: abs(one.value - one.expected))
        merged = Part(part.hypertable, part.series, part.name, first, last, furthest.value, furthest.expected)
        parts[part.hypertable, part.series, part.name] = merged
    return tuple(parts[key] for key in sorted(parts))


def _is_over(incident: Incident, horizons: dict[str, datetime | None], quiet: timedelta) -> bool:
    """Whether all of its hypertables that are watched have been judged for long enough after it.

    Where nothing comes in any more nothing is judged, so it goes on.
    """
    of_it = [horizons[name] for name in {part.hypertable for part in incident.parts} if name in horizons]
    return all(at is not None and at - quiet > incident.last_at for at in of_it)


def _read(
    connection: Connection, condition: str, more: str = "", values: tuple[object, ...] = ()
) -> Iterator[Incident]:
    rows = connection.execute(
        f"SELECT id, cause, first_at, last_at, ended_at, series FROM {_TABLE} WHERE {condition}"
        f" ORDER BY first_at, id{more}",
        values or None,
    ).fetchall()
    for id, cause, first_at, last_at, ended_at, series in rows:
        yield Incident(id, cause, first_at, last_at, ended_at, tuple(Part(**part) for part in series))


def _stored(parts: Sequence[Part]) -> str:
    return json.dumps([asdict(part) for part in parts])


_TABLE = f"{SCHEMA}._incidents"
_UNTOLD = "began_told_at IS NULL OR (ended_at IS NOT NULL AND end_told_at IS NULL)"
_TOLD = f"""
    UPDATE {_TABLE} SET began_told_at = coalesce(began_told_at, %s),
        end_told_at = CASE WHEN ended_at IS NOT NULL THEN %s END
    WHERE id = %s
"""
_NEW = f"""
    INSERT INTO {_TABLE} (cause, first_at, last_at, began_told_at, end_told_at, series) VALUES (%s, %s, %s, %s, %s, %s)
"""
# What goes on again after its end was told is open again, and its end will be told again.
_GROWN = f"""
    UPDATE {_TABLE} SET first_at = least(first_at, %s), last_at = greatest(last_at, %s),
        end_told_at = CASE WHEN last_at < %s THEN NULL ELSE end_told_at END,
        ended_at = CASE WHEN last_at < %s THEN NULL ELSE ended_at END, series = %s
    WHERE id = %s
"""
_PARTS = """
SELECT cause, began, ended, list({
    'hypertable': hypertable, 'series': series, 'name': name, 'first_at': first_at, 'last_at': last_at,
    'value': value, 'expected': expected} ORDER BY hypertable, series, name)
FROM (
    SELECT odd.cause, began, ended, hypertable, series, name,
        strftime(min(measured_at), '%Y-%m-%dT%H:%M:%SZ') AS first_at,
        strftime(max(measured_at), '%Y-%m-%dT%H:%M:%SZ') AS last_at,
        arg_max(value, abs(off)) AS value, arg_max(expected, abs(off)) AS expected
    FROM odd JOIN runs ON odd.cause = runs.cause AND measured_at BETWEEN began AND ended
    GROUP BY ALL
)
GROUP BY cause, began, ended
ORDER BY began, cause
"""
