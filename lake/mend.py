"""Damage to raw: loads that no longer lie there as they were recorded, found and mended; never without a note.

What stands twice is taken out. What is lost or changed is taken from processed, if the checksum of the load then proves
that it is as it was written. Else raw cannot know: the record of the load is set anew (the commit that does so keeps
what was recorded before), the caller brings the rows of the days again, and `correct` appends what raw does not say, as
a load of its own.
"""

import datetime
import json
import secrets
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

from lake import checksum, commit, duck, intake, read
from lake.access import told
from lake.duck import literal, quoted
from lake.errors import TruncatedLoad
from lake.fold import BATCH_ROWS, MEMORY
from lake.intake import Load, Subject
from lake.layout import DAY_COLUMNS, Lake
from lake.parquet import Writer
from lake.reconcile import state
from lake.retype import OF_ONE_LOAD
from lake.verify import Verified

OF_MENDING = ("note", "mended_at", "recorded_before")
NOBODYS = {"rows": {}, "checksum": f"{checksum.ALGORITHM}:{0:016x}", "columns": []}


@dataclass(frozen=True)
class Healed:
    """What became of a damaged load: rows taken out that stood there twice, and whether it is now as it was written."""

    load_id: str
    difference: str
    removed: int
    is_whole: bool
    is_restored: bool = False

    @property
    def sentence(self) -> str:
        """E.g. `shop.orders, load 1f: 3 new rows were written, 4 are in raw: 1 row taken out, as recorded again`."""
        took = f"{self.removed:,} row{'s' if self.removed != 1 else ''} taken out, " if self.removed else ""
        took += "restored from processed, " if self.is_restored else ""
        return f"{self.difference}: {took}{'as recorded again' if self.is_whole else 'its record is set anew'}"


def damages(lake: Lake, subject: Subject, since: datetime.date | None = None) -> list[Verified]:
    """The loads whose rows or values in raw differ from what was recorded of them; `since`: those of these UTC days.

    Rows of a load that nobody recorded are damage too: somebody else has put them there.
    """
    raw = commit.table(lake, subject.at("raw"))
    if raw is None:
        return []
    known = recorded(raw)
    wanted = {load: of for load, of in known.items() if since is None or str(of["loaded_at"]) >= since.isoformat()}
    with read.connect(lake, MEMORY) as connection, told(lake):
        found = _found(connection, _rows(lake, subject, since), wanted)
    foreign = _foreign(raw, [load for load in found if load not in known])
    verified = [
        Verified(subject, load, known.get(load, NOBODYS), found.get(load, checksum.Sum()).state())
        for load in [*wanted, *foreign]
    ]
    return [one for one in verified if one.difference]


def heal(lake: Lake, subject: Subject, damaged: Sequence[Verified], why: str) -> list[Healed]:
    """Take out what stands twice or is nobody's, and record the damaged loads as they are now, in one commit.

    `why` goes into the commit, beside what was recorded before. Raises Busy.
    """
    base = commit.table(lake, subject.at("raw"))
    if base is None or not damaged:
        return []
    known, loads = recorded(base), [one.load_id for one in damaged]
    kept = {load: known[load] for load in loads if load in known}
    with read.connect(lake, MEMORY) as connection, told(lake):
        places = _places(connection, lake, subject, kept, loads)
        removed = _sound(connection, lake, subject, loads, known, places)
        restored = _restored(connection, lake, subject, kept)
        found = _found(connection, "settled", kept)
        now = {load: found.get(load, checksum.Sum()).state() for load in kept}
        anew = {load: {**kept[load], **of} for load, of in now.items() if not _is_same(kept[load], of)}
        healed = [
            Healed(load, str(one.difference), removed.get(load, 0), load not in anew, load in restored)
            for load, one in zip(loads, damaged, strict=True)
        ]
        mended = _lasting(commit.state(base)) | {
            "note": [f"{one.sentence} ({why})" for one in healed],
            "mended_at": datetime.datetime.now(datetime.UTC).isoformat(),
            "recorded": anew,
            "recorded_before": {load: kept[load] for load in anew},
        }
        schema = pa.schema([pa.field(name, kind) for name, kind in read.columns(base).items()])
        writer = Writer(lake, subject.at("raw"), secrets.token_hex(8), subject.told)
        gone = []
        if removed or restored:
            schema = _write(connection, subject, writer, places)
            gone = commit.removals(base, places)
        commit.add(lake, subject.at("raw"), schema, writer.written, mended, base=base, by_day=True, removed=gone)
    return healed


