"""Digests of a MySQL or MariaDB table, computed by the server: one aggregate query per range of days, no row travels.

A subquery would have its expressions computed wherever they are used, or be kept in a temporary table at 0.6 µs a row.
So the sum that is used more than once is put into a variable of the session first: `if` asks before it answers.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ingestion.connectors import Shape, Window, declaration, ranges
from ingestion.connectors.mysql_session import constant, name
from ingestion.connectors.mysql_types import BINARIES, GEOMETRIES, STRINGS, TEXT, UTF8, Column
from ingestion.connectors.shard import SHARD
from lake import canonical, digest
from lake.canonical import Form
from lake.digest import Digests

if TYPE_CHECKING:
    from ingestion.connectors.mysql import MySQL
    from ingestion.spec import Table

INDEXED = """
    select count(*) from information_schema.statistics where table_schema = {schema} and table_name = {table}
        and seq_in_index = 1 and sub_part is null and column_name = """


def digests(
    self: MySQL, table: Table, shape: Shape, window: Window, columns: Mapping[str, pa.DataType], pause: float
) -> Digests:
    """See `Connector.digests`. Without an index on the partition's column all its days are asked for in one query."""
    from ingestion.connectors.mysql import _conditions as changed

    engine = _engine(self, table, shape)
    key = (*table.key, SHARD) if SHARD in columns else table.key
    written = query(engine, key, table.partition.column if table.partition else None, columns)
    keys = [digest.forms(columns)[each] for each in digest.keyed(key, columns)]
    conditions = changed(table, shape, replace(window, first=None, last=None))

    def ask(bounds: Sequence[str]) -> Digests:
        met = [*conditions, *bounds]
        where = f" where {' and '.join(met)}" if met else ""
        with self._reader() as reader:
            rows = reader.rows(f"{self._limited()} {written} from {self._place(table)}{where} group by d")
        return digest.collected(_read(rows, keys))

    return ranges.asked(self.source, _ranges(self, table, shape, window), ask, pause)


def incomparable(self: MySQL, table: Table, shape: Shape, columns: Mapping[str, pa.DataType]) -> dict[str, str]:
    """As of any source; and bytes that are read as text, which DuckDB writes in a way of its own."""
    found = ranges.incomparable(shape, columns)
    for column in self._columns(table).values():
        declared = table.columns.get(column.name)
        is_text = column.name in table.mask or (declared and declared.type)
        if column.name in columns and is_text and column.kind in (*BINARIES, *GEOMETRIES):
            found[column.name] = f"{column.full} is read as text, which the server cannot write as DuckDB does"
    return found


@dataclass(frozen=True)
class Engine:
    """The server's SQL of what a table's columns are in the lake; `salts` of those that are masked."""

    columns: Mapping[str, Column]
    declared: Mapping[str, str] = field(default_factory=dict)
    salts: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)
    integer: str = "signed"

    def value(self, column: str, how: Form) -> str:
        """See `canonical.Engine`; a value that does not fit its column is NULL."""
        place = name(column)
        if how.kind in ("decimal", "huge"):
            return self._digits(column, how)
        if how.kind == "bytes":
            return self.hashed(self._bytes(column))
        return {
            "truth": f"cast({place} + 0 as signed)",
            "small": f"cast({place} + 0 as signed)",
            "wide": f"cast({place} + 0 as signed)",
            "float": _bits(place),
            "day": _sane(place, f"to_days({place}) - 719528"),
            "instant": _sane(place, f"timestampdiff(microsecond, '1970-01-01', {place})"),
        }[how.kind]

    def text(self, column: str) -> str:
        """See `canonical.Engine`."""
        if column in self.constants:
            return constant(self.constants[column])
        if column in self.salts:
            return f"sha2(concat({constant(self.salts[column])}, {self._plain(column)}), 256)"
        return self._plain(column)

    def octets(self, text: str) -> str:
        """See `canonical.Engine`."""
        return f"length({text})"

    def joined(self, texts: Sequence[str]) -> str:
        """See `canonical.Engine`."""
        return f"concat_ws('', {', '.join(texts)})"

    def hashed(self, text: str) -> str:
        """See `canonical.Engine`."""
        return f"cast(conv(left(md5({text}), 15), 16, 10) as signed)"

    def end(self, column: str, how: Form) -> str:
        """A key's value by which the least and the greatest are found, as `digest.of` has it."""
        if how.kind == "bytes":
            return f"hex({self._bytes(column)})"
        return f"cast({self.text(column)} as binary)" if how.kind == "text" else self.value(column, how)

    def _bytes(self, column: str) -> str:
        return _wkb(name(column)) if self.columns[column].kind in GEOMETRIES else name(column)

    def _plain(self, column: str) -> str:
        known, place = self.columns[column], name(column)
        if known.kind in STRINGS:
            return UTF8.format(place)
        return TEXT.format(f"{place}+0" if known.kind == "bit" else place)

    def _digits(self, column: str, how: Form) -> str:
        known, place = self.columns[column], name(column)
        if column in self.declared:
            return _declared_digits(self._plain(column), how)
        if known.kind != "decimal":  # bigint unsigned, bit(64), or an integer that the lake has as a decimal
            whole = f"cast({place} + 0 as decimal(20, 0))"
            return (
                f"({whole} * {10**how.scale})" if how.kind == "huge" else f"cast({whole} * {10**how.scale} as signed)"
            )
        if how.kind == "decimal":
            return f"cast({place} * {10**how.scale} as signed)"
        zeros = "0" * (how.scale - known.scale)
        return f"cast(concat(replace(cast({place} as char), '.', ''), '{zeros}') as decimal(65, 0))"


