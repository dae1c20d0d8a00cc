"""Atomic commits of Arrow batches to Delta tables, each with the state that belongs to it in the same commit."""

import datetime
import json
import random
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any, TypeVar
from urllib.parse import unquote

import pyarrow as pa
from deltalake import (
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    Schema,
    TableFeatures,
    Transaction,
)
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction, create_table_with_add_actions

from lake import access, inventory
from lake.errors import Busy, LakeUnavailable, PermanentError, PlatformError
from lake.layout import DAY_COLUMNS, Address, Lake
from lake.lock import sole_writer
from lake.parquet import Writer, Written, bound, now_ms
from lake.probe import traits

STATE = "watershed"
LOOK_BACK = 50  # how many commits of other tools may lie on top of our last one
READS_AT_ONCE = 16
TRIES = 12
UPKEEP = "watershed.upkeep"  # marks a commit of ours that left all rows as they were
ATTEMPT = "watershed.attempt"  # tells a commit of one's own, whose answer was lost, from another's
DAY = "_day"
YEAR = DAY_COLUMNS[0]
UNTOLD = (Decimal, bytes, dict, list)  # bounds that JSON does not have; Delta's own writer tells some
BULK = "bulk"  # the state of a load whose files processed may take over
CONFIGURATION = {"delta.logRetentionDuration": "interval 3650 days"}


Result = TypeVar("Result")


@dataclass(frozen=True)
class Committed:
    """What one commit did: table version, rows and files written."""

    version: int
    rows: int
    files: int


def table(lake: Lake, address: Address) -> DeltaTable | None:
    """The Delta table at `address` as it is now, or None if nothing was ever committed there."""
    try:
        return DeltaTable(lake.uri(address), storage_options=lake.storage_options())
    except TableNotFoundError:
        return None
    except (DeltaError, OSError) as error:
        from lake import damage

        raise damage.diagnosis(lake, address) or access.explained(lake, error) from None


def state(delta: DeltaTable | None) -> dict[str, Any]:
    """The state stored by the last of the platform's own commits to a table; empty if there was none."""
    if delta is None:
        return {}
    for version in range(delta.version(), max(-1, delta.version() - LOOK_BACK), -1):
        entry = _entry(delta, version)
        if STATE in entry:
            return dict(json.loads(entry[STATE]))
    return {}


def states(delta: DeltaTable, since: int) -> list[dict[str, Any]]:
    """The states of all own commits with a version above `since`, oldest first."""
    return [json.loads(entry[STATE]) for entry in entries(delta, since) if STATE in entry]


def entries(delta: DeltaTable, since: int) -> list[dict[str, Any]]:
    """What the log says of each commit after version `since`, up to the version that `delta` is; oldest first.

    Entries that the log no longer has are left out.
    """
    # Not `delta.history`: it counts its versions from the newest commit of all, whichever version `delta` is.
    versions = range(max(since, -1) + 1, delta.version() + 1)
    with ThreadPoolExecutor(READS_AT_ONCE if delta.table_uri.startswith("s3://") else 1) as pool:
        found = pool.map(partial(_entry, delta), versions)
        return [{**entry, "version": version} for version, entry in zip(versions, found, strict=True) if entry]


def _entry(delta: DeltaTable, version: int) -> dict[str, Any]:
    """The commit's own words in one entry of the log; empty if there is no such entry."""
    uri = delta.table_uri.rstrip("/")
    folder = Lake(unquote(uri.removeprefix("file://")) if uri.startswith("file://") else uri)
    try:
        lines = inventory.read(folder, f"_delta_log/{version:020}.json").splitlines()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise access.explained(folder, error) from None
    if not lines:  # Delta's readers pass over it without a word, and its rows are missing
        from lake.journal import Damaged

        where, mend = f"lake table {folder.root}", "see `watershed lake check`, then `watershed lake restore`"
        raise Damaged(where, f"log entry {version:020}.json is empty", mend)
    actions = (json.loads(line) for line in lines if b'"commitInfo"' in line)
    return next((dict(action["commitInfo"]) for action in actions if "commitInfo" in action), {})


