"""Files that nobody needs any more, removed: those of versions past the retention, and those that no commit ever named.

What a version within the retention names stays, so that running readers and time travel find it. What no log entry
names may belong to a load that is still writing: it stays for a grace period, by the clock of the store. Files that
the platform did not write are never removed, only named.
"""

import datetime
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

from lake import commit, inventory, journal
from lake.access import explained
from lake.errors import SpecError
from lake.layout import Address, Lake

RETENTION = datetime.timedelta(days=30)
GRACE = datetime.timedelta(hours=24)
LEAST = datetime.timedelta(hours=1)
RECORD = "_watershed/upkeep.json"  # below the table's folder, which no reader of tables lists
# As `lake.parquet` names its files, and as Delta's own writer named them in earlier versions.
OURS = re.compile(
    r"^part-[0-9a-f]+-(-?\d{4,}-\d\d-\d\d|[a-z]+)-\d+\.parquet$"
    r"|^part-\d{5}-[0-9a-f-]{36}-c000\.zstd\.parquet$"
)


@dataclass(frozen=True)
class Vacuumed:
    """What was removed (or would be), what is not ours, and since when (UTC) every version can be read."""

    old: int = 0
    orphans: int = 0
    bytes: int = 0
    uploads: int = 0
    foreign: tuple[str, ...] = ()
    reaches_back: datetime.datetime | None = None


@dataclass(frozen=True)
class Kept:
    """The paths that must stay, and those that were let go of before the retention began."""

    needed: frozenset[str]
    let_go: frozenset[str]


def vacuum(
    lake: Lake,
    address: Address,
    now: datetime.datetime,
    *,
    retention: datetime.timedelta = RETENTION,
    grace: datetime.timedelta = GRACE,
    force: bool = False,
    dry_run: bool = False,
) -> Vacuumed:
    """Remove what neither a version of the last `retention` nor a load of the last `grace` needs.

    Raises SpecError for a retention or grace under an hour, unless `force` says that nobody reads or writes.
    """
    check(retention, grace, force=force)
    try:
        return _vacuum(lake, address, now, retention, grace, dry_run)
    except OSError as error:
        raise explained(lake, error) from None


def check(retention: datetime.timedelta, grace: datetime.timedelta, *, force: bool = False) -> None:
    """Refuse what would take files from under running readers and loads."""
    for name, length in (("retention", retention), ("grace", grace)):
        if length < LEAST and not force:
            mend = "give at least an hour, or --force if nobody reads or loads"
            raise SpecError(name, f"{length} is too short for running readers and loads", mend)


def reaches_back(lake: Lake, address: Address) -> datetime.datetime | None:
    """The instant (UTC) from which on every version can be read, as the last vacuum noted it; None: from the first."""
    found = record(lake, address).get("reaches_back")
    return None if found is None else datetime.datetime.fromisoformat(found)


def record(lake: Lake, address: Address) -> dict[str, Any]:
    """What upkeep notes of a table; empty if nothing was noted or it cannot be read."""
    try:
        return dict(json.loads(inventory.read(lake, f"{address}/{RECORD}")))
    except (FileNotFoundError, ValueError):
        return {}


def kept(lake: Lake, address: Address, now: datetime.datetime, retention: datetime.timedelta) -> Kept:
    """What the live version and those of the last `retention` name. Raises Damaged if their log cannot be read."""
    cutoff = now - retention
    # The table first: what a commit takes out before the log is listed was live, or is told by its entry.
    delta = commit.table(lake, address)
    needed = {one.path for one in commit.files(delta)} if delta is not None else set()
    log = journal.log(lake, address)
    young = set(log.since(cutoff))
    let_go: set[str] = set()
    for version, actions in journal.read(lake, address, log.since(min(cutoff, now - GRACE))):
        for action in actions:
            if "remove" in action:
                (needed if version in young else let_go).add(action["remove"]["path"])
            elif "add" in action and version in young:
                needed.add(action["add"]["path"])
    return Kept(_both(needed), _both(let_go) - _both(needed))


def _vacuum(
    lake: Lake,
    address: Address,
    now: datetime.datetime,
    retention: datetime.timedelta,
    grace: datetime.timedelta,
    dry_run: bool,
) -> Vacuumed:
    # Listed first, the log read afterwards: what is committed in between is needed, not an orphan.
    listed = [file for file in inventory.below(lake, str(address)) if not _is_apart(file.path)]
    if commit.table(lake, address) is None:
        return Vacuumed()  # never committed, or its log is gone: nothing tells what may go
    stay = kept(lake, address, now, retention)
    spare = [file for file in listed if file.path not in stay.needed]
    ours = [file for file in spare if OURS.match(PurePosixPath(file.path).name)]
    old = [file for file in ours if file.path in stay.let_go or file.since < now - max(retention, grace)]
    orphans = [file for file in ours if file not in old and file.since < now - grace]
    strange = foreign(file.path for file in spare)
    log = journal.log(lake, address)
    left_over = [file for file in log.left_over if file.since < now - grace]
    uploads = inventory.abort_uploads(lake, str(address), now - grace, dry_run=dry_run)
    back = _noted(lake, address, now - retention, log, bool(old), dry_run)
    if not dry_run:
        inventory.remove(lake, (f"{address}/{file.path}" for file in [*old, *orphans]))
        inventory.remove(lake, (f"{address}/{journal.LOG}/{file.path}" for file in left_over))
    size = sum(file.bytes for file in [*old, *orphans, *left_over])
    return Vacuumed(len(old), len(orphans) + len(left_over), size, uploads, strange, back)


def _noted(
    lake: Lake, address: Address, cutoff: datetime.datetime, log: journal.Log, removes: bool, dry_run: bool
) -> datetime.datetime | None:
    """Note how far back versions can be read, before the first file goes: killed in between, it is true."""
    before = reaches_back(lake, address)
    if not removes or dry_run:
        return before
    after = max(cutoff, before) if before else cutoff
    if log.entries and after <= log.entries[0].since:
        return before
    noted = record(lake, address) | {"reaches_back": after.isoformat()}
    inventory.write(lake, f"{address}/{RECORD}", json.dumps(noted).encode())
    return after


def _is_apart(path: str) -> bool:
    return path.startswith((f"{journal.LOG}/", "_watershed/", "_damaged/"))


def _is_hidden(path: str) -> bool:
    return any(part.startswith(("_", ".")) for part in PurePosixPath(path).parts)


def foreign(paths: Iterable[str]) -> tuple[str, ...]:
    """Those of these paths (below a table's folder) that no writer of the platform has made."""
    strange = (path for path in paths if not OURS.match(PurePosixPath(path).name) and not _is_hidden(path))
    return tuple(sorted(strange))


def unescaped(path: str) -> str:
    """The name of a file in the store whose path a writer has escaped as in a URL."""
    return unquote(path)


def _both(paths: Iterable[str]) -> frozenset[str]:
    """Paths as the log writes them (some writers escape them as in a URL) and as the store names them."""
    return frozenset(form for path in paths for form in (path, unquote(path)))
