"""A table compared: at its source, in raw, in processed, day by day; and mended where it differs.

Digests tell which days differ, computed where the rows lie. Of those days alone the rows are read again and looked at
one by one: rows that may rightly differ (not loaded yet, set aside, kept after the source has deleted them) are counted
as such, all others are differences. The mend goes the way that rows always go: what raw lacks is appended to it as a
load of its own, and processed is folded from raw.
"""

import datetime
import json
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from ingestion import contract, incoming, load
from ingestion.connectors import MISFIT, Connector, Shape, Window, connector
from ingestion.connectors.shard import SHARD, Shard
from ingestion.spec import Source, Table
from lake import commit, digest, gate, intake, kinds, mend, read, reconcile
from lake.access import told
from lake.digest import Digests
from lake.duck import literal, quoted
from lake.fold import MEMORY, fold, fold_history
from lake.intake import Load, Subject
from lake.layout import Lake
from lake.verify import Verified

Place = Literal["raw", "processed"]
Day = datetime.date | None
Say = Callable[[str], None]
ASKED = 3  # times, while the lake changes meanwhile
WHY = "watershed reconcile --repair"


@dataclass(frozen=True)
class Difference:
    """How one day (None: a table without days) of one place differs from the source, in rows."""

    place: Place
    day: Day
    missing: int = 0
    changed: int = 0
    surplus: int = 0
    doubled: int = 0

    @property
    def sentence(self) -> str:
        """E.g. `2026-01-05: 3 rows missing in processed`."""
        return f"{self.day or 'the whole table'}: {self.words(self.place)}"

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Rows missing, changed, surplus and doubled."""
        return self.missing, self.changed, self.surplus, self.doubled

    def words(self, places: str) -> str:
        """What differs at these places."""
        shown = (
            (self.missing, f"missing in {places}"),
            (self.changed, f"with other values in {places}"),
            (self.surplus, f"in {places} that the source has not"),
            (self.doubled, f"in {places} twice"),
        )
        return ", ".join(f"{count:,} row{'s' if count != 1 else ''} {words}" for count, words in shown if count)


@dataclass(frozen=True)
class Reconciled:
    """What came of comparing one table: rows at each place, what differs, and what differs rightly.

    `behind` rows are newer than the last load; `kept` were deleted at the source, which the declaration ignores;
    `set_aside` are in quarantine. `heals` says that the next load would find all that differs by itself.
    """

    subject: Subject
    rows: Mapping[str, int] = field(default_factory=dict)
    days: int = 0
    differences: tuple[Difference, ...] = ()
    damage: tuple[Verified, ...] = ()
    is_folded: bool = True
    behind: int = 0
    kept: int = 0
    set_aside: int = 0
    notes: tuple[str, ...] = ()
    heals: bool = False
    seconds: float = 0.0

    @property
    def is_ok(self) -> bool:
        """Whether nothing differs that should not."""
        return not (self.differences or self.damage) and self.is_folded

    @property
    def days_differing(self) -> int:
        """How many days differ anywhere in the lake."""
        return len({one.day for one in self.differences})

    def state_of(self, place: str) -> str:
        """E.g. `1,204`, or `1,201 (1 day)` where one day differs."""
        shown = f"{self.rows[place]:,}" if place in self.rows else "-"
        days = sum(one.place == place and one.day is not None for one in self.differences)
        if days:
            return f"{shown} ({days} day{'s' if days > 1 else ''})"
        is_wrong = any(one.place == place for one in self.differences) or (place == "raw" and self.damage)
        return f"{shown} (!)" if is_wrong else shown

    @property
    def sentences(self) -> list[str]:
        """All that differs, one sentence each."""
        said = [str(one.difference) for one in self.damage]
        said += [] if self.is_folded else [f"{self.subject}: raw holds loads that are not in processed yet"]
        alike: dict[tuple[Day, tuple[int, ...]], list[Difference]] = defaultdict(list)
        for one in self.differences:
            alike[one.day, one.counts].append(one)
        for (day, _), those in sorted(alike.items(), key=lambda pair: pair[0][0] or datetime.date.max):
            words = those[0].words(" and ".join(one.place for one in those))
            said.append(f"{self.subject}, {day or 'the whole table'}: {words}")
        return said

    @property
    def remarks(self) -> list[str]:
        """What differs rightly, and what could not be compared."""
        counts = (
            (self.behind, "newer than the last load: the next one brings them"),
            (self.kept, "kept that the source has deleted (deletes: ignore)"),
            (self.set_aside, "in quarantine"),
        )
        said = [f"{count:,} row{'s' if count != 1 else ''} {words}" for count, words in counts if count]
        return [*said, *self.notes]


@dataclass(frozen=True)
class _Case:
    """A table to be compared, and the bounds of it."""

    lake: Lake
    source: Source
    table: Table
    since: datetime.date | None
    subject: Subject
    state: Mapping[str, Any]
    columns: Mapping[str, pa.DataType]

    @property
    def keeps(self) -> bool:
        """Whether rows stay in the lake that the source has deleted."""
        return self.table.deletes == "ignore" and self.table.load != "replace"

    @property
    def processed(self) -> str:
        return read.relation(self.lake, self.subject.at("processed"))

    @property
    def within(self) -> str:
        return reconcile.between(self.subject, self.since)

    def match(self, left: str, right: str) -> str:
        return " AND ".join(f"{left}.{quoted(name)} = {right}.{quoted(name)}" for name in self.subject.key)

    def digests(self, connection: duckdb.DuckDBPyConnection, relation: str, columns: Collection[str]) -> Digests:
        """Of a relation of the lake; what has no canonical form is compared as its text."""
        types = {name: kind for name, kind in self.columns.items() if name in columns}
        simple = digest.comparable(types)
        texts = ", ".join(f"CAST({quoted(name)} AS VARCHAR) AS {quoted(name)}" for name in types if name not in simple)
        shown = f"(SELECT * REPLACE ({texts}) FROM {relation})" if texts else relation
        types = {name: simple.get(name, pa.string()) for name in types}
        return digest.of(connection, shown, key=self.subject.key, columns=types, day=self.subject.partition)


def compare(
    lake: Lake,
    source: Source,
    table: Table,
    *,
    since: datetime.date | None = None,
    pause: float = 0.0,
    say: Say = lambda _: None,
) -> Reconciled:
    """Compare a table at its source, in raw and in processed, from the UTC day `since` on.

    `pause`: seconds to rest for each second that the source has worked. Asked again if the lake changes meanwhile.
    `say` is told of progress. Raises a PlatformError if the source or the lake cannot be asked.
    """
    started = time.monotonic()
    for _ in range(ASKED):
        case = _case(lake, source, table, since)
        if case is None:
            return Reconciled(load.subject(source, table), notes=("not loaded yet",))
        before = _versions(case)
        found = _compared(case, pause, say, started)
        if found.is_ok or before == _versions(case):
            break
        say(f"{case.subject}: a load came in between; asking again")
    return found


def repair(
    lake: Lake, source: Source, table: Table, found: Reconciled, *, since: datetime.date | None = None, say: Say
) -> None:
    """Mend what was found; says each thing that it does. To be sure, compare again.

    Raises a PlatformError, among them TruncatedLoad if more than a fifth of the table would have to go.
    """
    case = _case(lake, source, table, since)
    if case is None:
        return
    subject = case.subject
    raw_days = {one.day for one in found.differences if one.place == "raw"}
    damage = mend.damages(lake, subject) if since and raw_days else found.damage
    for healed in mend.heal(lake, subject, damage, WHY):
        say(healed.sentence)
    fold(lake, subject)
    if raw_days:
        _correct(case, raw_days, say)
    folded = fold(lake, subject)
    if table.history:
        fold_history(lake, subject)
    days = {one.day for one in found.differences} | set(folded.days)
    _refold(case, days, say)


def _case(lake: Lake, source: Source, table: Table, since: datetime.date | None) -> _Case | None:
    subject = load.subject(source, table)
    raw, processed = commit.table(lake, subject.at("raw")), commit.table(lake, subject.at("processed"))
    if raw is None:
        return None
    known, folded = read.columns(raw), read.columns(processed)
    columns = {
        name: kinds.stored(kind)
        for name, kind in known.items()
        if name not in gate.PLATFORM and (processed is None or name in folded)
    }
    return _Case(lake, source, table, since if table.partition else None, subject, commit.state(raw), columns)


def _versions(case: _Case) -> list[int]:
    zones: tuple[Place, ...] = ("raw", "processed")
    tables = [commit.table(case.lake, case.subject.at(zone)) for zone in zones]
    return [-1 if one is None else one.version() for one in tables]


def _compared(case: _Case, pause: float, say: Say, started: float) -> Reconciled:
    lake, subject = case.lake, case.subject
    at_source, compared, notes = _at_source(case, pause, say)
    say(f"{subject}: comparing raw and processed")
    with read.connect(lake, MEMORY) as connection, told(lake):
        raw = case.digests(connection, reconcile.state(lake, subject, case.within), case.columns)
        here: Digests = {}
        ours: Digests = {}
        if _versions(case)[1] >= 0:
            relation = f"(SELECT * FROM {case.processed} WHERE {case.within})"
            here = case.digests(connection, relation, case.columns)
            same = len(compared) == len(case.columns)
            ours = here if same else case.digests(connection, relation, compared)
    damage = mend.damages(lake, subject, case.since)
    suspect = set(digest.differing(raw, here))
    outside = at_source.pop(None, None) if case.table.partition else None  # no day: may not enter the lake
    for day in digest.differing(at_source, ours):
        if not (case.keeps and day not in at_source and day not in suspect):
            suspect.add(day)
    kept = sum(one.rows for day, one in ours.items() if case.keeps and day not in at_source)
    looked = _Looked(kept=kept, set_aside=outside.rows if outside else 0)
    if suspect:
        say(f"{subject}: looking at {len(suspect):,} day{'s' if len(suspect) > 1 else ''} row by row")
        looked = _look(case, suspect, looked)
    is_folded = reconcile.is_folded(lake, subject)
    return Reconciled(
        subject,
        {
            "source": sum(one.rows for one in at_source.values()) + (outside.rows if outside else 0),
            "raw": sum(one.rows for one in raw.values()),
            "processed": sum(one.rows for one in here.values()),
        },
        len({*at_source, *raw, *here}),
        looked.differences,
        tuple(damage),
        is_folded,
        looked.behind,
        looked.kept,
        looked.set_aside,
        notes,
        heals=_heals(case, looked.differences, bool(damage)),
        seconds=time.monotonic() - started,
    )


def _heals(case: _Case, differences: Collection[Difference], is_damaged: bool) -> bool:
    """Whether the next load finds all this by itself: it compares all keys, or all rows, with processed."""
    places = {
        place: {(one.day, one.surplus) for one in differences if one.place == place} for place in ("raw", "processed")
    }
    if is_damaged or places["raw"] != places["processed"] or any(one.doubled for one in differences):
        return False
    only_gone = not any(one.missing or one.changed for one in differences)
    return case.table.load == "replace" or (case.table.deletes == "sweep" and only_gone)


def _at_source(case: _Case, pause: float, say: Say) -> tuple[Digests, list[str], tuple[str, ...]]:
    """The source's digests, the columns that they compare, and what cannot be compared."""
    parts: list[Digests] = []
    compared: list[str] = []
    notes: dict[str, None] = {}
    with _sessions(case) as sessions:
        for session, shape in sessions:
            say(f"{case.subject}: asking the source")
            types = {name: kind for name, kind in case.columns.items() if name in shape.schema.names}
            barred = session.incomparable(case.table, shape, types)
            notes |= {f"{name} is not compared with the source: {why}": None for name, why in barred.items()}
            types = {name: kind for name, kind in types.items() if name not in barred}
            compared = list(types)
            window = _window(case, session)
            if window is not None:
                parts.append(session.digests(case.table, shape, window, types, pause=pause))
    return digest.total(parts), compared, tuple(notes)


