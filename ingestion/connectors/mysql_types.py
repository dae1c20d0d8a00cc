"""How each type of MySQL and MariaDB arrives: one Arrow target for each, lossless, or text where Parquet has none.

The matrix with an example of each is `docs/reference/types-mysql.md`, written from the test that proves it. A value
that its target cannot hold (a zero date, a date that is none) is NULL, and its text is told in `_misfit`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from lake.duck import literal, quoted

UTF8 = "convert({} using utf8mb4)"
TEXT = UTF8.format("cast({} as char)")
INTEGERS: Mapping[str, tuple[pa.DataType, pa.DataType]] = {  # signed, unsigned
    "tinyint": (pa.int8(), pa.int16()),
    "smallint": (pa.int16(), pa.int32()),
    "mediumint": (pa.int32(), pa.int32()),
    "int": (pa.int32(), pa.int64()),
    "bigint": (pa.int64(), pa.decimal128(20, 0)),
}
STRINGS = ("char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set")
BINARIES = ("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob")
GEOMETRIES = (
    "geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon",
    "geomcollection", "geometrycollection",
)  # fmt: skip
INSTANTS: Mapping[str, tuple[pa.DataType, str]] = {
    "date": (pa.date32(), "DATE"),
    "datetime": (pa.timestamp("us"), "TIMESTAMP"),
    "timestamp": (pa.timestamp("us", tz="UTC"), "TIMESTAMPTZ"),
}
LOCAL = {
    pa.bool_(): "BOOLEAN", pa.int8(): "TINYINT", pa.int16(): "SMALLINT", pa.int32(): "INTEGER", pa.int64(): "BIGINT",
    pa.decimal128(20, 0): "DECIMAL(20,0)",
}  # fmt: skip
# The server keeps four bytes of SRID before the WKB. With an SRID that becomes EWKB, as PostGIS writes it: the type's
# highest byte says that the SRID follows.
WKB = """unhex(CASE WHEN hex({0})[1:8] = '00000000' THEN hex({0})[9:]
    ELSE hex({0})[9:16] || '20' || hex({0})[1:8] || hex({0})[19:] END)"""


@dataclass(frozen=True)
class Column:
    """A column as the server's catalogue has it."""

    name: str
    kind: str
    full: str
    is_nullable: bool
    collation: str = ""
    precision: int = 0
    scale: int = 0
    octets: int = 8

    @property
    def is_unsigned(self) -> bool:
        """Whether it holds no negative numbers."""
        return "unsigned" in self.full


@dataclass(frozen=True)
class Reading:
    """How a column is read: `remote` is SQL of the server for it, `local` DuckDB's SQL of what came, both with `{}`.

    A value that came, and is NULL by `local`, did not fit.
    """

    kind: pa.DataType
    remote: str = "{}"
    local: str = "{}"
    may_misfit: bool = False


def reading(column: Column, declared: str | None = None) -> Reading:
    """How a column is read; `declared` (`text`, `decimal(p, s)`) comes from the source file."""
    if declared == "text":
        return text(column)
    if declared:
        return _declared_decimal(column, declared)
    if column.kind in INTEGERS:
        target = INTEGERS[column.kind][column.is_unsigned]
        return Reading(target, local=f"{{}}::{LOCAL[target]}")
    if column.kind == "decimal":
        return _decimal(column)
    if column.kind in INSTANTS:
        target, name = INSTANTS[column.kind]
        # As text: the scanner makes NULL of a zero date without a word, and fails on 2024-02-30.
        return Reading(
            target, "cast({} as char)", f"CASE WHEN {{0}} >= '0001' THEN try_cast({{0}} AS {name}) END", True
        )
    return _other(column)


def text(column: Column) -> Reading:
    """The column as text, whatever it is; bytes as DuckDB prints them."""
    if column.kind in (*BINARIES, *GEOMETRIES):
        return Reading(pa.string(), "{}", "{}::BLOB::VARCHAR")
    return Reading(pa.string(), TEXT.format("{}+0") if column.kind == "bit" else TEXT)


def masked(column: Column, salt: str) -> Reading:
    """The salted digest of the column's text: sha256(salt || text) in hexadecimal digits."""
    plain = text(column)
    return Reading(pa.string(), plain.remote, f"sha256({escaped(literal(salt))} || {plain.local})")


