"""What may enter a table: which columns pass and as what, and which rows and values do not.

`lake.drift` decides on the columns, by the table's contract (dlt's words); `faults` finds the rows and values that may
not enter, with the same SQL for the first load of a table and for all later ones. Nothing is committed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import duckdb
import pyarrow as pa

from lake import duck, kinds
from lake.duck import literal, quoted

Word = Literal["evolve", "freeze", "discard_value", "discard_row"]
MISFIT = "_misfit"
NO_RECORD = "the line is no record of this table"  # `_misfit` has its text under the empty name
PLATFORM = ("_op", "_loaded_at", "_load_id")
# Values that are named in a reason: reasons are counted, so they must stay few.
NAMED = ("NaN", "Infinity", "-Infinity", "infinity", "-infinity", "0000-00-00", "0000-00-00 00:00:00")


@dataclass(frozen=True)
class Contract:
    """What becomes of new or vanished columns, and of changed types and values that do not fit."""

    columns: Word = "evolve"
    types: Word = "freeze"


@dataclass(frozen=True)
class Gate:
    """How the columns of one load pass.

    `columns` enter the lake. `known` are the types they have there (as the lake stores them), `given` those that
    arrive; where the two differ, values are cast, and `may_fail` names the columns in which a value may not fit.
    `barred` columns are new and stay outside. `widened` are columns of the lake whose type must be changed before the
    load. `native` are the source's names of the types, `notes` sentences for people.
    """

    contract: Contract
    columns: tuple[str, ...]
    known: Mapping[str, pa.DataType] = field(default_factory=dict)
    given: Mapping[str, pa.DataType] = field(default_factory=dict)
    may_fail: tuple[str, ...] = ()
    barred: tuple[str, ...] = ()
    widened: Mapping[str, pa.DataType] = field(default_factory=dict)
    native: Mapping[str, str] = field(default_factory=dict)
    masked: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()

    def passed(self, column: str, of: str = "") -> str:
        """The SQL of a column's value as it enters the lake; `of` is the relation's alias."""
        name = f"{of}.{quoted(column)}" if of else quoted(column)
        wanted, given = self.known.get(column), self.given.get(column)
        if wanted is None or given is None or wanted.equals(given):
            return name
        cast = f"TRY_CAST({name} AS {kinds.sql(wanted)})"
        return f"CASE WHEN {kinds.fits(name, wanted, given)} THEN {cast} END" if column in self.may_fail else cast


@dataclass(frozen=True)
class Faults:
    """How many rows and values may not enter, by reason.

    They are listed in the temporary tables `faulty_rows` (`number`, `reason`; one line a row) and `faulty_values`
    (`number`, `column`, `value`, `reason`; only of rows that enter).
    """

    rows: Mapping[str, int] = field(default_factory=dict)
    values: Mapping[str, int] = field(default_factory=dict)


def faults(
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    number: str,
    entry: Gate,
    *,
    key: tuple[str, ...],
    partition: str | None = None,
    cursor: str | None = None,
    key_is_enforced: bool = False,
) -> Faults:
    """Find the rows of `relation` that may not enter and the values that may not.

    `number` is an SQL expression that numbers the rows (`rowid` of a table, or a column). Only the columns that are
    asked about are read; of rows with one key the one with the highest cursor enters.
    """
    cases = _cases(entry, key, partition, has_misfits := _has_misfits(connection, relation))
    whens = " ".join(f"WHEN {condition} THEN {reason}" for condition, reason in cases)
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE faulty_rows AS
            SELECT {number} AS number, CASE {whens} END AS reason FROM {relation}
            WHERE {" OR ".join(f"({condition})" for condition, _ in cases)}"""
    )
    if not key_is_enforced:
        _twins(connection, relation, number, entry, key, cursor)
    parts = ["SELECT NULL::BIGINT AS number, '' AS \"column\", '' AS value, '' AS reason WHERE FALSE"]
    if entry.contract.types != "discard_row":
        parts += [_misfit_values(relation, number, entry)] if has_misfits else []
        parts += [_failed_values(relation, number, entry)] if entry.may_fail else []
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE faulty_values AS SELECT * FROM ({" UNION ALL ".join(parts)}) AS v
            WHERE v.number NOT IN (SELECT number FROM faulty_rows)"""
    )
    return Faults(_counts(connection, "faulty_rows"), _counts(connection, "faulty_values"))


def twin_reason(key: tuple[str, ...]) -> str:
    """Why a row is set aside whose key another row has too."""
    return f"the key ({', '.join(key)}) is not unique"


def misfits(entry: Gate, of: str = "") -> str:
    """The SQL of `_misfit` as a map of column to text: only columns that arrive, nothing of masked ones."""
    name = f"{of}.{MISFIT}" if of else MISFIT
    entries = f"map_entries(CAST({name}::JSON AS MAP(VARCHAR, VARCHAR)))"
    shown = [column for column in entry.given if column not in entry.masked] or list(entry.columns)
    allowed = ", ".join(literal(column) for column in ["", *shown])
    return f"map_from_entries(list_filter({entries}, lambda e: e.key IN ({allowed})))"


def _cases(entry: Gate, key: tuple[str, ...], partition: str | None, has_misfits: bool) -> list[tuple[str, str]]:
    """Conditions under which a row is set aside, each with the SQL of its reason."""
    cases = []
    if has_misfits:
        cases.append((f"starts_with({MISFIT}, '{{\"\":')", literal(NO_RECORD)))
    if entry.contract.types == "discard_row":
        if has_misfits:
            first = f"map_entries({misfits(entry)})[1]"
            cases.append(
                (
                    f"{MISFIT} IS NOT NULL AND cardinality({misfits(entry)}) > 0",
                    _unfit(entry, f"{first}.key", f"{first}.value"),
                )
            )
        cases += [
            (_failed(entry, column), _unfit(entry, literal(column), f"{quoted(column)}::VARCHAR", column))
            for column in entry.may_fail
        ]
    for column in key:
        unfit = _unfit(entry, literal(column), _source_text(column, has_misfits), column)
        cases.append((_is_unheld(entry, column, has_misfits), unfit))
        cases.append((f"{entry.passed(column)} IS NULL", literal(f"{column} (key) is NULL")))
    if partition:
        name = entry.passed(partition)
        day = f"CAST({name} AS DATE)"
        cases.append((_is_unheld(entry, partition, has_misfits), literal(f"{partition} (partition) is no day")))
        cases.append((f"{name} IS NULL", literal(f"{partition} (partition) is NULL")))
        # Beyond these years a day has no place in the lake: no path, no Python date.
        no_day = f"NOT isfinite({day}) OR year({day}) NOT BETWEEN 1 AND 9999"
        cases.append((no_day, literal(f"{partition} (partition) is no day")))
    if entry.contract.columns == "discard_row":
        cases += [
            (f"{quoted(column)} IS NOT NULL", literal(f"{column} is new at the source")) for column in entry.barred
        ]
    return cases


def _twins(
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    number: str,
    entry: Gate,
    key: tuple[str, ...],
    cursor: str | None,
) -> None:
    """Add all but one of the rows that share a key to `faulty_rows`."""
    named = [f"{entry.passed(column)} AS k{place}" for place, column in enumerate(key)]
    keys = ", ".join(f"k{place}" for place in range(len(key)))
    # The keys alone first: they are grouped in little memory, and most tables have no twins.
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE twins AS SELECT {", ".join(named)} FROM {relation}
            GROUP BY ALL HAVING count(*) > 1"""
    )
    if not duck.count(connection, "twins"):
        return
    newest = entry.passed(cursor) if cursor else "NULL"
    content = ", ".join(quoted(column) for column in entry.given or entry.columns)
    same = " AND ".join(f"r.k{place} = twins.k{place}" for place in range(len(key)))
    connection.execute(
        f"""INSERT INTO faulty_rows SELECT number, {literal(twin_reason(key))} FROM (
                SELECT number, row_number() OVER (PARTITION BY {keys} ORDER BY newest DESC NULLS LAST, content) AS place
                FROM (SELECT {number} AS number, {", ".join(named)}, {newest} AS newest, hash({content}) AS content
                      FROM {relation}) AS r
                SEMI JOIN twins ON {same} WHERE number NOT IN (SELECT number FROM faulty_rows)) WHERE place > 1"""
    )


