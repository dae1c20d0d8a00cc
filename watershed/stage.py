"""Staging models to begin with: one view per table of a source, its columns renamed where they must be, its key tested.

What stands there already is never changed; the texts are in the form that `make format` gives.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from ingestion.guess import singular
from ingestion.spec import Source, Table
from lake.errors import SpecError

WIDTH, LONGEST_NAME = 120, 70
LOADED = "When the platform loaded this state of the row (UTC)."
OF_FILES = {"_file": "The file that the row stands in.", "_row": "Number of the row in its file, from 1."}
OBSERVED = "What was observed: i inserted, u updated, d deleted."
PLAIN = re.compile(r"[A-Za-z(][^#:\"'{}\[\]\\]*[^#:\s\"'{}\[\]\\]")


@dataclass(frozen=True)
class Staged:
    """One column: its name in the lake, its name from staging on, and what it means."""

    column: str
    name: str
    description: str


def missing(folder: Path, source: Source, columns: Mapping[str, Sequence[str]]) -> dict[Path, str]:
    """The files to write below `folder` (the staging folder of the source) and their whole new text.

    `columns` are the names that each table has in the lake. Raises SpecError if the models' YAML cannot be added to.
    """
    words = folder / f"_{source.name}__models.yml"
    known = _described(words)
    wanted: dict[Path, str] = {}
    entries: list[str] = []
    for table in source.tables:
        staged = _staged(table, columns[table.name])
        for suffix in ("", "_history") if table.history else ("",):
            model = f"stg_{source.name}__{table.name}{suffix}"
            path = folder / f"{model}.sql"
            if not path.exists():
                wanted[path] = _sql(source.name, table.name + suffix, staged, with_op=bool(suffix))
            if model not in known:
                entries.append("\n".join(_entry(model, table, staged, is_history=bool(suffix))) + "\n")
    if entries:
        head = words.read_text(encoding="utf-8").rstrip("\n") + "\n\n" if words.exists() else "models:\n"
        wanted[words] = head + "\n".join(entries)
    return wanted


def undescribed(table: Table, columns: Sequence[str]) -> list[str]:
    """The columns of a table of which it is not said what they mean."""
    return [name for name in columns if not _meaning(table, name)]


def _described(words: Path) -> set[str]:
    """The models that the YAML has; raises SpecError if more models cannot be put at its end."""
    if not words.exists():
        return set()
    text = yaml.safe_load(words.read_text(encoding="utf-8"))
    if not isinstance(text, dict) or list(text)[-1:] != ["models"] or not isinstance(text["models"], list):
        raise SpecError(str(words), "does not end in its list of models", "move `models:` to its end")
    return {model["name"] for model in text["models"]}


def _staged(table: Table, columns: Sequence[str]) -> list[Staged]:
    taken: set[str] = {"_loaded_at", "_op"}
    found = []
    for column in columns:
        name = _snake(column) or "column"
        if column in table.mask and not name.endswith("_hash"):
            name += "_hash"
        if not name[0].isalpha():
            name = f"column_{name}"
        name = _free(f"{name}_" if name in _reserved() else name, taken)
        found.append(Staged(column, name, _meaning(table, column)))
    return found


def _snake(column: str) -> str:
    """A column's name in small letters of ASCII, digits and _: `Order ID` → `order_id`, `unitPrice` → `unit_price`."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", column).casefold()
    plain = unicodedata.normalize("NFKD", parted).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9_]+", "_", plain).strip("_")


def _free(name: str, taken: set[str]) -> str:
    """`name`, or with a number behind it if it is taken; taken from now on."""
    free = next(it for it in (name, *(f"{name}_{n}" for n in range(2, 10_000))) if it not in taken)
    taken.add(free)
    return free


def _meaning(table: Table, column: str) -> str:
    declared = table.columns.get(column)
    text = declared.description if declared else ""
    if not text and table.files:
        text = OF_FILES.get(column, "")
    if column in table.mask and "sha" not in text.lower() and "mask" not in text.lower():
        return f"{text} Salted SHA-256 of {column}, in hex; equal values have equal hashes.".strip()
    return text


def _reserved() -> frozenset[str]:
    """Words that DuckDB takes for no column's name without quotes."""
    import duckdb

    query = "SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category IN ('reserved', 'type_function')"
    return frozenset(word for (word,) in duckdb.connect().execute(query).fetchall())


