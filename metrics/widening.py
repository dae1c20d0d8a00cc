"""Changes of a column's type: which keep every value by their nature, and whether the values that are there fit."""

import re

from psycopg import sql

from metrics.server import Connection, table

_DIGITS = {"integer": 10, "bigint": 19}


def is_wider(old: str, new: str) -> bool:
    """Whether every value of SQL type `old` is the same value in `new`."""
    if (old, new) in {("integer", "bigint"), ("integer", "double precision")}:
        return True
    holds = _digits(new)
    needs = _digits(old) or ((_DIGITS[old], 0) if old in _DIGITS else None)
    return bool(holds and needs and holds[0] >= needs[0] and holds[1] >= needs[1])


def misfits(connection: Connection, name: str, column: str, old: str, new: str) -> tuple[int, int]:
    """How many values of the column would be another value, or none, in type `new`; and how many values there are."""
    query = sql.SQL(
        "SELECT count(*) FILTER (WHERE CASE WHEN pg_input_is_valid({column}::text, {new})"
        " THEN {column}::text::{kind}::text::{was} IS DISTINCT FROM {column} ELSE true END), count(*)"
        " FROM {table} WHERE {column} IS NOT NULL"
    ).format(column=sql.Identifier(column), new=new, kind=sql.SQL(new), was=sql.SQL(old), table=table(name))
    bad, values = connection.execute(query).fetchone() or (0, 0)
    return int(bad), int(values)


def _digits(kind: str) -> tuple[int, int] | None:
    """Digits before and after the point that a numeric type has room for."""
    found = re.match(r"numeric\((\d+),(\d+)\)$", kind)
    return (int(found[1]) - int(found[2]), int(found[2])) if found else None
