"""Atomic commits of Arrow batches to Delta tables, each with the state that belongs to it in the same commit."""

import datetime
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import pyarrow as pa
from deltalake import (
    CommitProperties,
    DeltaTable,
    Schema,
    TableFeatures,
    Transaction,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction, create_table_with_add_actions

from lake.access import explained
from lake.errors import Busy, PlatformError
from lake.layout import DAY_COLUMNS, Address, Lake
from lake.lock import sole_writer
from lake.parquet import Written, bound, now_ms, partition_values

STATE = "watershed"
UNTOLD = (Decimal, bytes, dict, list)  # bounds that JSON does not have; Delta's own writer tells some
BULK = "bulk"  # the state of a load whose files processed may take over
CONFIGURATION = {"delta.logRetentionDuration": "interval 3650 days"}
# zstd 3: level 9 costs 2-3x the CPU for 1 % (measured on 2 M orders).
WRITER = WriterProperties(compression="ZSTD", compression_level=3, max_row_group_size=1_000_000)


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
        raise explained(lake, error) from None


def state(delta: DeltaTable | None) -> dict[str, Any]:
    """The state stored by the last of the platform's own commits to a table; empty if there was none."""
    if delta is None:
        return {}
    for entry in delta.history(50):
        if STATE in entry:
            return dict(json.loads(entry[STATE]))
    return {}


def states(delta: DeltaTable, since: int) -> list[dict[str, Any]]:
    """The states of all own commits with a version above `since`, oldest first."""
    entries = [entry for entry in delta.history(max(1, delta.version() - since)) if entry["version"] > since]
    return [json.loads(entry[STATE]) for entry in reversed(entries) if STATE in entry]


def append(
    lake: Lake,
    address: Address,
    rows: pa.RecordBatchReader,
    state: Mapping[str, Any],
    *,
    base: DeltaTable | None,
    by_day: bool = True,
) -> Committed:
    """Add rows and `state` in one commit.

    `base` is the version that was read to compute `rows`, None if there was no table; if another process has committed
    since, Busy is raised.
    """
    return _write(lake, address, rows, state, base, by_day=by_day, mode="append")


def replace(
    lake: Lake,
    address: Address,
    rows: pa.RecordBatchReader,
    state: Mapping[str, Any],
    *,
    base: DeltaTable | None,
    days: Iterable[datetime.date] | None = None,
    retype: bool = False,
) -> Committed:
    """Replace the given days (or all rows) and set `state` in one commit; `retype`: the columns become those of `rows`.

    `base` is the version that was read to compute `rows`; if another process has committed since, Busy is raised.
    """
    condition = None if days is None else days_predicate(days)
    mode: Literal["overwrite", "retype"] = "retype" if retype else "overwrite"
    return _write(lake, address, rows, state, base, by_day=days is not None, mode=mode, predicate=condition)


def add(
    lake: Lake,
    address: Address,
    schema: pa.Schema,
    files: Iterable[Written],
    state: Mapping[str, Any],
    *,
    base: DeltaTable | None,
    by_day: bool,
    removed: Iterable[RemoveAction] = (),
) -> Committed:
    """Commit files that are written already (and take others out) with `state`, at once.

    `schema` is that of the rows, without the partition columns. `base` as for `append`; Busy is raised likewise.
    """
    partition_by = list(DAY_COLUMNS) if by_day else []
    whole = pa.schema([*schema, *(pa.field(name, pa.string()) for name in partition_by)])
    delta_schema = Schema.from_arrow(whole)
    now, written = now_ms(), list(files)
    adds = [AddAction(one.path, one.bytes, partition_values(one.day), now, True, one.stats) for one in written]
    with _committing(lake, address, base):
        if base is None:
            create_table_with_add_actions(
                lake.uri(address),
                delta_schema,
                adds,
                mode="error",
                partition_by=partition_by,
                storage_options=lake.storage_options(),
                configuration=CONFIGURATION,
                commit_properties=_properties(state, base),
            )
        else:
            properties = _properties(state, base)
            _add_columns(base, delta_schema)
            base.create_write_transaction(
                [*adds, *removed],
                mode="append",
                schema=delta_schema,
                partition_by=partition_by,
                commit_properties=properties,
            )
            base.update_incremental()
    delta = base or DeltaTable(lake.uri(address), storage_options=lake.storage_options())
    return Committed(delta.version(), sum(one.rows for one in written), len(written))


def files(delta: DeltaTable) -> list[Written]:
    """The live files of a table as its log has them; `day` is the partition they are in, if they are."""
    found = []
    for add in pa.table(delta.get_add_actions(flatten=True)).to_pylist():
        values = [add.get(f"partition.{name}") for name in DAY_COLUMNS]
        day = datetime.date.fromisoformat("-".join(values)) if all(values) else None
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
        found.append(Written(add["path"], add["size_bytes"], add["num_records"], day, json.dumps(stats)))
    return found


def removals(delta: DeltaTable, days: Iterable[datetime.date] | None = None) -> list[RemoveAction]:
    """The actions that take out all files of these days; of all days, if none are given."""
    wanted = None if days is None else set(days)
    now = now_ms()
    return [
        RemoveAction(
            path=one.path,
            partition_values=partition_values(one.day),
            size=one.bytes,
            deletion_timestamp=now,
            data_change=True,
        )
        for one in files(delta)
        if wanted is None or one.day in wanted
    ]


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
    lake: Lake,
    address: Address,
    rows: pa.RecordBatchReader,
    state: Mapping[str, Any],
    base: DeltaTable | None,
    *,
    by_day: bool,
    mode: Literal["append", "overwrite", "retype"],
    predicate: str | None = None,
) -> Committed:
    properties = _properties(state, base)
    with _committing(lake, address, base):
        if base is None:
            write_deltalake(
                lake.uri(address),
                rows,
                mode="error",
                partition_by=list(DAY_COLUMNS) if by_day else None,
                storage_options=lake.storage_options(),
                writer_properties=WRITER,
                commit_properties=properties,
                configuration=CONFIGURATION,
            )
        elif mode == "append":
            write_deltalake(
                base, rows, mode="append", schema_mode="merge", writer_properties=WRITER, commit_properties=properties
            )
        else:
            write_deltalake(
                base,
                rows,
                mode="overwrite",
                schema_mode="overwrite" if mode == "retype" else "merge",
                predicate=predicate,
                writer_properties=WRITER,
                commit_properties=properties,
            )
    # A given table has moved on to the new version by itself.
    return _committed(base or DeltaTable(lake.uri(address), storage_options=lake.storage_options()))


