"""Atomic commits of Arrow batches to Delta tables, each with the state that belongs to it in the same commit."""

import datetime
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from lake.access import explained
from lake.errors import Busy
from lake.layout import DAY_COLUMNS, Address, Lake

STATE = "watershed"
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
) -> Committed:
    """Replace the given days (or all rows) and set `state` in one commit.

    `base` is the version that was read to compute `rows`; if another process has committed since, Busy is raised.
    """
    condition = None if days is None else days_predicate(days)
    return _write(lake, address, rows, state, base, by_day=days is not None, mode="overwrite", predicate=condition)


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
    mode: Literal["append", "overwrite"],
    predicate: str | None = None,
) -> Committed:
    turn = (base.version() + 1) if base is not None else 0
    properties = CommitProperties(
        custom_metadata={STATE: json.dumps(state)},
        app_transactions=[Transaction(STATE, turn)],  # two writers on one base: the second one's commit fails
        max_commit_retries=0 if base is None else 15,
    )
    try:
        if base is None:
            write_deltalake(
                lake.uri(address),
                rows,
                mode="error",
                partition_by=list(DAY_COLUMNS) if by_day else None,
                storage_options=lake.storage_options(),
                writer_properties=WRITER,
                commit_properties=properties,
                configuration={"delta.logRetentionDuration": "interval 3650 days"},
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
                schema_mode="merge",
                predicate=predicate,
                writer_properties=WRITER,
                commit_properties=properties,
            )
    except CommitFailedError:
        mend = "wait for the other run to end and run again; nothing is harmed"
        raise Busy(f"lake table {address}", "another process committed at the same time", mend) from None
    except Exception as error:  # the library raises plain Exceptions too, e.g. for a type that Delta does not have
        if "already exists" in str(error):
            raise Busy(f"lake table {address}", "another process created it at the same time", "run again") from None
        raise explained(lake, error) from None
    # A given table has moved on to the new version by itself.
    return _committed(base or DeltaTable(lake.uri(address), storage_options=lake.storage_options()))


def _committed(delta: DeltaTable) -> Committed:
    metrics = delta.history(1)[0].get("operationMetrics", {})
    rows, files = metrics.get("num_added_rows", 0), metrics.get("num_added_files", 0)
    return Committed(delta.version(), int(rows), int(files))