def _window(case: _Case, session: Connector) -> Window | None:
    """The days to ask for; None if the source has none of them."""
    if case.since is None:
        return Window()
    extent = session.extent(case.table)
    return None if extent is None or extent[1] < case.since else Window(first=case.since, last=extent[1])


@contextmanager
def _sessions(case: _Case) -> Iterator[list[tuple[Connector, Shape]]]:
    """A session on each of the source's servers, with the shape of the table there."""
    opened: list[Connector] = []
    found = []
    cursor = case.state.get("cursor")
    try:
        for name, one in _servers(case.source):
            session: Connector = connector(one)
            opened.append(session)
            session = Shard(name, session) if name else session
            session.recall(case.table, json.loads(cursor).get(name) if name and cursor else cursor)
            found.append((session, session.shape(case.table)))
        yield found
    finally:
        for session in opened:
            session.close()


def _servers(source: Source) -> list[tuple[str | None, Source]]:
    shards = [(name, source.model_copy(update={"connection": name, "shards": ()})) for name in source.shards]
    return [*shards] or [(None, source)]


@dataclass(frozen=True)
class _Looked:
    """What a look at single rows has found."""

    differences: tuple[Difference, ...] = ()
    behind: int = 0
    kept: int = 0
    set_aside: int = 0


def _look(case: _Case, days: Collection[Day], before: _Looked) -> _Looked:
    """Hold the rows of these days in raw and processed against those that the source has."""
    with read.connect(case.lake, MEMORY) as connection, told(case.lake), _sessions(case) as sessions:
        entry = _collect(connection, case, sessions, days)
        faults = gate.faults(
            connection,
            "incoming",
            "rowid",
            entry,
            key=case.subject.key,
            partition=case.subject.partition,
            cursor=case.subject.cursor,
            key_is_enforced=sessions[0][1].key_is_enforced,
        )
        values = ", ".join(f"{entry.passed(name)} AS {quoted(name)}" for name in entry.columns if name in case.columns)
        connection.execute(
            f"""CREATE OR REPLACE TEMP TABLE reference AS SELECT *, {_day(case)} AS _day, {_is_new(case)} AS _is_new
                FROM (SELECT {values} FROM incoming WHERE rowid NOT IN (SELECT number FROM faulty_rows))"""
        )
        shown = [name for name in entry.columns if name in case.columns]
        on = reconcile.on(case.subject, _dates(days))
        raw = reconcile.state(case.lake, case.subject, on)
        columns = ", ".join([*map(quoted, shown), f"{_day(case)} AS _day"])
        connection.execute(f"CREATE OR REPLACE TEMP TABLE rows_of_raw AS SELECT {columns} FROM {raw}")
        here = f"SELECT {columns} FROM {case.processed} WHERE {on}"
        if _versions(case)[1] < 0:
            here = "SELECT * FROM rows_of_raw LIMIT 0"
        connection.execute(f"CREATE OR REPLACE TEMP TABLE rows_of_processed AS {here}")
        places: tuple[Place, ...] = ("raw", "processed")
        counted = {place: _counted(connection, case, place, shown) for place in places}
    differences = tuple(one for place in places for one in counted[place][0])
    behind = max(counted[place][1] for place in places)
    kept = before.kept + counted["processed"][2]
    return _Looked(differences, behind, kept, before.set_aside + sum(faults.rows.values()))