def correct(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    subject: Subject,
    within: str,
    window: str,
    *,
    gone: str | None = None,
) -> dict[str, int]:
    """Append to raw what the relation `admitted` says of the days `within` and raw's state does not, in one commit.

    `gone` is a relation of the keys that are at the source on any day: rows of these days whose key it lacks are
    deleted; None: rows that only raw has stay. Answers the rows appended, by `_op`. The next fold brings them to
    processed. Raises TruncatedLoad if more than a fifth of the table would go, Busy if somebody else has committed.
    """
    base = commit.table(lake, subject.at("raw"))
    before = commit.state(base)
    loaded_at = intake.after(datetime.datetime.now(datetime.UTC), before.get("loaded_at"))
    load = Load(subject, "days" if subject.partition else "full", window, loaded_at)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE held AS SELECT * FROM {state(lake, subject, within)}")
    known = set(read.columns(base))
    first = quoted(subject.key[0])
    differs = " OR ".join(
        f"i.{quoted(name)} IS DISTINCT FROM {f'h.{quoted(name)}' if name in known else 'NULL'}"
        for name in subject.columns
    )
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE changed AS SELECT i.*, CASE WHEN h.{first} IS NULL THEN 'i' ELSE 'u' END AS _op
            FROM admitted AS i LEFT JOIN held AS h ON {subject.match("i", "h")}
            WHERE h.{first} IS NULL OR {differs}"""
    )
    if gone is not None:
        _mark_gone(connection, lake, load, gone)
    total = checksum.of(connection, "changed")
    if not total.rows:
        return {}
    rows = connection.execute(
        f"""SELECT *, TIMESTAMPTZ {literal(loaded_at.isoformat())} AS _loaded_at, {literal(load.id)} AS _load_id
            FROM changed"""
    ).to_arrow_reader(BATCH_ROWS)
    writer = Writer(lake, subject.at("raw"), load.id, subject.told, partition=loaded_at.date())
    writer.rows_of(None, (pa.Table.from_batches([batch]) for batch in rows))
    told_of = {"load_id": load.id, "kind": load.kind, "window": window, "loaded_at": loaded_at.isoformat()}
    mended = _lasting(before) | told_of | total.state()
    commit.add(lake, subject.at("raw"), rows.schema, writer.written, mended, base=base, by_day=True)
    return total.rows


def _mark_gone(connection: duckdb.DuckDBPyConnection, lake: Lake, load: Load, present: str) -> None:
    subject = load.subject
    kept = dict.fromkeys([*subject.key, *([subject.partition] if subject.partition else [])])
    names = ", ".join(f"h.{quoted(column)}" for column in kept)
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE gone AS SELECT {names} FROM held AS h
            ANTI JOIN {present} AS i ON {subject.match("i", "h")}"""
    )
    count = duck.count(connection, "gone")
    facts = read.facts(lake, subject.at("processed"))
    total = facts.rows if facts else 0
    if count > intake.SHRINK_LIMIT * total and count >= intake.SHRINK_FLOOR:
        what = f"{count:,} of {total:,} rows have vanished at the source, more than a fifth"
        mend = "check the source; if it is right, run `watershed run --allow-shrink` first"
        raise TruncatedLoad(str(subject), what, mend)
    dated = ""
    if subject.cursor and subject.cursor not in kept:
        dated = f", TIMESTAMPTZ {literal(load.loaded_at.isoformat())} AS {quoted(subject.cursor)}"
    connection.execute(f"DELETE FROM changed USING gone WHERE {subject.match('changed', 'gone')}")
    connection.execute(f"INSERT INTO changed BY NAME SELECT gone.*, 'd' AS _op{dated} FROM gone")


