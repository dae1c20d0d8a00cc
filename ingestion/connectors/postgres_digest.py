"""Digests of a PostgreSQL table, computed by the server: one aggregate query per range of days, no row travels."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa

from ingestion.connectors import Shape, Window, declaration, ranges
from ingestion.connectors.postgres_types import Reading
from ingestion.connectors.shard import SHARD
from lake import digest
from lake.canonical import NAN, Form
from lake.digest import Digests
from lake.duck import literal, quoted

if TYPE_CHECKING:
    from ingestion.connectors.postgres import Postgres
    from ingestion.spec import Table

FENCE = "offset 0"  # else the planner puts a subquery's expressions wherever they are used, and computes them each time
# Compiling a query of many columns costs a second, more than it saves; and of a server's cores one is enough.
SETTINGS = "set jit = off; set max_parallel_workers_per_gather = 0"
INDEXED = """
    select exists (select from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
        where i.indrelid = to_regclass(%s) and i.indpred is null and i.indisvalid and a.attname = %s)
"""


def digests(
    self: Postgres, table: Table, shape: Shape, window: Window, columns: Mapping[str, pa.DataType], pause: float
) -> Digests:
    """See `Connector.digests`. Without an index on the partition's column all its days are asked for in one query."""
    salted = [name for name in table.mask if name in columns]
    salt = declaration.salt(self.source, table) if salted else ""
    query = Query(
        self._relation(table),
        {**self.readings[table.name], **_constants(shape)},
        self.natives[table.name],
        dict.fromkeys(salted, salt),
        table.key if SHARD not in columns else (*table.key, SHARD),
        table.partition.column if table.partition else None,
        self.session.info.parameter_status("server_encoding") or "UTF8",
    )
    with self._explaining():
        self.session.execute(SETTINGS)
    conditions = self._conditions(table, shape, replace(window, first=None, last=None))
    keys = sum(name in columns for name in query.key)

    def ask(bounds: Sequence[str]) -> Digests:
        return digest.collected(self._ask(query.sql(columns, [*conditions, *bounds])), keys)

    return ranges.asked(self.source, _ranges(self, table, shape, window, query), ask, pause)


def _constants(shape: Shape) -> dict[str, Reading]:
    """Columns that the server does not have: their values are in the shape."""
    return {
        name: Reading(expression, name, pa.string()) for name, expression in shape.expressions.items() if name == SHARD
    }


def _ranges(self: Postgres, table: Table, shape: Shape, window: Window, query: Query) -> list[list[str]]:
    """The conditions of each range; together they are met by all rows of the window, each by one."""
    if table.partition is None:
        return [[]]
    column = quoted(table.partition.column)
    relation = self._relation(table)
    if window.first is None or window.last is None:
        if not self._ask(INDEXED, [relation, table.partition.column])[0][0]:
            return [[]]
        misfit = query.readings[table.partition.column].misfit
        found = self._ask(f"select min({column})::date, max({column})::date from {relation} where not ({misfit})")[0]
        if found[0] is None:
            return [[]]
        days = ranges.of_days(found, shape.rows or _planned(self, relation), window)
        bounds = [[_from(column, first), _before(column, last)] for first, last in days]
        bounds[-1] = bounds[-1][:1]  # of all rows: also those before and after these days, and those of none
        bounds[0] = [f"({_before(column, days[0][1])} or {column} is null)"] if len(days) > 1 else []
        return bounds
    extent = (window.first, window.last)
    expected = self._expected(table, shape, window)
    return [[_from(column, first), _before(column, last)] for first, last in ranges.of_days(extent, expected, window)]


def _planned(self: Postgres, relation: str) -> int:
    """The rows of a table that was never analysed, as the planner takes them from its size."""
    return int(self._ask(f"explain (format json) select from {relation}")[0][0][0]["Plan"]["Plan Rows"])


def _from(column: str, day: datetime.date) -> str:
    return f"{column} >= '{day} 00:00:00+00'"


def _before(column: str, day: datetime.date) -> str:
    """Up to the end of a day; written so that the last day of the years that dates know has an end, too."""
    return f"{column} < '{day} 00:00:00+00'::timestamptz + interval '1 day'"


