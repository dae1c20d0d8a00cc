"""Small files of a day put together to files of a target size; rows stay in the order in which they were written.

A compaction changes no row: its commit says so (`dataChange` is false), and carries the state of the version before.
It never stands in a load's way. A load that commits meanwhile simply comes after it; where a fold has replaced the
same files first, what was put together is left for the next time.
"""

import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction

from lake import commit, objects, read
from lake.access import explained, told
from lake.errors import PermanentError
from lake.layout import Address, Lake
from lake.lock import sole_writer
from lake.parquet import FILE_ROWS, Writer, Written, now_ms
from lake.probe import traits
from lake.retype import OF_ONE_LOAD

TARGET = 128 << 20
CHEAP = 8 << 20  # so little is put together whatever it saves
MANY = 10
BATCH_BYTES = 1 << 30  # a commit holds about this much, so that a kill costs no more
GROUP_BYTES = 16 << 20
ATTEMPTS = 20
UNDERSTOOD = {"timestampNtz", "appendOnly", "invariants", "checkConstraints", "changeDataFeed", "generatedColumns"}


@dataclass(frozen=True)
class Bin:
    """Files of one day (or year) that become one, in the order of their rows."""

    files: tuple[Written, ...]

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(one.bytes for one in self.files)


@dataclass(frozen=True)
class Compacted:
    """What a compaction did: files and bytes before and after, and the sentence why it did less than it might have."""

    files_before: int = 0
    files_after: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    commits: int = 0
    left: str = ""


@dataclass
class _Batch:
    """Bins that were put together and wait for their commit, with what they have become."""

    done: list[tuple[Bin, list[Written]]] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        return sum(bin.bytes for bin, _ in self.done)


def compact(lake: Lake, address: Address, *, target_bytes: int = TARGET) -> Compacted:
    """Put the small files of a table together. Killed anywhere, what was committed is whole; the rest is as it was."""
    delta = commit.table(lake, address)
    if delta is None:
        return Compacted()
    if reason := hindrance(lake, address, delta):
        return Compacted(left=reason)
    total = Compacted()
    batch = _Batch()
    bins = plan(delta, target_bytes)
    with told(lake):
        for number, bin in enumerate(bins, 1):
            batch.done.append((bin, _together(lake, address, delta, bin)))
            if batch.bytes >= BATCH_BYTES or number == len(bins):
                total = _sum(total, _commit(lake, address, batch))
                batch = _Batch()
    return total


def plan(delta: DeltaTable, target_bytes: int = TARGET) -> list[Bin]:
    """Which files are put together, partition by partition."""
    partitioned = bool(delta.metadata().partition_columns)
    files = [one for one in in_order(delta) if not partitioned or one.partition]
    bins: list[Bin] = []
    for _, of_day in groupby(sorted(files, key=_partition), key=_partition):
        bins += [bin for bin in _bins(of_day, target_bytes) if _is_worth_it(bin)]
    return bins


def _partition(file: Written) -> str:
    return str(file.partition)


def small(delta: DeltaTable, target_bytes: int = TARGET) -> int:
    """How many files there are that a compaction would put together with others."""
    return sum(len(bin.files) for bin in plan(delta, target_bytes))


def hindrance(lake: Lake, address: Address, delta: DeltaTable) -> str:
    """Why a table is not compacted now; empty if nothing is in the way."""
    foreign = set(delta.protocol().reader_features or []) - UNDERSTOOD
    if foreign:
        return (
            f"its files are left as they are: it uses {', '.join(sorted(foreign))}, which another program switched on"
        )
    processed = Address("processed", address.source, address.table)
    if address.zone == "raw" and commit.state(delta).get(commit.BULK) and commit.table(lake, processed) is None:
        return "its files are left as they are: processed will take them over"
    return ""


def in_order(delta: DeltaTable) -> list[Written]:
    """The live files in the order in which they were written."""
    actions = pa.table(delta.get_add_actions(flatten=True)).select(["path", "modification_time"]).to_pylist()
    when = {action["path"]: action["modification_time"] for action in actions}
    return sorted(commit.files(delta), key=lambda one: (when[one.path], one.path))