def append(
    lake: Lake,
    address: Address,
    rows: pa.RecordBatchReader,
    state: Mapping[str, Any],
    *,
    base: DeltaTable | None,
    by_day: bool = True,
    told: Collection[str] = (),
) -> Committed:
    """Add rows and `state` in one commit; `by_day`: the rows come sorted by the date column `_day`, their partition.

    `base` is the version that was read to compute `rows`, None if there was no table; if another process has committed
    since, Busy is raised. The bounds of the columns `told` go into the log.
    """
    schema, files = _write(lake, address, rows, told, by_day=by_day)
    return add(lake, address, schema, files, state, base=base, by_day=by_day)


def replace(
    lake: Lake,
    address: Address,
    rows: pa.RecordBatchReader,
    state: Mapping[str, Any],
    *,
    base: DeltaTable | None,
    days: Iterable[datetime.date] | None = None,
    retype: bool = False,
    told: Collection[str] = (),
) -> Committed:
    """Replace the given UTC days (or all rows) and set `state` in one commit; doing it twice leaves what once leaves.

    Of a table with days the rows come sorted by the date column `_day`, their partition. `retype`: all rows are
    replaced, and the columns become those of `rows`. `base` and `told` as for `append`; Busy is raised likewise.
    """
    by_day = DAY in rows.schema.names
    wanted = None if days is None else set(days)
    schema, files = _write(lake, address, rows, told, by_day=by_day)
    if wanted is not None and not {one.day for one in files} <= wanted:
        outside = ", ".join(sorted(str(one.day) for one in files if one.day not in wanted)[:3])
        mend = "give only rows of the days that are replaced"
        raise PermanentError(f"lake table {address}", f"rows of {outside} lie outside of the replaced days", mend)
    if retype and base is not None:
        return add(lake, address, schema, files, state, base=base, by_day=by_day, retype=True)
    removed = [] if base is None else removals(base, wanted)
    return add(lake, address, schema, files, state, base=base, by_day=by_day, removed=removed)


def add(
    lake: Lake,
    address: Address,
    schema: pa.Schema,
    files: Iterable[Written],
    state: Mapping[str, Any],
    *,
    base: DeltaTable | None,
    by_day: bool,
    by_year: bool = False,
    removed: Iterable[RemoveAction] = (),
    retype: bool = False,
) -> Committed:
    """Commit files that are written already (and take others out) with `state`, at once.

    `schema` is that of the rows, without the partition columns. `base` as for `append`; Busy is raised likewise. A
    commit that was made, but whose answer was lost on the way, counts as made. `by_year`: the table is divided by years
    only. `retype`: the files take the place of
    all others, and the columns become those of `schema`.
    """
    written, attempt = list(files), secrets.token_hex(8)
    rows = sum(one.rows for one in written)
    since = -1 if base is None else base.version()
    base = _renewed(lake, address, base)
    change = _Change(schema, written, list(removed), by_day=by_day, by_year=by_year, retype=retype)
    try:
        with _committing(lake, address, base):
            properties = _properties(state, base, attempt, alone=retype or bool(change.removed))
            if base is None:
                _create(lake, address, change, properties)
            else:
                _put_on(lake, base, change, properties)
    except (Busy, LakeUnavailable):  # the Delta library does not repeat a PUT whose answer was lost
        made = _made(lake, address, since, attempt)
        if made is None:
            raise
        return Committed(made, rows, len(written))
    delta = base or DeltaTable(lake.uri(address), storage_options=lake.storage_options())
    return Committed(delta.version(), rows, len(written))


