"""Digests: rows, least and greatest key and an order-free checksum for each UTC day of a table, wherever it lies.

The same rows have the same digests at the source, in every zone of the lake and in a mart, whatever engine computes
them: see `canonical`. A checksum is a sum, so digests of parts add up.
"""

import datetime
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from lake import canonical
from lake.canonical import MODULUS
from lake.duck import quoted
from lake.errors import PermanentError


@dataclass(frozen=True)
class Digest:
    """Of one partition (UTC day), or of a table without days.

    `low` and `high` hold, for each column of the key, its least and its greatest value (a JSON list; texts as they are,
    of other types the integer that stands for the value): to be compared for equality only. `checksum` has 64 bits.
    """

    rows: int
    low: str | None
    high: str | None
    checksum: int

    def __add__(self, other: "Digest") -> "Digest":
        """The digest of both parts' rows."""
        total = (self.checksum + other.checksum) % MODULUS
        low, high = _end(min, self.low, other.low), _end(max, self.high, other.high)
        return Digest(self.rows + other.rows, low, high, total)


# By UTC day; under None rows without a day: all those of a table without days. No entry: no rows.
Digests = dict[datetime.date | None, Digest]


def of(
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    *,
    key: Sequence[str],
    columns: Mapping[str, pa.DataType],
    day: str | None,
) -> Digests:
    """The digests of a DuckDB relation (the connection is in UTC).

    `columns`: the columns compared, with the Arrow type they have in the lake, to which the relation's own are cast.
    `day`: the column whose UTC day partitions (date or timestamp), None for a table without days. Of `key`, the columns
    that are compared tell the least and the greatest. Raises PermanentError for a type that has no canonical form.
    """
    engine = canonical.Duck()
    keys = keyed(key, columns)
    values = canonical.integers(engine, forms(columns))
    inner = [f"{sql} AS v{number}" for number, (sql, _) in enumerate(values.values())]
    inner += [f"{_end_of(engine, name, forms(columns)[name])} AS k{number}" for number, name in enumerate(keys)]
    inner.append(f"{_day(day, columns.get(day)) if day else 'NULL::DATE'} AS d")
    query = aggregate(values, len(keys), f"(SELECT {', '.join(inner)} FROM {relation})", engine.integer)
    return collected(connection.execute(query).fetchall())


def differing(left: Digests, right: Digests) -> list[datetime.date | None]:
    """The days whose digests differ, in order; rows without a day come last."""
    days = [day for day in {**left, **right} if left.get(day) != right.get(day)]
    return sorted(days, key=lambda day: (day is None, day or datetime.date.min))


def total(parts: Iterable[Digests]) -> Digests:
    """The digests of all rows of several parts."""
    whole: Digests = {}
    for part in parts:
        for day, digest in part.items():
            whole[day] = whole[day] + digest if day in whole else digest
    return whole


def forms(columns: Mapping[str, pa.DataType]) -> dict[str, canonical.Form]:
    """How each column is made canonical. Raises PermanentError for a type that has no canonical form."""
    found = {name: canonical.form(kind) for name, kind in columns.items()}
    for name, one in found.items():
        if one is None:
            mend = "leave it out of what is compared"
            raise PermanentError(f"column {name}", f"values of type {columns[name]} have no canonical form", mend)
    return {name: one for name, one in found.items() if one is not None}


def comparable(columns: Mapping[str, pa.DataType]) -> dict[str, pa.DataType]:
    """Those of the columns whose type has a canonical form."""
    return {name: kind for name, kind in columns.items() if canonical.form(kind) is not None}


def keyed(key: Sequence[str], columns: Mapping[str, pa.DataType]) -> list[str]:
    """The columns of the key that are compared."""
    return [name for name in key if name in columns]


def aggregate(values: Mapping[str, tuple[str, bool]], keys: int, relation: str, integer: str, fence: str = "") -> str:
    """The SQL of the digests of a relation that has the integers v0, v1, …, key values k0, k1, … and days d.

    `fence` keeps an engine from computing a subquery's columns again wherever they are used.
    """
    terms = [(name, f"v{number}", narrow) for number, (name, (_, narrow)) in enumerate(values.items())]
    kept = "".join(f", k{number}" for number in range(keys))
    rows = f"(select d{kept}, {canonical.linear(terms, integer)} as f from {relation} as r1 {fence}) as r2"
    return f"select {totals(canonical.mixed('f'), keys)} from {rows} group by d"


def totals(row: str, keys: int) -> str:
    """The select list whose rows `collected` reads, from the SQL of a row's number."""
    ends = "".join(f", min(k{number}), max(k{number})" for number in range(keys))
    return f"d, count(*), sum({row}){ends}"


def collected(rows: Iterable[Sequence[Any]]) -> Digests:
    """The digests that an aggregate query answered."""
    found: Digests = {}
    for day, count, checksum, *ends in rows:
        low, high = (_told(ends[start::2]) if ends else None for start in (0, 1))
        found[day] = Digest(int(count), low, high, int(checksum) % MODULUS)
    return found


def _day(column: str, kind: pa.DataType | None) -> str:
    """The SQL of a row's UTC day; of an instant by arithmetic, for a cast asks for the time zone, at 0.3 µs a value."""
    if kind is not None and pa.types.is_timestamp(kind):
        return f"CAST(make_timestamp(epoch_us({quoted(column)})) AS DATE)"
    return f"CAST({quoted(column)} AS DATE)"


def _end_of(engine: canonical.Duck, name: str, how: canonical.Form) -> str:
    """A key's value by which the least and the greatest are found: a text (bytes in digits), or the integer for it."""
    if how.kind == "bytes":
        return f"hex(CAST({quoted(name)} AS BLOB))"
    return engine.text(name) if how.kind == "text" else engine.value(name, how)


def _told(values: Sequence[Any]) -> str:
    plain = [value if value is None or isinstance(value, str) else int(value) for value in values]
    return json.dumps(plain, ensure_ascii=False)


def _end(pick: Callable[..., Any], one: str | None, other: str | None) -> str | None:
    if one is None or other is None:
        return one or other
    pairs = zip(json.loads(one), json.loads(other), strict=True)
    return _told([pick((v for v in pair if v is not None), default=None) for pair in pairs])
