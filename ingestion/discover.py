"""The draft of a source file from a database's catalogue: every table, every guess with its reason beside it."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ingestion import guess
from ingestion.catalogue import FoundColumn, FoundTable
from ingestion.guess import Declaration

PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}  # which YAML takes for something else
WIDTH = 118
SHOWN = 40  # columns of a table that is left out


@dataclass(frozen=True)
class Origin:
    """Where a draft comes from: the variable with the connection (never the connection), and what it leads to."""

    connection: str
    connector: str
    database: str
    schema: str
    server: str
    default_schema: str = "public"
    other_schemas: Mapping[str, int] | None = None


@dataclass(frozen=True)
class Draft:
    """A source file in the making: its text, how many tables it declares, and those it only mentions, with why."""

    text: str
    declared: int
    left_out: Mapping[str, str]


def draft(origin: Origin, tables: Sequence[FoundTable]) -> Draft:
    """The draft of a source file for `tables`, valid as it stands if at least one table could be declared."""
    found = [guess.declaration(table) for table in tables]
    lines = [*_head(origin, found)]
    for it in found:
        lines += ["", *(_left_out(it) if it.obstacle else _stanza(it))]
    left_out = {it.table.name: it.obstacle for it in found if it.obstacle}
    return Draft("\n".join(lines) + "\n", len(found) - len(left_out), left_out)


def _head(origin: Origin, found: Sequence[Declaration]) -> Iterator[str]:
    yield "# yaml-language-server: $schema=../source.schema.json"
    yield f"# Drafted by `watershed source discover` from the catalogue of {_comment(origin.server)}: no row was read."
    yield "# Each guess says why. Put right what is wrong, describe the columns, and delete these comments."
    for schema, count in (origin.other_schemas or {}).items():
        more = "1 table or view" if count == 1 else f"{count} tables or views"
        yield f"# Schema {_comment(schema)} holds {more}: a source file of its own, `--schema {_comment(schema)}`."
    yield f"connector: {origin.connector}"
    yield f"connection: {origin.connection}"
    if origin.schema != origin.default_schema:
        yield f"schema: {_scalar(origin.schema)}"
    yield f"description: {json.dumps(f'The database {origin.database}.', ensure_ascii=False)}"
    yield (
        "tables:" if any(not it.obstacle for it in found) else "tables: []  # none can be declared as it is, see below"
    )


def _stanza(it: Declaration) -> Iterator[str]:
    yield f"  - name: {_scalar(it.table.name)}"
    yield from _with_why(f"description: {_description(it.table)}", _kind(it.table))
    yield from _with_why(f"key: {_listed(it.key)}", it.key_why)
    yield from _with_why(f"load: {it.load.value}", it.load.why)
    if it.cursor:
        yield from _with_why(f"cursor: {_scalar(it.cursor.value)}", it.cursor.why)
    if it.partition:
        yield from _with_why(f"partition: day({it.partition.value})", it.partition.why)
    if it.deletes:
        yield from _with_why(f"deletes: {it.deletes.value}", it.deletes.why)
    if it.drop:
        yield from _with_why(f"drop: {_listed(it.drop)}", _reasons(it.drop))
    if it.mask:
        pairs = ", ".join(f"{_scalar(name)}: sha256" for name in it.mask)
        yield from _with_why(f"mask: {{{pairs}}}", _reasons(it.mask))
    described = [column for column in it.table.columns if column.name not in it.drop]
    if described:
        yield "    columns:"
    for column in described:
        yield from _column(column)


def _left_out(it: Declaration) -> Iterator[str]:
    """A table that cannot be declared as it is: in comments, ready to be completed."""
    yield from _wrapped(f"{it.table.name} ({it.table.kind}) is left out: {it.obstacle}", "  # ")
    for line in [f"- name: {_scalar(it.table.name)}", "  key: []", f"  load: {it.load.value}"]:
        yield f"  # {line}"
    if it.cursor:
        yield f"  #   cursor: {_scalar(it.cursor.value)}"
    columns = ", ".join(f"{column.name} {column.type}" for column in it.table.columns[:SHOWN])
    more = f" and {len(it.table.columns) - SHOWN} more" if len(it.table.columns) > SHOWN else ""
    yield from _wrapped(f"Columns at the source: {columns}{more}", "  #   # ")


def _column(column: FoundColumn) -> Iterator[str]:
    entry = f"{_scalar(column.name)}: {{description: {json.dumps(column.description, ensure_ascii=False)}}}"
    why = column.type + (", may be NULL" if column.is_nullable else "")
    if column.type == "numeric":
        why += '; it has no scale: say {type: "decimal(18,4)"} if its digits are known'
    yield from _with_why(entry, why, indent=6)


def _with_why(entry: str, why: str, indent: int = 4) -> Iterator[str]:
    """`entry` with its reason behind it, or above it where the line would be too long."""
    space, why = " " * indent, _comment(why)
    if not why:
        yield space + entry
    elif len(space + entry) + 4 + len(why) <= WIDTH:
        yield f"{space}{entry}  # {why}"
    else:
        yield f"{space}# {why}"
        yield space + entry


def _wrapped(text: str, start: str) -> list[str]:
    return textwrap.wrap(_comment(text), WIDTH, initial_indent=start, subsequent_indent=start, break_on_hyphens=False)


def _description(table: FoundTable) -> str:
    text = " ".join(table.description.split()) or f"One row per {guess.singular(table.name)}."
    return json.dumps(text, ensure_ascii=False)


def _kind(table: FoundTable) -> str:
    said = "" if table.description else "from the name: say it better"
    kind = "" if table.kind == "table" else f"a {table.kind} at the source"
    filtered = "row security hides rows from the platform's user" if table.is_filtered else ""
    return "; ".join(part for part in (kind, said, filtered) if part)


def _reasons(columns: Mapping[str, str]) -> str:
    """Each reason once, with the columns it holds for if there are several."""
    by_reason: dict[str, list[str]] = {}
    for name, why in columns.items():
        by_reason.setdefault(why, []).append(name)
    if len(by_reason) == 1:
        return next(iter(by_reason))
    return "; ".join(f"{', '.join(names)}: {why}" for why, names in by_reason.items())


def _listed(names: Sequence[str] | Mapping[str, str]) -> str:
    return f"[{', '.join(map(_scalar, names))}]"


def _scalar(text: str) -> str:
    """`text` as YAML, in quotes where it could be taken for something else."""
    return text if PLAIN.fullmatch(text) and text.lower() not in WORDS else json.dumps(text, ensure_ascii=False)


def _comment(text: str) -> str:
    """`text` on one line."""
    return "".join(it if it.isprintable() else " " for it in text)
