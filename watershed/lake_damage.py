"""`watershed lake check` and `watershed lake restore`: find what is broken in the lake, go back to what is whole."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from lake import damage, instant, layout, restore
from lake.errors import PermanentError, PlatformError, SpecError
from lake.layout import Address, Lake
from lake.restore import Restored
from watershed.lake_tables import named, one


def check(name: str | None, *, deep: bool) -> Iterator[str]:
    """Lines that tell what is wrong with one table or all; the last is a sentence. Raises PermanentError for faults."""
    lake = layout.from_environment()
    broken: list[Address] = []
    tables, files = named(lake, name), 0
    for address in tables:
        try:
            found = damage.check(lake, address, deep=deep)
        except PlatformError as error:
            yield str(error)
            broken.append(address)
            continue
        files += found.files
        yield from (f"{address}: {fault}." for fault in found.faults)
        yield from (f"{address}: {remark}." for remark in found.remarks)
        yield from (f"{address}: foreign file {path} is not read; move it away." for path in found.foreign)
        broken += [address] if found.faults else []
    if broken:
        which = broken[0] if len(broken) == 1 else f"{len(broken)} tables"
        mend = f"run `watershed lake restore {broken[0]}`, which says what is lost"
        raise PermanentError(
            f"lake {lake.root}", f"{which} is broken" if len(broken) == 1 else f"{which} are broken", mend
        )
    how = "log, files, rows and loads" if deep else "log and files"
    yield f"{len(tables)} tables with {files:,} files were checked ({how}): all are whole."


def bring_back(name: str, to: str | None) -> Iterator[str]:
    """Restore one table and tell what was done and what is lost."""
    lake = layout.from_environment()
    address = one(lake, name)
    done = restore.restore(lake, address, _target(to))
    if not done.versions and not done.moved:
        yield f"{address} is whole at version {done.to}; nothing was changed."
        return
    yield from _told(done)
    for followed in done.with_it:
        yield from _told(followed)
    yield from (f"{remark}." for remark in done.remarks)
    yield _sentence(lake, done)


def _told(done: Restored) -> Iterator[str]:
    if not done.versions:
        yield f"{done.address}: is as it was; nothing is lost."
    else:
        span = (
            f"version {done.versions[0]}"
            if len(done.versions) == 1
            else f"versions {done.versions[0]} to {done.before}"
        )
        rows = f"{done.rows_after:,} rows"
        if done.rows_before is not None:
            rows = f"{done.rows_before:,} rows before, {done.rows_after:,} now"
        yield f"{done.address}: is again what it was at version {done.to} ({rows}); {span} undone."
    for load, count in done.loads.items():
        held = "rows not known, its entry is broken" if count is None else f"{count:,} rows"
        yield f"  lost: load {load} ({held})"
    if done.moved:
        yield f"  {len(done.moved)} log files were moved to {done.moved[0].rpartition('/')[0]}"


def _sentence(lake: Lake, done: Restored) -> str:
    if not done.versions:
        return "Nothing is lost."
    if done.address.zone in ("raw", "processed"):
        return "`watershed run` now reads and folds again what was lost, as far as the source still has it."
    if done.address.zone == "curated":
        return "`watershed warehouse publish` now writes again what differs from the published warehouse."
    return "What was lost does not come back by itself."


def _target(to: str | None) -> int | datetime.datetime | None:
    if to is None:
        return None
    if to.isdigit() and len(to) < 8:
        return int(to)
    try:
        return instant.parse(to)
    except SpecError:
        mend = "give a version like 17, a day like 2026-11-20, or an instant like 2026-11-20T12:00Z"
        raise SpecError("--to", f"{to} is neither a version nor a time", mend) from None