def query(engine: Engine, key: Sequence[str], day: str | None, columns: Mapping[str, pa.DataType]) -> str:
    """The select list of the aggregate query, whose rows are grouped by `d`."""
    how, keys = digest.forms(columns), digest.keyed(key, columns)
    values = canonical.integers(engine, how)
    terms = [(each, sql, narrow) for each, (sql, narrow) in values.items()]
    # Whether it is NULL would be known without computing it: it is not, and the variable would keep what it had.
    total = f"(@total := {canonical.linear(terms, engine.integer)}) < {-(2**63) + 1}"
    row = f"if({total}, null, {canonical.mixed('cast(@total as signed)')})"
    date = _sane(name(day), f"cast({name(day)} as date)") if day else "cast(null as date)"
    ends = [_told(f"{end}({engine.end(each, how[each])})", how[each]) for each in keys for end in ("min", "max")]
    return ", ".join([f"{date} as d", "count(*)", f"cast(sum({row}) as char)", *ends])


def _told(end: str, how: Form) -> str:
    """As text, where the scanner would make a double of it."""
    return f"cast({end} as char)" if how.kind == "huge" else end


def _read(rows: Sequence[Sequence[Any]], keys: Sequence[Form]) -> list[list[Any]]:
    """The rows with what was told as text as numbers again."""
    kinds = ["", "", "", *(how.kind for how in keys for _ in ("min", "max"))]
    return [
        [int(value) if kind == "huge" and value is not None else value for kind, value in zip(kinds, row, strict=True)]
        for row in rows
    ]


def _engine(self: MySQL, table: Table, shape: Shape) -> Engine:
    salted = [column for column in table.mask if column in shape.schema.names]
    salt = declaration.salt(self.source, table) if salted else ""
    declared = {column: one.type for column, one in table.columns.items() if one.type}
    constants = {SHARD: shape.expressions[SHARD][1:-1]} if SHARD in shape.expressions else {}
    return Engine(self._columns(table), declared, dict.fromkeys(salted, salt), constants)


def _ranges(self: MySQL, table: Table, shape: Shape, window: Window) -> list[list[str]]:
    """The conditions of each range; together they are met by all rows of the window, each by one."""
    if table.partition is None:
        return [[]]
    column = name(table.partition.column)
    extent = None
    at_source = table.renamed.get(table.partition.column, table.partition.column)
    if self.session.rows(self._about(INDEXED, table) + constant(at_source))[0][0]:
        extent = self.extent(table)
    if window.first and window.last:
        days = ranges.of_days(extent, shape.rows, window) if extent else [(window.first, window.last)]
        return [[_from(column, first), _before(column, last)] for first, last in days]
    days = ranges.of_days(extent, shape.rows, window) if extent else []
    if len(days) < 2:
        return [[]]
    bounds = [[_from(column, first), _before(column, last)] for first, last in days]
    bounds[-1] = bounds[-1][:1]  # of all rows: also those before and after these days, and those of none
    bounds[0] = [f"({_before(column, days[0][1])} or {column} is null)"]
    return bounds


def _from(column: str, day: datetime.date) -> str:
    return f"{column} >= {constant(str(day))}"


def _before(column: str, day: datetime.date) -> str:
    return f"{column} < {constant(f'{day} 23:59:59.999999')} + interval 1 microsecond"


def _sane(place: str, value: str) -> str:
    """NULL for a date that is none: with a part that is zero, or a day that its month does not have."""
    last = f"day(last_day(concat(date_format({place}, '%Y-%m'), '-01')))"  # dear, and seldom needed
    is_day = f"(day({place}) between 1 and 28 and month({place}) > 0 or day({place}) between 29 and {last})"
    return f"case when {place} >= '0001-01-01' and {is_day} then {value} end"


def _bits(place: str) -> str:
    """The bits of a double, which a point in WKB has at its sixth byte, from right to left."""
    number = f"st_aswkb(point({place} + 0e0, 0e0))"
    return f"cast(conv(hex(reverse(substr({number}, 6, 8))), 16, -10) as signed)"


def _wkb(place: str) -> str:
    """WKB, or with an SRID, which the server keeps before it, EWKB: as `mysql_types.WKB`."""
    held = f"cast({place} as binary)"
    extended = f"concat(substr({held}, 5, 4), x'20', substr({held}, 1, 4), substr({held}, 10))"
    return f"case when hex(left({held}, 4)) = '00000000' then substr({held}, 5) else {extended} end"


def _declared_digits(text: str, how: Form) -> str:
    """A text as a declared decimal, where it is one: as `mysql_types` has it."""
    scale, whole = how.scale, how.precision - how.scale
    pattern = constant(rf"^[[:space:]]*[+-]?([0-9]+(\.[0-9]{{0,{scale}}}0*)?|\.[0-9]{{0,{scale}}}0*)[[:space:]]*$")
    number = f"cast(trim({text}) as decimal(65, 30))"
    fits = f"{text} regexp {pattern} and abs({number}) < 1{'0' * whole}"
    digits = f"cast({number} * {10**scale} as {'signed' if how.kind == 'decimal' else 'decimal(65, 0)'})"
    return f"case when {fits} then {digits} end"
