"""A table brought back to its last good version, or to one that is named: what is broken is moved aside, never removed.

Version numbers are never used twice, for `processed` notes by number how far it has come in raw: in the place of
entries that were lost stand empty ones. When raw goes back, what was folded from the lost loads goes back with it, and
so does the cursor: the next load reads again what was lost.
"""

import datetime
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties
from deltalake.exceptions import CommitFailedError

from lake import commit, damage, inventory, journal, moment
from lake.access import explained
from lake.damage import ASIDE, HINT, RESTORED, Survey
from lake.errors import Busy, PermanentError
from lake.journal import LOG
from lake.layout import Address, Lake
from lake.lock import sole_writer
from lake.retype import OF_ONE_LOAD

FILLER = "watershed.lost"  # marks an entry that stands in the place of a lost one


@dataclass(frozen=True)
class Restored:
    """What became of one table: the version it had and the one whose content it has now, and what is lost by that.

    `versions` are those whose content is undone, `loads` their loads with the rows each had brought (None: not known).
    """

    address: Address
    before: int
    to: int
    versions: tuple[int, ...] = ()
    loads: dict[str, int | None] = field(default_factory=dict)
    rows_before: int | None = None
    rows_after: int = 0
    moved: tuple[str, ...] = ()
    with_it: tuple["Restored", ...] = ()
    remarks: tuple[str, ...] = ()


def restore(lake: Lake, address: Address, to: int | datetime.datetime | None = None) -> Restored:
    """Bring a table back to version `to`, or to the one in force at an instant (UTC), or to the last that is whole.

    Killed anywhere, calling it again does the rest. Raises PermanentError if there is no such version, or none whose
    files are all there; Busy if another process commits meanwhile.
    """
    done = _restored(lake, address, to)
    if address.zone != "raw":
        return done
    with_it, remarks = [], []
    for table in (address.table, f"{address.table}_history"):
        follower = Address("processed", address.source, table)
        try:
            followed = _follow(lake, follower, done.to)
        except PermanentError as error:
            remarks.append(f"{error}; rows of the lost loads stay in {follower}, and raw will not tell of them again")
            continue
        with_it += [followed] if followed else []
    return replace(done, with_it=tuple(with_it), remarks=(*done.remarks, *remarks))


def _restored(lake: Lake, address: Address, to: int | datetime.datetime | None) -> Restored:
    found = damage.survey(lake, address)
    if not found.log.entries and found.newest < 0:
        raise PermanentError(f"lake table {address}", "does not exist", "see `watershed lake status` for the tables")
    if found.good < 0:
        raise PermanentError(f"lake table {address}", f"no version can be read: {found.faults[0]}", _last_mend(address))
    wanted = moment.version_at(lake, address, to, found.readable) if isinstance(to, datetime.datetime) else to
    if wanted is not None and wanted not in found.readable:
        which = f"versions {found.readable[-1]} to {found.good} can be read"
        raise PermanentError(f"lake table {address}", f"version {wanted} cannot be read", f"choose another: {which}")
    rows_before = _rows(lake, address, found.good) if found.is_readable else None
    lost = {version: _brought(lake, address, version) for version in range(found.good + 1, found.newest + 1)}
    moved = tuple(_put_aside(lake, address, found)) if not found.is_readable else ()
    _fill(lake, address, found)
    target = _target(lake, address, wanted, found)
    lost |= {version: _brought(lake, address, version) for version in range(target + 1, found.good + 1)}
    if target < found.good:
        _go_back(lake, address, target)
    loads = {load: rows for _, brought in sorted(lost.items()) for load, rows in brought.items()}
    versions = tuple(range(target + 1, found.newest + 1))
    return Restored(address, found.newest, target, versions, loads, rows_before, _rows(lake, address, target), moved)


def _target(lake: Lake, address: Address, wanted: int | None, found: Survey) -> int:
    """The version to go to: the wanted one, or the last whose files are all there."""
    target = _whole(lake, address, [version for version in found.readable if wanted is None or version <= wanted])
    if target is not None and wanted in (None, target):
        return target
    what = "no version is left whose files are all there"
    if wanted is not None:
        what = f"files of version {wanted} are gone or broken"
    mend = _last_mend(address) if target is None else f"version {target} is whole: --to {target}"
    raise PermanentError(f"lake table {address}", what, mend)


def _follow(lake: Lake, address: Address, raw: int) -> Restored | None:
    """Bring processed back to the last version that was made of raw up to version `raw`; None if it is there."""
    delta = commit.table(lake, address)
    if delta is None or int(commit.state(delta).get("folded", -1)) <= raw:
        return None
    for entry in reversed(commit.entries(delta, -1)):
        state = json.loads(entry.get(commit.STATE, "{}"))
        if "folded" in state and int(state["folded"]) <= raw:
            return _restored(lake, address, entry["version"])
    what = f"no version of it was made before version {raw + 1} of raw"
    mend = f"move its folder away: the next run builds {address} anew from raw"
    raise PermanentError(f"lake table {address}", what, mend)


