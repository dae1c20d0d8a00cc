"""The load of one table: stage a window of the source, hand it to the lake. One commit, or nothing.

What is staged and not yet committed is used again by the next attempt. A table of many shards is loaded from all that
answer; those that do not are told at the end, when the others are committed.
"""

import datetime
import json
import logging
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

from ingestion import contract, incoming
from ingestion.connectors import Connector, Shape, Window, connector
from ingestion.connectors.shard import SHARD, Shard
from ingestion.extract import Staged, extract
from ingestion.spec import Source, Table
from lake import bulk, commit, read
from lake.access import told
from lake.duck import literal, quoted
from lake.errors import Overtaken, PlatformError, SourceUnavailable, SpecError
from lake.fold import fold
from lake.gate import Gate
from lake.intake import Days, Kind, Load, Subject, Taken, after, take
from lake.layout import Lake
from lake.retype import shed, widen

LOG = logging.getLogger("watershed.load")
TRIES = 5
MEMORY = "1GB"  # beyond that DuckDB spills; a first load needs none of it


@dataclass(frozen=True)
class Loaded:
    """What one load did, in figures and in a sentence. `rows_read` counts what this attempt read from the source."""

    subject: Subject
    kind: Kind
    window: str
    taken: Taken
    seconds: float
    rows_read: int = 0
    chunks: int = 1
    chunks_kept: int = 0
    sweep_seconds: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """E.g. `orders: read 412 rows changed since 2026-11-06 23:59: 130 new, 282 changed, 3 deleted`."""
        taken = self.taken
        parts = [f"{taken.inserted:,} new", f"{taken.updated:,} changed", f"{taken.deleted:,} deleted"]
        if taken.quarantined:
            parts.append(f"{taken.quarantined:,} quarantined")
        if taken.values_quarantined:
            parts.append(f"{taken.values_quarantined:,} values quarantined")
        noted = list(self.notes)
        if taken.keys_compared:
            noted.append(f"{taken.keys_compared:,} keys compared{self._cost(taken.keys_compared)}")
        if self.chunks_kept:
            noted.append(f"{self.chunks_kept} of {self.chunks} chunks were there from an interrupted load")
        extra = f" ({'; '.join(noted)})" if noted else ""
        return f"{self.subject}: read {taken.rows_read:,} rows {self.window}: {', '.join(parts)}{extra}"

    def _cost(self, keys: int) -> str:
        return f" at {self.sweep_seconds / keys * 1e6:.1f} s per million" if keys >= 10_000 else ""


@dataclass
class _Part:
    """What is read of one server: all of a table, or a shard of it."""

    name: str | None
    source: Source
    session: Connector
    shape: Shape
    window: Window
    horizon: datetime.datetime
    staged: Staged | None = None


def changes(lake: Lake, source: Source, table: Table, *, allow_shrink: bool = False) -> Loaded:
    """Load what changed since the last load; everything the first time, or if the table is declared `replace`."""
    return _load(lake, source, table, None, allow_shrink)


def days(
    lake: Lake,
    source: Source,
    table: Table,
    first: datetime.date,
    last: datetime.date,
    *,
    allow_shrink: bool = False,
) -> Loaded:
    """Load again all rows of the UTC days `first` to `last`; a table without days is read whole."""
    return _load(lake, source, table, (first, last), allow_shrink)


def span(lake: Lake, source: Source) -> Days | None:
    """The UTC days from the newest that the lake holds (or the source's first) to the source's newest."""
    ends = []
    for _, one in servers(source):
        session = connector(one)
        try:
            for table in source.tables:
                extent = session.extent(table) if table.partition else None
                if extent is None:
                    continue
                facts = read.facts(lake, subject(source, table).at("processed"))
                known = max(facts.rows_per_day, default=extent[0]) if facts else extent[0]
                ends.append((min(known, extent[1]), extent[1]))
        finally:
            session.close()
    return (min(first for first, _ in ends), max(last for _, last in ends)) if ends else None


def subject(source: Source, table: Table, shape: Shape | None = None) -> Subject:
    """What the lake must know of a declared table."""
    dated = shape is None or table.cursor is None or _is_time(shape, table.cursor)
    return Subject(
        source=source.name,
        table=table.name,
        key=(*table.key, SHARD) if source.shards else table.key,
        columns=tuple(shape.schema.names) if shape else (),
        cursor=table.cursor if dated else None,
        partition=table.partition.column if table.partition else None,
        key_is_enforced=shape.key_is_enforced if shape else False,
    )


