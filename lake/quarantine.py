"""Quarantine: rows and values that may not enter a table, kept with the reason; nothing is lost silently.

Beside the table's own columns: `_reason` (why), `_column` and `_value` (the one value that did not fit, as text; NULL
where the whole row is set aside), `_misfit` (JSON object of column to text: values of a set-aside row that do not fit
their columns), `_loaded_at` (UTC) and `_load_id`; partitioned by the day of the load.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from lake import commit, kinds, read
from lake.access import told
from lake.duck import literal, quoted
from lake.gate import MISFIT, Gate, misfits
from lake.layout import DAY_COLUMNS

if TYPE_CHECKING:
    from lake.intake import Load, Subject
    from lake.layout import Address, Lake

OWN = ("_reason", "_column", "_value", MISFIT)


def record(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    load: Load,
    relation: str,
    number: str,
    entry: Gate,
    *,
    rows: bool = True,
) -> None:
    """Append what `gate.faults` has listed of `relation` and quarantine does not hold yet, in one commit.

    A table that is read whole meets the same faults each time. Without `rows`, only single values are recorded.
    """
    with_rows = rows and _any(connection, "faulty_rows")
    if with_rows or _any(connection, "faulty_values"):
        commit.persistently(lambda: _record(connection, lake, load, relation, number, entry, with_rows))


def _record(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    load: Load,
    relation: str,
    number: str,
    entry: Gate,
    with_rows: bool,
) -> None:
    address = load.subject.at("quarantine")
    base = commit.table(lake, address)
    known = read.columns(base)
    parts = [_rows(connection, relation, number, entry, known)] if with_rows else []
    parts.append(_values(load.subject, relation, number, entry, known))
    connection.execute(f"CREATE OR REPLACE TEMP TABLE set_aside AS {' UNION ALL BY NAME '.join(parts)}")
    new = "TRUE"
    if base is not None:
        names = [entry[0] for entry in connection.execute("SELECT * FROM set_aside LIMIT 0").description]
        same = " AND ".join(
            f"s.{quoted(name)} IS NOT DISTINCT FROM {f'q.{quoted(name)}' if name in known else 'NULL'}"
            for name in names
        )
        new = f"NOT EXISTS (SELECT 1 FROM {read.relation(lake, address)} AS q WHERE {same})"
    day = load.loaded_at
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE new_aside AS
            SELECT s.*, TIMESTAMPTZ {literal(day.isoformat())} AS _loaded_at, {literal(load.id)} AS _load_id,
            DATE '{day:%Y-%m-%d}' AS _day FROM set_aside AS s WHERE {new}"""
    )
    if _any(connection, "new_aside"):
        found = connection.execute("SELECT * FROM new_aside").to_arrow_reader(100_000)
        commit.append(lake, address, found, {"load_id": load.id}, base=base)


@dataclass(frozen=True)
class Held:
    """How much of a table lies in quarantine for one reason, and since when (UTC)."""

    reason: str
    rows: int
    values: int
    since: datetime.datetime
    until: datetime.datetime


def summary(lake: Lake, address: Address) -> tuple[Held, ...]:
    """What lies in one table's quarantine, by reason, most first; empty if nothing does."""
    if commit.table(lake, address) is None:
        return ()
    with read.connect(lake) as connection, told(lake):
        found = connection.execute(
            f"""SELECT _reason, count(*) FILTER (_column IS NULL), count(*) FILTER (_column IS NOT NULL),
                min(_loaded_at), max(_loaded_at) FROM {relation(lake, address)} GROUP BY 1 ORDER BY count(*) DESC, 1"""
        ).fetchall()
    return tuple(Held(*row) for row in found)


def examples(lake: Lake, address: Address, limit: int, reason: str | None = None) -> list[dict[str, Any]]:
    """The newest rows and values in quarantine, without columns that are NULL."""
    if commit.table(lake, address) is None:
        return []
    where = "WHERE _reason = $reason" if reason else ""
    query = f"""SELECT * EXCLUDE (year, month, day) FROM {relation(lake, address)} {where}
        ORDER BY _loaded_at DESC, _reason LIMIT {int(limit)}"""
    with read.connect(lake) as connection, told(lake):
        found = connection.execute(query, {"reason": reason} if reason else None).to_arrow_table().to_pylist()
    return [{name: value for name, value in row.items() if value is not None} for row in found]


def clear(lake: Lake, address: Address, reason: str | None = None) -> int:
    """Take out what lies there (for one reason, or all), in one commit; answers how many rows and values."""
    if commit.table(lake, address) is None:
        return 0
    where = "WHERE _reason = $reason" if reason else ""
    with read.connect(lake) as connection, told(lake):
        connection.execute(
            f"CREATE TEMP TABLE given_up AS SELECT * FROM {relation(lake, address)} {where}",
            {"reason": reason} if reason else None,
        )
        row = connection.execute("SELECT count(*) FROM given_up").fetchone()
        remove(connection, lake, address, "given_up", {"cleared": reason or "all"})
    return int(row[0]) if row else 0


