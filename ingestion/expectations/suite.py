"""A table's suite of expectations: what follows from its declaration, and what the declaration adds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from ingestion.expectations.registry import ABOUT, check

PLATFORM_COLUMNS = ("_loaded_at", "_load_id", "_op")
PARTITION_COLUMNS = ("year", "month", "day")
TOMORROW = {"$PARAMETER": "tomorrow"}
HIDE = (
    "exclude_unexpected_values"  # in an expectation's meta: show no values, as Great Expectations' option of the name
)


class DeclaredColumn(Protocol):
    """One declared column of a table."""

    @property
    def type(self) -> str | None:
        """DuckDB's name of the type, or None to leave it to the source."""


class DeclaredPartition(Protocol):
    """The partition of a table."""

    @property
    def column(self) -> str:
        """The column whose UTC day is the partition."""


class DeclaredTable(Protocol):
    """What a suite needs to know of a table's declaration; `ingestion.spec.Table` is one."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def key(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def cursor(self) -> str | None: ...  # noqa: D102
    @property
    def partition(self) -> DeclaredPartition | None: ...  # noqa: D102
    @property
    def mask(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def columns(self) -> Mapping[str, DeclaredColumn]: ...  # noqa: D102
    @property
    def expect(self) -> Sequence[Mapping[str, Mapping[str, Any]]]: ...  # noqa: D102


@dataclass(frozen=True)
class Expectation:
    """One expectation in Great Expectations' terms; `kwargs` holds only what JSON can say."""

    type: str
    kwargs: Mapping[str, Any]
    severity: str = "critical"
    notes: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    description: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns the expectation is about; none for one about the whole table."""
        named = [self.kwargs[key] for key in ("column", "column_A", "column_B") if key in self.kwargs]
        return (*named, *self.kwargs.get("column_list", ()))

    def to_json(self) -> dict[str, Any]:
        """Great Expectations' `ExpectationConfiguration` as JSON."""
        about = {"notes": self.notes, "description": self.description}
        return {
            "type": self.type,
            "kwargs": dict(self.kwargs),
            "meta": dict(self.meta),
            "severity": self.severity,
            **{key: value for key, value in about.items() if value is not None},
        }


@dataclass(frozen=True)
class Suite:
    """The expectations of one table; `name` is `<source>.<table>`."""

    name: str
    expectations: tuple[Expectation, ...]

    def to_json(self) -> dict[str, Any]:
        """Great Expectations' `ExpectationSuite` as JSON."""
        return {"name": self.name, "expectations": [item.to_json() for item in self.expectations], "meta": {}}


def suite_for(source: str, table: DeclaredTable) -> Suite:
    """The suite of the processed table `<source>.<table.name>`, in a stable order: generated first, declared last.

    Generated: the columns exist; key, cursor and partition column are not NULL; the key is unique; declared types;
    masked columns hold SHA-256 digests; no row is dated later than tomorrow. A declared expectation of the same type
    on the same columns takes the place of the generated one. Results never show values of a masked column: they would
    be the very thing that may not leave the source. Raises SpecError for a declaration that does not hold.
    """
    name = f"{source}.{table.name}"
    declared = tuple(declared_expectation(f"table {name}", item) for item in table.expect)
    taken = {(item.type, item.columns) for item in declared}
    generated = (item for item in _generated(table) if (item.type, item.columns) not in taken)
    return Suite(name, tuple(_discreet(item, table.mask) for item in (*generated, *declared)))


def declared_expectation(where: str, item: Mapping[str, Any]) -> Expectation:
    """The expectation declared by one item of `expect:`. Raises SpecError that starts with `where`."""
    kind, told = check(where, item)
    about = {key: told.pop(key) for key in ABOUT & set(told)}
    return Expectation(kind, told, **about)


def suite_from_json(text: Mapping[str, Any]) -> Suite:
    """The suite that `Suite.to_json` or Great Expectations itself wrote. Raises SpecError for an unknown type."""
    name = text["name"]
    items = [
        {item["type"]: {**item["kwargs"], **{key: item[key] for key in ABOUT if item.get(key)}}}
        for item in text["expectations"]
    ]
    return Suite(name, tuple(declared_expectation(f"suite {name}", item) for item in items))


def _discreet(expectation: Expectation, masked: Mapping[str, str]) -> Expectation:
    if set(expectation.columns).isdisjoint(masked):
        return expectation
    return replace(expectation, meta={**expectation.meta, HIDE: True})


def _generated(table: DeclaredTable) -> Iterator[Expectation]:
    yield Expectation(
        "expect_table_columns_to_match_set",
        {"column_set": _needed_columns(table), "exact_match": False},
        notes="Columns that the declaration names, and the platform's own.",
    )
    yield from _keyed(table)
    yield from _dated(table)
    yield Expectation("expect_column_values_to_not_be_null", {"column": "_loaded_at"}, notes="Set by every load.")
    for column, declared in table.columns.items():
        if declared.type and column not in table.mask:
            yield Expectation(
                "expect_column_values_to_be_of_type", {"column": column, "type_": declared.type}, notes="Declared type."
            )
    for column in table.mask:
        yield Expectation(
            "expect_column_values_to_match_regex",
            {"column": column, "regex": "^[0-9a-f]{64}$"},
            notes="Masked at the source: only a salted SHA-256 digest may arrive.",
        )


def _keyed(table: DeclaredTable) -> Iterator[Expectation]:
    for column in table.key:
        yield Expectation("expect_column_values_to_not_be_null", {"column": column}, notes="Part of the key.")
    if len(table.key) == 1:
        yield Expectation("expect_column_values_to_be_unique", {"column": table.key[0]}, notes="One row per key.")
    elif table.key:
        yield Expectation(
            "expect_compound_columns_to_be_unique", {"column_list": list(table.key)}, notes="One row per key."
        )


def _dated(table: DeclaredTable) -> Iterator[Expectation]:
    partition = table.partition.column if table.partition else None
    roles = {partition: "Dates the row's partition.", table.cursor: "Tells which rows changed."}
    for column, role in roles.items():
        if column is not None and column not in table.key:
            yield Expectation("expect_column_values_to_not_be_null", {"column": column}, notes=role)
    for column in roles:
        if column is not None and (column == partition or column.endswith("_at")):
            yield Expectation(
                "expect_column_values_to_be_between",
                {"column": column, "max_value": TOMORROW},
                severity="warning",
                notes="A date in the future points at a wrong clock or time zone at the source.",
            )


def _needed_columns(table: DeclaredTable) -> list[str]:
    dated = [table.partition.column, *PARTITION_COLUMNS] if table.partition else []
    cursor = [table.cursor] if table.cursor else []
    return list(dict.fromkeys([*table.key, *cursor, *dated, *table.mask, *table.columns, *PLATFORM_COLUMNS]))