def _whole(lake: Lake, address: Address, versions: list[int]) -> int | None:
    """The first of these versions (highest first) whose files are all there; None if there is none."""
    tried = 0
    while tried < len(versions):
        delta = _at(lake, address, versions[tried])
        bad = set(damage.broken(lake, address, commit.files(delta)))
        if not bad:
            return versions[tried]
        # Before the broken files came in: nothing in between is without them.
        since = _came_in(lake, address, bad, versions[tried:])
        tried += next((place for place, one in enumerate(versions[tried:]) if one < since), len(versions))
    return None


def _came_in(lake: Lake, address: Address, paths: set[str], versions: list[int]) -> int:
    """The lowest version that has brought one of these files that are live in the first."""
    left = set(paths)
    lowest = versions[0]
    for version in versions:
        try:
            actions = journal.actions(lake, address, version)
        except journal.Damaged:
            continue
        added = {action["add"]["path"] for action in actions if "add" in action} & left
        if added:
            left -= added
            lowest = version
        if not left:
            return lowest
    return versions[-1]


def _brought(lake: Lake, address: Address, version: int) -> dict[str, int | None]:
    """The load that a version holds, if it holds one, with the rows it has brought; None where that cannot be read."""
    try:
        info = journal.info(journal.actions(lake, address, version))
    except journal.Damaged:
        return {f"of version {version}": None}
    state = json.loads(info.get(commit.STATE, "{}"))
    return {state["load_id"]: sum(dict(state.get("rows") or {}).values())} if "load_id" in state else {}


def _put_aside(lake: Lake, address: Address, found: Survey) -> Iterator[str]:
    """Move what stands in the way of reading the last good version, the newest first; their new places."""
    folder = f"{address}/{ASIDE}/{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
    names = []
    try:
        for file in inventory.below(lake, f"{address}/{LOG}", deep=False):
            checkpoint, entry = journal.CHECKPOINT.match(file.path), journal.ENTRY.match(file.path)
            if checkpoint and (int(checkpoint[1]) in found.checkpoints or int(checkpoint[1]) > found.good):
                names.append(file.path)
            if file.path == HINT or (entry and int(entry[1]) > found.good):
                names.append(file.path)
        for name in sorted(names, reverse=True):
            try:
                inventory.move(lake, f"{address}/{LOG}/{name}", f"{folder}/{name}")
            except FileNotFoundError:
                continue
            yield f"{folder}/{name}"
    except OSError as error:
        raise explained(lake, error) from None


def _fill(lake: Lake, address: Address, found: Survey) -> None:
    """Entries without rows for the versions that were moved aside, so that no number is used twice."""
    delta = commit.table(lake, address)
    while delta is not None and delta.version() < found.newest:
        state = {name: value for name, value in commit.state(delta).items() if name not in OF_ONE_LOAD}
        metadata = {FILLER: json.dumps({"version": delta.version() + 1}), RESTORED: json.dumps({"to": found.good})}
        _exactly(lake, address, delta, [], metadata | ({commit.STATE: json.dumps(state)} if state else {}))
        delta = commit.table(lake, address)


def _go_back(lake: Lake, address: Address, target: int) -> None:
    """A new version with the content, the columns and the state of an older one."""
    state = {name: value for name, value in commit.state(_at(lake, address, target)).items() if name not in OF_ONE_LOAD}
    metadata = {RESTORED: json.dumps({"to": target})} | ({commit.STATE: json.dumps(state)} if state else {})
    delta = commit.table(lake, address)
    if delta is None:
        return
    try:
        with sole_writer(lake, address) as check:
            if check is not None:
                check()
            delta.restore(target, commit_properties=CommitProperties(custom_metadata=metadata, max_commit_retries=0))
    except CommitFailedError:
        raise _busy(address) from None
    except Exception as error:  # the library raises plain Exceptions too
        raise explained(lake, error) from None


def _exactly(lake: Lake, address: Address, delta: DeltaTable, actions: list[Any], metadata: dict[str, str]) -> None:
    """Commit as the very next version."""
    try:
        with sole_writer(lake, address) as check:
            if check is not None:
                check()
            delta.create_write_transaction(
                actions,
                mode="append",
                schema=delta.schema(),
                partition_by=list(delta.metadata().partition_columns),
                commit_properties=CommitProperties(custom_metadata=metadata, max_commit_retries=0),
                post_commithook_properties=PostCommitHookProperties(create_checkpoint=False),
            )
    except CommitFailedError:
        raise _busy(address) from None
    except Exception as error:  # the library raises plain Exceptions too
        raise explained(lake, error) from None


def _at(lake: Lake, address: Address, version: int) -> DeltaTable:
    return moment.table_at(lake, address, version)


def _rows(lake: Lake, address: Address, version: int) -> int:
    return sum(one.rows or 0 for one in commit.files(_at(lake, address, version)))


def _last_mend(address: Address) -> str:
    if address.zone == "processed":
        return "move the table's folder away: the next run builds it anew from raw"
    return "move the folders of this table away in raw and processed: the next run reads the source from the beginning"


def _busy(address: Address) -> Busy:
    return Busy(f"lake table {address}", "another process committed at the same time", "run again when it has ended")
