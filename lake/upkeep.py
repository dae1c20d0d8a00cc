"""One table kept in order: small files put together, the log shortened for readers, files that nobody needs removed."""

import datetime
from collections.abc import Iterable
from dataclasses import dataclass, replace

from deltalake import DeltaTable

from lake import commit, compaction, inventory, journal, vacuum
from lake.access import explained
from lake.compaction import TARGET, Compacted
from lake.errors import PlatformError
from lake.layout import Address, Lake
from lake.probe import traits
from lake.vacuum import GRACE, RETENTION, Vacuumed

ENTRIES = 50  # log entries that a reader may have to read one by one beyond the last checkpoint


@dataclass(frozen=True)
class Figures:
    """What a table holds, as its log tells; `small` are files that compaction would put together with others."""

    files: int = 0
    bytes: int = 0
    small: int = 0
    rows: int = 0
    versions: int = 0

    @property
    def small_share(self) -> float:
        """The part of the files that are small, between 0 and 1."""
        return self.small / self.files if self.files else 0.0


@dataclass(frozen=True)
class Kept:
    """What keeping a table in order did: figures before and after, and the work of each kind."""

    address: Address
    before: Figures
    after: Figures
    compacted: Compacted
    vacuumed: Vacuumed
    has_checkpoint: bool = False


def keep(
    lake: Lake,
    address: Address,
    *,
    now: datetime.datetime | None = None,
    retention: datetime.timedelta = RETENTION,
    grace: datetime.timedelta = GRACE,
    target_bytes: int = TARGET,
    force: bool = False,
    dry_run: bool = False,
) -> Kept:
    """Do all upkeep of one table; a load or readers may run meanwhile. Killed anywhere, the next call does the rest.

    `now` is the time by which files are judged, that of the store's clock if it is not given. A table that does not
    exist is left alone. `dry_run` counts and changes nothing.
    """
    vacuum.check(retention, grace, force=force)
    now = now or clock(lake)
    before = figures(commit.table(lake, address), target_bytes)
    compacted = Compacted() if dry_run else compaction.compact(lake, address, target_bytes=target_bytes)
    made = False if dry_run else shorten(lake, address)
    vacuumed = vacuum.vacuum(lake, address, now, retention=retention, grace=grace, force=force, dry_run=dry_run)
    delta = commit.table(lake, address)
    after = _foreseen(delta, before, target_bytes) if dry_run else figures(delta, target_bytes)
    return Kept(address, before, after, compacted, vacuumed, made)


def keep_all(
    lake: Lake,
    addresses: Iterable[Address],
    *,
    retention: datetime.timedelta = RETENTION,
    grace: datetime.timedelta = GRACE,
    force: bool = False,
    dry_run: bool = False,
) -> tuple[list[Kept], list[PlatformError]]:
    """Keep one table after the other, as `keep` does; what was done, and what was wrong with those that could not."""
    done: list[Kept] = []
    failed: list[PlatformError] = []
    now: datetime.datetime | None = None
    for address in addresses:
        now = now or clock(lake)
        try:
            done.append(keep(lake, address, now=now, retention=retention, grace=grace, force=force, dry_run=dry_run))
        except PlatformError as error:
            failed.append(error)
    return done, failed


def _foreseen(delta: DeltaTable | None, before: Figures, target_bytes: int) -> Figures:
    """The figures that a compaction would leave; bytes as before, for nobody knows them."""
    if delta is None or not before.small:
        return before
    files = before.files - before.small + len(compaction.plan(delta, target_bytes))
    return replace(before, files=files, small=0, versions=before.versions + 1)


def sweep_root(lake: Lake, now: datetime.datetime, grace: datetime.timedelta = GRACE, *, dry_run: bool = False) -> int:
    """Remove the probes that killed processes left at the lake's root more than `grace` ago; answers how many."""
    try:
        found = [
            file.path
            for file in inventory.below(lake, "", deep=False)
            if file.path.startswith(".probe-") and file.since < now - grace
        ]
        if not dry_run:
            inventory.remove(lake, found)
    except OSError as error:
        raise explained(lake, error) from None
    return len(found)


def clock(lake: Lake) -> datetime.datetime:
    """What time it is for the lake's store."""
    try:
        return inventory.clock(lake)
    except OSError as error:
        raise explained(lake, error) from None


def figures(delta: DeltaTable | None, target_bytes: int = TARGET) -> Figures:
    """What the log of a table tells; all zero if there is none."""
    if delta is None:
        return Figures()
    files = commit.files(delta)
    return Figures(
        files=len(files),
        bytes=sum(one.bytes for one in files),
        small=compaction.small(delta, target_bytes),
        rows=sum(one.rows or 0 for one in files),
        versions=delta.version() + 1,
    )


def shorten(lake: Lake, address: Address) -> bool:
    """Write a checkpoint if there are many log entries since the last: readers open the table by it; says if it did."""
    delta = commit.table(lake, address)
    if delta is None or not traits(lake).has_ranges:  # without ranges it could not be read
        return False
    last = max(journal.log(lake, address).checkpoints, default=-1)
    if delta.version() - last < ENTRIES:
        return False
    try:
        delta.create_checkpoint()
    except Exception as error:  # the library raises plain Exceptions too
        raise explained(lake, error) from None
    return True
