"""Values on their way into SQL and out of it: literals that fit a column's type, and results that JSON can say."""

import datetime
import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from lake.duck import literal, quoted

_NUMERIC = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|DECIMAL.*|FLOAT|DOUBLE")
_TEMPORAL = re.compile(r"DATE|TIME.*")
# Great Expectations' users know pandas' names; the lake keeps JSON and UUID as text.
_OTHER_NAMES = {
    "INT64": "BIGINT",
    "INT32": "INTEGER",
    "FLOAT64": "DOUBLE",
    "FLOAT32": "FLOAT",
    "STR": "VARCHAR",
    "JSON": "VARCHAR",
    "JSONB": "VARCHAR",
    "UUID": "VARCHAR",
}


class UnfitError(ValueError):
    """An expectation cannot be measured on its table; the message is the reason, for people."""


def family(duck_type: str) -> str:
    """`number`, `time`, `text`, `truth` or `other`: what values of a DuckDB type can be compared with."""
    if _NUMERIC.fullmatch(duck_type):
        return "number"
    if _TEMPORAL.fullmatch(duck_type):
        return "time"
    return {"VARCHAR": "text", "BOOLEAN": "truth"}.get(duck_type, "other")


def fitting(column: str, duck_type: str, value: Any) -> str:
    """`value` as an SQL literal to compare `column` with; raises UnfitError where the two cannot be compared.

    DuckDB would turn the column into the literal's type instead, and stop at the first row that does not convert.
    """
    kind = family(duck_type)
    if isinstance(value, bool):
        given = "truth"
    elif isinstance(value, int | float):
        given = "number"
    else:
        given = "text"
    if given == kind != "text":
        return str(value).upper() if kind == "truth" else repr(value)
    if given == "text" and kind == "text":
        return literal(value)
    if given == "text" and kind == "time":
        # A DATE against an instant must be compared as an instant, or the time of day is lost.
        instant = "TIMESTAMP" if duck_type == "DATE" and len(value) > len("2026-01-01") else duck_type
        return f"CAST({literal(value)} AS {instant})"
    raise UnfitError(f'column "{column}" is {duck_type}, which cannot be compared with {value!r}')


def measurable(column: str, duck_type: str) -> str:
    """The SQL of a column with NaN as NULL: a missing value, as in Great Expectations' pandas execution."""
    name = quoted(column)
    return f"CASE WHEN isnan({name}) THEN NULL ELSE {name} END" if duck_type in ("FLOAT", "DOUBLE") else name


def same_type(actual: str, expected: str, canonical: Mapping[str, str]) -> bool:
    """Whether a column's DuckDB type is the one that `expected` names, in DuckDB's, PostgreSQL's or pandas' words."""
    return actual in (canonical.get(expected), _OTHER_NAMES.get(expected.upper()))


def plain(value: Any) -> Any:
    """`value` as JSON can say it: instants in UTC as ISO texts, decimals as numbers, the rest as text."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float | Decimal):
        number = float(value)
        return number if math.isfinite(number) else str(number)
    if isinstance(value, datetime.datetime):
        return (value.astimezone(datetime.UTC) if value.tzinfo else value).isoformat()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.hex() if isinstance(value, bytes) else str(value)