def _properties(state: Mapping[str, Any], base: DeltaTable | None) -> CommitProperties:
    turn = (base.version() + 1) if base is not None else 0
    return CommitProperties(
        custom_metadata={STATE: json.dumps(state)},
        app_transactions=[Transaction(STATE, turn)],  # two writers on one base: the second one's commit fails
        max_commit_retries=0 if base is None else 15,
    )


def _add_columns(base: DeltaTable, schema: Schema) -> None:
    """Columns that the table does not have yet, in a commit of their own: they are NULL until rows bring them."""
    known = {field.name for field in base.schema().fields}
    new = [field for field in schema.fields if field.name not in known]
    if new:
        if any("timestamp_ntz" in field.to_json() for field in new):
            base.alter.add_feature(TableFeatures.TimestampWithoutTimezone, allow_protocol_versions_increase=True)
        base.alter.add_columns(new)


@contextmanager
def _committing(lake: Lake, address: Address, base: DeltaTable | None) -> Iterator[None]:
    """Commit on top of `base` as the only one; raises Busy if somebody has committed since, else what is wrong."""
    try:
        with sole_writer(lake, address) as is_locked:
            if is_locked and _version(lake, address) != (-1 if base is None else base.version()):
                raise CommitFailedError
            yield
    except CommitFailedError:
        mend = "wait for the other run to end and run again; nothing is harmed"
        raise Busy(f"lake table {address}", "another process committed at the same time", mend) from None
    except PlatformError:
        raise
    except Exception as error:  # the library raises plain Exceptions too, e.g. for a type that Delta does not have
        if "already exists" in str(error):
            raise Busy(f"lake table {address}", "another process created it at the same time", "run again") from None
        raise explained(lake, error) from None


def _version(lake: Lake, address: Address) -> int:
    found = table(lake, address)
    return -1 if found is None else found.version()


def _committed(delta: DeltaTable) -> Committed:
    metrics = delta.history(1)[0].get("operationMetrics", {})
    rows, files = metrics.get("num_added_rows", 0), metrics.get("num_added_files", 0)
    return Committed(delta.version(), int(rows), int(files))
