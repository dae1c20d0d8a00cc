"""Arrow batches in the shape of a hypertable: checked against the declaration and converted without loss."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa
from pyarrow import types as kinds

from lake.errors import ContractBroken
from metrics import units
from metrics.gate import sort_out
from metrics.spec import SCHEMA, Hypertable

SLICE = 65_536  # rows converted and encoded at a time: about 10 MB, whatever the size of the batches that come in
SLICE_BYTES = 16 * 1024 * 1024  # and fewer where rows are long

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
    blanked: int = 0
    set_aside: Counter[str] = field(default_factory=Counter)


def arrow_schema(hypertable: Hypertable) -> pa.Schema:
    """The Arrow schema of a hypertable's rows: timestamps in µs UTC, numeric as decimal128."""
    return pa.schema([pa.field(name, _arrow(column.type)) for name, column in hypertable.columns.items()])


def require(hypertable: Hypertable, schema: pa.Schema, *, text: bool = False) -> None:
    """ContractBroken if a column is missing, unknown, in another unit or of a type that does not convert without loss.

    `text`: the rows come from a file of text, and a column of text may stand for any type.
    """
    if twice := sorted({name for name in schema.names if schema.names.count(name) > 1}):
        raise broken(hypertable, f"column {twice[0]} comes twice")
    for name in schema.names:
        if name not in hypertable.columns:
            other = units.other(name, hypertable)
            raise broken(hypertable, other or f"the rows have a column {name} that is not declared")
    for name, column in hypertable.columns.items():
        if name not in schema.names:
            raise broken(hypertable, f"the rows have no column {name}")
        kind = schema.field(name).type
        kind = kind.value_type if kinds.is_dictionary(kind) else kind
        if not (_fits(kind, column.type) or (text and kinds.is_string(kind))):
            raise broken(hypertable, f"column {name} comes as {kind}, declared is {column.type}")


def conformed(
    hypertable: Hypertable,
    batches: Iterator[pa.RecordBatch],
    tally: Tally,
    oldest: datetime,
    newest: datetime,
    aside: Callable[[pa.RecordBatch], None] | None,
) -> Iterator[pa.RecordBatch]:
    """The rows that may enter, in the hypertable's columns and types, a slice at a time; see `metrics.gate`.

    Rows before `oldest` are counted only. Rows that break the declaration go to `aside`; without it, the first one is
    ContractBroken.
    """
    schema, seen = arrow_schema(hypertable), 0
    for batch in batches:
        for part in _slices(batch):
            found = sort_out(hypertable, schema, part, oldest, newest)
            if found.bad is not None:
                if aside is None:
                    reason = found.bad.column("_reason")[0]
                    raise broken(hypertable, f"row {seen + found.first_bad + 1:,}: {reason}")
                aside(found.bad)
                tally.set_aside.update(found.bad.column("_reason").to_pylist())
            seen += part.num_rows
            tally.rows += found.good.num_rows
            tally.expired += found.expired
            tally.blanked += found.blanked
            if found.good.num_rows:
                yield found.good


def broken(hypertable: Hypertable, what: str) -> ContractBroken:
    """The error for rows that are refused; nothing of their load has stayed."""
    return ContractBroken(
        f"{SCHEMA}.{hypertable.name}", what, "nothing was loaded; correct the rows or metrics/hypertables.yml"
    )


def _slices(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    rows = min(SLICE, max(1, SLICE_BYTES * batch.num_rows // max(batch.nbytes, 1)))
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


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
