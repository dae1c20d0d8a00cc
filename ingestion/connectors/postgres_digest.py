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
from lake import canonical, digest
from lake.canonical import Form
from lake.canonical_postgres import FENCE, FORMS, hashed, joined
from lake.digest import Digests
from lake.duck import literal, quoted

if TYPE_CHECKING:
    from ingestion.connectors.postgres import Postgres
    from ingestion.spec import Table

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
    readings = {**self.readings[table.name], **_constants(shape)}
    encoding = self.session.info.parameter_status("server_encoding") or "UTF8"
    engine = Engine(readings, self.natives[table.name], dict.fromkeys(salted, salt), encoding)
    key = (*table.key, SHARD) if SHARD in columns else table.key
    day = table.partition.column if table.partition else None
    written = query(engine, self._named(table), key, day, columns)
    with self._explaining():
        self.session.execute(SETTINGS)
    conditions = self._conditions(table, shape, replace(window, first=None, last=None))
    return ranges.asked(
        self.source,
        _ranges(self, table, shape, window),
        lambda bounds: digest.collected(self._ask(written([*conditions, *bounds]))),
        pause,
    )


def _constants(shape: Shape) -> dict[str, Reading]:
    """Columns that the server does not have: their values are in the shape."""
    return {
        name: Reading(expression, name, pa.string()) for name, expression in shape.expressions.items() if name == SHARD
    }


def _ranges(self: Postgres, table: Table, shape: Shape, window: Window) -> list[list[str]]:
    """The conditions of each range; together they are met by all rows of the window, each by one."""
    if table.partition is None:
        return [[]]
    column = quoted(table.partition.column)
    relation = self._relation(table)
    if window.first is None or window.last is None:
        at_source = {new: old for old, new in self.names[table.name].items()}[table.partition.column]
        if not self._ask(INDEXED, [relation, at_source])[0][0]:
            return [[]]
        misfit = self.readings[table.name][table.partition.column].misfit
        ends = f"select min({column})::date, max({column})::date from {self._named(table)}"
        found = self._ask(f"{ends} where not ({misfit})")[0]
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
class Engine:
    """PostgreSQL's SQL of what a table's columns are in the lake; `salts` of those that are masked."""

    readings: Mapping[str, Reading]
    natives: Mapping[str, str]
    salts: Mapping[str, str]
    encoding: str
    integer: str = "bigint"

    def value(self, name: str, how: Form) -> str:
        """See `canonical.Engine`; a value that does not fit its column is NULL."""
        one = self.readings[name]
        return _fitting(one, FORMS[how.kind](one.expression, how))

    def text(self, name: str) -> str:
        """See `canonical.Engine`."""
        one = self.readings[name]
        text = one.expression if one.expression.endswith("::text") else f"({one.expression})::text"
        if self.natives.get(name, "").startswith("interval"):
            text = f"replace({text}, '+', '')"  # as `postgres_types` does, where DuckDB reads it
        if name not in self.salts:
            return _fitting(one, text)
        return f"encode(sha256(convert_to({literal(self.salts[name])} || {text}, 'UTF8')), 'hex')"

    def octets(self, text: str) -> str:
        """See `canonical.Engine`."""
        return f"octet_length({self._in_utf8(text)})"

    def joined(self, texts: Sequence[str]) -> str:
        """See `canonical.Engine`."""
        return joined(texts)

    def hashed(self, text: str) -> str:
        """See `canonical.Engine`."""
        return hashed(self._in_utf8(text))

    def end(self, name: str, how: Form) -> str:
        """A key's value by which the least and the greatest are found, as `digest.of` has it."""
        if how.kind == "bytes":
            return f"upper(encode({self.readings[name].expression}, 'hex')) collate \"C\""
        return f'({self.text(name)}) collate "C"' if how.kind == "text" else self.value(name, how)

    def day(self, name: str) -> str:
        """The row's UTC day; NULL where the lake has NULL."""
        return _fitting(self.readings[name], f"({self.readings[name].expression})::date")

    def _in_utf8(self, text: str) -> str:
        return text if self.encoding in ("UTF8", "SQL_ASCII") else f"convert_to({text}, 'UTF8')"


def query(
    engine: Engine, origin: str, key: Sequence[str], day: str | None, columns: Mapping[str, pa.DataType]
) -> Callable[[Sequence[str]], str]:
    """The aggregate query for the rows that meet some conditions."""
    how, keys = digest.forms(columns), digest.keyed(key, columns)
    values = canonical.integers(engine, how)
    inner = [f"{sql} as v{number}" for number, (sql, _) in enumerate(values.values())]
    inner += [f"{engine.end(name, how[name])} as k{number}" for number, name in enumerate(keys)]
    inner.append(f"{engine.day(day) if day else 'null::date'} as d")

    def of(conditions: Sequence[str]) -> str:
        where = f" where {' and '.join(conditions)}" if conditions else ""
        relation = f"(select {', '.join(inner)} from {origin}{where})"
        return digest.aggregate(values, len(keys), relation, engine.integer, FENCE)

    return of


def _fitting(one: Reading, value: str) -> str:
    """NULL for a value that does not fit, unless the expression that reads it has made it so."""
    return f"case when {one.misfit} then null else {value} end" if one.misfit and one.seen else value