@dataclass(frozen=True)
class _Change:
    """What one commit does to a table's files and columns."""

    schema: pa.Schema
    written: list[Written]
    removed: list[RemoveAction]
    by_day: bool
    by_year: bool
    retype: bool

    @property
    def partition_by(self) -> list[str]:
        return list(DAY_COLUMNS) if self.by_day else [YEAR] if self.by_year else []

    @property
    def columns(self) -> Schema:
        """The columns as Delta has them, those of the partition included."""
        return Schema.from_arrow(
            pa.schema([*self.schema, *(pa.field(name, pa.string()) for name in self.partition_by)])
        )

    @property
    def added(self) -> list[AddAction]:
        now = now_ms()
        return [AddAction(one.path, one.bytes, one.partition, now, True, one.stats) for one in self.written]


def _create(lake: Lake, address: Address, change: _Change, properties: CommitProperties) -> None:
    create_table_with_add_actions(
        lake.uri(address),
        change.columns,
        change.added,
        mode="error",
        partition_by=change.partition_by,
        storage_options=lake.storage_options(),
        configuration=CONFIGURATION,
        commit_properties=properties,
        post_commithook_properties=_afterwards(lake),
    )


def _put_on(lake: Lake, base: DeltaTable, change: _Change, properties: CommitProperties) -> None:
    version = base.version()
    _alter(base, change.columns, retype=change.retype)
    if base.version() != version and not _paths(change.removed) <= _paths(removals(base)):
        raise CommitFailedError  # a compaction came in before the new columns
    base.create_write_transaction(
        [*change.added, *change.removed],
        mode="overwrite" if change.retype else "append",
        schema=change.columns,
        partition_by=change.partition_by,
        commit_properties=properties,
        post_commithook_properties=_afterwards(lake),
    )
    base.update_incremental()


def files(delta: DeltaTable) -> list[Written]:
    """The live files of a table as its log has them; `day` is the partition they are in, if they are."""
    found = []
    for add in pa.table(delta.get_add_actions(flatten=True)).to_pylist():
        values = [add.get(f"partition.{name}") for name in DAY_COLUMNS]
        day = datetime.date.fromisoformat("-".join(values)) if all(values) else None
        year = int(values[0]) if values[0] and not day else None
        bounds: dict[str, dict[str, Any]] = {"min": {}, "max": {}, "null_count": {}}
        for name, value in add.items():
            what, _, column = name.partition(".")
            if what in bounds and value is not None and not isinstance(value, UNTOLD):
                bounds[what][column] = bound(value)
        stats = {
            "numRecords": add["num_records"],
            "minValues": bounds["min"],
            "maxValues": bounds["max"],
            "nullCount": bounds["null_count"],
        }
        found.append(Written(add["path"], add["size_bytes"], add["num_records"], day, json.dumps(stats), year))
    return found


def removals(delta: DeltaTable, days: Iterable[datetime.date] | None = None) -> list[RemoveAction]:
    """The actions that take out all files of these days; of all days, if none are given."""
    wanted = None if days is None else set(days)
    return [removal(one) for one in files(delta) if wanted is None or one.day in wanted]


def removal(file: Written) -> RemoveAction:
    """The action that takes out one file."""
    return RemoveAction(
        path=file.path,
        partition_values=file.partition,
        size=file.bytes,
        deletion_timestamp=now_ms(),
        data_change=True,
    )


def persistently(act: Callable[[], Result]) -> Result:
    """Do it again, from the start, as long as another process commits in between; raises Busy after a minute of that.

    For work that rests on nothing but what the lake holds when it begins.
    """
    for attempt in range(TRIES):
        try:
            return act()
        except Busy:
            time.sleep(random.uniform(0, min(0.05 * 2**attempt, 5.0)))  # noqa: S311 - not a secret
    return act()


def days_predicate(days: Iterable[datetime.date]) -> str:
    """The condition on year, month and day that selects these UTC days; false for none."""
    # One term a month: a term a day would nest deep enough to overflow the parser on a long backfill.
    months: dict[tuple[str, str], list[str]] = {}
    for day in sorted(set(days)):
        year, month, number = day.isoformat().split("-")  # four digits for any year, which %Y does not promise
        months.setdefault((year, month), []).append(f"'{number}'")
    terms = [
        f"(year = '{year}' AND month = '{month}' AND day IN ({', '.join(of_month)}))"
        for (year, month), of_month in months.items()
    ]
    return " OR ".join(terms) or "year = '0000'"