def _sql(source: str, table: str, columns: Sequence[Staged], *, with_op: bool) -> str:
    listed = [_selected(it) for it in columns] + (["_op"] if with_op else []) + ["_loaded_at"]
    read, renamed = f'source as (select * from {{{{ source("{source}", "{table}") }}}})', _renamed(listed)
    if len(f"with {read}, {renamed}") <= WIDTH:
        steps = f"with {read}, {renamed}"
    elif len(f"    {read}, {renamed}") <= WIDTH:
        steps = f"with\n\n    {read}, {renamed}"
    else:
        steps = f"with\n\n    {read},\n\n    {renamed}"
    return f"{steps}\n\nselect *\nfrom renamed\n"


def _selected(it: Staged) -> str:
    quoted = it.column if re.fullmatch(r"[a-z_][a-z0-9_]*", it.column) and it.column not in _reserved() else None
    if quoted is None:
        quoted = '"' + it.column.replace('"', '""') + '"'
    return quoted if quoted == it.name else f"{quoted} as {it.name}"


def _renamed(listed: Sequence[str]) -> str:
    """The second step, on as few lines as the house's width allows."""
    flat = ", ".join(listed)
    if len(f"    renamed as (select {flat} from source)") <= WIDTH:
        return f"renamed as (select {flat} from source)"
    if len(f"        select {flat}") <= WIDTH:
        lines = [f"select {flat}", "from source"]
        if len(f"        {' '.join(lines)}") <= WIDTH:
            lines = [" ".join(lines)]
    elif len(f"            {flat},") <= WIDTH:
        lines = ["select", f"    {flat},", "from source"]
    else:
        lines = ["select", *(f"    {it}," for it in listed), "from source"]
    inner = "\n".join(f"        {line}" for line in lines)
    return f"renamed as (\n\n{inner}\n\n    )"


def _entry(model: str, table: Table, columns: Sequence[Staged], *, is_history: bool) -> Iterator[str]:
    names = {it.column: it.name for it in columns}
    key = [names[column] for column in table.key]
    yield f"  - name: {model}"
    yield "    description: >-"
    yield f"      {_grain(table, is_history=is_history)}"
    if len(key) > 1 and not is_history:
        yield "    data_tests:"
        yield "      - unique_combination:"
        yield f"          name: {_test(model, '_'.join(key), 'is_unique')}"
        yield f"          description: No two rows of {model} share {', '.join(key)}."
        yield "          arguments:"
        yield f"            columns: [{', '.join(key)}]"
    yield "    columns:"
    dated = names.get(table.cursor or "") if is_history else None
    for it in columns:
        yield f"      - name: {it.name}"
        yield f"        description: {_scalar(it.description)}"
        tests = [*_unique(model, it.name, is_alone=key == [it.name] and not is_history)]
        if it.name in key or it.name == dated:
            tests += _present(model, it.name)
        if tests:
            yield "        data_tests:"
            yield from tests
    if is_history:
        yield from _op(model)
    yield "      - name: _loaded_at"
    yield f"        description: {LOADED}"


def _grain(table: Table, *, is_history: bool) -> str:
    said = " ".join(table.description.split())
    if is_history:
        return f"One row per {singular(table.name)} and observed version, the latest and deletions included."
    return said if said.startswith("One row per ") else f"One row per {singular(table.name)}. {said}".strip()


def _unique(model: str, column: str, *, is_alone: bool) -> Iterator[str]:
    if is_alone:
        yield "          - unique:"
        yield f"              name: {_test(model, column, 'is_unique')}"
        yield f"              description: No two rows of {model} share {column}."


def _present(model: str, column: str) -> Iterator[str]:
    yield "          - not_null:"
    yield f"              name: {_test(model, column, 'is_present')}"
    yield f"              description: Every row of {model} has {column}."


def _op(model: str) -> Iterator[str]:
    yield "      - name: _op"
    yield f"        description: {json.dumps(OBSERVED)}"
    yield "        data_tests:"
    yield from _present(model, "_op")
    yield "          - accepted_values:"
    yield f"              name: {_test(model, '_op', 'is_known')}"
    yield f"              description: _op of {model} holds only the agreed codes."
    yield "              arguments:"
    yield "                values: [i, u, d]"


def _test(model: str, column: str, claim: str) -> str:
    """The name of a test, shortened where it would be longer than the project allows."""
    whole = f"{model}_{column}_{claim}"
    if len(whole) <= LONGEST_NAME:
        return whole
    mark = hashlib.sha256(whole.encode()).hexdigest()[:6]
    return f"{whole[: LONGEST_NAME - len(claim) - 8]}_{mark}_{claim}"


def _scalar(text: str) -> str:
    """`text` as YAML, in quotes where it could be taken for something else."""
    safe = PLAIN.fullmatch(text) and text.lower() not in ("null", "true", "false", "yes", "no", "on", "off")
    return text if safe else json.dumps(text, ensure_ascii=False)