def _counted(
    connection: duckdb.DuckDBPyConnection, case: _Case, place: Place, columns: list[str]
) -> tuple[list[Difference], int, int]:
    """The differences of one place by day; rows that are not loaded yet, and rows that were kept."""
    content = [name for name in columns if name not in case.subject.key]
    differs = " OR ".join(f"i.{quoted(name)} IS DISTINCT FROM p.{quoted(name)}" for name in content) or "FALSE"
    same = " AND ".join(f"p.{quoted(name)} IS NOT DISTINCT FROM r.{quoted(name)}" for name in columns)
    kept = f"EXISTS (SELECT 1 FROM rows_of_raw AS r WHERE {same})" if case.keeps else "FALSE"
    keys = ", ".join(map(quoted, case.subject.key))
    day = " AND i._day = p._day" if case.subject.partition else ""
    first = quoted(case.subject.key[0])
    # A row that has moved to another day since the last load is still on its old one.
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE judged AS
            SELECT p._day, {kept} AS is_kept, m.{first} IS NOT NULL AS is_new, TRUE AS is_surplus, FALSE AS is_changed
            FROM rows_of_{place} AS p ANTI JOIN reference AS i ON {case.match("i", "p")}{day}
            LEFT JOIN (SELECT DISTINCT {keys} FROM reference WHERE _is_new) AS m ON {case.match("m", "p")}
            UNION ALL
            SELECT i._day, FALSE, i._is_new, FALSE, p.{first} IS NOT NULL
            FROM reference AS i LEFT JOIN rows_of_{place} AS p ON {case.match("i", "p")}{day}
            WHERE p.{first} IS NULL OR {differs}"""
    )
    rows = connection.execute(
        f"""SELECT _day, count(*) FILTER (NOT is_new AND NOT is_surplus AND NOT is_changed) AS missing,
            count(*) FILTER (NOT is_new AND is_changed) AS changed,
            count(*) FILTER (NOT is_new AND is_surplus AND NOT is_kept) AS surplus, 0 AS doubled,
            count(*) FILTER (is_new) AS behind, count(*) FILTER (NOT is_new AND is_kept) AS kept
            FROM judged GROUP BY 1
            UNION ALL SELECT _day, 0, 0, 0, sum(n - 1)::BIGINT, 0, 0 FROM (
                SELECT _day, {keys}, count(*) AS n FROM rows_of_{place} GROUP BY ALL HAVING count(*) > 1) GROUP BY 1"""
    ).fetchall()
    days: dict[Day, list[int]] = {}
    for of, *counts in rows:
        days[of] = [one + other for one, other in zip(days.get(of, [0] * 6), counts, strict=True)]
    found = [Difference(place, of, *counts[:4]) for of, counts in days.items() if any(counts[:4])]
    return found, sum(counts[4] for counts in days.values()), sum(counts[5] for counts in days.values())


def _collect(
    connection: duckdb.DuckDBPyConnection,
    case: _Case,
    sessions: list[tuple[Connector, Shape]],
    days: Collection[Day],
) -> gate.Gate:
    """Make the table `incoming` of the source's rows of these days, each once; answers how they enter the lake."""
    first = True
    for session, shape in sessions:
        session.begin()
        for window in _stretches(case, days):
            chunks = session.chunks(case.table, shape, window, 500_000)
            for chunk in chunks:
                misfits: list[pa.RecordBatch] = []
                batches = _apart(session.read(case.table, shape, window, chunk), shape.schema, misfits)
                _take_in(connection, shape.schema, batches, misfits, is_first=first)
                first = False
    if first:
        _take_in(connection, sessions[0][1].schema, iter(()), [], is_first=True)
    dates = _dates(days)
    if dates is not None and case.subject.partition:
        listed = ", ".join(f"DATE '{day}'" for day in sorted(dates)) or "NULL"
        connection.execute(
            f"DELETE FROM incoming WHERE TRY_CAST({quoted(case.subject.partition)} AS DATE) NOT IN ({listed})"
        )
    raw = commit.table(case.lake, case.subject.at("raw"))
    return contract.entry(case.source, case.table, sessions[0][1], read.columns(raw))


