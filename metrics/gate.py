"""What may enter a hypertable: rows that break its declaration are told from the others, each with the reason.

Set aside are: a key or time that is NULL, a time far ahead of the clock, a value that does not fit its type, an
infinity, a value outside of its `range`. NaN is how many tools write "no value": it becomes NULL and is counted.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types as kinds

from metrics.spec import Column, Hypertable

_INSTANT = pa.timestamp("us", "UTC")
Fault = tuple[Any, str]  # mask over the rows (an Arrow array of booleans without NULL), reason


@dataclass(frozen=True)
class Sorted:
    """A part of a load: rows that may enter, rows that may not, and how many were left out or blanked."""

    good: pa.RecordBatch
    """In the hypertable's columns and types."""
    bad: pa.RecordBatch | None
    """In the same columns, then `_reason` and `_misfit` (JSON: column to the text that does not fit); None: no row."""
    first_bad: int
    """Position of the first bad row in the part, from 0."""
    expired: int
    """Rows left out: before the oldest instant kept."""
    blanked: int
    """Values that were NaN and are NULL now."""


def sort_out(
    hypertable: Hypertable, schema: pa.Schema, part: pa.RecordBatch, oldest: datetime, newest: datetime
) -> Sorted:
    """Convert a part to `schema` and tell good rows from bad; rows before `oldest` are neither, only counted."""
    columns, faults, blanked = [], list[Fault](), 0
    misfits: dict[str, tuple[Any, Any]] = {}
    for field in schema:
        given = part.column(field.name)
        values, unfit = fitted(given, field.type)
        if unfit is not None:
            faults.append((unfit, f"{field.name} does not fit {hypertable.columns[field.name].type}"))
            misfits[field.name] = (unfit, given)
        if kinds.is_floating(field.type):
            values, count = _without_nan(values)
            blanked += count
        columns.append(values)
    rows = pa.RecordBatch.from_arrays(columns, schema=schema)
    faults += _faults(hypertable, rows, newest)
    expired = _before(rows.column(hypertable.time), oldest)
    if not faults and expired is None:
        return Sorted(rows, None, 0, 0, blanked)
    return _divided(rows, faults, misfits, expired, blanked)


def _divided(
    rows: pa.RecordBatch, faults: list[Fault], misfits: dict[str, tuple[Any, Any]], expired: Any, blanked: int
) -> Sorted:
    none = pa.array([False]).take(pa.array([0] * rows.num_rows, pa.int32())) if expired is None else expired
    broken = none
    for mask, _ in faults:
        broken = pc.or_(broken, mask)
    bad = pc.and_not(broken, none)
    good = rows.filter(pc.invert(broken))
    left_out = none.true_count
    if not bad.true_count:
        return Sorted(good, None, 0, left_out, blanked)
    reasons = pc.coalesce(*(pc.if_else(mask, reason, pa.scalar(None, pa.string())) for mask, reason in faults))
    told = pa.array(_misfits(rows.num_rows, misfits), pa.string())
    aside = rows.append_column("_reason", reasons).append_column("_misfit", told).filter(bad)
    return Sorted(good, aside, pc.index(bad, True).as_py(), left_out, blanked)


def _faults(hypertable: Hypertable, rows: pa.RecordBatch, newest: datetime) -> Iterator[Fault]:
    for name in hypertable.key:
        if rows.column(name).null_count:
            yield pc.is_null(rows.column(name)), f"{name} is NULL, but part of the key"
    instants = rows.column(hypertable.time)
    latest = pc.max(instants)
    if latest.is_valid and latest.value > pa.scalar(newest, _INSTANT).value:
        late = pc.greater(instants, pa.scalar(newest, _INSTANT))
        yield pc.fill_null(late, False), f"{hypertable.time} is more than a year ahead of the clock"
    for name, column in hypertable.columns.items():
        yield from _limits(name, column, rows.column(name))


def _limits(name: str, column: Column, values: Any) -> Iterator[Fault]:
    if not column.is_number or not len(values):
        return
    if kinds.is_floating(values.type):
        infinite = pc.fill_null(pc.is_inf(values), False)
        if infinite.true_count:
            yield infinite, f"{name} is infinite"
    if column.range is None:
        return
    low, high = column.range
    outside = [compare(values.cast(pa.float64()), limit)
               for compare, limit in ((pc.less, low), (pc.greater, high)) if limit is not None]  # fmt: skip
    masks = [pc.fill_null(mask, False) for mask in outside]
    if any(mask.true_count for mask in masks):
        unit = f" {column.unit}" if column.unit else ""
        limits = f"{'' if low is None else f'{low:g}'} to {'' if high is None else f'{high:g}'}".strip()
        yield masks[0] if len(masks) == 1 else pc.or_(*masks), f"{name} is outside of {limits}{unit}"


def _before(instants: Any, oldest: datetime) -> Any:
    earliest = pc.min(instants)
    bound = pa.scalar(oldest, _INSTANT)
    if not earliest.is_valid or earliest.value >= bound.value:
        return None
    return pc.fill_null(pc.less(instants, bound), False)


def _without_nan(values: Any) -> tuple[Any, int]:
    missing = pc.fill_null(pc.is_nan(values), False)
    if not missing.true_count:
        return values, 0
    return pc.if_else(missing, pa.scalar(None, values.type), values), missing.true_count


def fitted(values: Any, kind: pa.DataType) -> tuple[Any, Any]:
    """The values as Arrow type `kind`, and a mask of those that do not fit and are NULL now; None if all do."""
    try:
        return _cast(values, kind), None
    except pa.ArrowInvalid:
        fitted, unfit = _forgiving(values, kind)
        return pa.concat_arrays(fitted), pa.array(unfit, pa.bool_())


def _forgiving(values: Any, kind: pa.DataType) -> tuple[list[Any], list[bool]]:
    # Halves until a half converts: a few bad values among many cost a few conversions, whatever the type.
    try:
        return [_cast(values, kind)], [False] * len(values)
    except pa.ArrowInvalid:
        if len(values) == 1:
            return [pa.nulls(1, kind)], [True]
        middle = len(values) // 2
        parts = (_forgiving(values[:middle], kind), _forgiving(values[middle:], kind))
        return parts[0][0] + parts[1][0], parts[0][1] + parts[1][1]


def _cast(values: Any, kind: pa.DataType) -> Any:
    if kinds.is_decimal(kind) and kinds.is_integer(values.type):
        values = values.cast(pa.decimal128(38, kind.scale))  # an int64 does not fit decimal(18, 2) by type
    return values.cast(kind)


def _misfits(rows: int, misfits: dict[str, tuple[Any, Any]]) -> list[str | None]:
    # Row by row, but only where a value did not fit.
    found: dict[int, dict[str, str]] = {}
    for name, (unfit, given) in misfits.items():
        for position in pc.indices_nonzero(unfit).to_pylist():
            found.setdefault(position, {})[name] = str(given[position])
    return [json.dumps(found[position]) if position in found else None for position in range(rows)]
