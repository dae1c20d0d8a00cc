"""A comparison of two versions as text: tables on a terminal, Markdown for a pull request, JSON for programs."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from decimal import Decimal
from typing import Any

from warehouse.diff_facts import Example, MartDiff

Row = Sequence[str]
Table = tuple[str, Row, list[Row]]  # title, columns, rows


def as_json(marts: Sequence[MartDiff]) -> str:
    """Every mart with all that is known of it."""
    flags = ("is_new", "is_gone", "is_equal")
    facts = [asdict(it) | {flag: getattr(it, flag) for flag in flags} for it in marts]
    return json.dumps(facts, indent=1, default=lambda it: float(it) if isinstance(it, Decimal) else str(it))


def markdown(marts: Sequence[MartDiff], title: str) -> str:
    """A heading, the verdict, and a table of the marts; what is known of each one that differs is folded away."""
    different = [it for it in marts if not it.is_equal]
    lines = [f"## {title}", "", verdict(marts), ""]
    if different:
        lines += _markdown_table(*_overview(different)[1:])
    for mart in different:
        tables = details(mart)
        if tables:
            lines += ["", f"<details><summary>{mart.schema}.{mart.name}</summary>"]
            for name, columns, rows in tables:
                lines += ["", f"**{name}**", "", *_markdown_table(columns, rows)]
            lines += ["", "</details>"]
    return "\n".join(lines) + "\n"


def tables(marts: Sequence[MartDiff]) -> list[Table]:
    """The same for a terminal: an overview of what differs, then the details of each mart."""
    different = [it for it in marts if not it.is_equal]
    if not different:
        return []
    found = [_overview(different)]
    for mart in different:
        found += [(f"{mart.name}: {title}", columns, rows) for title, columns, rows in details(mart)]
    return found


def verdict(marts: Sequence[MartDiff]) -> str:
    """The result in one sentence."""
    different = [it.name for it in marts if not it.is_equal]
    if not different:
        return f"All {len(marts)} tables are equal."
    equal = len(marts) - len(different)
    rest = f"; {equal} {'is' if equal == 1 else 'are'} equal" if equal else ""
    return f"{len(different)} of {len(marts)} tables differ: {', '.join(different)}{rest}."


def details(mart: MartDiff) -> list[Table]:
    """What is known of one mart, table by table; empty tables are left out."""
    found = [_columns(mart), _measures(mart), _values(mart), _days(mart), *_largest(mart), *_examples(mart)]
    return [it for it in found if it[2]]


def _overview(marts: Sequence[MartDiff]) -> Table:
    columns = ("table", "rows before", "rows after", "added", "removed", "changed", "columns")
    return "What differs", columns, [_overview_row(it) for it in marts]


def _overview_row(mart: MartDiff) -> Row:
    rows = [f"{count:,}" for count in (mart.added, mart.removed, mart.changed)]
    if mart.is_new or mart.is_gone:
        rows = ["new" if mart.is_new else "", "gone" if mart.is_gone else "", ""]
    names = [f"+{name}" for name, _ in mart.columns_added] + [f"-{name}" for name, _ in mart.columns_removed]
    names += [f"~{name}" for name, _, _ in mart.columns_retyped]
    before, after = ("" if count is None else f"{count:,}" for count in (mart.rows_before, mart.rows_after))
    return mart.name, before, after, *rows, " ".join(names)


def _columns(mart: MartDiff) -> Table:
    rows: list[Row] = [(name, "", kind) for name, kind in mart.columns_added]
    rows += [(name, kind, "") for name, kind in mart.columns_removed]
    rows += list(mart.columns_retyped)
    return "columns", ("column", "type before", "type after"), rows


def _measures(mart: MartDiff) -> Table:
    moved = [it for it in mart.measures if it.before != it.after]
    return "sums", ("column", "before", "after"), [(it.column, text(it.before), text(it.after)) for it in moved]


def _values(mart: MartDiff) -> Table:
    return "changed values", ("column", "rows"), [(name, f"{count:,}") for name, count in mart.changed_values]


def _days(mart: MartDiff) -> Table:
    rows = [(text(it.day), f"{it.added:,}", f"{it.removed:,}", f"{it.changed:,}") for it in mart.days]
    return "days with the most differences", ("day", "added", "removed", "changed"), list(rows)


def _largest(mart: MartDiff) -> Iterable[Table]:
    for it in mart.largest:
        rows: list[Row] = [(_key(key), text(old), text(new)) for key, old, new in it.rows]
        yield f"largest changes of {it.column}", (", ".join(mart.key), "before", "after"), rows


def _examples(mart: MartDiff) -> Iterable[Table]:
    shown: dict[str, Callable[[Example], list[Row]]] = {
        "changed": lambda it: [(_key(it.key), name, text(old), text(new)) for name, old, new in it.values],
        "removed": lambda it: [(_key(it.key), _row(it))],
        "added": lambda it: [(_key(it.key), _row(it))],
    }
    key = ", ".join(mart.key) or "key"
    for kind, rows_of in shown.items():
        rows = [row for it in mart.examples if it.kind == kind for row in rows_of(it)]
        columns = (key, "column", "before", "after") if kind == "changed" else (key, "row")
        yield f"rows {kind}, for example", columns, rows


def _row(example: Example) -> str:
    """The values of a row that is on one side only; empty ones left out."""
    values = [(name, new if example.kind == "added" else old) for name, old, new in example.values]
    return ", ".join(f"{name}={text(value)}" for name, value in values if value is not None)


def _key(key: Iterable[tuple[str, Any]]) -> str:
    return ", ".join(text(value) for _, value in key)


def text(value: object) -> str:
    """A value as people read it; an empty one as a hyphen."""
    if value is None:
        return "-"
    return f"{value:,.6g}" if isinstance(value, float) else str(value)


def _markdown_table(columns: Row, rows: list[Row]) -> list[str]:
    def line(cells: Iterable[str]) -> str:
        return f"| {' | '.join(_escaped(it) for it in cells)} |"

    return [line(columns), f"|{' --- |' * len(columns)}", *map(line, rows)]


def _escaped(cell: str) -> str:
    """A value cannot leave its cell, nor be taken for HTML."""
    safe = cell.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "\\`")
    return " ".join(safe.split())
