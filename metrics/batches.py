"""Arrow batches in the shape of a hypertable: checked against the declaration and converted without loss."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types as kinds

from lake.errors import ContractBroken
from metrics.spec import SCHEMA, Hypertable

SLICE = 65_536  # rows converted and encoded at a time: about 10 MB, whatever the size of the batches that come in

_ARROW = {
    "timestamptz": pa.timestamp("us", "UTC"),
    "bigint": pa.int64(),
    "integer": pa.int32(),
    "double precision": pa.float64(),
    "boolean": pa.bool_(),
    "text": pa.string(),
}


@dataclass
class Tally:
    """What became of the rows that came in."""

    rows: int = 0
    expired: int = 0
    future: int = 0
    blanked: int = 0


def arrow_schema(hypertable: Hypertable) -> pa.Schema:
    """The Arrow schema of a hypertable's rows: timestamps in µs UTC, numeric as decimal128."""
    return pa.schema([pa.field(name, _arrow(column.type)) for name, column in hypertable.columns.items()])


def require(hypertable: Hypertable, schema: pa.Schema) -> None:
    """ContractBroken if a column is missing, unknown or of a type that does not convert without loss."""
    if twice := sorted({name for name in schema.names if schema.names.count(name) > 1}):
        raise _broken(hypertable, f"column {twice[0]} comes twice")
    if unknown := [name for name in schema.names if name not in hypertable.columns]:
        raise _broken(hypertable, f"the rows have a column {unknown[0]} that is not declared")
    for name, column in hypertable.columns.items():
        if name not in schema.names:
            raise _broken(hypertable, f"the rows have no column {name}")
        kind = schema.field(name).type
        if not _fits(kind.value_type if kinds.is_dictionary(kind) else kind, column.type):
            raise _broken(hypertable, f"column {name} comes as {kind}, declared is {column.type}")


def conformed(
    hypertable: Hypertable, batches: pa.RecordBatchReader, tally: Tally, oldest: datetime, newest: datetime
) -> Iterator[pa.RecordBatch]:
    """The rows with `oldest` ≤ time ≤ `newest`, in the hypertable's columns and types; the others are counted only.

    NaN and infinities become NULL and are counted: one would spoil every average it gets into. A NULL in the key is
    ContractBroken.
    """
    schema = arrow_schema(hypertable)
    for batch in batches:
        for start in range(0, batch.num_rows, SLICE):
            part = _converted(hypertable, schema, batch.slice(start, SLICE), tally)
            kept = _in_time(part, hypertable.time, tally, oldest, newest)
            tally.rows += kept.num_rows
            if kept.num_rows:
                yield kept


def _converted(hypertable: Hypertable, schema: pa.Schema, part: pa.RecordBatch, tally: Tally) -> pa.RecordBatch:
    columns = []
    for field in schema:
        values = _cast(hypertable, field, part.column(field.name))
        if field.name in hypertable.key and values.null_count:
            raise _broken(hypertable, f"{values.null_count} rows have no {field.name}, which is part of the key")
        if kinds.is_floating(field.type):
            finite = pc.fill_null(pc.is_finite(values), True)
            bad = len(values) - finite.true_count
            if bad:
                values = pc.if_else(finite, values, pa.scalar(None, field.type))
                tally.blanked += bad
        columns.append(values)
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _cast(hypertable: Hypertable, field: pa.Field, values: Any) -> Any:
    try:
        if kinds.is_decimal(field.type) and kinds.is_integer(values.type):
            values = values.cast(pa.decimal128(38, field.type.scale))  # an int64 does not fit decimal(18, 2) by type
        return values.cast(field.type)
    except pa.ArrowInvalid as error:
        raise _broken(hypertable, f"a value of column {field.name} does not fit ({error})") from None


def _in_time(part: pa.RecordBatch, time: str, tally: Tally, oldest: datetime, newest: datetime) -> pa.RecordBatch:
    instants, kind = part.column(time), pa.timestamp("us", "UTC")
    bounds = pc.min_max(instants)
    low, high = pa.scalar(oldest, kind), pa.scalar(newest, kind)
    if not part.num_rows or (bounds["min"].value >= low.value and bounds["max"].value <= high.value):
        return part
    expired, future = pc.less(instants, low), pc.greater(instants, high)
    tally.expired += expired.true_count
    tally.future += future.true_count
    return part.filter(pc.invert(pc.or_(expired, future)))


def _arrow(kind: str) -> pa.DataType:
    if kind.startswith("numeric"):
        precision, scale = kind[8:-1].split(",")
        return pa.decimal128(int(precision), int(scale))
    return _ARROW[kind]


def _fits(kind: pa.DataType, declared: str) -> bool:
    """Whether Arrow's `kind` converts to the declared type without a change of meaning; values are checked later."""
    if kinds.is_null(kind):
        return True
    checks: dict[str, bool] = {
        "timestamptz": kinds.is_timestamp(kind) and kind.tz is not None,  # without a zone it names no instant
        "bigint": kinds.is_integer(kind),
        "integer": kinds.is_integer(kind),
        "double precision": kinds.is_floating(kind) or kinds.is_integer(kind),
        "boolean": kinds.is_boolean(kind),
        "text": kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind),
    }
    return checks.get(declared, bool(kinds.is_decimal(kind) or kinds.is_integer(kind)))


def _broken(hypertable: Hypertable, what: str) -> ContractBroken:
    return ContractBroken(
        f"{SCHEMA}.{hypertable.name}", what, "nothing was loaded; correct the rows or metrics/hypertables.yml"
    )
