"""The account of a publish, put together once: its checks, the lake's state by then, and what it changed."""

import datetime
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import duckdb

from lake import layout as lake_layout
from lake.errors import PlatformError
from warehouse import build, diff, releases, verdicts
from warehouse.diff import MartDiff
from warehouse.layout import Layout
from warehouse.page import lake_state
from warehouse.page.record import Change, Check, Freshness, Held, Record
from warehouse.versions import Version, versions

COMPARED_BYTES = 1 << 30  # of larger files only rows are counted: comparing them takes as long as building them
DETAILS = 3


def account(place: Layout, version: Version, *, shop: str, now: datetime.datetime) -> Record:
    """What there is to say of `version`, which was just published; what cannot be found out is said in its notes.

    `now` is what time it is for the sources: of a shop whose years are over, the end of them.
    """
    manifest = build.manifest(place.root)
    notes: dict[str, str] = {}
    checks = _checks(place, manifest["nodes"].values(), notes)
    sources = [node for node in manifest["sources"].values() if node.get("config", {}).get("enabled", True)]
    fresh, held = _lake(sources, now, notes)
    before = _before(place, version)
    return Record(
        file=version.path.name,
        version=version.number,
        shop=shop,
        as_of=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        before=before.number if before else None,
        checks=checks,
        freshness=fresh,
        quarantine=held,
        changes=_changes(before.path if before else None, version.path, notes),
        notes=notes,
    )


def _before(place: Layout, version: Version) -> Version | None:
    """The version that was in force when `version` was published, if it is kept; else the last one older than it."""
    kept = {one.number: one for one in versions(place.root) if one.number != version.number}
    noted = releases.releases(place)
    published = [at for at, one in enumerate(noted) if one.number == version.number and one.undone is None]
    if published and published[-1] and (number := noted[published[-1] - 1].number) in kept:
        return kept[number]
    return max((one for one in kept.values() if one.number < version.number), default=None)


def _lake(
    sources: list[Mapping[str, Any]], now: datetime.datetime, notes: dict[str, str]
) -> tuple[tuple[Freshness, ...], tuple[Held, ...]]:
    try:
        lake = lake_layout.from_environment()
        return lake_state.freshness(lake, sources, now), lake_state.held(lake, sources)
    except (PlatformError, OSError, duckdb.Error) as error:
        notes["lake"] = f"The lake could not be read: {str(error).splitlines()[0]}."
        return (), ()


def _checks(place: Layout, nodes: Iterable[Mapping[str, Any]], notes: dict[str, str]) -> tuple[Check, ...]:
    known = verdicts.verdicts(place)
    found, untold = [], 0
    for node in nodes:
        if node["resource_type"] not in verdicts.KINDS:
            continue
        verdict = known.get(node["unique_id"])
        if verdict is None:
            untold += node["resource_type"] == "test"
            continue
        found.append(
            Check(
                model=_model(node),
                name=node["name"],
                description=node.get("description") or "",
                status=verdict.status,
                failures=verdict.failures,
                seconds=verdict.seconds,
                at=verdict.at,
            )
        )
    if untold:
        notes["checks"] = f"{untold} tests passed in a build that kept no details of them."
    return tuple(sorted(found, key=lambda check: (check.is_passed, check.model, check.name)))


def _model(node: Mapping[str, Any]) -> str:
    attached = node.get("attached_node") or next(iter(node.get("depends_on", {}).get("nodes", ())), "")
    return str(attached).rsplit(".", 1)[-1]


def _changes(before: Path | None, after: Path, notes: dict[str, str]) -> tuple[Change, ...]:
    if before is None:
        return tuple(Change(name, None, rows) for name, rows in sorted(build.table_rows(after).items()))
    if max(before.stat().st_size, after.stat().st_size) > COMPARED_BYTES:
        notes["changes"] = "The files are large: rows were counted, not compared; `watershed diff` compares them."
        return _counted(before, after)
    try:
        return tuple(_change(found) for found in diff.compare(before, after, examples=DETAILS))
    except (PlatformError, duckdb.Error) as error:
        notes["changes"] = f"The version before could not be compared ({str(error).splitlines()[0]})."
        return tuple(Change(name, None, rows) for name, rows in sorted(build.table_rows(after).items()))


def _counted(before: Path, after: Path) -> tuple[Change, ...]:
    old, new = build.table_rows(before), build.table_rows(after)
    return tuple(Change(name, old.get(name), new.get(name), is_compared=False) for name in sorted({*old, *new}))


def _change(found: MartDiff) -> Change:
    notes = [f"new column {name}" for name, _ in found.columns_added]
    notes += [f"column {name} is gone" for name, _ in found.columns_removed]
    notes += [f"column {name} is {new}, was {old}" for name, old, new in found.columns_retyped]
    if found.changed_values:
        named = ", ".join(f"{name} ({count:,})" for name, count in found.changed_values[:DETAILS])
        more = len(found.changed_values) - DETAILS
        notes.append(f"values changed: {named}{f' and {more} columns more' if more > 0 else ''}")
    if found.days:
        days = (f"{day.day:%d %b %Y} ({day.added + day.removed + day.changed:,})" for day in found.days if day.day)
        notes.append(f"most of it on {', '.join(days)}")
    return Change(
        table=f"{found.schema}.{found.name}",
        rows_before=found.rows_before,
        rows_after=found.rows_after,
        added=found.added,
        removed=found.removed,
        changed=found.changed,
        notes=tuple(notes),
    )