def _source_text(column: str, has_misfits: bool) -> str:
    """The SQL of what stood in a column at the source, as text."""
    told = f"CAST({MISFIT}::JSON AS MAP(VARCHAR, VARCHAR))[{literal(column)}]"
    return f"coalesce({quoted(column)}::VARCHAR, {told})" if has_misfits else f"{quoted(column)}::VARCHAR"


def _is_unheld(entry: Gate, column: str, has_misfits: bool) -> str:
    """SQL: something stood in the column that the lake's type cannot hold."""
    return f"{entry.passed(column)} IS NULL AND {_source_text(column, has_misfits)} IS NOT NULL"


def _failed(entry: Gate, column: str) -> str:
    name = quoted(column)
    return f"{name} IS NOT NULL AND NOT {kinds.fits(name, entry.known[column], entry.given[column])}"


def _failed_values(relation: str, number: str, entry: Gate) -> str:
    # One scan, whatever the number of columns.
    told = ", ".join(
        f"{{'key': {literal(column)}, 'value': CASE WHEN {_failed(entry, column)} THEN {quoted(column)}::VARCHAR END}}"
        for column in entry.may_fail
    )
    return f"""SELECT number, e.key, e.value, {_unfit(entry, "e.key", "e.value")} FROM (
        SELECT {number} AS number, unnest(list_filter([{told}], lambda e: e.value IS NOT NULL)) AS e FROM {relation})"""


def _misfit_values(relation: str, number: str, entry: Gate) -> str:
    return f"""SELECT number, e.key, e.value, {_unfit(entry, "e.key", "e.value")} FROM (
        SELECT {number} AS number, unnest(map_entries({misfits(entry)})) AS e FROM {relation}
        WHERE {MISFIT} IS NOT NULL)"""


def _unfit(entry: Gate, column: str, value: str, name: str | None = None) -> str:
    """The SQL of the reason why a value may not enter; `column` and `value` are SQL too, `name` a known column."""
    kind = "''"
    if name is not None:
        kind = literal(f" ({entry.native[name]})" if name in entry.native else "")
    elif entry.native:
        pairs = ", ".join(f"{literal(name)}: {literal(text)}" for name, text in entry.native.items())
        kind = f"coalesce(' (' || MAP {{{pairs}}}[{column}] || ')', '')"
    named = ", ".join(literal(text) for text in NAMED)
    which = f"CASE WHEN {value} IN ({named}) THEN ' is ' || {value} || ', which' ELSE ' has a value that' END"
    return f"{column} || {kind} || {which} || ' the lake''s type cannot hold'"


def _has_misfits(connection: duckdb.DuckDBPyConnection, relation: str) -> bool:
    return MISFIT in [entry[0] for entry in connection.execute(f"SELECT * FROM {relation} LIMIT 0").description]


def _counts(connection: duckdb.DuckDBPyConnection, relation: str) -> dict[str, int]:
    return dict(connection.execute(f"SELECT reason, count(*) FROM {relation} GROUP BY 1 ORDER BY 1").fetchall())
