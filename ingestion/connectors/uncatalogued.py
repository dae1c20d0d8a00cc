"""What tables of sources without a catalogue have in common: columns by declaration, by rows, and the platform's."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from ingestion.connectors import MISFIT, Window, declaration, fitting, text_types
from lake.errors import PermanentError, SchemaDrift

if TYPE_CHECKING:
    from ingestion.spec import Source, Table

DAYS = ("DATE", "TIMESTAMP", text_types.TIMESTAMPTZ)


def named(table: Table, own: Collection[str] = ()) -> list[str]:
    """The columns that the declaration names, without the platform's `own`."""
    timed = [table.cursor or "", table.partition.column if table.partition else ""]
    names = [*table.key, *timed, *table.columns, *table.mask, *table.drop]
    return [name for name in dict.fromkeys(names) if name and name not in own]


def declared(table: Table) -> dict[str, str]:
    """The DuckDB types of the columns whose type is declared."""
    return {name: text_types.named(column.type) for name, column in table.columns.items() if column.type}


def require(where: str, table: Table, found: Collection[str], own: Collection[str] = ()) -> None:
    """Raise SchemaDrift if a declared column is not among those found."""
    for name in named(table, own):
        if name not in found:
            mend = "correct the source file, or bring the column"
            raise SchemaDrift(where, f'column "{name}" is declared but missing at the source', mend)


def require_days(where: str, table: Table, kinds: Mapping[str, str]) -> None:
    """Raise PermanentError if the partition is no time."""
    if table.partition and kinds.get(table.partition.column) not in DAYS:
        name = table.partition.column
        what = f'the partition column "{name}" holds values that are no times'
        mend = f"declare `columns: {{{name}: timestamp}}`, so that rows whose value is none are set aside"
        raise PermanentError(where, what, mend)


def arriving(table: Table, found: Mapping[str, str | None], own: Mapping[str, str]) -> dict[str, str]:
    """The types of the columns that arrive: those with a value, those the declaration needs, and `own` ones."""
    needed = set(named(table))
    kinds = {name: kind or text_types.TEXT for name, kind in found.items() if kind or name in needed}
    kinds |= {name: text_types.TEXT for name in table.mask if name in kinds}
    return {name: kind for name, kind in {**kinds, **own}.items() if name not in table.drop}


def plan(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    table: Table,
    kinds: Mapping[str, str],
    null: Sequence[str] = ("",),
    own: Collection[str] = (),
) -> fitting.Plan:
    """How rows are made to fit these columns. Raises SpecError if something is to be masked and there is no salt."""
    where = f"source {source.name}, table {table.name}"
    salt = declaration.salt(source, table) if table.mask else ""
    return fitting.Plan(
        where,
        kinds,
        fitting.schema(connection, kinds),
        declared=frozenset(declared(table)),
        masked=frozenset(table.mask),
        null=null,
        salt=salt,
        hidden=bool(set(table.mask) | set(table.drop) - set(own)),
    )


def of_days(rows: pa.Table, table: Table, window: Window) -> pa.Table:
    """The rows of the window's days, all without; and without `_misfit` where all values fit."""
    if window.first and window.last and table.partition:
        day = days(rows.column(table.partition.column))
        inside = pc.and_(pc.greater_equal(day, pa.scalar(window.first)), pc.less_equal(day, pa.scalar(window.last)))
        rows = rows.filter(inside)
    return rows.drop_columns([MISFIT]) if rows.column(MISFIT).null_count == rows.num_rows else rows


def extent(columns: Iterable[pa.RecordBatch]) -> tuple[datetime.date, datetime.date] | None:
    """The first and last UTC day of batches of one column; None if there is none."""
    ends: list[datetime.date] = []
    for batch in columns:
        ends += [end for end in pc.min_max(days(batch.column(0))).as_py().values() if end is not None]
    return (min(ends), max(ends)) if ends else None


def days(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The UTC days of dates, timestamps or instants."""
    if pa.types.is_timestamp(column.type) and column.type.tz:
        column = column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).cast(pa.timestamp("us"))
    return column.cast(pa.timestamp("us")).cast(pa.date32(), safe=False)