def declared(source: Source, table: Table) -> str:
    """What the rows in the lake depend on: where it differs from the last load's, the table is read anew."""
    return json.dumps(
        {
            "key": table.key,
            "cursor": table.cursor,
            "partition": table.partition.column if table.partition else None,
            "columns": {name: column.type for name, column in sorted(table.columns.items()) if column.type},
            "drop": sorted(table.drop),
            "mask": dict(sorted(table.mask.items())),
            "shards": sorted(source.shards),
        }
        | ({"from": dict(sorted(table.renamed.items()))} if table.renamed else {})
    )


def redeclared(before: dict[str, Any], source: Source, table: Table, known: Collection[str] = ()) -> list[str]:
    """The keys of the declaration that differ from those of the last load; none if it did not tell them.

    `known` are the columns that raw has. A column that is taken from another one of the source from now on counts only
    if the lake has that one, too: then it came late, and rows were loaded under the source's name in between.

    Raises SpecError if the table would have to lie in other partitions.
    """
    if not before.get("declared"):
        return []
    old, new = json.loads(before["declared"]), json.loads(declared(source, table))
    taken = {(name, at_source) for name, at_source in new.pop("from", {}).items() if at_source in known}
    changed = [name for name in new if old.get(name) != new[name]]
    changed += ["from"] if taken - set(old.get("from", {}).items()) else []
    if "partition" in changed:
        what = f"partition was {old['partition'] or 'none'} and is now {new['partition'] or 'none'}"
        mend = "change it back, or load the table anew under another name"
        raise SpecError(f"source {source.name}, table {table.name}", what, mend)
    return changed


def _load(lake: Lake, source: Source, table: Table, wanted: Days | None, allow_shrink: bool) -> Loaded:
    """Load a window; again from the start, if a load of another one came in between and told of the same rows."""
    for _ in range(TRIES):
        try:
            return _attempt(lake, source, table, wanted, allow_shrink)
        except Overtaken:
            LOG.info("%s.%s: a load of another window came in between; reading again", source.name, table.name)
    return _attempt(lake, source, table, wanted, allow_shrink)


def _attempt(lake: Lake, source: Source, table: Table, wanted: Days | None, allow_shrink: bool) -> Loaded:
    started = datetime.datetime.now(datetime.UTC)
    fold(lake, subject(source, table))  # what an earlier, killed run left waiting
    raw = commit.table(lake, subject(source, table).at("raw"))
    if shed(lake, subject(source, table), [name for name in table.drop if name in read.columns(raw)]):
        LOG.info("%s.%s: what is dropped by now is taken out of the lake", source.name, table.name)
        raw = commit.table(lake, subject(source, table).at("raw"))
    before = commit.state(raw)
    changed = redeclared(before, source, table, read.columns(raw))
    if changed:
        LOG.warning("%s.%s: %s changed: the whole table is read again", source.name, table.name, ", ".join(changed))
    kind, words = _kind(table, before, None if changed else wanted, bool(changed))
    with ExitStack() as stack:
        parts, failures = _open(stack, source, table, before, wanted, kind)
        about = subject(source, table, parts[0].shape)
        entry = contract.entry(source, table, parts[0].shape, read.columns(raw))
        if widen(lake, about, entry.widened):
            raw = commit.table(lake, about.at("raw"))
        version = raw.version() if raw is not None else -1
        failures |= _stage(stack, parts, table, version)
        dated = after(started, before.get("loaded_at"))
        load = Load(about, kind, words, dated, declared(source, table), wanted if kind == "days" else None)
        taken, sweep = _commit(lake, load, parts, table, entry, raw, before, allow_shrink)
    staged = [part.staged for part in parts if part.staged]
    loaded = Loaded(
        about,
        kind,
        words,
        taken,
        (datetime.datetime.now(datetime.UTC) - started).total_seconds(),
        rows_read=sum(one.rows_read for one in staged),
        chunks=sum(one.chunks for one in staged),
        chunks_kept=sum(one.chunks_kept for one in staged),
        sweep_seconds=sweep,
        notes=entry.notes,
    )
    if failures:
        raise _reported(source, table, loaded, failures)
    return loaded


