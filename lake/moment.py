"""A table as it was at an instant: which version was in force, and whether its files are still there."""

import datetime
from collections.abc import Sequence

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from lake import commit, damage, journal, vacuum
from lake.access import explained
from lake.errors import PermanentError
from lake.layout import Address, Lake


class NoVersion(PermanentError):
    """There is no version of a table for an instant."""


def table_at(lake: Lake, address: Address, version: int) -> DeltaTable:
    """The table as it was at one version. Raises a PlatformError if that version cannot be opened."""
    try:
        return DeltaTable(lake.uri(address), version=version, storage_options=lake.storage_options())
    except (DeltaError, OSError) as error:
        raise damage.diagnosis(lake, address) or explained(lake, error) from None


def version_at(lake: Lake, address: Address, instant: datetime.datetime, versions: Sequence[int] | None = None) -> int:
    """The last version committed at `instant` or before, by what its writer's clock said.

    `versions` are those that can be read, highest first; all of the log, if they are not given. Where a clock has gone
    back between two commits, one of the versions around that jump is given. Raises NoVersion before the first one.
    """
    known = list(versions) if versions is not None else _known(lake, address)
    low, high = 0, len(known)  # known[high:] are at `instant` or before; highest version first
    while low < high:
        middle = (low + high) // 2
        if _made_at(lake, address, known[middle]) <= instant:
            high = middle
        else:
            low = middle + 1
    if low < len(known):
        return known[low]
    if not known:
        raise NoVersion(f"lake table {address}", "does not exist", "see `watershed lake status` for the tables")
    first = _made_at(lake, address, known[-1])
    what = f"its first version is of {first:%Y-%m-%d %H:%M:%S} UTC"
    raise NoVersion(f"lake table {address}", what, "choose a later time")


def whole_at(lake: Lake, address: Address, instant: datetime.datetime) -> int:
    """`version_at`, if all its files are still there. Raises PermanentError if upkeep has removed some."""
    version = version_at(lake, address, instant)
    gone = damage.broken(lake, address, commit.files(table_at(lake, address, version)))
    if not gone:
        return version
    back = vacuum.reaches_back(lake, address)
    if back is None or instant >= back:
        mend = f"run `watershed lake check {address}`"
        raise PermanentError(f"lake table {address}", next(iter(gone.values())), mend)
    what = f"its files of {instant:%Y-%m-%d %H:%M} UTC were removed by upkeep"
    raise NoVersion(f"lake table {address}", what, f"time travel reaches back to {back:%Y-%m-%d %H:%M} UTC")


def _known(lake: Lake, address: Address) -> list[int]:
    try:
        return [entry.version for entry in reversed(journal.log(lake, address).entries)]
    except OSError as error:
        raise explained(lake, error) from None


def _made_at(lake: Lake, address: Address, version: int) -> datetime.datetime:
    told = journal.told_at(journal.actions(lake, address, version))
    if told is None:
        entries = journal.log(lake, address).entries
        told = next(entry.since for entry in entries if entry.version == version)
    return told