def escaped(text: str) -> str:
    """`text` so that `str.format` leaves it as it is."""
    return text.replace("{", "{{").replace("}", "}}")


def misfit(readings: Mapping[str, tuple[str, Reading]]) -> str | None:
    """DuckDB's SQL of `_misfit`: a JSON object of the values that did not fit, NULL if all did; None if all always do.

    `readings` holds, for each column's name, the name under which its value came and how it is read.
    """
    wrong = {}
    for column, (came, how) in readings.items():
        if how.may_misfit:
            wrong[column] = came, f"{came} IS NOT NULL AND ({how.local.format(came)}) IS NULL"
    if not wrong:
        return None
    objects = (
        f"CASE WHEN {condition} THEN json_object({literal(column)}, {came}) ELSE '{{}}' END"
        for column, (came, condition) in wrong.items()
    )
    anything = " OR ".join(f"({condition})" for _, condition in wrong.values())
    return f"CASE WHEN {anything} THEN json_merge_patch('{{}}', {', '.join(objects)})::VARCHAR END"


def selected(readings: Mapping[str, Reading], names: Mapping[str, str]) -> tuple[str, str]:
    """The server's and DuckDB's select lists. `names` are the columns' quoted names at the server.

    Values travel under names of our own: the server's may differ in case only, or be hundreds of bytes.
    """
    came = {column: f"c{number}" for number, column in enumerate(readings)}
    inner = ", ".join(f"{how.remote.format(names[column])} as {came[column]}" for column, how in readings.items())
    outer = [f"{how.local.format(came[column])} AS {quoted(column)}" for column, how in readings.items()]
    problem = misfit({column: (came[column], how) for column, how in readings.items()})
    if problem:
        outer.append(f"{problem} AS _misfit")
    return inner, ", ".join(outer)


def _decimal(column: Column) -> Reading:
    precision, scale = column.precision, column.scale
    if precision > 38:
        return Reading(pa.string(), TEXT)
    target = pa.decimal128(precision, scale)
    local = f"{{}}::DECIMAL({precision},{scale})"
    if scale and not column.is_unsigned:
        return Reading(target, local=local)
    # The scanner takes the precision from the printed length, which it counts with a sign and a point: -99999 of a
    # decimal(5,0) would not fit what it makes of it.
    if precision <= 36:
        return Reading(target, f"cast({{}} as decimal({precision + 2},{scale}))", local)
    return Reading(target, TEXT, local)


def _declared_decimal(column: Column, declared: str) -> Reading:
    """The column's text as a decimal; a value with more digits than declared, or no number at all, does not fit."""
    match = re.fullmatch(r"decimal\((\d{1,2}), ?(\d{1,2})\)", declared)
    precision, scale = (int(match[1]), int(match[2])) if match else (38, 0)
    plain = text(column)
    digits = literal(rf"\s*[+-]?(\d+(\.\d{{0,{scale}}}0*)?|\.\d{{0,{scale}}}0*)\s*")
    value = f"try_cast({{0}} AS DECIMAL({precision},{scale}))"
    local = f"CASE WHEN regexp_full_match({{0}}, {escaped(digits)}) THEN {value} END"
    return Reading(pa.decimal128(precision, scale), plain.remote, local, True)


def _other(column: Column) -> Reading:
    kind = column.kind
    if kind in STRINGS:
        # A `_bin` collation makes the scanner take text for bytes.
        return Reading(pa.string(), UTF8 if column.collation.endswith("_bin") else "{}")
    if kind in BINARIES:
        return Reading(pa.binary(), local="{}::BLOB")
    if kind in GEOMETRIES:
        return Reading(pa.binary(), local=WKB)
    if kind in ("float", "double"):
        return Reading(pa.float32() if kind == "float" else pa.float64())
    if kind == "bit":
        return _bits(column)
    if kind == "year":
        return Reading(pa.int16(), local="{}::SMALLINT")
    if kind == "vector":
        return Reading(pa.binary(), "hex({})", "unhex({})")
    return Reading(pa.string(), TEXT)  # time, json, uuid, inet4, inet6, and what is not known yet


def _bits(column: Column) -> Reading:
    width = int("".join(filter(str.isdigit, column.full)) or 1)
    target = pa.bool_() if width == 1 else pa.int64() if width < 64 else pa.decimal128(20, 0)
    return Reading(target, "cast({} as unsigned)", f"{{}}::{LOCAL[target]}")
