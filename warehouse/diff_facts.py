"""What `diff.compare` says about two versions of the warehouse: one MartDiff for each mart or metric table."""

from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

Columns = dict[str, str]  # name -> DuckDB type, in the table's order
Kind = Literal["added", "removed", "changed"]


@dataclass(frozen=True)
class Measure:
    """The sum of a numeric column over all rows, before and after; None where there was no table or no value."""

    column: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Day:
    """Rows of one event day that were added, removed or changed; `day` is UTC, or as the mart has it."""

    day: date | None
    added: int
    removed: int
    changed: int


@dataclass(frozen=True)
class Example:
    """One row that differs: its key, and (value before, value after) of every column that differs.

    A row that was added has None before, one that was removed None after, in every column.
    """

    kind: Kind
    key: tuple[tuple[str, Any], ...]
    values: tuple[tuple[str, Any, Any], ...]


@dataclass(frozen=True)
class Largest:
    """The rows in which one measure changed most: (key, value before, value after), the largest change first."""

    column: str
    rows: tuple[tuple[tuple[tuple[str, Any], ...], Any, Any], ...]


@dataclass(frozen=True)
class MartDiff:
    """What differs between two versions of one mart or metric table.

    `rows_before` is None if the table is new, `rows_after` if it is gone; then no rows are compared. `key` names the
    columns by which rows were matched; empty if none are unique: then a changed row counts as removed and added.
    `changed_values` counts the differing values of each column in rows that changed. Columns are (name, type).
    """

    schema: str
    name: str
    rows_before: int | None
    rows_after: int | None
    columns_added: tuple[tuple[str, str], ...] = ()
    columns_removed: tuple[tuple[str, str], ...] = ()
    columns_retyped: tuple[tuple[str, str, str], ...] = ()
    key: tuple[str, ...] = ()
    added: int = 0
    removed: int = 0
    changed: int = 0
    changed_values: tuple[tuple[str, int], ...] = ()
    measures: tuple[Measure, ...] = ()
    days: tuple[Day, ...] = ()
    largest: tuple[Largest, ...] = ()
    examples: tuple[Example, ...] = ()

    @property
    def is_new(self) -> bool:
        """Whether only the newer version has the table."""
        return self.rows_before is None

    @property
    def is_gone(self) -> bool:
        """Whether only the older version has the table."""
        return self.rows_after is None

    @property
    def has_columns_changed(self) -> bool:
        """Whether a column was added, removed or given another type."""
        return bool(self.columns_added or self.columns_removed or self.columns_retyped)

    @property
    def is_equal(self) -> bool:
        """Whether both versions hold the same columns and the same rows."""
        rows = self.added + self.removed + self.changed
        return not (self.is_new or self.is_gone or self.has_columns_changed or rows)
