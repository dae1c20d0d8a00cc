"""What a hypertable's declaration gets wrong in itself: columns that are not there, measures that cannot be, spans."""

import difflib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from metrics.vocabulary import BUCKETS, COLUMN_OF, LONGEST, NUMERIC, ORDERED, held

if TYPE_CHECKING:
    from metrics.spec import Column, Hypertable

_RESERVED = {"bucket_at", "sample_count"}


def problems(table: "Hypertable") -> Iterator[str]:
    """Each contradiction as `key: what is wrong; what to do`, the most telling first."""
    if table.time not in table.columns or table.columns[table.time].type != "timestamptz":
        yield f"time: `{table.time}` must be one of the columns, of type timestamptz"
    if table.time not in table.key:
        yield f"key: must contain the time column `{table.time}`"
    yield from _unknown(table)
    for name, column in table.columns.items():
        yield from _range(name, column)
    if reserved := _RESERVED & set(table.columns):
        yield f"columns: `{min(reserved)}` is the name of a roll-up's own column; choose another"
    yield from _space(table)
    yield from _columnstore(table)
    yield from _rollups(table)


def hint(name: str, known: Iterable[object]) -> str:
    """`did you mean "x"?` if one of the known names is near, else nothing."""
    near = difflib.get_close_matches(name, [str(one) for one in known], n=1)
    return f'did you mean "{near[0]}"?' if near else ""


def _unknown(table: "Hypertable") -> Iterator[str]:
    named: dict[str, tuple[str, ...]] = {"key": table.key, "segment_by": table.segment_by}
    named |= {f"indexes.{position}": columns for position, columns in enumerate(table.indexes)}
    named["order_by"] = tuple(column for column, _ in table.ordering)
    if table.space:
        named["space.by"] = (table.space.by,)
    if table.rollups:
        named |= {"rollups.by": table.rollups.by, "rollups.measures": tuple(table.rollups.measures)}
    for where, columns in named.items():
        for column in columns:
            if column not in table.columns:
                yield f"{where}: `{column}` is not a column; {hint(column, table.columns) or 'declare it in columns'}"
            if columns.count(column) > 1:
                yield f"{where}: names `{column}` twice; once is enough"


def _range(name: str, column: "Column") -> Iterator[str]:
    if column.range is None:
        return
    low, high = column.range
    if not column.is_number:
        yield f"columns.{name}.range: is for numbers, and the column is {column.type}; take it out"
    if low is None and high is None:
        yield f"columns.{name}.range: neither end is given, which leaves nothing to check; take it out"
    if low is not None and high is not None and low > high:
        yield f"columns.{name}.range: begins at {low:g}, after its end {high:g}; write [smallest, largest]"


def _space(table: "Hypertable") -> Iterator[str]:
    if not table.space:
        return
    if table.space.by == table.time:
        yield f"space.by: `{table.time}` is the time column, which divides the rows already; choose another"
    if table.space.by not in table.key:
        yield f"space.by: `{table.space.by}` must be in the key, which is unique only within its part; add it to key"


def _columnstore(table: "Hypertable") -> Iterator[str]:
    if table.time in table.segment_by:
        yield f"segment_by: `{table.time}` is the time column, each row would be a segment; use it in order_by"
    for column, _ in table.ordering:
        if column in table.segment_by:
            yield f"order_by: `{column}` is in segment_by, within a segment it is the same in every row; take it out"


def _rollups(table: "Hypertable") -> Iterator[str]:
    if not table.rollups:
        return
    for column, measures in table.rollups.measures.items():
        yield from _measures(column, table.columns[column].type, table.columns[column].is_number, measures)
    yield from _names(table)
    # Each is summed up from the finer one: it cannot be less behind than that.
    finer = None
    for bucket, kept in sorted(table.rollups.every.items(), key=lambda one: BUCKETS[one[0]]):
        where = f"rollups.every.{bucket}"
        if kept.drop_after < table.drop_after:
            yield f"{where}: drop_after is shorter than the drop_after of the rows it sums up"
        # A bucket that lies in two chunks would be summed up anew from the half that retention has left.
        if table.chunk_interval % BUCKETS[bucket]:
            yield f"chunk_interval: must be a multiple of the roll-up {bucket}"
        if kept.refresh_lag >= table.drop_after:
            yield f"{where}: refresh_lag is not shorter than the drop_after of the rows, which would go unsummed"
        if finer and kept.refresh_lag < table.rollups.every[finer].refresh_lag:
            yield f"{where}: refresh_lag is shorter than that of {finer}, from which it is summed up; lengthen it"
        finer = bucket


def _measures(column: str, kind: str, is_number: bool, measures: tuple[str, ...]) -> Iterator[str]:
    for measure in measures:
        if measures.count(measure) > 1:
            yield f"rollups.measures: `{column}` has {measure} twice; once is enough"
    if not NUMERIC.isdisjoint(measures) and not is_number:
        yield f"rollups.measures: `{column}` is {kind}; avg, sum and percentiles need a number"
    if not ORDERED.isdisjoint(measures) and kind == "boolean":
        yield f"rollups.measures: `{column}` is boolean; min and max need an order, take count_true"
    if "count_true" in measures and kind != "boolean":
        yield f"rollups.measures: count_true needs a boolean, `{column}` is {kind}"


def _names(table: "Hypertable") -> Iterator[str]:
    if not table.rollups:
        return
    taken = list(table.rollups.by)
    for column, measures in table.rollups.measures.items():
        taken += [f"{column}_{COLUMN_OF.get(measure, measure)}" for measure in held(measures)]
    for name in taken:
        if taken.count(name) > 1:
            yield f"rollups: two of its columns would be called `{name}`; rename a column"
        if len(name) > LONGEST:
            yield f"rollups.measures: `{name}` is longer than {LONGEST} letters; shorten the column's name"
