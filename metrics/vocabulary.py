"""The words of `hypertables.yml` that stand for something: buckets, measures, spans of time, types, editions."""

import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Literal

Bucket = Literal["1m", "1h", "1d"]
Measure = Literal["avg", "sum", "count", "min", "max", "first", "last", "count_true", "percentiles"]
Edition = Literal["apache", "community"]

BUCKETS: dict[Bucket, timedelta] = {"1m": timedelta(minutes=1), "1h": timedelta(hours=1), "1d": timedelta(days=1)}
NUMERIC: frozenset[str] = frozenset({"avg", "sum", "percentiles"})  # measures that need a number
ORDERED: frozenset[str] = frozenset({"min", "max"})  # measures that need an order; a boolean has none here
COLUMN_OF: dict[str, str] = {"percentiles": "sketch"}  # a measure's column is `<column>_<measure>`, but for these

SPAN = r"^([1-9][0-9]*) ?(minutes?|min|m|hours?|h|days?|d|weeks?)$"
TYPE = r"^(timestamptz|bigint|integer|double precision|boolean|text|numeric\([0-9]{1,2},[0-9]{1,2}\))$"
NAME = r"^[a-z][a-z0-9_]{0,55}$"
ORDER = r"^[a-z][a-z0-9_]{0,55}( (asc|desc))?$"
LONGEST = 63  # bytes of a name; PostgreSQL cuts what is longer
TYPES = ("timestamptz", "bigint", "integer", "double precision", "boolean", "text", "numeric(18,2)")

_UNITS = {"minute": 60, "min": 60, "m": 60, "hour": 3600, "h": 3600, "day": 86400, "d": 86400, "week": 604800}


def held(measures: Iterable[Measure]) -> tuple[Measure, ...]:
    """The measures that a roll-up holds: those asked for, and with an average the sum and count it is made of."""
    asked = tuple(measures)
    parts: tuple[Measure, ...] = ("sum", "count") if "avg" in asked else ()
    return tuple(dict.fromkeys((*asked, *parts)))


def span_of(value: object) -> object:
    """`"7 days"` as a timedelta; ValueError for anything else, in words that name the form."""
    if isinstance(value, timedelta):
        return value
    found = re.match(SPAN, value) if isinstance(value, str) else None
    if not found:
        raise ValueError("is not a span of time; write it as `7 days` or `1 hour`")
    number, unit = int(found[1]), found[2]
    return timedelta(seconds=number * _UNITS[unit if unit in _UNITS else unit.removesuffix("s")])