def recorded(raw: DeltaTable) -> dict[str, dict[str, Any]]:
    """What was last recorded of each load, by its id."""
    known: dict[str, dict[str, Any]] = {}
    for one in commit.states(raw, -1):
        if "load_id" in one and "checksum" in one:
            known[one["load_id"]] = {name: one.get(name) for name in ("loaded_at", "rows", "checksum", "columns")}
        for load, of in (one.get("recorded") or {}).items():  # written anew since
            known[load] = {**known.get(load, {}), **of}
    return known


def _foreign(raw: DeltaTable, unknown: list[str]) -> list[str]:
    """Those of the loads without a record that nobody made; none if the log no longer tells of all commits."""
    entries = commit.entries(raw, -1) if unknown else []
    if not entries or min(int(entry["version"]) for entry in entries) > 0:
        return []
    named = {json.loads(entry[commit.STATE]).get("load_id") for entry in entries if commit.STATE in entry}
    return [load for load in unknown if load not in named]


def _found(
    connection: duckdb.DuckDBPyConnection, relation: str, known: dict[str, dict[str, Any]]
) -> dict[str, checksum.Sum]:
    """Each load's rows and checksum over the columns that its record names; loads without a record over all."""
    sets: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for load, of in known.items():
        sets[tuple(of["columns"])].append(load)
    usual = max(sets, key=lambda columns: len(sets[columns]), default=None)
    apart = [load for columns, loads in sets.items() if columns != usual for load in loads]
    loads = checksum.by_load(connection, relation, usual, f"_load_id NOT IN ({_listed(apart)})" if apart else "TRUE")
    for columns, those in sets.items():
        if columns != usual:
            loads |= checksum.by_load(connection, relation, columns, f"_load_id IN ({_listed(those)})")
    return loads


def _rows(lake: Lake, subject: Subject, since: datetime.date | None) -> str:
    raw = read.relation(lake, subject.at("raw"))
    if since is None:
        return raw
    year, month, day = since.isoformat().split("-")
    later = f"year > '{year}' OR (year = '{year}' AND (month > '{month}' OR (month = '{month}' AND day >= '{day}')))"
    return f"(SELECT * FROM {raw} WHERE {later})"


def _places(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    subject: Subject,
    kept: dict[str, dict[str, Any]],
    loads: list[str],
) -> list[datetime.date]:
    """The partitions of raw (days of loading) in which rows of these loads lie, or ought to."""
    found = connection.execute(
        f"""SELECT DISTINCT make_date(year::INT, month::INT, day::INT) FROM {read.relation(lake, subject.at("raw"))}
            WHERE _load_id IN ({_listed(loads)})"""
    ).fetchall()
    dated = [datetime.datetime.fromisoformat(of["loaded_at"]).date() for of in kept.values() if of.get("loaded_at")]
    return sorted({*dated, *(day for (day,) in found)})


