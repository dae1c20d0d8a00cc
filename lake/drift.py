"""Columns and types that changed at the source: what a table's contract makes of them, before anything is read."""

from collections.abc import Collection, Mapping

import pyarrow as pa

from lake import kinds
from lake.errors import SchemaDrift
from lake.gate import MISFIT, PLATFORM, Contract, Gate


def decide(
    where: str,
    contract: Contract,
    arriving: pa.Schema,
    known: Mapping[str, pa.DataType],
    *,
    native: Mapping[str, str] | None = None,
    needed: Collection[str] = (),
    dropped: Collection[str] = (),
    masked: Collection[str] = (),
) -> Gate:
    """Decide how the columns of `arriving` enter a table that has the columns `known` (none: its first load).

    `needed` columns (key, cursor, partition) must arrive; `dropped` ones are left out by declaration, `masked` ones
    arrive masked. Raises SchemaDrift, naming `where`, if the contract forbids what has changed.
    """
    native = native or {}
    given = {entry.name: kinds.stored(entry.type) for entry in arriving if entry.name != MISFIT}
    before = {name: kinds.stored(kind) for name, kind in known.items() if name not in PLATFORM}
    new = [name for name in given if before and name not in before]
    gone = [name for name in before if name not in given and name not in dropped]
    if missing := [name for name in needed if name not in given]:
        mend = "bring it back at the source, or take it out of the source file"
        raise SchemaDrift(where, f'column "{missing[0]}" is declared but missing at the source', mend)
    renamed = _renamed(new, gone, before, given)
    _refuse_columns(where, contract, new, gone, renamed)
    barred = new if contract.columns in ("discard_value", "discard_row") else []
    types, may_fail = dict(given), []
    widened: dict[str, pa.DataType] = {}
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
        notes=(*_notes(contract, new, widened, before), *renamed.values()),
    )


def _renamed(
    new: list[str], gone: list[str], before: Mapping[str, pa.DataType], given: Mapping[str, pa.DataType]
) -> dict[str, str]:
    """Each new column that may be one that is gone, the only ones of their type, and what to do if it is."""
    found = {}
    for name in new:
        alike = [old for old in gone if before[old].equals(given[name])]
        if len(alike) == 1 and sum(given[other].equals(given[name]) for other in new) == 1:
            declare = f"if it was renamed, declare `columns: {{{alike[0]}: {{from: {name}}}}}`"
            found[name] = f"column {alike[0]} is gone and {name} is new with the same type: {declare}"
    return found


def _refuse_columns(
    where: str, contract: Contract, new: list[str], gone: list[str], renamed: Mapping[str, str]
) -> None:
    if contract.columns != "freeze":
        return
    if new and new[0] in renamed:
        what, _, mend = renamed[new[0]].partition(": ")
        raise SchemaDrift(where, what, f"{mend}; if not, declare `contract: {{columns: evolve}}`")
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
    notes += [f"column {name} is widened from {before[name]} to {kind}" for name, kind in widened.items()]
    return tuple(notes)
