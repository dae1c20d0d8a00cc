"""A declared table held against the columns that a database has, in the words that are the same for all of them."""

import os
from collections.abc import Iterable, Mapping, Sequence

from ingestion.connectors import MISFIT, SUM
from ingestion.spec import Source, Table
from lake.errors import SchemaDrift, SpecError

# Names that the lake, quarantine or the staged files give to columns of their own.
RESERVED = (
    "year", "month", "day", "_op", "_loaded_at", "_load_id", "_reason", "_column", "_value", "_at", "_day",
    MISFIT, SUM,
)  # fmt: skip


def require(
    where: str,
    table: Table,
    kinds: Mapping[str, str],
    *,
    cursors: Sequence[str],
    days: Sequence[str],
    shown: Mapping[str, str] | None = None,
) -> None:
    """Refuse declared columns that are missing, and a cursor or partition of a type that is none of these.

    `kinds` are the types by which that is decided, `shown` those that a person reads. Raises SchemaDrift, SpecError.
    """
    timed: dict[str, Sequence[str]] = {table.cursor: cursors} if table.cursor else {}
    if table.partition:
        timed.setdefault(table.partition.column, days)
    for column in dict.fromkeys([*table.key, *timed, *table.drop, *table.mask, *table.columns]):
        if column not in kinds:
            mend = "bring it back at the source, or take it out of the source file"
            raise SchemaDrift(where, f'column "{column}" is declared but missing at the source', mend)
    for column, right in timed.items():
        if kinds[column] not in right:
            role = "cursor" if column == table.cursor else "partition"
            mend = f"name a column of type {' or '.join(right)}"
            raise SpecError(where, f'the {role} column "{column}" is {(shown or kinds)[column]}', mend)


def renamed(where: str, table: Table, columns: Iterable[str]) -> dict[str, str]:
    """The source's columns (each name → its name in the lake), as `columns: {amount: {from: total_amount}}` says.

    A column that still has its old name is read under it: the declaration may come before the change at the source.
    Raises SchemaDrift if the source has both names, or neither.
    """
    names = {name: name for name in columns}
    for name, old in table.renamed.items():
        if old in names and name in names and name not in table.renamed.values():
            mend = f'give the other one a name of its own: `columns: {{{name}_: {{from: "{name}"}}}}`'
            raise SchemaDrift(where, f'column "{name}" is taken from "{old}", but the source has a "{name}" too', mend)
        if old not in names and name not in names:
            mend = "bring it back at the source, or correct `from`"
            raise SchemaDrift(where, f'column "{name}" comes from "{old}", which is missing at the source', mend)
    names.update({old: name for name, old in table.renamed.items() if old in names})
    return names


def reject_clashes(where: str, columns: Iterable[str], reserved: Sequence[str] = RESERVED) -> None:
    """Refuse a column with the name of one of the lake's own, or of another but for its case. Raises SchemaDrift."""
    seen = set(reserved)
    for column in columns:
        if column.lower() in seen:
            of = "a column of the lake's own" if column.lower() in reserved else "another column but for its case"
            mend = f"leave it out (`drop: [{column}]`), or give it another name: `columns: {{x: {{from: {column}}}}}`"
            raise SchemaDrift(where, f'column "{column}" has the name of {of}', mend)
        seen.add(column.lower())


def salt(source: Source, table: Table) -> str:
    """The salt of masked columns. Raises SpecError if there is none."""
    value = os.environ.get("WATERSHED_MASK_SALT", "")
    if not value:
        mend = "set it to a long random text and keep it: joins on masked columns depend on it"
        raise SpecError(f"source {source.name}, table {table.name}", "WATERSHED_MASK_SALT is not set", mend)
    return value
