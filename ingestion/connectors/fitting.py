"""Rows of files and functions as rows of a table: each value in its column's type, or told in `_misfit`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from ingestion.connectors import MISFIT, json_text, text_types
from ingestion.connectors.text_types import TEXT, Reading
from lake.duck import literal, quoted
from lake.errors import SchemaDrift

PART = "part"
AT_ONCE = 50  # columns in one query: 1,600 took a minute and 200 MB to plan
MISFITS = pa.field(MISFIT, pa.string())
WITHHELD = "(not shown: the table has columns that are dropped or masked)"
# What Delta has no type for, and what takes its place.
REPLACED = (
    (r"\bUTINYINT\b", "SMALLINT"), (r"\bUSMALLINT\b", "INTEGER"), (r"\bUINTEGER\b", "BIGINT"),
    (r"\bUBIGINT\b", "DECIMAL(20,0)"), (r"\bU?HUGEINT\b", "DECIMAL(38,0)"),
    (r"\bTIMESTAMP_(?:NS|MS|S)\b", "TIMESTAMP"), (r"\bTIME WITH TIME ZONE\b", TEXT),
    (r"(?<!WITH )\bTIME(?:_NS)?\b", TEXT),
    (r"\b(?:INTERVAL|UUID|BIT|VARINT|BIGNUM)\b|\"NULL\"|ENUM\([^)]*\)", TEXT), (r"\[\d+\]", "[]"),
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """The table that rows are to fit: its columns' DuckDB types, and how texts are to be read.

    `declared` columns have their type from a person. `hidden` tells that a line cannot be shown as it stands.
    `constants` are columns that are the same in all rows of one file.
    """

    where: str
    kinds: Mapping[str, str]
    schema: pa.Schema
    declared: frozenset[str] = frozenset()
    masked: frozenset[str] = frozenset()
    null: Sequence[str] = ("",)
    salt: str = field(default="", repr=False)
    hidden: bool = False


def schema(connection: duckdb.DuckDBPyConnection, kinds: Mapping[str, str]) -> pa.Schema:
    """The Arrow schema of columns of these DuckDB types."""
    columns = ", ".join(f"NULL::{kind} AS {quoted(name)}" for name, kind in kinds.items())
    found = connection.execute(f"SELECT {columns} LIMIT 0").to_arrow_table().schema
    return pa.schema([pa.field(entry.name, _utc(entry.type)) for entry in found])


def lasting(kind: str) -> str:
    """The type in which the lake keeps a column of DuckDB type `kind`: the same, the next wider, or text."""
    if re.search(r"\b(?:MAP|UNION|VARIANT)\(?", kind):
        return TEXT
    quotes = kind.split('"NULL"')
    pieces = re.split(r'("(?:[^"]|"")*")', TEXT.join(quotes))
    for pattern, kept in REPLACED:
        pieces = [piece if piece.startswith('"') else re.sub(pattern, kept, piece) for piece in pieces]
    return "".join(pieces)


def fitted(
    connection: duckdb.DuckDBPyConnection, part: pa.Table, plan: Plan, constants: Mapping[str, str] | None = None
) -> pa.Table:
    """`part` in the columns of `plan`, with `_misfit`. `_ragged` in it is the text of a line that has no columns.

    A column that the plan has and `part` has not is NULL, or the constant (SQL) given for it. A value in a column that
    the plan does not have raises SchemaDrift, so that none is lost.
    """
    connection.register(PART, part)
    given = {name: str(kind) for name, kind, *_ in connection.execute(f"DESCRIBE {PART}").fetchall()}
    strays = [column for column in given if column not in plan.kinds and column not in ("_ragged", "_row")]
    _refuse_strays(connection, plan, {column: given[column] for column in strays})
    names = list(plan.kinds)
    columns: dict[str, pa.ChunkedArray] = {}
    told: list[pa.ChunkedArray] = []
    for start in range(0, len(names), AT_ONCE):
        some = {name: plan.kinds[name] for name in names[start : start + AT_ONCE]}
        # Of no column at all there would be no rows.
        connection.register(PART, part.select([name for name in given if name in some] or part.column_names[:1]))
        rows = _some(connection, plan, some, given, constants or {})
        told.append(rows.column(MISFIT))
        columns |= {name: rows.column(name) for name in some}
    return pa.table({**columns, MISFIT: _joined(told, part, plan)}).cast(plan.schema.append(MISFITS))


def _some(
    connection: duckdb.DuckDBPyConnection,
    plan: Plan,
    kinds: Mapping[str, str],
    given: Mapping[str, str],
    constants: Mapping[str, str],
) -> pa.Table:
    """Some columns of PART, with pieces of JSON on what did not fit."""
    chosen, misfits = [], {}
    for column, kind in kinds.items():
        if column not in given:
            chosen.append(f"({constants.get(column, 'NULL')})::{kind} AS {quoted(column)}")
            continue
        read = _reading(connection, plan, column, kind, given[column])
        chosen.append(f"{read.value} AS {quoted(column)}")
        if read.misfit != "FALSE":
            misfits[column] = read.misfit
    told = _told(misfits, given)
    return connection.execute(f"SELECT {', '.join(chosen)}, {told} AS {MISFIT} FROM {PART}").to_arrow_table()


def _joined(told: Sequence[pa.ChunkedArray], part: pa.Table, plan: Plan) -> pa.Array:
    """Pieces of JSON as the JSON object that `_misfit` holds."""
    pieces = [piece.combine_chunks() for piece in told if piece.null_count < part.num_rows]
    misfit = pa.nulls(part.num_rows, pa.string())
    if pieces:
        # Each piece ends in a comma; with nulls left to skip, the join loses rows that have nothing else.
        joined = pc.utf8_rtrim(pc.binary_join_element_wise(*(pc.fill_null(piece, "") for piece in pieces), ""), ",")
        whole = pc.binary_join_element_wise("{", joined, "}", "")
        misfit = pc.if_else(pc.equal(pc.utf8_length(joined), 0), pa.scalar(None, pa.string()), whole)
    if "_ragged" not in part.column_names or part.column("_ragged").null_count == part.num_rows:
        return misfit
    lines = [
        None if line is None else json.dumps({"": WITHHELD if plan.hidden else line}, ensure_ascii=False)
        for line in part.column("_ragged").to_pylist()
    ]
    return pc.coalesce(pa.array(lines, pa.string()), misfit)


def _refuse_strays(connection: duckdb.DuckDBPyConnection, plan: Plan, strays: Mapping[str, str]) -> None:
    for column, kind in strays.items():
        blanks = ", ".join(literal(word) for word in ("", "{}", *plan.null))
        blank = f" AND {quoted(column)} NOT IN ({blanks})" if kind == TEXT else ""
        row = connection.execute(f"SELECT count(*) FROM {PART} WHERE {quoted(column)} IS NOT NULL{blank}").fetchone()
        if row and row[0]:
            what = f'column "{column}" has its first value after the columns were settled'
            raise SchemaDrift(plan.where, what, f"run again; if it comes back, declare `columns: {{{column}: text}}`")


def _reading(connection: duckdb.DuckDBPyConnection, plan: Plan, column: str, kind: str, given: str) -> Reading:
    name = quoted(column)
    if column in plan.masked:
        return Reading(f"sha256({literal(plan.salt)} || {_text(name, given)})", "FALSE")
    if given == kind:
        return Reading(name, "FALSE")
    if kind == TEXT:
        return Reading(_text(name, given), "FALSE")
    if given == TEXT and _is_nested(kind):
        bad = json_text.unfit(connection, PART, column, plan.schema.field(column).type)
        misfit = f"{json_text.VALUE.format(name)} IN ({', '.join(map(literal, bad))})" if bad else "FALSE"
        return Reading(f"CASE WHEN NOT ({misfit}) THEN TRY_CAST({name}::JSON AS {kind}) END", misfit)
    if given == TEXT:
        return text_types.reading(name, kind, plan.null, declared=column in plan.declared)
    value = f"TRY_CAST({name} AS {kind})"
    if not _can_cast(connection, value):
        return Reading(f"NULL::{kind}", f"{name} IS NOT NULL")
    # There and back again: a cast rounds, cuts and leaves out without a word.
    whole = f"({value} IS NOT NULL AND TRY_CAST({value} AS {given}) IS NOT DISTINCT FROM {name})"
    return Reading(f"CASE WHEN {whole} THEN {value} END", f"({name} IS NOT NULL AND NOT {whole})")


def _can_cast(connection: duckdb.DuckDBPyConnection, value: str) -> bool:
    try:
        connection.execute(f"SELECT {value} FROM {PART} LIMIT 0")
    except duckdb.Error:
        return False
    return True


def _told(misfits: Mapping[str, str], given: Mapping[str, str]) -> str:
    """The SQL of the pieces of JSON, `"column":"text"`, on what did not fit; NULL if all did."""
    parts = [
        f"CASE WHEN {condition} THEN to_json({literal(column)}) || ':' || "
        f"to_json({_text(quoted(column), given[column])}) END"
        for column, condition in misfits.items()
    ]
    if not parts:
        return "NULL::VARCHAR"
    either = " OR ".join(f"({condition})" for condition in misfits.values())
    return f"CASE WHEN {either} THEN concat_ws(',', {', '.join(parts)}) || ',' END"


def _text(name: str, given: str) -> str:
    """The SQL of a value's text: JSON of what is nested."""
    if given == TEXT:
        return name
    return f"to_json({name})::VARCHAR" if _is_nested(given) else f"{name}::VARCHAR"


def _is_nested(kind: str) -> bool:
    return kind.startswith(("STRUCT(", "MAP(")) or kind.endswith("]")


def _utc(kind: pa.DataType) -> pa.DataType:
    return pa.timestamp("us", tz="UTC") if pa.types.is_timestamp(kind) and kind.tz else kind


def typed(batch: pa.Table) -> pa.Table:
    """`batch` with what DuckDB cannot take in from Arrow turned into what it can, without loss."""
    columns = []
    for column in batch.columns:
        kind = column.type
        if pa.types.is_float16(kind):
            column = column.cast(pa.float32())
        elif pa.types.is_decimal256(kind) or isinstance(kind, pa.BaseExtensionType):
            column = column.cast(pa.string() if pa.types.is_decimal256(kind) else kind.storage_type)
        columns.append(column)
    return pa.table(columns, names=batch.column_names)
