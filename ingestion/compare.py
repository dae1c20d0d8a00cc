"""A source's declaration beside its database and the lake: what would fail, what to look at, what is read next."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from ingestion import catalogue
from ingestion.catalogue import FoundTable
from ingestion.connectors import Connector, Shape, connector, declaration
from ingestion.declared import differences, newly_dropped
from ingestion.spec import Source, Table
from lake import commit, read
from lake.errors import PlatformError
from lake.layout import Address, Lake

if TYPE_CHECKING:
    import psycopg

Weight = Literal["fails", "look", "note"]
SMALL = 10_000  # rows that are read without an index at no cost worth a word
NAMED = 8  # columns or tables named before the rest is counted
SERVER = """
    select current_setting('server_version'), pg_is_in_recovery(),
        pg_has_role(current_user, 'pg_read_all_stats', 'usage'), exists (select from pg_stat_subscription)
"""


@dataclass(frozen=True)
class Finding:
    """Something that differs: `fails` stops the load of the table (or of all, without one), `look` may lose or cost."""

    table: str | None
    weight: Weight
    text: str


@dataclass(frozen=True)
class Comparison:
    """What was found, and per table what its next load reads."""

    source: Source
    server: str
    findings: tuple[Finding, ...]
    next_reads: Mapping[str, str]

    @property
    def failing(self) -> tuple[str, ...]:
        """Tables whose load will fail."""
        if any(it.weight == "fails" and it.table is None for it in self.findings):
            return tuple(table.name for table in self.source.tables)
        return tuple(
            table.name
            for table in self.source.tables
            if any(it.weight == "fails" and it.table == table.name for it in self.findings)
        )


def compare(source: Source, lake: Lake) -> Comparison:
    """Compare a declared source with its database and with what the lake holds of it; nothing is changed.

    Raises SourceUnavailable, AccessDenied or SpecError if the database cannot be asked at all.
    """
    findings: list[Finding] = []
    servers: list[str] = []
    found: dict[str, FoundTable] = {}
    for name in source.shards or (source.connection,):
        one = source.model_copy(update={"connection": name, "shards": ()})
        server, found, said = _server_beside(one, lake)
        servers.append(server)
        findings += [replace(it, text=f"{name}: {it.text}") if source.shards else it for it in said]
    next_reads = {}
    for table in source.tables:
        next_reads[table.name], said = _next_read(source, table, found.get(table.name), lake)
        findings += said
    return Comparison(source, "; ".join(dict.fromkeys(servers)), tuple(findings), next_reads)


def _server_beside(source: Source, lake: Lake) -> tuple[str, dict[str, FoundTable], list[Finding]]:
    """One server of a source: what it is, its tables as far as its catalogue is understood, and what was found."""
    findings: list[Finding] = []
    found: dict[str, FoundTable] = {}
    server: str = source.connector
    if source.connector == "postgres":
        with catalogue.connected(catalogue.connection_of(source), f"source {source.name}") as session:
            found = {table.name: table for table in catalogue.tables(session, source.schema_)}
            server, said = _server(session, source)
            findings += [*said, *_other_servers_numbers(session, source, found)]
        for table in source.tables:
            findings += _with_catalogue(table, found.get(table.name), source)
        findings += [*_undeclared(source, found), *_replica(source)]
    broken = {it.table for it in findings if it.weight == "fails"}
    with closing(connector(source.model_copy(update={"replica": None}))) as reader:  # which a load might wait for
        for table in (table for table in source.tables if table.name not in broken):
            findings += _with_connector(source, table, reader, lake, has_catalogue=bool(found))
    return server, found, findings


def _server(session: psycopg.Connection[Any], source: Source) -> tuple[str, list[Finding]]:
    row: Any = session.execute(SERVER).fetchone()
    version, is_standby, sees_all, subscribes = row
    zone = _zone(source)
    server = f"PostgreSQL {str(version).split()[0]}, time zone {zone}" + (", a standby" if is_standby else "")
    said = []
    if not sees_all:
        text = (
            "the platform's user cannot see when others' transactions began: loads wait for them, then allow an hour; "
            "better `grant pg_read_all_stats to` it"
        )
        said.append(Finding(None, "look", text))
    if is_standby and not source.replica:
        text = "a standby cannot tell what its primary has open: loads stay an hour behind; better name it as `replica`"
        said.append(Finding(None, "look", text))
    if subscribes:
        text = "tables that come by logical replication carry older stamps: declare a `lookback` for them"
        said.append(Finding(None, "look", text))
    if zone not in ("UTC", "Etc/UTC", "GMT"):
        said += [
            Finding(table.name, "look", f"{column} has no time zone and is taken for UTC, the server's is {zone}")
            for table, column in _zoneless(session, source)
        ]
    return server, said


def _zone(source: Source) -> str:
    """The time zone in which sessions write that set none; ours sets UTC."""
    import psycopg

    with psycopg.connect(catalogue.connection_of(source), connect_timeout=10) as plain:
        return plain.info.parameter_status("TimeZone") or "unknown"


def _zoneless(session: psycopg.Connection[Any], source: Source) -> Iterator[tuple[Table, str]]:
    query = """
        select a.attname from pg_attribute a join pg_class c on c.oid = a.attrelid
            join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = %s and c.relname = %s and a.atttypid = 'timestamp'::regtype and a.attname = any(%s)
    """
    for table in source.tables:
        named = [name for name in (table.cursor, table.partition.column if table.partition else None) if name]
        timed = [table.renamed.get(name, name) for name in named]
        for (column,) in session.execute(query, [source.schema_, table.name, timed]).fetchall():
            yield table, column


def _with_catalogue(table: Table, found: FoundTable | None, source: Source) -> list[Finding]:
    def fails(text: str) -> Finding:
        return Finding(table.name, "fails", text)

    if found is None:
        return [fails(f"there is no table {source.schema_}.{table.name} at the source, or its schema is not granted")]
    if not found.is_readable:
        return [fails("permission to read it is missing: grant select on it to the platform's user")]
    try:
        there = declaration.renamed("", table, [column.name for column in found.columns])
    except PlatformError as error:
        return [fails(f"{error.what}; {error.mend}")]
    found = _as_in_the_lake(found, there)
    named = [*table.key, table.cursor, table.partition.column if table.partition else None]
    needed = dict.fromkeys(name for name in [*named, *table.drop, *table.mask, *table.columns] if name)
    if missing := [name for name in needed if name not in there.values()]:
        return [fails(f"declared but missing at the source: {_names(missing)}")]
    looks = [*_keys(table, found), *_cursor(table, found), *_unseen(table, found)]
    if found.is_filtered:
        looks.append("row security hides rows from the platform's user: they are missing in the lake")
    findings = [Finding(table.name, "look", text) for text in looks]
    plain = [column.name for column in found.columns if column.name not in table.drop]
    if bare := [name for name in plain if name not in table.columns or not table.columns[name].description]:
        findings.append(Finding(table.name, "note", f"not described: {_names(bare)}"))
    return findings


def _as_in_the_lake(found: FoundTable, names: Mapping[str, str]) -> FoundTable:
    """The table with the names that the lake has for its columns."""
    columns = tuple(replace(column, name=names[column.name]) for column in found.columns)
    keys = tuple(tuple(names.get(name, name) for name in key) for key in found.keys)
    return replace(found, columns=columns, keys=keys, indexed=frozenset(names.get(it, it) for it in found.indexed))


def _keys(table: Table, found: FoundTable) -> Iterator[str]:
    if not any(set(key) <= set(table.key) for key in found.keys):
        known = f"; unique are: {'; '.join(', '.join(key) for key in found.keys)}" if found.keys else ""
        yield f"no unique index makes ({', '.join(table.key)}) a key: of twins all but one go to quarantine{known}"
        if loose := [name for name in table.key if (column := found.column(name)) and column.is_nullable]:
            yield f"the key may be NULL in {_names(loose)}: such rows go to quarantine"


def _cursor(table: Table, found: FoundTable) -> Iterator[str]:
    column = found.column(table.cursor) if table.cursor and table.load != "replace" else None
    if column is None:
        return
    if column.name not in found.indexed and (found.rows is None or found.rows > SMALL):
        yield f"no index leads with the cursor {column.name}: each load reads the whole table to find what changed"
    if column.is_nullable:
        yield f"the cursor {column.name} may be NULL: such rows are read at every load"


def _unseen(table: Table, found: FoundTable) -> Iterator[str]:
    if table.load == "append" and found.updated:
        yield f"{found.updated:,} rows were updated, which `load: append` does not promise to see"
    if table.deletes == "ignore" and table.load != "replace" and found.deleted:
        yield f"{found.deleted:,} rows were deleted, which `deletes: ignore` does not see"


def _other_servers_numbers(
    session: psycopg.Connection[Any], source: Source, found: Mapping[str, FoundTable]
) -> Iterator[Finding]:
    """Transaction numbers that this server has not given out yet: the rows came from a dump or by replication."""
    from psycopg import sql

    for table in source.tables:
        there = found.get(table.name)
        cursor = table.renamed.get(table.cursor or "", table.cursor)
        column = there.column(cursor) if there and there.is_readable and cursor else None
        if column is None or column.kind != "xid8":
            continue
        query = sql.SQL("select exists (select from {} where {} >= pg_snapshot_xmax(pg_current_snapshot()))")
        names = sql.Identifier(source.schema_, table.name), sql.Identifier(column.name)
        row: Any = session.execute(query.format(*names)).fetchone()
        if row[0]:
            text = f"{column.name} holds transaction numbers of another server: such rows would not be read; use a time"
            yield Finding(table.name, "fails", text)


def _undeclared(source: Source, found: Mapping[str, FoundTable]) -> Iterator[Finding]:
    declared = {table.name for table in source.tables}
    if rest := [name for name in found if name not in declared]:
        yield Finding(None, "note", f"not declared: {_names(rest)}")


def _replica(source: Source) -> Iterator[Finding]:
    if source.replica is None:
        return
    from ingestion.connectors import replica

    try:
        # Asked once, whatever is declared: a check does not wait.
        now = source.model_copy(update={"replica": source.replica.model_copy(update={"when_behind": "primary"})})
        found = replica.reading(now)
    except PlatformError as error:
        yield Finding(None, "fails", f"{error.what}; {error.mend}")
        return
    if not found.is_replica:
        wait = "" if source.replica.when_behind == "primary" else "; loads would wait for it"
        yield Finding(
            None, "look", found.why.removesuffix("; read from the primary") + (wait or "; the primary is read")
        )


def _with_connector(
    source: Source, table: Table, reader: Connector, lake: Lake, *, has_catalogue: bool
) -> list[Finding]:
    try:
        shape = reader.shape(table)
        notes = _against_lake(source, table, shape, lake)
    except PlatformError as error:
        return [Finding(table.name, "fails", f"{error.what}; {error.mend}")]
    findings = [Finding(table.name, "note", note) for note in notes]
    if not has_catalogue and not shape.key_is_enforced and not table.files and not table.function:
        text = f"no unique index makes ({', '.join(table.key)}) a key: of twins all but one go to quarantine"
        findings.append(Finding(table.name, "look", text))
    if not has_catalogue and shape.cursor_may_be_null and table.load != "replace":
        text = f"the cursor {table.cursor} may be NULL: such rows are read at every load"
        findings.append(Finding(table.name, "look", text))
    return findings


def _against_lake(source: Source, table: Table, shape: Shape, lake: Lake) -> Sequence[str]:
    """Changes since the last load that the contract lets in; raises SchemaDrift for those that it does not."""
    from ingestion import contract

    known = read.columns(commit.table(lake, Address("raw", source.name, table.name)))
    return contract.entry(source, table, shape, known).notes


def _next_read(source: Source, table: Table, found: FoundTable | None, lake: Lake) -> tuple[str, list[Finding]]:
    """What the next load reads of a table, and what to know of a changed declaration."""
    from ingestion import load

    raw = commit.table(lake, Address("raw", source.name, table.name))
    state = commit.state(raw)
    whole = "reads the whole table" + (f" ({found.rows:,} rows)" if found and found.rows is not None else "")
    if not state:
        return f"{whole}: it was never loaded", []
    try:
        changed = load.redeclared(state, source, table, read.columns(raw))
    except PlatformError as error:
        return "reads nothing", [Finding(table.name, "fails", f"{error.what}; {error.mend}")]
    if changed:
        before, now = json.loads(state["declared"]), json.loads(load.declared(source, table))
        why = "; ".join(differences(before, now)) or f"{', '.join(changed)} changed"
        gone = newly_dropped(before, now)
        text = f"what the lake holds of {_names(gone)} stays in its older versions until upkeep removes them"
        return f"{whole}: {why}", [Finding(table.name, "look", text)] if gone else []
    return _window(table, state.get("cursor"), whole), []


def _window(table: Table, cursor: str | None, whole: str) -> str:
    if table.load == "replace":
        return f"{whole}, as at each load"
    if table.files:
        return "reads files that were not read yet"
    if not cursor:
        return f"{whole}: no cursor is known yet"
    back = f", less the lookback of {table.lookback}" if table.lookback else ""
    return f"reads rows whose {table.cursor} is above {_instant(cursor)}{back}"


def _instant(text: str) -> str:
    if text.startswith("{"):  # one per shard
        known = [value for value in json.loads(text).values() if value]
        text = min(known, default="the beginning")
    try:
        return f"{datetime.datetime.fromisoformat(text).astimezone(datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"
    except ValueError:
        return text


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMED])
    return shown if len(names) <= NAMED else f"{shown} and {len(names) - NAMED} more"
