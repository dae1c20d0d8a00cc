"""What Python code yields, as Arrow tables: tables, batches, data frames, dictionaries, and lists of these."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

ROWS = 10_000  # dictionaries that are put together


def tables(answer: Any) -> Iterator[pa.Table]:
    """The rows of `answer`, or of what it yields, in their order. Raises TypeError for anything else."""
    waiting: list[Mapping[str, Any]] = []
    for item in _items(answer):
        if isinstance(item, Mapping):
            waiting.append(item)
            if len(waiting) >= ROWS:
                yield of_rows(waiting)
                waiting = []
            continue
        if waiting:
            yield of_rows(waiting)
            waiting = []
        yield item
    if waiting:
        yield of_rows(waiting)


def _items(answer: Any) -> Iterator[pa.Table | Mapping[str, Any]]:
    if answer is None:
        return
    if isinstance(answer, (Mapping, pa.Table)):
        yield answer
    elif isinstance(answer, pa.RecordBatch):
        yield pa.Table.from_batches([answer])
    elif hasattr(answer, "__arrow_c_stream__"):
        for batch in pa.RecordBatchReader.from_stream(answer):
            yield pa.Table.from_batches([batch])
    elif isinstance(answer, Iterable) and not isinstance(answer, (str, bytes)):
        for item in answer:
            yield from _items(item)
    else:
        raise TypeError(f"yielded {type(answer).__name__}; yield dictionaries, tables or record batches")


def of_rows(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Dictionaries as a table; a key that a row lacks is NULL. Values of mixed kinds become text, JSON if nested."""
    names = dict.fromkeys(str(name) for row in rows for name in row)
    return pa.table({name: _column([row.get(name) for row in rows]) for name in names})


def _column(values: list[Any]) -> pa.Array:
    try:
        column = pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        return pa.array([None if value is None else _text(value) for value in values], pa.string())
    if pa.types.is_decimal(column.type):  # precision and scale are those of these rows only
        return column.cast(pa.decimal128(38, column.type.scale)) if column.type.precision <= 38 else column
    return column


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (Mapping, list, tuple, bool)):
        return json.dumps(value, default=str, ensure_ascii=False)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
