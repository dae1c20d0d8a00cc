"""The load of one table: read a window from the source, hand it to the lake's intake. One commit, or nothing."""

import datetime
from contextlib import closing
from dataclasses import dataclass

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

from ingestion.connectors import Connector, Shape, Window, connector
from ingestion.connectors.postgres import explained
from ingestion.spec import Source, Table
from lake import commit, read
from lake.access import told
from lake.duck import quoted
from lake.errors import SchemaDrift
from lake.fold import fold
from lake.intake import Kind, Load, Subject, Taken, take
from lake.layout import Lake


@dataclass(frozen=True)
class Loaded:
    """What one load did, in figures and in a sentence."""

    subject: Subject
    kind: Kind
    window: str
    taken: Taken
    seconds: float

    @property
    def sentence(self) -> str:
        """E.g. `orders: read 412 rows changed since 2026-11-06 23:59: 130 new, 282 changed, 3 deleted`."""
        taken = self.taken
        parts = [f"{taken.inserted:,} new", f"{taken.updated:,} changed", f"{taken.deleted:,} deleted"]
        if taken.quarantined:
            parts.append(f"{taken.quarantined:,} quarantined")
        noted = f" ({taken.keys_compared:,} keys compared)" if taken.keys_compared else ""
        return f"{self.subject}: read {taken.rows_read:,} rows {self.window}: {', '.join(parts)}{noted}"


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


def span(lake: Lake, source: Source) -> tuple[datetime.date, datetime.date] | None:
    """The UTC days from the newest that the lake holds (or the source's first) to the source's newest."""
    session = connector(source)
    try:
        ends = []
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
    return Subject(
        source=source.name,
        table=table.name,
        key=table.key,
        columns=tuple(shape.expressions) if shape else (),
        cursor=table.cursor,
        partition=table.partition.column if table.partition else None,
        key_is_enforced=shape.key_is_enforced if shape else False,
    )


def _load(
    lake: Lake, source: Source, table: Table, wanted: tuple[datetime.date, datetime.date] | None, allow_shrink: bool
) -> Loaded:
    started = datetime.datetime.now(datetime.UTC)
    fold(lake, subject(source, table))  # what an earlier, killed run left waiting
    with closing(read.connect(lake)) as connection, closing(connector(source)) as session:
        shape = session.shape(table)
        about = subject(source, table, shape)
        raw = commit.table(lake, about.at("raw"))
        before = commit.state(raw)
        horizon = session.horizon()
        kind, window, words = _window(table, before.get("cursor"), wanted, bool(before))
        load = Load(about, kind, words, _after(started, before.get("loaded_at")))
        session.attach(connection)
        try:
            connection.execute(f"CREATE TEMP TABLE incoming AS {session.query(table, shape, window)}")
            gone_from, keys = _gone(connection, session, table, shape, kind, window, bool(before))
        except duckdb.Error as error:
            raise explained(source, error) from None
        _reject_drift(source, raw, connection, shape, table)
        cursor = _cursor(connection, table, before.get("cursor"), horizon)
        with told(lake):
            taken = take(
                connection,
                lake,
                load,
                cursor,
                base=raw,
                gone_from=gone_from,
                present_keys=keys,
                allow_shrink=allow_shrink,
            )
    return Loaded(about, kind, words, taken, (datetime.datetime.now(datetime.UTC) - started).total_seconds())


def _window(
    table: Table,
    cursor: str | None,
    wanted: tuple[datetime.date, datetime.date] | None,
    known: bool,
) -> tuple[Kind, Window, str]:
    if wanted and table.partition:
        first, last = wanted
        words = f"of {first}" if first == last else f"of {first} to {last}"
        return "days", Window(first=first, last=last), words
    if wanted or table.load == "replace" or not known:
        return "full", Window(), "of the whole table"
    after = cursor
    if after and table.lookback:
        after = (datetime.datetime.fromisoformat(after) - table.lookback).isoformat()
    since = f"changed since {after[:19].replace('T', ' ')}" if after else "of the whole table"
    return "changes", Window(after=after), since


def _gone(
    connection: duckdb.DuckDBPyConnection,
    session: Connector,
    table: Table,
    shape: Shape,
    kind: Kind,
    window: Window,
    known: bool,
) -> tuple[str | None, str | None]:
    """Where in processed to look for rows that are gone, and the relation of keys that are not; None: `incoming`."""
    if not known or (table.deletes == "ignore" and table.load != "replace"):
        return None, None
    if kind == "full":
        return "TRUE", None
    # Days are compared with all keys too: a row that left a day for another one is not gone.
    connection.execute(f"CREATE TEMP TABLE present_keys AS {session.keys_query(table, shape)}")
    if window.first is None or window.last is None:
        return "TRUE", "present_keys"
    listed = [window.first + datetime.timedelta(days=n) for n in range((window.last - window.first).days + 1)]
    return f"({commit.days_predicate(listed)})", "present_keys"


def _reject_drift(
    source: Source,
    raw: DeltaTable | None,
    connection: duckdb.DuckDBPyConnection,
    shape: Shape,
    table: Table,
) -> None:
    known = read.columns(raw)
    now = connection.execute("SELECT * FROM incoming LIMIT 0").to_arrow_table().schema
    where = f"source {source.name}, table {table.name}"
    for entry in now:
        before = known.get(entry.name)
        if before is None and known and table.contract.columns == "freeze":
            mend = "declare `contract: {columns: evolve}`, or drop it with `drop: [...]`"
            raise SchemaDrift(where, f'column "{entry.name}" is new at the source', mend)
        if before is not None and _plain(before) != _plain(entry.type):
            what = f'column "{entry.name}" was {before} and is now {shape.native_types[entry.name]} ({entry.type})'
            raise SchemaDrift(where, what, "change it back, or load the table anew under another name")


def _plain(kind: pa.DataType) -> str:
    return str(kind).lower().replace("large_", "").replace("utf8", "string").replace("_view", "").replace(" ", "")


def _cursor(
    connection: duckdb.DuckDBPyConnection, table: Table, before: str | None, horizon: datetime.datetime
) -> str | None:
    """The newest cursor value below the horizon: what lies above may yet be joined by rows that commit late.

    Rows above it were read all the same, and are read again by the next load.
    """
    if table.cursor is None:
        return None
    name = quoted(table.cursor)
    query = f"SELECT max({name}::TIMESTAMPTZ) FROM incoming WHERE {name}::TIMESTAMPTZ < ? AND isfinite({name})"
    row = connection.execute(query, [horizon]).fetchone()
    newest: datetime.datetime | None = row[0] if row else None
    if newest is None or (before and newest <= datetime.datetime.fromisoformat(before)):
        return before
    return newest.astimezone(datetime.UTC).isoformat()


def _after(now: datetime.datetime, last: str | None) -> datetime.datetime:
    """`now`, or just after the last load if the clock went back: later loads win by this time."""
    if last is None:
        return now
    return max(now, datetime.datetime.fromisoformat(last) + datetime.timedelta(microseconds=1))