def _kind(table: Table, before: dict[str, Any], wanted: Days | None, changed: bool) -> tuple[Kind, str]:
    if wanted and table.partition:
        first, last = wanted
        return "days", f"of {first}" if first == last else f"of {first} to {last}"
    if wanted or table.load == "replace" or not before or changed:
        return "full", "of the whole table"
    cursor = before.get("cursor")
    if cursor is None:
        return "changes", "of the whole table"
    return "changes", f"changed since {_shown(cursor)}" if table.cursor and not table.files else "that are new"


def _shown(cursor: str) -> str:
    if cursor.startswith("{"):  # one per shard
        known = [value for value in json.loads(cursor).values() if value]
        cursor = min(known) if known else "the beginning"
    return cursor[:19].replace("T", " ")


def servers(source: Source) -> list[tuple[str | None, Source]]:
    """The servers of a source: each shard's name with a source that reads just that one."""
    if not source.shards:
        return [(None, source)]
    return [(name, source.model_copy(update={"connection": name, "shards": ()})) for name in source.shards]


def _open(
    stack: ExitStack, source: Source, table: Table, before: dict[str, Any], wanted: Days | None, kind: Kind
) -> tuple[list[_Part], dict[str, PlatformError]]:
    """A session on each server; of many, those that answer."""
    parts: list[_Part] = []
    failures: dict[str, PlatformError] = {}
    for name, one in servers(source):
        try:
            session: Connector = connector(one)
            stack.callback(session.close)
            session = Shard(name, session) if name else session
            session.recall(table, _cursor_of(before.get("cursor"), name))
            shape = session.shape(table)
            window = _window(table, shape, _cursor_of(before.get("cursor"), name), wanted, kind)
            parts.append(_Part(name, one, session, shape, window, session.horizon(table)))
        except PlatformError as error:
            if name is None:
                raise
            failures[name] = error
    if not parts:
        raise next(iter(failures.values()))
    return parts, failures


def _window(table: Table, shape: Shape, cursor: str | None, wanted: Days | None, kind: Kind) -> Window:
    if kind == "days" and wanted:
        return Window(first=wanted[0], last=wanted[1])
    if kind != "changes" or cursor is None:
        return Window()
    if table.lookback and table.cursor and not table.files and _is_time(shape, table.cursor):
        cursor = (datetime.datetime.fromisoformat(cursor) - table.lookback).isoformat()
    return Window(after=cursor)


def _stage(stack: ExitStack, parts: list[_Part], table: Table, version: int) -> dict[str, PlatformError]:
    """Stage all parts, shards side by side; of many, those that fail are left out and told."""
    if len(parts) == 1 and parts[0].name is None:
        part = parts[0]
        part.staged = stack.enter_context(extract(part.session, part.source, table, part.shape, part.window, version))
        return {}
    failures: dict[str, PlatformError] = {}
    staging = [extract(part.session, part.source, table, part.shape, part.window, version) for part in parts]
    with ThreadPoolExecutor(len(parts)) as pool:
        tasks = [pool.submit(one.__enter__) for one in staging]
    for part, one, task in zip(parts, staging, tasks, strict=True):
        try:
            part.staged = task.result()
            stack.push(one.__exit__)
        except PlatformError as error:
            failures[part.name or ""] = error
    if len(failures) == len(parts):
        raise next(iter(failures.values()))
    return failures


def _commit(
    lake: Lake,
    load: Load,
    parts: list[_Part],
    table: Table,
    entry: Gate,
    raw: DeltaTable | None,
    before: dict[str, Any],
    allow_shrink: bool,
) -> tuple[Taken, float]:
    """Hand the staged rows to the lake; answers what it took, and the seconds that comparing keys took."""
    ready = [part for part in parts if part.staged]
    staged = [part.staged for part in ready if part.staged]
    with _reading(lake) as connection, told(lake):
        incoming.register(connection, staged)
        cursor = _cursors(connection, ready, table, before.get("cursor"))
        if raw is None and _can_go_straight(load.subject, staged, entry):
            files = [file for one in staged for file in one.files]
            cursor = None if load.kind == "days" else cursor  # what lies outside of the days was not read
            return bulk.write(connection, lake, load, files, staged[0].schema, cursor), 0.0
        incoming.collect(connection, staged, table)
        start = time.monotonic()
        gone_from, keys = _gone(connection, ready, table, load.kind, bool(before))
        seconds = time.monotonic() - start if keys else 0.0
        taken = take(
            connection,
            lake,
            load,
            cursor,
            base=raw,
            entry=entry,
            gone_from=gone_from,
            present_keys=keys,
            allow_shrink=allow_shrink,
        )
    return taken, seconds


