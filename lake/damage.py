"""What is broken in a table: entries and checkpoints of its log, data files that are gone, cut off or foreign.

The log is judged from its files, not by opening the table: a reader that finds an empty entry passes over it without
a word (tried with deltalake 1.6.6 and DuckDB 1.5.5), and one that finds a gap does not say where.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from lake import commit, inventory, journal, objects, vacuum
from lake.access import explained
from lake.errors import PermanentError, PlatformError
from lake.journal import LOG, Damaged, Log
from lake.layout import Address, Lake
from lake.parquet import Written

ASIDE = "_damaged"  # below the table's folder: broken log files, under the time at which they were moved there
HINT = "_last_checkpoint"
SHOWN = 5
RESTORED = "watershed.restored"  # in a commit: to which version it has brought the table back


@dataclass(frozen=True)
class Survey:
    """A table's log, judged: what is wrong with which entry or checkpoint, and up to which version it can be read.

    `newest` is the highest version that there ever was, as far as can be told. `readable` are the versions that can be
    read, highest first. `hint` says what is wrong with the pointer to the last checkpoint.
    """

    log: Log
    newest: int
    entries: dict[int, str] = field(default_factory=dict)
    checkpoints: dict[int, str] = field(default_factory=dict)
    hint: str = ""
    readable: tuple[int, ...] = ()

    @property
    def good(self) -> int:
        """The last version that can be read; -1 if there is none."""
        return self.readable[0] if self.readable else -1

    @property
    def faults(self) -> list[str]:
        """What is wrong, one sentence's part for each."""
        missing = [version for version, what in self.entries.items() if what == "is missing"]
        others = {version: what for version, what in self.entries.items() if what != "is missing"}
        found = [f"log entry {journal.name(version)} is missing" for version in missing[:SHOWN]]
        if len(missing) > SHOWN:
            found.append(f"{len(missing) - SHOWN:,} more log entries are missing")
        found += [f"log entry {journal.name(version)} {what}" for version, what in others.items()]
        found += [f"the checkpoint of version {version} {what}" for version, what in self.checkpoints.items()]
        return found + ([self.hint] if self.hint else [])

    @property
    def is_readable(self) -> bool:
        """Whether the table opens at its newest version, though entries before its checkpoint may be lost."""
        return self.good == self.newest and not self.checkpoints and not self.hint


@dataclass(frozen=True)
class Checked:
    """What a check of one table found: faults of its log, its data files and its loads; foreign files; remarks."""

    address: Address
    version: int
    files: int
    faults: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def check(lake: Lake, address: Address, *, deep: bool = False) -> Checked:
    """Hold a table's log against what lies in its folder; `deep` reads every file and sums every load in raw again."""
    found = survey(lake, address)
    if not found.is_readable:
        return Checked(address, found.good, 0, tuple(found.faults))
    delta = commit.table(lake, address)
    if delta is None:
        return Checked(address, -1, 0)
    live = commit.files(delta)
    faults = list(broken(lake, address, live).values())
    if deep and not faults:
        faults = list(_unreadable(lake, address, live)) or list(_unproven(lake, address, delta))
    remarks = tuple(f"{what}; only its history is lost" for what in found.faults)
    return Checked(address, delta.version(), len(live), tuple(faults), foreign(lake, address), remarks)


def diagnosis(lake: Lake, address: Address) -> PermanentError | None:
    """The sentence that says why a table cannot be opened, naming the entry; None if its log is not the reason."""
    try:
        found = survey(lake, address)
    except (OSError, PlatformError):
        return None
    if found.is_readable or not found.faults:
        return None
    return Damaged(f"lake table {address}", found.faults[0], f"run `watershed lake restore {address}`")


def survey(lake: Lake, address: Address) -> Survey:
    """Read all of a table's log; raises a PlatformError if the storage does not answer."""
    try:
        log = journal.log(lake, address)
        bad = dict(_bad_entries(lake, address, log))
        checkpoints = {one: what for one in log.checkpoints if (what := _bad_checkpoint(lake, address, one))}
        newest = max(_ever(lake, address, log), default=-1)
        hint = _bad_hint(lake, address, log)
    except OSError as error:
        raise explained(lake, error) from None
    known = {entry.version for entry in log.entries}
    last = max(known, default=-1)
    for version in range(last + 1, newest + 1):
        bad[version] = "was moved aside, and nothing has its place"
    readable = _readable(known - set(bad), [one for one in log.checkpoints if one not in checkpoints], newest)
    return Survey(log, newest, dict(sorted(bad.items())), checkpoints, hint, readable)


