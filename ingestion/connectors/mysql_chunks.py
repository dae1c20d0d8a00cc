"""A table cut by its key: into chunks of about equal size, and a chunk into pages that fit into memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any

from ingestion.connectors import Chunk
from ingestion.connectors.mysql_session import Session, constant, name
from ingestion.connectors.mysql_types import BINARIES, INTEGERS, UTF8, Column

PAGE_BYTES = 16 << 20
TEXTS = ("char", "varchar")
INSTANTS = ("date", "datetime", "timestamp", "decimal", "uuid", "inet6", "inet4")


@dataclass(frozen=True)
class Grain:
    """What is known of a table's rows: the columns that order them, about how many they are, and how wide."""

    place: str
    order: tuple[Column, ...]
    rows: int
    bytes_per_row: int

    @property
    def page(self) -> int:
        """So many rows are kept in memory at once."""
        return max(1, min(50_000, PAGE_BYTES // max(self.bytes_per_row, 64)))


def is_orderly(column: Column) -> bool:
    """Whether values of this type can be written back to the server exactly, and sort there as they compare."""
    return not column.is_nullable and column.kind in (*INTEGERS, *TEXTS, *INSTANTS, "binary", "varbinary", "year")


def as_told(column: Column) -> str:
    """SQL of the server for a key's value as text that `told` writes back."""
    quoted = name(column.name)
    if column.kind in BINARIES:
        return f"hex({quoted})"
    return UTF8.format(f"cast({quoted} as char)")


def told(column: Column, text: str) -> str:
    """The literal of a key's value."""
    if column.kind in BINARIES:
        return f"X'{text}'"
    if column.kind in INTEGERS or column.kind == "year":
        return str(int(text))
    return str(Decimal(text)) if column.kind == "decimal" else constant(text)


def chunks(session: Session, grain: Grain, rows: int) -> list[Chunk]:
    """The whole table in ranges of its first key column, each of about `rows` rows; the outer ends are open."""
    if not grain.order:
        return [Chunk(0)]
    edges = _edges(session, grain, rows)
    if not edges:
        return [Chunk(0)] if grain.bytes_per_row < PAGE_BYTES // 2048 else [Chunk(0, {"from": None, "to": None})]
    ends = [None, *edges, None]
    return [Chunk(number, {"from": first, "to": last}) for number, (first, last) in enumerate(pairwise(ends))]


def condition(grain: Grain, bounds: Mapping[str, Any]) -> list[str]:
    """What the rows of a chunk fulfil."""
    if not grain.order:
        return []
    leading = grain.order[0]
    found = []
    if bounds.get("from") is not None:
        found.append(f"{name(leading.name)} >= {told(leading, bounds['from'])}")
    if bounds.get("to") is not None:
        found.append(f"{name(leading.name)} < {told(leading, bounds['to'])}")
    return found


@dataclass
class Pages:
    """The conditions under which a chunk is read page by page, in the order of the key.

    After a page, rows go on behind its last key (a, b, c): first those with the same a and b, then those with the same
    a, then the rest. Each of these is one range of the index, however few different values the first column has.
    """

    grain: Grain
    depth: int = 0
    last: tuple[str, ...] = ()

    def conditions(self) -> list[str]:
        """What the next page's rows fulfil."""
        if not self.last:
            return []
        columns = self.grain.order[: self.depth]
        same = [
            f"{name(column.name)} = {told(column, text)}" for column, text in zip(columns[:-1], self.last, strict=False)
        ]
        return [*same, f"{name(columns[-1].name)} > {told(columns[-1], self.last[self.depth - 1])}"]

    def tail(self) -> str:
        """Order and limit of the next page: by the columns that its conditions leave open."""
        fixed = max(self.depth - 1, 0) if self.last else 0
        order = ", ".join(name(column.name) for column in self.grain.order[fixed:])
        return f" order by {order} limit {self.grain.page}"

    def has_next(self, rows: int, last: tuple[str, ...]) -> bool:
        """Go on behind a page of `rows` rows that ended at the key `last`; False at the end."""
        if rows >= self.grain.page:
            self.last, self.depth = last, len(self.grain.order)
            return True
        self.depth -= 1
        return self.depth > 0


def _edges(session: Session, grain: Grain, rows: int) -> list[str]:
    leading = grain.order[0]
    if leading.kind in INTEGERS:
        column = name(leading.name)
        ends = session.rows(f"select cast(min({column}) as char), cast(max({column}) as char) from {grain.place}")[0]
        return (
            [] if ends[0] is None else [str(edge) for edge in _halves(session, grain, rows, int(ends[0]), int(ends[1]))]
        )
    if grain.rows <= rows:
        return []
    return list(_steps(session, grain, rows))


def _halves(session: Session, grain: Grain, rows: int, first: int, last: int) -> Iterator[int]:
    """The edges between `first` and `last`: a range is halved while the server's index says that it holds too much."""
    column, limit = name(grain.order[0].name), rows * 5 // 4
    if last == first or (last - first < rows and len(grain.order) == 1):
        return  # numbers of a leading column may repeat, but no chunk is thinner than one of them
    among = f"{column} >= {first} and {column} <= {last}"
    plan = session.table(f"explain format=traditional select {column} from {grain.place} where {among}")
    expected = max((int(count or 0) for count in plan.get("rows", [0])), default=0)
    if expected <= limit:
        return
    middle = first + (last - first + 1) // 2
    yield from _halves(session, grain, rows, first, middle - 1)
    yield middle
    yield from _halves(session, grain, rows, middle, last)


def _steps(session: Session, grain: Grain, rows: int) -> Iterator[str]:
    """Every `rows`-th value of the leading column, by walks along the index: 0.1 s per million rows."""
    leading = grain.order[0]
    column, edge = name(leading.name), ""
    while True:
        behind = f" where {column} > {told(leading, edge)}" if edge else ""
        walk = f"select {as_told(leading)} from {grain.place}{behind} order by {column} limit 1 offset {rows}"
        found = session.rows(walk)
        if not found:
            return
        edge = str(found[0][0])
        yield edge