@dataclass(frozen=True)
class Query:
    """What is asked of a table: its columns as they are read, compared, masked (with what salt), keyed and dated."""

    origin: str
    readings: Mapping[str, Reading]
    natives: Mapping[str, str]
    salts: Mapping[str, str]
    key: Sequence[str]
    day: str | None
    encoding: str = "UTF8"

    def sql(self, columns: Mapping[str, pa.DataType], conditions: Sequence[str]) -> str:
        """The aggregate query for these columns of the rows that meet all conditions."""
        how = digest.forms(columns)
        keys = [name for name in self.key if name in how]
        values = {name: f"v{number}" for number, name in enumerate(how)}
        inner = [f"{self.value(name, one)} as {values[name]}" for name, one in how.items()]
        inner += [f"{self.key_value(name, how[name])} as k{number}" for number, name in enumerate(keys)]
        inner.append(f"{self._day() if self.day else 'null::date'} as d")
        where = f" where {' and '.join(conditions)}" if conditions else ""
        relation = f"(select {', '.join(inner)} from {self.origin}{where} {FENCE})"
        return digest.aggregate(how, values, len(keys), relation, "bigint", FENCE)

    def value(self, name: str, how: Form) -> str:
        """The integer that stands for a column's value in the lake."""
        text = self._text(name)
        if how.kind == "text":
            return self._hashed(text)
        one = self.readings[name]
        value = FORMS[how.kind](one.expression, how)
        return f"case when {one.misfit} then null else {value} end" if one.misfit else value

    def key_value(self, name: str, how: Form) -> str:
        """The value by which the least and the greatest key are found."""
        if how.kind == "text":
            return f'({self._text(name)}) collate "C"'
        if how.kind == "bytes":
            return f"upper(encode({self.readings[name].expression}, 'hex')) collate \"C\""
        return self.value(name, how)

    def _day(self) -> str:
        """The row's UTC day; NULL where the lake has NULL."""
        one = self.readings[self.day or ""]
        return f"case when {one.misfit} then null else ({one.expression})::date end"

    def _text(self, name: str) -> str:
        one = self.readings[name]
        text = f"({one.expression})::text"
        if self.natives.get(name, "").startswith("interval"):
            text = f"replace({text}, '+', '')"  # as `postgres_types` does, where DuckDB reads it
        if name not in self.salts:
            return text
        return f"encode(sha256(convert_to({literal(self.salts[name])} || {text}, 'UTF8')), 'hex')"

    def _hashed(self, text: str) -> str:
        in_utf8 = text if self.encoding in ("UTF8", "SQL_ASCII") else f"convert_to({text}, 'UTF8')"
        return f"('x' || left(md5({in_utf8}), 15))::bit(60)::bigint"


def _digits(value: str, how: Form) -> str:
    exact = f"(({value})::numeric * {10**how.scale})" if how.scale else f"({value})"
    return f"{exact}::{'bigint' if how.kind == 'decimal' else 'numeric'}"


def _bits(value: str, _: Form) -> str:
    number = f"({value})::float8"
    bits = f"('x' || encode(float8send({number} + 0.0::float8), 'hex'))::bit(64)::bigint"
    return f"case when {number} = 'NaN' then {NAN} else {bits} end"


def _instant(value: str, _: Form) -> str:
    """Microseconds since 1970: days, and the time of a day, whose seconds as a double are exact to the microsecond."""
    day, of_day = f"(({value})::date - date '1970-01-01')", f"date_part('epoch', ({value})::time)"
    return f"({day} * 86400000000 + round({of_day} * 1000000)::bigint)"


FORMS: Mapping[str, Callable[[str, Form], str]] = {
    "truth": lambda value, _: f"({value})::bool::int",
    "small": lambda value, _: f"({value})",
    "wide": lambda value, _: f"({value})::bigint",
    "decimal": _digits,
    "huge": _digits,
    "float": _bits,
    "bytes": lambda value, _: f"('x' || left(md5({value}), 15))::bit(60)::bigint",
    "day": lambda value, _: f"(({value})::date - date '1970-01-01')",
    "instant": _instant,
}