def _take_in(
    connection: duckdb.DuckDBPyConnection,
    schema: pa.Schema,
    batches: Iterator[pa.RecordBatch],
    misfits: list[pa.RecordBatch],
    *,
    is_first: bool,
) -> None:
    make = "CREATE OR REPLACE TEMP TABLE incoming AS" if is_first else "INSERT INTO incoming"
    connection.register("batches", pa.RecordBatchReader.from_batches(schema, batches))
    connection.execute(f"{make} SELECT *, NULL::VARCHAR AS {MISFIT} FROM batches")
    connection.unregister("batches")
    if misfits:
        connection.register("misfits", pa.Table.from_batches(misfits))
        row = ", ".join(quoted(name) for name in schema.names)
        connection.execute(f"DELETE FROM incoming WHERE hash({row}) IN (SELECT hash({row}) FROM misfits)")
        connection.execute("INSERT INTO incoming BY NAME SELECT * FROM misfits")
        connection.unregister("misfits")


def _apart(
    batches: Iterator[pa.RecordBatch], schema: pa.Schema, misfits: list[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """The rows without a misfit; those with one are put aside."""
    for batch in batches:
        if MISFIT in batch.schema.names:
            broken = batch.filter(pc.is_valid(batch.column(MISFIT)))
            if broken.num_rows:
                misfits.append(broken.select([*schema.names, MISFIT]))
            batch = batch.filter(pc.is_null(batch.column(MISFIT)))
        yield batch.select(schema.names)


def _stretches(case: _Case, days: Collection[Day]) -> Iterator[Window]:
    """Days in a row as one window each; a table without days as a whole."""
    dates = _dates(days)
    if dates is None or case.subject.partition is None:
        yield Window()
        return
    ordered = sorted(dates)
    start = last = None
    for day in ordered:
        if last is not None and start is not None and day != last + datetime.timedelta(days=1):
            yield Window(first=start, last=last)
            start = None
        start, last = start or day, day
    if start is not None:
        yield Window(first=start, last=last)


def _correct(case: _Case, days: Collection[Day], say: Say) -> None:
    """Append to raw what it does not say of these days."""
    subject = case.subject
    with read.connect(case.lake, MEMORY) as connection, told(case.lake), _sessions(case) as sessions:
        entry = _collect(connection, case, sessions, days)
        shape = sessions[0][1]
        about = load.subject(case.source, case.table, shape)
        about = Subject(**{**vars(about), "columns": entry.columns})
        words = "of the days that differed" if subject.partition else "of the whole table"
        now = datetime.datetime.now(datetime.UTC)
        loading = Load(about, "days" if subject.partition else "full", f"{words} ({WHY})", now)
        intake.admit(connection, case.lake, loading, entry)
        gone = None
        if not case.keeps:
            incoming.present(connection, [session.keys(case.table, one) for session, one in sessions])
            keys = ", ".join(f"{entry.passed(name)} AS {quoted(name)}" for name in subject.key)
            gone = f"(SELECT {keys} FROM present_keys)"
        on = reconcile.on(subject, _dates(days))
        rows = mend.correct(connection, case.lake, about, on, loading.window, gone=gone)
    if rows:
        told_of = ", ".join(f"{count:,} {NAMES[op]}" for op, count in rows.items())
        say(f"{subject}: {len(days):,} day{'s' if len(days) > 1 else ''} read again: {told_of} in raw")


def _refold(case: _Case, days: Collection[Day], say: Say) -> None:
    """Fold days anew whose rows in processed are not what raw says."""
    subject = case.subject
    wanted = _dates(days)
    on = reconcile.on(subject, wanted)
    with read.connect(case.lake, MEMORY) as connection, told(case.lake):
        raw = case.digests(connection, reconcile.state(case.lake, subject, on), case.columns)
        here = case.digests(connection, f"(SELECT * FROM {case.processed} WHERE {on})", case.columns)
    differing = digest.differing(raw, here)
    if differing:
        folded = reconcile.refold(case.lake, subject, _dates(differing))
        count = f"{len(folded.days):,} day{'s' if len(folded.days) > 1 else ''}" if folded.days else "the whole table"
        say(f"{subject}: {count} folded anew from raw, {folded.rows_written:,} rows")


NAMES = {"i": "new", "u": "changed", "d": "deleted"}


def _dates(days: Collection[Day]) -> set[datetime.date] | None:
    """The days without None; None itself if that is all there is: the table has none."""
    dates = {day for day in days if day is not None}
    return dates or (None if None in days else set())


def _day(case: _Case) -> str:
    return f"CAST({quoted(case.subject.partition)} AS DATE)" if case.subject.partition else "NULL::DATE"


def _is_new(case: _Case) -> str:
    """The condition that the next load reads a row by its cursor; of what no cursor dates, nothing is known."""
    cursor, column = case.state.get("cursor"), case.table.cursor
    if cursor is None or column is None or case.table.files or column not in case.columns:
        return "FALSE"
    if cursor.startswith("{"):
        whens = [
            f"WHEN {literal(name)} THEN {_is_after(case, column, value)}"
            for name, value in json.loads(cursor).items()
            if value
        ]
        return f"CASE {quoted(SHARD)} {' '.join(whens)} ELSE TRUE END" if whens else "TRUE"
    return _is_after(case, column, cursor)


def _is_after(case: _Case, column: str, cursor: str) -> str:
    name = quoted(column)
    if cursor.isdigit():  # a transaction's number: the first that was still open
        return f"coalesce(TRY_CAST({name} AS HUGEINT) >= {cursor}, TRUE)"
    kind = case.columns[column]
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        return "FALSE"
    instant = datetime.datetime.fromisoformat(cursor) - case.table.lookback
    return f"coalesce({name}::TIMESTAMPTZ > TIMESTAMPTZ {literal(instant.isoformat())}, TRUE)"
