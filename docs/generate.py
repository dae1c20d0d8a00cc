"""Write the blocks of `docs/reference/` that follow from the code; with `--check` only say whether they are up to date.

    python docs/generate.py [--check]

A block stands between `<!-- generated: <name> -->` and `<!-- end -->`; everything else on a page is written by hand.
The words of a key stand here, its default comes from the models: a key without words is an error, so no page falls
behind.
"""

import datetime
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import click
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from ingestion import spec as source_spec
from ingestion.expectations import registry
from metrics import spec as metrics_spec
from metrics.words import span
from watershed import cli

PROJECT = Path(__file__).resolve().parents[1]
REFERENCE = PROJECT / "docs" / "reference"
BLOCK = re.compile(r"(?<=<!-- generated: )([a-z -]+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)
WIDTH = 100  # columns of the terminal on which the help texts are shown

SOURCE: Mapping[str, str] = {
    "connector": "The kind of source: `postgres`; `mysql` (MySQL and MariaDB); `files` (CSV, JSON and Parquet in a "
    "folder or bucket); `python` (functions that yield rows).",
    "connection": "Name of the environment variable that holds the connection; never the connection itself.",
    "shards": "Variables with the connections of all servers that the tables are spread over; `connection` is then not "
    "read. They are loaded side by side, `_shard` (the variable's name) joins the key, and one that fails is told and "
    "harms no other.",
    "replica": "A copy to read from, see below; PostgreSQL only.",
    "schema": "Schema of the tables at the source; of MySQL the database, else that of the connection.",
    "owner": "Who answers for the tables, as the UI shows it: `team:<name>` or an e-mail address.",
    "shop": "Whether the marts can be built from this source. Of the sources that say so one is in use at a time, "
    "the one that `SHOP` (or `SHOP_SOURCE`) names; the others are not read. `true`, or a mapping: `ids: text` where "
    "orders, customers and articles have no numbers (`bigint`), `holidays: BR` for another country than "
    "`US` in the calendar, `clock: 2018-10-18T12:00:00Z` where the data have an end: retention and freshness go by it.",
    "description": "One sentence for people.",
    "first_day": "First day (UTC) that has a partition, unless `WATERSHED_FIRST_DAY` says otherwise.",
    "freshness_hours": "dbt warns when a partitioned table was not loaded for so many hours.",
    "statement_timeout_s": "Seconds after which the source ends a query of ours.",
    "max_connections": "So many connections read a large table at once, 1 to 32.",
    "max_rows_per_s": "Rows a second that a table's load reads at most, over all its connections; unlimited if not "
    "given.",
    "tables": "The tables to be read, one stanza each.",
}
TABLE: Mapping[str, str] = {
    "name": "Name of the table at the source, in the lake, in Dagster and in dbt.",
    "description": "One sentence that begins with the grain: “One row per …”.",
    "key": "Columns that tell rows apart. A row with an empty part of the key goes to quarantine; so do all but one of "
    "several rows with the same key. Of files it is `[_file, _row]` unless told.",
    "load": "`merge`: read what changed since the last load, by `cursor`. `append`: the same, for rows that never "
    "change. `replace`: read the whole table each time.",
    "cursor": "A timestamp that grows with each change of a row; of PostgreSQL also an `xid8` that is filled by "
    "`pg_current_xact_id()`. Needed unless `load: replace`; files need none.",
    "lookback": "How far behind a cursor that is a time to start reading again, for sources that stamp rows late: "
    "`PT6H` is six hours.",
    "partition": "`day(column)`: split `processed` by the UTC day of this column, which is Dagster's partition too.",
    "deletes": "`sweep`: compare all keys at each load, so that deleted rows are noticed. `ignore`: do not.",
    "snapshot": "`consistent`: all rows of a load are of one instant, and a transaction is held at the source for so "
    "long. `loose`: none is held; pages are as of their own time, and what changed meanwhile is read once more at the "
    "end, of PostgreSQL by the rows' transactions, of MySQL by the cursor.",
    "history": "Keep every observed version of every row in `<table>_history`; needs a cursor.",
    "files": "Which files these are and how they are read, see below; needed by `connector: files`, and only there.",
    "function": "`package.module:name` of the function that yields the rows; needed by `connector: python`, and only "
    "there. See [write-a-connector.md](../how-to/write-a-connector.md).",
    "contract": "What happens when the source changes shape, see below.",
    "drop": "Columns that never leave the source.",
    "mask": "Columns of which only a salted digest leaves the source: `{email: sha256}`. Equal values have equal "
    "digests.",
    "columns": "Per column a `description`, and a `type` only where the source's own would be wrong.",
    "expect": "Expectations beyond those that follow from the stanza, see below.",
    "owner": "As of the source, for this table alone.",
}
CONTRACT: Mapping[str, str] = {
    "columns": "`evolve`: a new column is taken in. `freeze`: one that appears or vanishes stops the load. "
    "`discard_value`: a new one is left out. `discard_row`: rows that have a value in a new one are set aside.",
    "types": "`evolve`: a column of the lake is widened if nothing is lost by it; else the load stops. `freeze`: a "
    "changed type stops the load. `discard_value`: values that do not fit become NULL, copies go to quarantine. "
    "`discard_row`: their rows are set aside.",
}
REPLICA: Mapping[str, str] = {
    "dsn": "Name of the environment variable that holds the replica's connection.",
    "max_lag_s": "Seconds that the replica may lie behind.",
    "when_behind": "`primary`: read from the primary while the replica is further behind or does not answer. `wait`: "
    "wait for it, up to `statement_timeout_s`.",
}
FILES: Mapping[str, str] = {
    "path": "Pattern below the folder or bucket that `connection` names; `**/` stands for any folders.",
    "format": "`csv`, `json` or `parquet`; else by the name's ending.",
    "encoding": "The encoding of text files; else it is found out.",
    "delimiter": "One character; else the most frequent of `, ; tab \\|` in the header.",
    "null": "Texts that mean NULL where they stand without quotes.",
    "settle_s": "A file in a folder that was written less than so many seconds ago is left for the next load.",
}
COLUMN: Mapping[str, str] = {
    "type": "`text` or `decimal(precision, scale)`; where the source has no types (files, python) also `bigint`, "
    "`double`, `boolean`, `date`, `timestamp` (no zone) or `timestamptz`.",
    "from": "The column's name at the source, where it is another one than here: after a rename at the source the lake "
    "keeps its name, and nothing is read again. Everything else in the source file says the lake's name.",
    "description": "What it means, and in which unit.",
}
HYPERTABLE: Mapping[str, str] = {
    "name": "Name of the table in schema `metrics`.",
    "description": "One sentence; becomes the table's comment.",
    "time": "The column that dates a row; a timestamp with time zone.",
    "key": "Columns that tell rows apart, the time column among them.",
    "space": "A second division of the chunks, by a hash of a column of the key, see below.",
    "segment_by": "Columns by which compressed and cold rows are grouped.",
    "order_by": "Order in such a group: columns, each with `desc` or not; the time, newest first, if not given.",
    "indexes": "Further indexes, each a list of columns.",
    "chunk_interval": "Time span of one chunk; a multiple of every roll-up's bucket.",
    "compress_after": "Age at which chunks are compressed (community edition; the Apache-2 edition says it cannot).",
    "drop_after": "Age at which rows are dropped, once the roll-ups hold them.",
    "tier": "Whether a chunk is copied to the lake, and the copy verified, before it is dropped.",
    "columns": "Every column.",
    "rollups": "Sums kept beside the rows, see below.",
}
HYPERTABLE_COLUMN: Mapping[str, str] = {
    "type": "`timestamptz`, `bigint`, `integer`, `double precision`, `boolean`, `text` or `numeric(p,s)`.",
    "description": "What it means; becomes the column's comment.",
    "unit": "The unit, in words or as a sign.",
    "range": "Smallest and largest value, `[0, 100]`, both included, `null` for an open end; others go to quarantine.",
}
HYPERTABLE_SPACE: Mapping[str, str] = {
    "by": "The column; it must be in the key.",
    "partitions": "Into how many parts the rows of an interval of time go.",
}
ROLLUPS: Mapping[str, str] = {
    "by": "Columns to group by, beside the bucket of time.",
    "measures": f"Per column what is kept: {', '.join(f'`{it}`' for it in get_args(metrics_spec.Measure))}.",
    "every": "Per bucket (`1m`, `1h`, `1d`, in UTC) how its rows are kept: `{1h: {drop_after: 400 days}}`.",
}
ROLLUP_KEPT: Mapping[str, str] = {
    "drop_after": "Age at which its rows are dropped; not shorter than that of the rows it sums up.",
    "refresh_lag": "How long after a change of the rows it may be behind.",
}


def main() -> None:
    """Write the blocks, or with `--check` end with 1 if one is out of date."""
    stale = {path: text for path, text in pages().items() if path.read_text() != text}
    names = ", ".join(str(path.relative_to(PROJECT)) for path in stale)
    if "--check" in sys.argv[1:]:
        sys.exit(f"{names}: out of date; run `python docs/generate.py`" if stale else 0)
    for path, text in stale.items():
        path.write_text(text)
    sys.stdout.write(f"Written: {names}\n" if stale else "All pages are up to date.\n")


def pages() -> dict[Path, str]:
    """Every page with a block, and what it must hold."""
    found = {path: path.read_text() for path in sorted(REFERENCE.glob("*.md"))}
    return {path: BLOCK.sub(_block, text) for path, text in found.items() if BLOCK.search(text)}


def commands() -> Iterator[str]:
    """The help texts of `watershed`, of each of its commands, and of the commands in its groups."""
    settings: dict[str, Any] = {"terminal_width": WIDTH, "max_content_width": WIDTH, **cli.main.context_settings}
    with click.Context(cli.main, info_name="watershed", **settings) as context:
        yield from _helps(context)


def _helps(context: click.Context) -> Iterator[str]:
    group = context.command
    yield f"## {context.command_path}\n\n```text\n{group.get_help(context).rstrip()}\n```\n"
    for name in group.list_commands(context) if isinstance(group, click.Group) else ():
        command = group.get_command(context, name)
        if command is not None and not command.hidden:
            with click.Context(command, info_name=name, parent=context) as inner:
                yield from _helps(inner)


def targets() -> list[tuple[str, str]]:
    """The targets of the Makefile with their words, as `make help` lists them."""
    text = (PROJECT / "Makefile").read_text()
    return re.findall(r"^([a-z0-9-]+):.*?## (.*)$", text, re.MULTILINE)


def _block(match: re.Match[str]) -> str:
    name = match[1]
    if name not in BLOCKS:
        sys.exit(f"docs/generate.py: no block is called {name!r}; known are: {', '.join(BLOCKS)}")
    return f"{name}{match[2]}{BLOCKS[name]()}\n"


def _make() -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| `make {target}` | {words} |" for target, words in targets())])


def _keys(model: type[BaseModel], words: Mapping[str, str], *left_out: str) -> Callable[[], str]:
    """A Markdown table of a model's keys; ends the program if a key has no words or words have no key."""

    def table() -> str:
        fields = {field.alias or name: field for name, field in model.model_fields.items() if name not in left_out}
        if wrong := fields.keys() ^ words.keys():
            sys.exit(f"docs/generate.py, {model.__name__}: words and keys differ in {', '.join(sorted(wrong))}")
        lines = [f"| `{name}` | {_default(field.default)} | {words[name]} |" for name, field in fields.items()]
        return "\n".join(["| key | default | meaning |", "|---|---|---|", *lines])

    return table


def _default(value: Any) -> str:
    if value is PydanticUndefined:
        return "**required**"
    if isinstance(value, tuple):
        return f"`{json.dumps(value)}`" if value else ""
    if value in (None, "", {}) or value == datetime.timedelta() or isinstance(value, BaseModel):
        return ""
    if isinstance(value, datetime.timedelta):
        return f"`{span(value)}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _expectations() -> str:
    lines = ["| expectation | must have | may have |", "|---|---|---|"]
    for name, kind in registry.KINDS.items():
        must = [f"`{key}`" for key in sorted(kind.required)] + (["one of the bounds"] if kind.one_of else [])
        may = [f"`{key}`" for key in sorted(kind.optional - {"mostly", "row_condition"})]
        lines.append(f"| `{name}` | {', '.join(must)} | {', '.join(may)} |")
    return "\n".join(lines)


BLOCKS: Mapping[str, Callable[[], str]] = {
    "commands": lambda: "\n".join(commands()),
    "make": _make,
    "source": _keys(source_spec.Source, SOURCE, "name"),
    "table": _keys(source_spec.Table, TABLE),
    "replica": _keys(source_spec.Replica, REPLICA),
    "files": _keys(source_spec.FileFormat, FILES),
    "contract": _keys(source_spec.Contract, CONTRACT),
    "column": _keys(source_spec.Column, COLUMN),
    "expectations": _expectations,
    "hypertable": _keys(metrics_spec.Hypertable, HYPERTABLE),
    "hypertable column": _keys(metrics_spec.Column, HYPERTABLE_COLUMN),
    "hypertable space": _keys(metrics_spec.Space, HYPERTABLE_SPACE),
    "rollups": _keys(metrics_spec.Rollups, ROLLUPS),
    "roll-up": _keys(metrics_spec.Kept, ROLLUP_KEPT),
}


if __name__ == "__main__":
    main()