def _bins(files: Iterable[Written], target: int) -> Iterator[Bin]:
    held: list[Written] = []
    size = rows = 0
    for one in files:
        if one.rows is not None and (one.bytes >= target // 2 or one.rows >= FILE_ROWS // 2):
            continue  # large enough
        if held and (size + one.bytes > target or rows + (one.rows or 0) > FILE_ROWS):
            yield Bin(tuple(held))
            held, size, rows = [], 0, 0
        held.append(one)
        size, rows = size + one.bytes, rows + (one.rows or 0)
    if held:
        yield Bin(tuple(held))


def _is_worth_it(bin: Bin) -> bool:
    """Whether a bin saves a file at a fair price: a large one is not written again each night for a tiny one."""
    if any(one.rows is None for one in bin.files):
        return True  # of a writer that told no statistics
    if len(bin.files) < 2:
        return False
    largest = max(one.bytes for one in bin.files)
    return len(bin.files) >= MANY or bin.bytes <= CHEAP or bin.bytes - largest >= largest // 4


def _together(lake: Lake, address: Address, delta: DeltaTable, bin: Bin) -> list[Written]:
    """Write the rows of a bin anew; raises PermanentError if they are not as many as before."""
    schema = pa.schema([pa.field(name, kind) for name, kind in read.columns(delta).items()])
    day = bin.files[0].day
    writer = Writer(lake, address, secrets.token_hex(8), _told(bin, schema), partition=day, year=bin.files[0].year)
    writer.rows_of(None, (rows for one in bin.files for rows in rows_of(lake, address, one, schema)))
    before = sum(one.rows for one in bin.files if one.rows is not None)
    after = sum(one.rows for one in writer.written)
    if before != after and all(one.rows is not None for one in bin.files):
        mend = f"run `watershed lake check {address} --deep`"
        what = f"its files hold {after:,} rows where its log tells of {before:,}; nothing was changed"
        raise PermanentError(f"lake table {address}", what, mend)
    return writer.written


def _told(bin: Bin, schema: pa.Schema) -> set[str]:
    """The columns whose bounds the log tells: those it told before; the first 32 (as Delta does) if it told none."""
    known = {name for one in bin.files for name in json.loads(one.stats)["nullCount"]}
    return known & set(schema.names) or set(schema.names[:32])


def rows_of(lake: Lake, address: Address, file: Written, schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows of one file, in parts, with the columns of `schema`. Raises PermanentError if it cannot be read."""
    try:
        yield from _read(lake, address, file, schema)
    except (pa.ArrowException, OSError) as error:
        if "AWS Error" in str(error) and not isinstance(error, FileNotFoundError):
            raise  # the server, not the file
        mend = f"run `watershed lake check {address}`, then `watershed lake restore {address}`"
        raise PermanentError(f"lake table {address}", f"file {file.path} is missing or cannot be read", mend) from None


def _read(lake: Lake, address: Address, file: Written, schema: pa.Schema) -> Iterator[pa.Table]:
    with objects.filesystem(lake).open_input_file(objects.key(lake, f"{address}/{file.path}")) as source:
        parquet = pq.ParquetFile(source, pre_buffer=False)
        width = max(1, _width(parquet.metadata))
        for batch in parquet.iter_batches(batch_size=max(1024, min(100_000, GROUP_BYTES // width))):
            yield _fitting(batch, schema)


def _width(metadata: pq.FileMetaData) -> int:
    size = sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
    return int(size // max(1, metadata.num_rows))


def _fitting(batch: pa.RecordBatch, schema: pa.Schema) -> pa.Table:
    """The rows with the table's columns: what is missing is NULL, as it is for every reader."""
    columns = []
    for entry in schema:
        place = batch.schema.get_field_index(entry.name)
        column = pa.nulls(batch.num_rows, entry.type) if place < 0 else batch.column(place)
        columns.append(column if column.type.equals(entry.type) else column.cast(entry.type))
    return pa.Table.from_arrays(columns, schema=schema)


def _commit(lake: Lake, address: Address, batch: _Batch) -> Compacted:
    """Put the new files in the place of the old ones, as the very next version or not at all."""
    for _ in range(ATTEMPTS):
        with sole_writer(lake, address) as check:
            delta = commit.table(lake, address)
            live = set() if delta is None else {one.path for one in commit.files(delta)}
            ready = [(bin, new) for bin, new in batch.done if {one.path for one in bin.files} <= live]
            if delta is None or not ready:
                break
            if check is not None:
                check()
            try:
                delta.create_write_transaction(
                    _actions(ready),
                    mode="append",
                    schema=delta.schema(),
                    partition_by=list(delta.metadata().partition_columns),
                    commit_properties=_properties(commit.state(delta), ready),
                    post_commithook_properties=PostCommitHookProperties(create_checkpoint=traits(lake).has_ranges),
                )
            except CommitFailedError:
                continue  # another commit came first: look again what is left to do
            except Exception as error:  # the library raises plain Exceptions too
                raise explained(lake, error) from None
            left = "" if len(ready) == len(batch.done) else "some files were replaced meanwhile; the next time does it"
            return _counted(ready, left)
    return Compacted(left="the files were replaced meanwhile; the next time does it")


def _actions(ready: list[tuple[Bin, list[Written]]]) -> list[AddAction | RemoveAction]:
    now = now_ms()
    found: list[AddAction | RemoveAction] = []
    for bin, new in ready:
        found += [AddAction(one.path, one.bytes, one.partition, now, False, one.stats) for one in new]
        found += [
            RemoveAction(
                path=one.path,
                data_change=False,
                deletion_timestamp=now,
                size=one.bytes,
                partition_values=one.partition,
            )
            for one in bin.files
        ]
    return found


def _properties(state: Mapping[str, Any], ready: list[tuple[Bin, list[Written]]]) -> CommitProperties:
    # With no load's id in the state nothing waits to be folded because of this commit. No transaction number either:
    # a load that has begun before may commit after it.
    kept = {name: value for name, value in state.items() if name not in OF_ONE_LOAD}
    done = {"compacted": sum(len(bin.files) for bin, _ in ready), "into": sum(len(new) for _, new in ready)}
    metadata = {commit.UPKEEP: json.dumps(done)} | ({commit.STATE: json.dumps(kept)} if kept else {})
    return CommitProperties(custom_metadata=metadata, max_commit_retries=0)


def _counted(ready: list[tuple[Bin, list[Written]]], left: str) -> Compacted:
    new = [one for _, files in ready for one in files]
    files = sum(len(bin.files) for bin, _ in ready)
    return Compacted(files, len(new), sum(bin.bytes for bin, _ in ready), sum(one.bytes for one in new), 1, left)


def _sum(one: Compacted, other: Compacted) -> Compacted:
    return Compacted(
        one.files_before + other.files_before,
        one.files_after + other.files_after,
        one.bytes_before + other.bytes_before,
        one.bytes_after + other.bytes_after,
        one.commits + other.commits,
        one.left or other.left,
    )
