"""What may enter a table: its contract (dlt's words) held against the columns, types and rows that arrive.

`gate` decides on columns and types before anything is read; `faults` finds the rows and values that may not enter,
with the same SQL for the first load of a table and for all later ones. Neither commits anything.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

import duckdb
import pyarrow as pa

from lake import kinds
from lake.duck import literal, quoted
from lake.errors import SchemaDrift

Word = Literal["evolve", "freeze", "discard_value", "discard_row"]
MISFIT = "_misfit"
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


def gate(
    where: str,
    contract: Contract,
    arriving: pa.Schema,
    known: Mapping[str, pa.DataType],
    *,
    native: Mapping[str, str] | None = None,
    dropped: Collection[str] = (),
    masked: Collection[str] = (),
) -> Gate:
    """Decide how the columns of `arriving` enter a table that has the columns `known` (none: its first load).

    Raises SchemaDrift, naming `where`, if the contract forbids what has changed.
    """
    native = native or {}
    given = {entry.name: kinds.stored(entry.type) for entry in arriving if entry.name != MISFIT}
    before = {name: kinds.stored(kind) for name, kind in known.items() if name not in PLATFORM}
    new = [name for name in given if before and name not in before]
    gone = [name for name in before if name not in given and name not in dropped]
    _refuse_columns(where, contract, new, gone)
    barred = new if contract.columns in ("discard_value", "discard_row") else []
    types, widened, may_fail = dict(given), {}, []
    for name in (name for name in given if name in before and not before[name].equals(given[name])):
        wide = kinds.widest(before[name], given[name])
        if contract.types == "freeze" or (contract.types == "evolve" and wide is None):
            raise _changed(where, contract, name, before[name], given[name], native)
        types[name] = before[name]
        if contract.types != "evolve":
            may_fail += [name] if not kinds.holds(before[name], given[name]) else []
        elif wide is not None:
            types[name] = wide
            widened |= {} if wide.equals(before[name]) else {name: wide}
    return Gate(
        contract,
        columns=tuple(name for name in given if name not in barred),
        known=types,
        given=given,
        may_fail=tuple(may_fail),
        barred=tuple(barred),
        widened=widened,
        native=native,
        masked=frozenset(masked),
        notes=_notes(contract, new, gone, widened, before),
    )


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
    raise NotImplementedError


def _refuse_columns(where: str, contract: Contract, new: list[str], gone: list[str]) -> None:
    if contract.columns != "freeze":
        return
    if new:
        mend = "declare `contract: {columns: evolve}`, or drop it with `drop: [...]`"
        raise SchemaDrift(where, f'column "{new[0]}" is new at the source', mend)
    if gone:
        mend = "bring it back at the source, or declare `contract: {columns: evolve}`"
        raise SchemaDrift(where, f'column "{gone[0]}" is missing at the source', mend)


def _changed(
    where: str, contract: Contract, name: str, before: pa.DataType, now: pa.DataType, native: Mapping[str, str]
) -> SchemaDrift:
    what = f'column "{name}" was {before} and is now {native.get(name, now)} ({now})'
    if contract.types == "freeze" and kinds.widest(before, now) is not None:
        return SchemaDrift(where, what, "change it back, or declare `contract: {types: evolve}` to widen the lake's")
    mend = "change it back, declare `contract: {types: discard_value}`, or load the table anew under another name"
    return SchemaDrift(where, what, mend)


def _notes(
    contract: Contract,
    new: list[str],
    gone: list[str],
    widened: Mapping[str, pa.DataType],
    before: Mapping[str, pa.DataType],
) -> tuple[str, ...]:
    notes = []
    for name in new:
        notes.append(
            {
                "discard_value": f"new column {name} is left out",
                "discard_row": f"rows with the new column {name} are set aside",
            }.get(contract.columns, f"new column {name}")
        )
    notes += [f"column {name} is gone at the source" for name in gone]
    notes += [f"column {name} is widened from {before[name]} to {kind}" for name, kind in widened.items()]
    return tuple(notes)


def _text(value: str) -> str:
    return literal(value)