@contextmanager
def _reading(lake: Lake) -> Iterator[duckdb.DuckDBPyConnection]:
    connection = read.connect(lake, MEMORY)
    try:
        yield connection
    finally:
        connection.close()


def _can_go_straight(about: Subject, staged: list[Staged], entry: Gate) -> bool:
    """Whether nothing has to be compared, cast, set aside or caught up with."""
    if not (about.key_is_enforced and all(one.is_of_one_instant for one in staged)):
        return False
    schema = staged[0].schema
    same = all(entry.known[name].equals(schema.field(name).type) for name in entry.columns)
    if not same or len(entry.columns) != len(schema):
        return False
    return all(file.is_clean for one in staged for file in one.files)


def _gone(
    connection: duckdb.DuckDBPyConnection, parts: list[_Part], table: Table, kind: Kind, known: bool
) -> tuple[str | None, str | None]:
    """Where in processed to look for rows that are gone, and the relation of keys that are not; None: `incoming`."""
    if not known or (table.deletes == "ignore" and table.load != "replace"):
        return None, None
    shards = [part.name for part in parts if part.name]
    here = f"{quoted(SHARD)} IN ({', '.join(literal(name) for name in shards)})" if shards else "TRUE"
    if kind == "full":
        return here, None
    # Days are compared with all keys too: a row that left a day for another one is not gone.
    incoming.present(connection, [part.session.keys(table, part.shape) for part in parts])
    window = parts[0].window
    if window.first is None or window.last is None:
        return here, "present_keys"
    listed = [window.first + datetime.timedelta(days=n) for n in range((window.last - window.first).days + 1)]
    return f"({commit.days_predicate(listed)}) AND {here}", "present_keys"


def _cursors(connection: duckdb.DuckDBPyConnection, parts: list[_Part], table: Table, before: str | None) -> str | None:
    """The cursor after the load; for shards, a JSON object of theirs."""
    if parts[0].name is None:
        return _cursor(connection, parts[0], table, before)
    known = json.loads(before) if before else {}
    for part in parts:
        known[part.name] = _cursor(connection, part, table, known.get(part.name))
    return json.dumps(known, sort_keys=True)


def _cursor_of(cursor: str | None, shard: str | None) -> str | None:
    if cursor is None or shard is None:
        return cursor
    value: str | None = json.loads(cursor).get(shard)
    return value


def _cursor(connection: duckdb.DuckDBPyConnection, part: _Part, table: Table, before: str | None) -> str | None:
    """The newest cursor value below the horizon: what lies above may yet be joined by rows that commit late.

    Rows above it were read all the same, and are read again by the next load. A source that keeps its own bookmark
    (files, commit order) tells it.
    """
    bookmark = part.session.bookmark(table)
    if bookmark is not None or table.cursor is None:
        return bookmark
    name = quoted(table.cursor)
    conditions = [f"{name}::TIMESTAMPTZ < ?", f"isfinite({name})"]
    values: list[Any] = [part.horizon]
    if part.name:
        conditions.append(f"{quoted(SHARD)} = ?")
        values.append(part.name)
    query = f"SELECT max({name}::TIMESTAMPTZ) FROM staged WHERE {' AND '.join(conditions)}"
    row = connection.execute(query, values).fetchone()
    newest: datetime.datetime | None = row[0] if row else None
    if newest is None or (before and newest <= datetime.datetime.fromisoformat(before)):
        return before
    return newest.astimezone(datetime.UTC).isoformat()


def _is_time(shape: Shape, column: str) -> bool:
    kind = shape.schema.field(column).type if column in shape.schema.names else None
    return kind is not None and bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def _reported(source: Source, table: Table, loaded: Loaded, failures: dict[str, PlatformError]) -> PlatformError:
    """The shards that failed, said when the others are in the lake."""
    said = "; ".join(f"shard {name}: {error.what}" for name, error in failures.items())
    done = len(source.shards) - len(failures)
    what = f"{len(failures)} of {len(source.shards)} shards failed ({said}); the other {done} are loaded"
    return SourceUnavailable(
        f"source {source.name}, table {table.name}", what, "mend them and run again: they go on where they were"
    )
