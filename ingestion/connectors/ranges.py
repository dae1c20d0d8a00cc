"""Ranges of days in which a table is asked for its digests, so that no query runs for hours, with pauses between."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa
import pyarrow.types as is_

from ingestion.connectors import Shape, Window
from ingestion.connectors.pace import Pace
from lake import canonical, digest, kinds
from lake.digest import Digests

if TYPE_CHECKING:
    from ingestion.spec import Source

ROWS = 2_000_000  # a range takes a second or few
Days = tuple[datetime.date, datetime.date]
Range = TypeVar("Range")


def asked(source: Source, ranges: Sequence[Range], ask: Callable[[Range], Digests], pause: float = 0.0) -> Digests:
    """The digests of all ranges, one after the other.

    After each it sleeps `pause` seconds per second that it took, and as long as `max_rows_per_s` wants.
    """
    pace, found = Pace(source.max_rows_per_s), []
    for one in ranges:
        pace.wait(0)
        began = time.monotonic()
        found.append(ask(one))
        pace.wait(sum(part.rows for part in found[-1].values()))
        if len(found) < len(ranges):
            time.sleep(pause * (time.monotonic() - began))
    return digest.total(found)


def of_days(extent: Days, rows: int, window: Window) -> list[Days]:
    """The days of the window (of `extent`, if it names none), cut into ranges of about `ROWS` rows.

    `rows` is how many the table has; they are taken as spread evenly over `extent`.
    """
    days = (extent[1] - extent[0]).days + 1
    first, last = window.first or extent[0], window.last or extent[1]
    step = max(1, min((last - first).days + 1, days * ROWS // max(rows, 1)))
    starts = [first + datetime.timedelta(days=n) for n in range(0, (last - first).days + 1, step)]
    return [(start, min(last, start + datetime.timedelta(days=step - 1))) for start in starts]


def incomparable(shape: Shape, columns: Mapping[str, pa.DataType]) -> dict[str, str]:
    """The columns whose values a source cannot make canonical as the lake holds them, and why not."""
    found = {}
    for name, kind in columns.items():
        if name not in shape.schema.names:
            found[name] = "the source has no such column"
        elif canonical.form(kind) is None:
            found[name] = f"values of type {kind} have no canonical form"
        elif not _is_same(kinds.stored(shape.schema.field(name).type), kinds.stored(kind)):
            found[name] = f"it is {kind} in the lake and arrives as {shape.schema.field(name).type}"
    return found


def _is_same(arriving: pa.DataType, kept: pa.DataType) -> bool:
    """Whether a value is the same number, text or instant in both types."""
    if arriving.equals(kept):
        return True
    exact = is_.is_integer(kept) or is_.is_decimal(kept)
    numbers = (is_.is_integer(arriving) or is_.is_decimal(arriving)) if exact else is_.is_floating(arriving)
    return (exact or is_.is_floating(kept)) and numbers and kinds.holds(kept, arriving)
