"""A version put in force, in the lake and for analysts; and what a kill has left half done, finished.

The order is: noted in `releases`, sealed, exported to the lake, pointed to. A version that analysts see is therefore
always in the lake, and one that was noted and sealed is whole: whoever takes the lock next can bring it to its end.
"""

import os
import shutil
from contextlib import suppress

import duckdb

from lake import layout as lake_layout
from lake.errors import PermanentError, PlatformError, is_full
from lake.layout import Lake
from warehouse import clone, releases, soundness
from warehouse.layout import Layout
from warehouse.versions import Version, current, versions

KEEP = 3
LEAST = 2  # who has just looked the last version up must still find it


def lake() -> Lake | None:
    """The lake to which marts are exported: that of LAKE_ROOT; None if it is not set."""
    return lake_layout.from_environment() if os.environ.get("LAKE_ROOT") else None


def kept(keep: int | None = None) -> int:
    """How many versions stay: `keep`, else WAREHOUSE_KEEP, else three; never fewer than two. Raises PermanentError."""
    text = str(keep) if keep is not None else os.environ.get("WAREHOUSE_KEEP") or str(KEEP)
    if not text.isdigit():
        raise PermanentError("WAREHOUSE_KEEP", f"{text!r} is no number of versions", "set it to 2 or more")
    return max(int(text), LEAST)


def complete(place: Layout, version: Version, *, keep: int | None = None, curated: bool = True) -> tuple[str, ...]:
    """Put a sealed version that was noted in force; answers the marts whose rows in the lake were changed.

    Raises a PlatformError if the lake cannot take the marts; the version before stays in force then.
    """
    staying = _staying(place, version, kept(keep))
    changed = _export(place, version, staying) if curated else ()
    point_to(place, version)
    for other in versions(place.root):
        if other.number not in staying:
            other.path.unlink(missing_ok=True)
    return changed


def finish(place: Layout) -> Version | None:
    """Bring to its end what a killed publish or rollback has noted; the version that is in force by that, if any.

    To be called under the lock. Litter is removed. Raises as `complete`.
    """
    sweep(place)
    noted = releases.unfinished(place)
    if noted is None:
        return None
    version = next((one for one in versions(place.root) if one.number == noted.number), None)
    if version is not None and soundness.fault(version.path) is None:
        complete(place, version)
        return version
    releases.strike(place)
    if version is not None:  # some of its marts may be in the lake already
        version.path.unlink()
        if (before := current(place.root)) is not None:
            _export(place, before, {one.number for one in versions(place.root)})
    return None


def point_to(place: Layout, version: Version) -> None:
    """Let the pointer name a version, by one atomic rename."""
    fresh = place.pointer.with_name(f".{place.pointer.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(version.path.relative_to(place.root))
    fresh.replace(place.pointer)
    clone.sync(place.root)


def sweep(place: Layout) -> None:
    """Remove what a kill has left: drafts and their logs, half-written notes, a pointer not in place, spilled rows."""
    litter = [path for kind in ("*.draft*", "*.tmp", "*.wal") for path in place.published.glob(kind)]
    litter += [path for kind in ("*.draft", "*.tmp") for path in place.build.parent.glob(kind) if path.is_file()]
    for path in [*litter, place.pointer.with_name(f".{place.pointer.name}.new")]:
        path.unlink(missing_ok=True)
    shutil.rmtree(place.spill, ignore_errors=True)


def _staying(place: Layout, version: Version, keep: int) -> set[int]:
    """The newest versions, the one that comes into force and the one that was in force before it."""
    newest = sorted({*(one.number for one in versions(place.root)), version.number})[-keep:]
    before = current(place.root)
    return {*newest, version.number, *([before.number] if before else [])}


def _export(place: Layout, version: Version, staying: set[int]) -> tuple[str, ...]:
    from warehouse import curated  # Delta and Arrow, which versions without a lake can do without

    where = lake()
    if where is None:
        return ()
    noted = releases.of_version(place, version.number)
    try:
        return curated.export(where, version, noted.days if noted else {}, staying, place.spill).changed
    except PlatformError as error:
        mend = f"{error.mend}; then `watershed warehouse publish` goes on with version {version.number}"
        raise type(error)(error.where, error.what, mend) from None
    except duckdb.Error as error:
        if is_full(error):
            raise
        what = f"version {version.number} cannot be read ({str(error).splitlines()[0]})"
        raise PermanentError(str(version.path), what, "publish again") from error
    finally:
        with suppress(OSError):
            shutil.rmtree(place.spill)