def _sound(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    subject: Subject,
    loads: list[str],
    known: Collection[str],
    places: list[datetime.date],
) -> dict[str, int]:
    """Make the view `sound` of these partitions' rows without what stands there twice or is nobody's.

    Answers how many rows that leaves out, by load.
    """
    raw = f"(SELECT * FROM {read.relation(lake, subject.at('raw'))} WHERE {commit.days_predicate(places)})"
    foreign = [load for load in loads if load not in known]
    keys = ", ".join(quoted(column) for column in subject.key)
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE doubled AS SELECT _load_id, {keys}, count(*) AS rows FROM {raw}
            WHERE _load_id IN ({_listed(loads)}) GROUP BY ALL HAVING count(*) > 1"""
    )
    same = f"r._load_id = d._load_id AND {subject.match('r', 'd')}"
    owned = f"SELECT * FROM {raw} AS r WHERE _load_id NOT IN ({_listed(foreign)})"
    order = ", ".join(f"r.{quoted(column)}" for column in subject.key)
    connection.execute(
        f"""CREATE OR REPLACE TEMP VIEW sound AS
            SELECT r.* FROM ({owned}) AS r ANTI JOIN doubled AS d ON {same} UNION ALL
            SELECT r.* FROM ({owned}) AS r SEMI JOIN doubled AS d ON {same}
            QUALIFY row_number() OVER (PARTITION BY r._load_id, {order} ORDER BY r._loaded_at, r._op) = 1"""
    )
    removed = dict(connection.execute("SELECT _load_id, sum(rows - 1)::BIGINT FROM doubled GROUP BY 1").fetchall())
    for load in foreign:
        removed[load] = duck.count(connection, f"{raw} WHERE _load_id = {literal(load)}")
    return removed


def _restored(
    connection: duckdb.DuckDBPyConnection, lake: Lake, subject: Subject, kept: dict[str, dict[str, Any]]
) -> list[str]:
    """Make the view `settled` of the sound rows, with those that processed still holds where that mends a load.

    Answers these loads: with the rows from processed their checksum is what was recorded.
    """
    found = _found(connection, "sound", kept)
    wrong = [load for load, of in kept.items() if not _is_same(of, found.get(load, checksum.Sum()).state())]
    whole: list[str] = []
    if wrong and commit.table(lake, subject.at("processed")) is not None:
        processed = read.relation(lake, subject.at("processed"))
        forms = zip(DAY_COLUMNS, ("%Y", "%m", "%d"), strict=True)
        parts = ", ".join(f"strftime(_loaded_at, '{form}') AS {name}" for name, form in forms)
        without = f" EXCLUDE ({', '.join(DAY_COLUMNS)})" if subject.partition else ""
        connection.execute(
            f"""CREATE OR REPLACE TEMP TABLE back AS SELECT *{without}, {parts} FROM {processed}
                WHERE _load_id IN ({_listed(wrong)})"""
        )
        connection.execute(
            f"""CREATE OR REPLACE TEMP VIEW restored AS SELECT * FROM back UNION ALL BY NAME
                SELECT r.* FROM (SELECT * FROM sound WHERE _load_id IN ({_listed(wrong)})) AS r
                ANTI JOIN back AS b ON r._load_id = b._load_id AND {subject.match("r", "b")}"""
        )
        then = _found(connection, "restored", {load: kept[load] for load in wrong})
        whole = [load for load in wrong if load in then and _is_same(kept[load], then[load].state())]
    query = "SELECT * FROM sound"
    if whole:
        these = _listed(whole)
        query = f"""SELECT * FROM sound WHERE _load_id NOT IN ({these}) UNION ALL BY NAME
            SELECT * FROM restored WHERE _load_id IN ({these})"""
    connection.execute(f"CREATE OR REPLACE TEMP VIEW settled AS {query}")
    return whole


def _write(
    connection: duckdb.DuckDBPyConnection, subject: Subject, writer: Writer, places: list[datetime.date]
) -> pa.Schema:
    """Write the settled rows of each partition anew, by the UTC day of their event as a first load does."""
    schema = pa.schema([])
    for place in places:
        writer.partition = place
        day = f"CAST({quoted(subject.partition)} AS DATE)" if subject.partition else "NULL::DATE"
        columns = f"* EXCLUDE ({', '.join(DAY_COLUMNS)}), {day} AS _day"
        where = f"WHERE {commit.days_predicate([place])} ORDER BY _day"
        rows = connection.execute(f"SELECT {columns} FROM settled {where}").to_arrow_reader(BATCH_ROWS)
        schema = pa.schema([entry for entry in rows.schema if entry.name != "_day"])
        if subject.partition:
            writer.sorted_by("_day", rows)
        else:
            writer.rows_of(None, (pa.Table.from_batches([batch]).drop_columns(["_day"]) for batch in rows))
    return schema


def _lasting(state: dict[str, Any]) -> dict[str, Any]:
    """What of a commit's state holds for the next one too."""
    return {name: value for name, value in state.items() if name not in (*OF_ONE_LOAD, *OF_MENDING)}


def _is_same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    counts = [{op: count for op, count in of["rows"].items() if count} for of in (one, other)]
    return counts[0] == counts[1] and bool(one["checksum"] == other["checksum"])


def _listed(loads: Collection[str]) -> str:
    return ", ".join(literal(load) for load in loads) or "''"