def relation(lake: Lake, address: Address) -> str:
    """The SQL that reads a table's quarantine; columns of `OWN` that an old one lacks are NULL."""
    known = read.columns(commit.table(lake, address))
    missing = [f"NULL::VARCHAR AS {name}" for name in OWN if name not in known]
    return f"(SELECT {', '.join(['*', *missing])} FROM {read.relation(lake, address)})"


def remove(
    connection: duckdb.DuckDBPyConnection, lake: Lake, address: Address, which: str, state: dict[str, Any]
) -> None:
    """Take out the rows that the temporary table `which` holds, in one commit; old versions keep them."""
    commit.persistently(lambda: _remove(connection, lake, address, which, state))


def _remove(
    connection: duckdb.DuckDBPyConnection, lake: Lake, address: Address, which: str, state: dict[str, Any]
) -> None:
    base = commit.table(lake, address)
    days = [day for (day,) in connection.execute(f"SELECT DISTINCT _loaded_at::DATE FROM {which}").fetchall()]
    if base is None or not days:
        return
    same = " AND ".join(f"q.{quoted(name)} IS NOT DISTINCT FROM d.{quoted(name)}" for name in read.columns(base))
    rows = connection.execute(
        f"""SELECT q.* EXCLUDE ({", ".join(DAY_COLUMNS)}), q._loaded_at::DATE AS _day
            FROM {read.relation(lake, address)} AS q
            WHERE ({commit.days_predicate(days)}) AND NOT EXISTS (SELECT 1 FROM {which} AS d WHERE {same})
            ORDER BY _day"""
    )
    commit.replace(lake, address, rows.to_arrow_reader(100_000), state, base=base, days=days)


def _rows(
    connection: duckdb.DuckDBPyConnection, relation: str, number: str, entry: Gate, known: dict[str, pa.DataType]
) -> str:
    """SQL of the rows that are set aside whole, with the columns that quarantine has."""
    shown = [*entry.columns, *(entry.barred if entry.contract.columns == "discard_row" else ())]
    values, unfit = [], []
    for column in shown:
        name, wanted, given = quoted(column), _wanted(entry, column, known), entry.given.get(column)
        if wanted is None or given is None or kinds.stored(given).equals(wanted):
            values.append(name)
            continue
        fits = kinds.fits(name, wanted, given)
        values.append(f"CASE WHEN {fits} THEN TRY_CAST({name} AS {kinds.sql(wanted)}) END AS {name}")
        unfit.append(f"{literal(column)}, CASE WHEN {name} IS NOT NULL AND NOT {fits} THEN {name}::VARCHAR END")
    arrived = [item[0] for item in connection.execute(f"SELECT * FROM {relation} LIMIT 0").description]
    parts = [f"json_object({', '.join(unfit)})"] if unfit else []
    parts += [f"coalesce(to_json({misfits(entry)}), '{{}}')"] if MISFIT in arrived else []
    together = f"json_merge_patch('{{}}', {', '.join(parts)})" if parts else "NULL"
    return f"""SELECT {", ".join(values)}, _reason, NULL::VARCHAR AS _column, NULL::VARCHAR AS _value,
        nullif({together}::VARCHAR, '{{}}') AS {MISFIT}
        FROM (SELECT r.*, f.reason AS _reason FROM (SELECT {number} AS _number, * FROM {relation}) AS r
              JOIN faulty_rows AS f ON r._number = f.number)"""


def _values(subject: Subject, relation: str, number: str, entry: Gate, known: dict[str, pa.DataType]) -> str:
    """SQL of single values, each with what tells its row: key, cursor and partition."""
    names = dict.fromkeys(filter(None, [*subject.key, subject.cursor, subject.partition]))
    shown = []
    for column in names:
        wanted = _wanted(entry, column, known)
        value = entry.passed(column, "r")
        shown.append(f"{f'TRY_CAST({value} AS {kinds.sql(wanted)})' if wanted else value} AS {quoted(column)}")
    return f"""SELECT {", ".join(shown)}, f.reason AS _reason, f."column" AS _column, f.value AS _value,
        NULL::VARCHAR AS {MISFIT} FROM (SELECT {number} AS _number, * FROM {relation}) AS r
        JOIN faulty_values AS f ON r._number = f.number"""


def _wanted(entry: Gate, column: str, known: dict[str, pa.DataType]) -> pa.DataType | None:
    """The type of a column in quarantine: the one it has there, else the lake's; None: as it arrives."""
    return kinds.stored(known[column]) if column in known else entry.known.get(column)


def _any(connection: duckdb.DuckDBPyConnection, relation: str) -> bool:
    return connection.execute(f"SELECT 1 FROM {relation} LIMIT 1").fetchone() is not None
