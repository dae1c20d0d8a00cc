"""Texts as types: which type all values of a column are, and what a text is as that type.

A type is found only where nothing is lost by it: a number with leading zeros, a day in another order, more digits than
a float holds stay text. Where a type is declared, more ways of writing it are read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb

from lake.duck import literal, quoted

TEXT, TIMESTAMPTZ = "VARCHAR", "TIMESTAMP WITH TIME ZONE"
_DAY, _TIME = r"\d{4}-[01]\d-[0-3]\d", r"[0-2]\d:[0-5]\d(?::[0-6]\d(?:\.\d{1,6})?)?"
# As found: one way of writing each value, so that the text can be had back.
FOUND = {
    "BIGINT": r"-?(?:0|[1-9]\d{0,17})",
    "DOUBLE": r"-?(?:0|[1-9]\d*)(?:\.\d+)?",
    "BOOLEAN": r"true|false|True|False|TRUE|FALSE",
    "DATE": _DAY,
    "TIMESTAMP": rf"{_DAY}[ T]{_TIME}",
    TIMESTAMPTZ: rf"{_DAY}[ T]{_TIME}(?:Z|[+-]\d\d(?::?\d\d)?)",
}
# As declared: also signs, leading zeros, `5.0` for 5, `yes`, `1`, a day for its midnight; no zone is UTC.
DECLARED = {
    "BIGINT": r"[+-]?\d+(?:\.0*)?",
    "DOUBLE": r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|(?i)[+-]?(?:nan|inf|infinity)",
    "BOOLEAN": r"(?i)true|false|t|f|yes|no|y|n|1|0",
    "DATE": rf"{_DAY}(?:[ T]00:00(?::00(?:\.0+)?)?)?",
    "TIMESTAMP": rf"{_DAY}(?:[ T]{_TIME})?",
    TIMESTAMPTZ: rf"{_DAY}(?:[ T]{_TIME} ?(?:Z|UTC|[+-]\d\d(?::?\d\d)?)?)?",
}
NAMES = {
    "text": TEXT, "bigint": "BIGINT", "double": "DOUBLE", "boolean": "BOOLEAN", "date": "DATE",
    "timestamp": "TIMESTAMP", "timestamptz": TIMESTAMPTZ,
}  # fmt: skip
WRITTEN = r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:e[+-]?\d+)?"
AT_ONCE = 50  # columns in one query: planning 1,600 of them took a minute
EXACT_CHARACTERS = 17  # a sign, a dot and 15 digits, which every double holds


@dataclass(frozen=True)
class Reading:
    """SQL by which a text column becomes a typed one: `value`, and the condition that a text did not fit."""

    value: str
    misfit: str


def named(declared: str) -> str:
    """DuckDB's name of a type as source files write it."""
    return NAMES.get(declared) or declared.upper().replace(" ", "")


def reading(column: str, kind: str, null: Sequence[str], *, declared: bool) -> Reading:
    """How the text in `column` (SQL) is read as `kind`: as found in other texts, or as a person declared it."""
    if kind == TEXT:
        return Reading(column, "FALSE")
    text = f"trim({column})" if declared else column
    patterns = DECLARED if declared else FOUND | {"DOUBLE": WRITTEN}
    pattern = _decimal(kind) if kind.startswith("DECIMAL") else patterns.get(kind)
    fits = f"regexp_full_match({text}, {literal(pattern)})" if pattern else "TRUE"
    value = f"CASE WHEN {fits} THEN TRY_CAST({text} AS {kind}) END"
    # Between quotes, nothing is a text for a text column only.
    blank = f"trim({column}) IN ({', '.join(literal(word) for word in ('', *null))})"
    return Reading(value, f"({column} IS NOT NULL AND NOT {blank} AND ({value}) IS NULL)")


def found(
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    columns: Mapping[str, str | None],
    null: Sequence[str],
) -> dict[str, str | None]:
    """The type of each text column of `relation`; `columns` says what other rows had, None that they had no value."""
    names = list(columns)
    now: dict[str, str | None] = {}
    for start in range(0, len(names), AT_ONCE):
        now |= _found(connection, relation, {name: columns[name] for name in names[start : start + AT_ONCE]}, null)
    return now


def _found(
    connection: duckdb.DuckDBPyConnection, relation: str, columns: Mapping[str, str | None], null: Sequence[str]
) -> dict[str, str | None]:
    now = dict(columns)
    unknown = [column for column, kind in columns.items() if kind is None]
    now |= _first(connection, relation, unknown, null)
    doubtful = {name: kind for name, kind in now.items() if kind not in (None, TEXT)}
    for wider in ("DOUBLE", TEXT):
        failed = _failed(connection, relation, doubtful, null)
        doubtful = {column: wider for column in failed if wider == "DOUBLE" and now[column] == "BIGINT"}
        now |= dict.fromkeys(failed, TEXT) | doubtful
    return now


def _first(
    connection: duckdb.DuckDBPyConnection, relation: str, columns: Sequence[str], null: Sequence[str]
) -> dict[str, str | None]:
    """What the first value of each column may be; testing all patterns on all values took six times as long."""
    if not columns:
        return {}
    firsts = [f"any_value({quoted(column)}) FILTER ({_given(column, null)})" for column in columns]
    row = connection.execute(f"SELECT {', '.join(firsts)} FROM {relation}").fetchone() or ()
    kinds: dict[str, str | None] = {}
    for column, value in zip(columns, row, strict=True):
        fitting = (kind for kind, pattern in FOUND.items() if re.fullmatch(pattern, value or "", re.ASCII))
        kinds[column] = None if value is None else next(fitting, TEXT)
    return kinds


def _failed(
    connection: duckdb.DuckDBPyConnection, relation: str, kinds: Mapping[str, str | None], null: Sequence[str]
) -> list[str]:
    if not kinds:
        return []
    tests = [f"bool_and({_is(column, kind or TEXT)}) FILTER ({_given(column, null)})" for column, kind in kinds.items()]
    row = connection.execute(f"SELECT {', '.join(tests)} FROM {relation}").fetchone() or ()
    return [column for column, fits in zip(kinds, row, strict=True) if fits is False]


def _is(column: str, kind: str) -> str:
    name = quoted(column)
    if kind not in FOUND:
        return f"TRY_CAST({name} AS {kind}) IS NOT NULL"
    test = f"regexp_full_match({name}, {literal(FOUND[kind])})"
    if kind in ("BIGINT", "BOOLEAN"):
        return test
    if kind == "DOUBLE":
        cast = f"TRY_CAST({name} AS DOUBLE)"
        # A longer text, or one with an exponent, is a double if it was written from one.
        written = f"(regexp_full_match({name}, {literal(WRITTEN)}) AND isfinite({cast}) AND {cast}::VARCHAR = {name})"
        return f"CASE WHEN length({name}) <= {EXACT_CHARACTERS} AND {test} THEN TRUE ELSE {written} END"
    return f"CASE WHEN {test} THEN TRY_CAST({name} AS {kind}) IS NOT NULL ELSE FALSE END"


def _given(column: str, null: Sequence[str]) -> str:
    blanks = ", ".join(literal(word) for word in ("", *null))
    return f"WHERE {quoted(column)} NOT IN ({blanks})"


def _decimal(kind: str) -> str:
    match = re.fullmatch(r"DECIMAL\((\d+),(\d+)\)", kind)
    scale = int(match[2]) if match else 0
    # More digits than the scale has would be rounded away: those are no fit, zeros are.
    return rf"[+-]?(?:\d+(?:\.\d{{0,{scale}}}0*)?|\.\d{{1,{max(scale, 1)}}}0*)"
