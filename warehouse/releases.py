"""Which version was put in force when: noted before it is done, so that whoever holds the lock next can finish it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from warehouse.clone import written
from warehouse.layout import Layout
from warehouse.versions import Version, current, versions

REMEMBERED = 500  # entries


@dataclass(frozen=True)
class Release:
    """One version put in force at an instant (UTC); `undone` is the version that this rollback put out of force.

    `days` names, for each mart that lies in the lake by day, the column that tells the day.
    """

    number: int
    at: datetime
    undone: int | None = None
    days: Mapping[str, str] = field(default_factory=dict)


def releases(place: Layout) -> list[Release]:
    """What was put in force, oldest first; empty for a warehouse from before this was noted."""
    if not place.releases.exists():
        return []
    return [
        Release(one["number"], datetime.fromisoformat(one["at"]), one.get("undone"), one.get("days", {}))
        for one in json.loads(place.releases.read_text())
    ]


def note(place: Layout, release: Release) -> None:
    """Note what is about to be put in force."""
    _write(place, [*releases(place), release])


def strike(place: Layout) -> None:
    """Take the last note back: it cannot be finished."""
    _write(place, releases(place)[:-1])


def unfinished(place: Layout) -> Release | None:
    """The release that was noted and not finished; None if the version noted last is the one in force."""
    noted, in_force = releases(place), current(place.root)
    if not noted or (in_force is not None and in_force.number == noted[-1].number):
        return None
    return noted[-1]


def of_version(place: Layout, number: int) -> Release | None:
    """The note with which a version was published; None if there is none."""
    return next((one for one in releases(place) if one.number == number and one.undone is None), None)


def withdrawn(place: Layout) -> set[int]:
    """The versions that a rollback has put out of force and nobody has put back in force since."""
    numbers: set[int] = set()
    for one in releases(place):
        numbers.discard(one.number)
        numbers |= {one.undone} if one.undone is not None else set()
    return numbers


def in_force_at(place: Layout, instant: datetime) -> Version | None:
    """The version in force at `instant` (UTC), if it is still kept; before anything was noted, the newest by then."""
    kept = {version.number: version for version in versions(place.root)}
    by_then = [one for one in releases(place) if one.at <= instant]
    if by_then:
        return kept.get(by_then[-1].number)
    older = [version for version in kept.values() if version.published_at <= instant]
    return max(older, default=None)


def next_number(place: Layout, known: int) -> int:
    """A number that no version has had: neither here nor, up to `known`, in the lake."""
    noted = [number for one in releases(place) for number in (one.number, one.undone or 0)]
    return max([known, *noted, *(version.number for version in versions(place.root))], default=0) + 1


def _write(place: Layout, entries: list[Release]) -> None:
    told = [
        {"number": one.number, "at": one.at.astimezone(UTC).isoformat(), "undone": one.undone, "days": dict(one.days)}
        for one in entries[-REMEMBERED:]
    ]
    place.releases.parent.mkdir(parents=True, exist_ok=True)
    written(place.releases, json.dumps(told, indent=1))