def _write(
    lake: Lake, address: Address, rows: pa.RecordBatchReader, told: Collection[str], *, by_day: bool
) -> tuple[pa.Schema, list[Written]]:
    """Write the files of a commit; answers the schema without the day, and what was written."""
    writer = Writer(lake, address, secrets.token_hex(8), told)
    with access.told(lake):
        if by_day:
            writer.sorted_by(DAY, rows)
        else:
            writer.rows_of(None, (pa.Table.from_batches([batch]) for batch in rows))
    return pa.schema([entry for entry in rows.schema if entry.name != DAY]), writer.written


def _properties(
    state: Mapping[str, Any], base: DeltaTable | None, attempt: str, *, alone: bool = False
) -> CommitProperties:
    turn = (base.version() + 1) if base is not None else 0
    return CommitProperties(
        custom_metadata={STATE: json.dumps(state), ATTEMPT: attempt},
        app_transactions=[Transaction(STATE, turn)],  # two writers on one base: the second one's commit fails
        # What takes files out is made of `base` or not at all: Delta does not notice (tried with 1.6.6) if a compaction
        # has put the rows of those files into others meanwhile, and they would be there twice.
        max_commit_retries=0 if base is None or alone else 15,
    )


def _afterwards(lake: Lake) -> PostCommitHookProperties:
    # A checkpoint is read by ranges; where these are not served, it would close the table to its readers.
    return PostCommitHookProperties(create_checkpoint=traits(lake).has_ranges)


def _paths(removed: Iterable[RemoveAction]) -> set[str]:
    return {one.path for one in removed}


def _renewed(lake: Lake, address: Address, base: DeltaTable | None) -> DeltaTable | None:
    """`base`, reached by the keys that hold now: temporary ones may have run out since it was read."""
    options = lake.storage_options()
    if base is None or "AWS_SESSION_TOKEN" not in options:
        return base
    return DeltaTable(lake.uri(address), version=base.version(), storage_options=options)


def _made(lake: Lake, address: Address, since: int, attempt: str) -> int | None:
    """The version after `since` that this very attempt has made, though it was told otherwise; None if it has not."""
    delta = table(lake, address)
    if delta is None:
        return None
    made = [int(entry["version"]) for entry in entries(delta, since) if entry.get(ATTEMPT) == attempt]
    return made[-1] if made else None


def _alter(base: DeltaTable, schema: Schema, *, retype: bool) -> None:
    """Columns that the table does not have yet, in a commit of their own: they are NULL until rows bring them."""
    known = {field.name: field for field in base.schema().fields}
    new = [field for field in schema.fields if field.name not in known or (retype and known[field.name] != field)]
    if any("timestamp_ntz" in field.to_json() for field in new):
        base.alter.add_feature(TableFeatures.TimestampWithoutTimezone, allow_protocol_versions_increase=True)
    if new and not retype:
        base.alter.add_columns(new)


@contextmanager
def _committing(lake: Lake, address: Address, base: DeltaTable | None) -> Iterator[None]:
    """Commit on top of `base` as the only one; raises Busy if somebody has committed since, else what is wrong."""
    try:
        with sole_writer(lake, address) as check:
            if check is not None:
                if _version(lake, address) != (-1 if base is None else base.version()):
                    raise CommitFailedError
                check()
            yield
    except CommitFailedError:
        mend = "wait for the other run to end and run again; nothing is harmed"
        raise Busy(f"lake table {address}", "another process committed at the same time", mend) from None
    except PlatformError:
        raise
    except Exception as error:  # the library raises plain Exceptions too, e.g. for a type that Delta does not have
        if "already exists" in str(error):
            raise Busy(f"lake table {address}", "another process created it at the same time", "run again") from None
        raise access.explained(lake, error) from None


def _version(lake: Lake, address: Address) -> int:
    found = table(lake, address)
    return -1 if found is None else found.version()