def broken(lake: Lake, address: Address, files: Iterable[Written]) -> dict[str, str]:
    """Which of these files are missing or of another size than their log says, with the sentence's part for each."""
    try:
        there = {file.path: file.bytes for file in inventory.below(lake, str(address))}
    except OSError as error:
        raise explained(lake, error) from None
    found = {}
    for one in files:
        path = one.path if one.path in there else vacuum.unescaped(one.path)
        if path not in there:
            found[one.path] = f"file {one.path} is missing"
        elif there[path] != one.bytes:
            found[one.path] = f"file {one.path} has {there[path]:,} bytes where its log tells of {one.bytes:,}"
    return found


def foreign(lake: Lake, address: Address) -> tuple[str, ...]:
    """Files in a table's folder that the platform did not write."""
    try:
        return vacuum.foreign(file.path for file in inventory.below(lake, str(address)))
    except OSError as error:
        raise explained(lake, error) from None


def _ever(lake: Lake, address: Address, log: Log) -> Iterator[int]:
    """All versions of which there is a trace, also among what was moved aside."""
    yield from (entry.version for entry in log.entries)
    yield from log.checkpoints
    for file in inventory.below(lake, f"{address}/{ASIDE}"):
        if match := journal.ENTRY.match(file.path.rpartition("/")[2]):
            yield int(match[1])


def _bad_entries(lake: Lake, address: Address, log: Log) -> Iterator[tuple[int, str]]:
    known = [entry.version for entry in log.entries]
    if not known:
        return
    # A log that was shortened from its beginning is whole, if a checkpoint stands in for what is gone.
    first = known[0] if any(one >= known[0] - 1 for one in log.checkpoints) else 0
    yield from ((version, "is missing") for version in sorted(set(range(first, known[-1])) - set(known)))
    for version in known:
        try:
            journal.actions(lake, address, version)
        except Damaged as error:
            yield version, error.what.partition(".json ")[2]


def _bad_checkpoint(lake: Lake, address: Address, version: int) -> str:
    for file in inventory.below(lake, f"{address}/{LOG}", deep=False):
        match = journal.CHECKPOINT.match(file.path)
        if match and int(match[1]) == version:
            try:
                path = objects.key(lake, f"{address}/{LOG}/{file.path}")
                with objects.filesystem(lake).open_input_file(path) as source:
                    pq.ParquetFile(source).read()
            except (pa.ArrowException, OSError):
                return "cannot be read"
    return ""


def _bad_hint(lake: Lake, address: Address, log: Log) -> str:
    try:
        version = json.loads(inventory.read(lake, f"{address}/{LOG}/{HINT}"))["version"]
    except FileNotFoundError:
        return ""
    except (ValueError, KeyError, TypeError):
        return ""  # readers pass over a hint that they cannot read
    return "" if version in log.checkpoints else f"the checkpoint of version {version} is missing"


def _readable(good: set[int], checkpoints: list[int], newest: int) -> tuple[int, ...]:
    """The versions that follow without a gap from the beginning or from a checkpoint, highest first."""
    found = []
    reached = True  # from the beginning, which is version -1
    for version in range(newest + 1):
        reached = version in checkpoints or (reached and version in good)
        if reached:
            found.append(version)
    return tuple(reversed(found))


def _unreadable(lake: Lake, address: Address, files: Iterable[Written]) -> Iterator[str]:
    """Files whose footer or rows cannot be read, or that hold other than their log says."""
    for one in files:
        try:
            with objects.filesystem(lake).open_input_file(objects.key(lake, f"{address}/{one.path}")) as source:
                rows = sum(batch.num_rows for batch in pq.ParquetFile(source, pre_buffer=False).iter_batches(20_000))
        except (pa.ArrowException, OSError):
            yield f"file {one.path} cannot be read"
            continue
        if one.rows is not None and rows != one.rows:
            yield f"file {one.path} holds {rows:,} rows where its log tells of {one.rows:,}"


def _unproven(lake: Lake, address: Address, delta: DeltaTable) -> Iterator[str]:
    """Loads that do not lie in raw as they were written."""
    if address.zone != "raw":
        return
    from lake.intake import Subject
    from lake.verify import verify

    subject = Subject(address.source, address.table, (), ())
    for load in loads(delta, only="checksum"):
        difference = verify(lake, subject, load).difference
        if difference is not None:
            yield difference


def loads(delta: DeltaTable, only: str = "load_id") -> list[str]:
    """The ids of the loads (of which `only` is noted) that a table holds, without those that a restore took back."""
    found: dict[int, str] = {}
    for entry in commit.entries(delta, -1):
        state = json.loads(entry.get(commit.STATE, "{}"))
        if "load_id" in state and only in state:
            found[entry["version"]] = state["load_id"]
        if RESTORED in entry:
            to = int(json.loads(entry[RESTORED])["to"])
            found = {version: load for version, load in found.items() if version <= to}
    return list(dict.fromkeys(found.values()))
