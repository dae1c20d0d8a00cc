"""A table compared: at its source, in raw, in processed, day by day; and mended where it differs.

Digests tell which days differ, computed where the rows lie. Of those days alone the rows are read again and looked at
one by one: rows that may rightly differ (not loaded yet, set aside, kept after the source has deleted them) are counted
as such, all others are differences. The mend goes the way that rows always go: what raw lacks is appended to it as a
load of its own, and processed is folded from raw.
"""

import datetime
import time
from collections.abc import Callable, Collection

from ingestion import incoming, load
from ingestion.connectors import Connector, Window
from ingestion.reconcile_case import Case, case_of, dates
from ingestion.reconciled import Day, Difference, Reconciled
from ingestion.rowwise import Looked, collect, look
from ingestion.spec import Source, Table
from lake import digest, intake, mend, read, reconcile
from lake.access import told
from lake.digest import Digests
from lake.duck import quoted
from lake.fold import MEMORY, fold, fold_history
from lake.intake import Load, Subject
from lake.layout import Lake
from lake.retype import widen

Say = Callable[[str], None]
ASKED = 3  # times, while the lake changes meanwhile
WHY = "watershed reconcile --repair"
NAMES = {"i": "new", "u": "changed", "d": "deleted"}


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
        case = case_of(lake, source, table, since)
        if case is None:
            return Reconciled(load.subject(source, table), notes=("not loaded yet",))
        before = case.versions
        found = _compared(case, pause, say, started)
        if found.is_ok or before == case.versions:
            break
        say(f"{case.subject}: a load came in between; asking again")
    return found


def repair(
    lake: Lake, source: Source, table: Table, found: Reconciled, *, since: datetime.date | None = None, say: Say
) -> None:
    """Mend what was found; says each thing that it does. To be sure, compare again.

    Raises a PlatformError, among them TruncatedLoad if more than a fifth of the table would have to go.
    """
    case = case_of(lake, source, table, since)
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


def _compared(case: Case, pause: float, say: Say, started: float) -> Reconciled:
    lake, subject = case.lake, case.subject
    at_source, compared, notes = _at_source(case, pause, say)
    say(f"{subject}: comparing raw and processed")
    with read.connect(lake, MEMORY) as connection, told(lake):
        raw = case.digests(connection, reconcile.state(lake, subject, case.within), case.columns)
        here: Digests = {}
        ours: Digests = {}
        if case.versions[1] >= 0:
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
    looked = Looked(kept=kept, set_aside=outside.rows if outside else 0)
    if suspect:
        say(f"{subject}: looking at {len(suspect):,} day{'s' if len(suspect) > 1 else ''} row by row")
        looked = look(case, suspect, looked)
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


def _heals(case: Case, differences: Collection[Difference], is_damaged: bool) -> bool:
    """Whether the next load finds all this by itself: it compares all keys, or all rows, with processed."""
    places = {
        place: {(one.day, one.surplus) for one in differences if one.place == place} for place in ("raw", "processed")
    }
    if is_damaged or places["raw"] != places["processed"] or any(one.doubled for one in differences):
        return False
    only_gone = not any(one.missing or one.changed for one in differences)
    return case.table.load == "replace" or (case.table.deletes == "sweep" and only_gone)


def _at_source(case: Case, pause: float, say: Say) -> tuple[Digests, list[str], tuple[str, ...]]:
    """The source's digests, the columns that they compare, and what cannot be compared."""
    parts: list[Digests] = []
    compared: list[str] = []
    notes: dict[str, None] = {}
    with case.sessions() as sessions:
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


def _window(case: Case, session: Connector) -> Window | None:
    """The days to ask for; None if the source has none of them."""
    if case.since is None:
        return Window()
    extent = session.extent(case.table)
    return None if extent is None or extent[1] < case.since else Window(first=case.since, last=extent[1])


def _correct(case: Case, days: Collection[Day], say: Say) -> None:
    """Append to raw what it does not say of these days."""
    subject = case.subject
    with read.connect(case.lake, MEMORY) as connection, told(case.lake), case.sessions() as sessions:
        entry = collect(connection, case, sessions, days)
        shape = sessions[0][1]
        about = load.subject(case.source, case.table, shape)
        about = Subject(**{**vars(about), "columns": entry.columns})
        words = "of the days that differed" if subject.partition else "of the whole table"
        now = datetime.datetime.now(datetime.UTC)
        loading = Load(about, "days" if subject.partition else "full", f"{words} ({WHY})", now)
        widen(case.lake, about, entry.widened)
        intake.admit(connection, case.lake, loading, entry)
        gone = None
        if not case.keeps:
            incoming.present(connection, [session.keys(case.table, one) for session, one in sessions])
            keys = ", ".join(f"{entry.passed(name)} AS {quoted(name)}" for name in subject.key)
            gone = f"(SELECT {keys} FROM present_keys)"
        on = reconcile.on(subject, dates(days))
        rows = mend.correct(connection, case.lake, about, on, loading.window, gone=gone)
    if rows:
        told_of = ", ".join(f"{count:,} {NAMES[op]}" for op, count in rows.items())
        say(f"{subject}: {len(days):,} day{'s' if len(days) > 1 else ''} read again: {told_of} in raw")


def _refold(case: Case, days: Collection[Day], say: Say) -> None:
    """Fold days anew whose rows in processed are not what raw says."""
    subject = case.subject
    wanted = dates(days)
    on = reconcile.on(subject, wanted)
    with read.connect(case.lake, MEMORY) as connection, told(case.lake):
        raw = case.digests(connection, reconcile.state(case.lake, subject, on), case.columns)
        here = case.digests(connection, f"(SELECT * FROM {case.processed} WHERE {on})", case.columns)
    differing = digest.differing(raw, here)
    if differing:
        folded = reconcile.refold(case.lake, subject, dates(differing))
        count = f"{len(folded.days):,} day{'s' if len(folded.days) > 1 else ''}" if folded.days else "the whole table"
        say(f"{subject}: {count} folded anew from raw, {folded.rows_written:,} rows")
