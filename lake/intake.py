"""Raw: the append-only log of what a source said that was not known yet.

Rows just read lie in a DuckDB table; this lets those through the gate that keep the contract, compares them with
processed, and appends new (`i`), changed (`u`) and vanished (`d`) rows to raw, together with the cursor and a checksum,
in one commit. Reading the same window again therefore appends nothing.
"""

import datetime
import hashlib
import json
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

from lake import checksum, commit, duck, gate, quarantine, read
from lake.duck import literal, quoted
from lake.errors import Busy, Overtaken, TruncatedLoad
from lake.layout import Address, Lake
from lake.parquet import Writer

Days = tuple[datetime.date, datetime.date]
Kind = Literal["changes", "days", "full", "replay"]
NEUTRAL = ("ADD COLUMN", "ADD FEATURE", "SET TBLPROPERTIES", "OPTIMIZE", "VACUUM START", "VACUUM END")  # rows stay
SHRINK_LIMIT = 0.2
BATCH_ROWS = 50_000
SHRINK_FLOOR = 20  # below this many rows a fifth is noise


@dataclass(frozen=True)
class Subject:
    """What the lake must know of a table: names, key, cursor and the column whose UTC day partitions it."""

    source: str
    table: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    cursor: str | None = None
    partition: str | None = None
    key_is_enforced: bool = False

    def __str__(self) -> str:
        return f"{self.source}.{self.table}"

    @property
    def told(self) -> frozenset[str]:
        """The columns whose bounds the log tells, so that readers can skip files."""
        return frozenset(filter(None, (*self.key, self.cursor, self.partition)))

    def match(self, left: str, right: str) -> str:
        """The SQL condition that rows of two relations have one key."""
        return " AND ".join(f"{left}.{quoted(column)} = {right}.{quoted(column)}" for column in self.key)

    def at(self, zone: Literal["raw", "processed", "quarantine"]) -> Address:
        """The table's address in one zone."""
        return Address(zone, self.source, self.table)


@dataclass(frozen=True)
class Load:
    """One reading of a window; its id follows from source, table and window.

    `days` are the first and last UTC day of a load of kind `days`.
    """

    subject: Subject
    kind: Kind
    window: str
    loaded_at: datetime.datetime
    declared: str = ""
    days: Days | None = None

    @property
    def id(self) -> str:
        """Sixteen hex digits."""
        text = f"{self.subject}|{self.kind}|{self.window}|{self.loaded_at.isoformat()}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Taken:
    """What one load brought: rows read, new, changed, deleted, unchanged, and quarantined.

    `values_quarantined` are copies of single values whose rows came in without them. `reasons` counts rows and values.
    """

    rows_read: int = 0
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    quarantined: int = 0
    keys_compared: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    values_quarantined: int = 0

    @property
    def unchanged(self) -> int:
        """Rows read that the lake held already."""
        return self.rows_read - self.inserted - self.updated - self.quarantined


def take(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    load: Load,
    cursor: str | None,
    *,
    base: DeltaTable | None,
    entry: gate.Gate | None = None,
    number: str = "rowid",
    gone_from: str | None = None,
    present_keys: str | None = None,
    allow_shrink: bool = False,
    record_rows: bool = True,
) -> Taken:
    """Append to raw what the relation `incoming` says that processed does not.

    `base` is raw as it was before `incoming` was read (None: not there); if another load was committed since, Busy is
    raised. `entry` says which columns enter and as what; `number` is the SQL that numbers the rows of `incoming`.
    `gone_from` is an SQL condition over processed: its rows that are missing in `incoming` (or in the relation
    `present_keys`, if given) are deleted. Raises TruncatedLoad if that would delete more than a fifth of them.
    Rows that may not enter go to quarantine, unless `record_rows` says that they lie there already.
    """
    subject = load.subject
    entry = entry or gate.Gate(gate.Contract(), subject.columns)
    now = commit.table(lake, subject.at("processed"))
    known, processed = read.columns(now), read.relation(lake, subject.at("processed"), now)
    read_rows = duck.count(connection, "incoming")
    found = admit(connection, lake, load, entry, number=number, record_rows=record_rows)
    if known:
        _keep_changed(connection, processed, replace(subject, columns=entry.columns), known)
    else:
        connection.execute("CREATE OR REPLACE TEMP VIEW changed AS SELECT *, 'i' AS _op FROM admitted")
    compared = 0
    if known and gone_from:
        present = ", ".join(f"{entry.passed(column)} AS {quoted(column)}" for column in subject.key)
        # From `incoming`, not `admitted`: a row in quarantine is still there at the source.
        query = f"SELECT {present} FROM {present_keys or 'incoming'}"
        connection.execute(f"CREATE OR REPLACE TEMP VIEW present AS {query}")
        compared = _mark_gone(connection, processed, load, gone_from, present_keys is None, allow_shrink)
    total = checksum.of(connection, "changed")
    _append(connection, lake, load, cursor, total, base)
    return Taken(
        read_rows,
        total.rows.get("i", 0),
        total.rows.get("u", 0),
        total.rows.get("d", 0),
        quarantined=sum(found.rows.values()),
        keys_compared=compared,
        reasons={**found.rows, **found.values},
        values_quarantined=sum(found.values.values()),
    )


def after(now: datetime.datetime, last: str | None) -> datetime.datetime:
    """`now`, or just after the last load if the clock went back: later loads win by this time."""
    if last is None:
        return now
    return max(now, datetime.datetime.fromisoformat(last) + datetime.timedelta(microseconds=1))


def state(load: Load, cursor: str | None, total: checksum.Sum) -> dict[str, Any]:
    """What raw's log keeps of a load, in the commit that holds its rows."""
    return {
        "load_id": load.id,
        "kind": load.kind,
        "window": load.window,
        "loaded_at": load.loaded_at.isoformat(),
        "cursor": cursor,
        "declared": load.declared or None,
        "days": [day.isoformat() for day in load.days] if load.days else None,
        **total.state(),
    }


def overtaken(load: Load, raw: DeltaTable | None, since: int, busy: Busy) -> Busy:
    """What to raise for a load that lost to the commits after version `since` of raw: another window's do no harm."""
    if raw is None or any(map(partial(_is_of_same_window, load), _commits(raw, since))):
        return busy
    return Overtaken(busy.where, busy.what, busy.mend)


def _commits(raw: DeltaTable, since: int) -> list[dict[str, Any]]:
    """The states that loads after version `since` have left; of any other change of the rows, an empty one."""
    states = []
    for entry in commit.entries(raw, since):
        left = json.loads(entry.get(commit.STATE, "{}"))
        if "load_id" in left:
            states.append(left)
        elif entry.get("operation") not in NEUTRAL and commit.UPKEEP not in entry:
            states.append({})
    return states


def _is_of_same_window(load: Load, other: Mapping[str, Any]) -> bool:
    """Whether a load may tell of the same rows as one that was committed meanwhile."""
    kinds = {load.kind, other.get("kind")}
    if kinds == {"changes", "days"}:
        return False
    if kinds != {"days"} or load.days is None or not other.get("days"):
        return True
    first, last = map(datetime.date.fromisoformat, other["days"])
    return load.days[0] <= last and first <= load.days[1]


def admit(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    load: Load,
    entry: gate.Gate,
    *,
    number: str = "rowid",
    record_rows: bool = True,
) -> gate.Faults:
    """Make the view `admitted` of the rows of `incoming` that may enter, as they enter; record the others."""
    subject = load.subject
    found = gate.faults(
        connection,
        "incoming",
        number,
        entry,
        key=subject.key,
        partition=subject.partition,
        cursor=subject.cursor,
        key_is_enforced=subject.key_is_enforced,
    )
    quarantine.record(connection, lake, load, "incoming", number, entry, rows=record_rows)
    columns = ", ".join(f"{entry.passed(column)} AS {quoted(column)}" for column in entry.columns)
    without = f" WHERE {number} NOT IN (SELECT number FROM faulty_rows)" if found.rows else ""
    connection.execute(f"CREATE OR REPLACE TEMP VIEW admitted AS SELECT {columns} FROM incoming{without}")
    return found


def _append(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    load: Load,
    cursor: str | None,
    total: checksum.Sum,
    base: DeltaTable | None,
) -> None:
    address = load.subject.at("raw")
    before = commit.state(base)
    after = _state_after(before, load, cursor, total)
    told = ("cursor", "declared")
    if not any(total.rows.values()) and before and all(after[name] == before.get(name) for name in told):
        return
    day = load.loaded_at
    rows = connection.execute(
        f"""SELECT *, TIMESTAMPTZ {literal(day.isoformat())} AS _loaded_at, {literal(load.id)} AS _load_id
            FROM changed"""
    ).to_arrow_reader(BATCH_ROWS)
    # Not Delta's own writer: of 2 M rows of 180 bytes it held 0.5 GB at a time.
    writer = Writer(lake, address, load.id, load.subject.told, partition=day.date())
    writer.rows_of(None, (pa.Table.from_batches([batch]) for batch in rows))
    while True:
        try:
            commit.add(lake, address, rows.schema, writer.written, after, base=base, by_day=True)
            return
        except Busy as busy:
            now = None if base is None else commit.table(lake, address)
            if base is None or now is None or now.version() == base.version():
                raise overtaken(load, commit.table(lake, address), -1, busy) from None
            if not _are_others(connection, lake, load, now, base.version()):
                raise overtaken(load, now, base.version(), busy) from None
            base, after = now, _state_after(commit.state(now), load, cursor, total)


def _state_after(before: Mapping[str, Any], load: Load, cursor: str | None, total: checksum.Sum) -> dict[str, Any]:
    """The state that a load leaves on top of `before`: that of other days or of quarantine keeps the cursor."""
    entry = state(load, before.get("cursor") if load.kind in ("days", "replay") else cursor, total)
    entry["declared"] = entry["declared"] or before.get("declared")
    newest = [entry["loaded_at"], *([before["loaded_at"]] if before.get("loaded_at") else [])]
    entry["loaded_at"] = max(newest, key=datetime.datetime.fromisoformat)  # the next load is dated after all of them
    return {**before, **entry} if load.kind == "replay" else entry


def _are_others(connection: duckdb.DuckDBPyConnection, lake: Lake, load: Load, raw: DeltaTable, since: int) -> bool:
    """Whether the commits after version `since` are loads of other windows that brought none of our keys."""
    commits = _commits(raw, since)
    if any(map(partial(_is_of_same_window, load), commits)):
        return False
    loads = ", ".join(literal(entry["load_id"]) for entry in commits)
    if not loads:
        return True
    relation = read.relation(lake, load.subject.at("raw"), raw)
    query = f"""SELECT 1 FROM changed AS c SEMI JOIN (SELECT * FROM {relation} WHERE _load_id IN ({loads})) AS r
        ON {load.subject.match("c", "r")} LIMIT 1"""
    return connection.execute(query).fetchone() is None


def _keep_changed(
    connection: duckdb.DuckDBPyConnection, processed: str, subject: Subject, known: Container[str]
) -> None:
    same = _same([column for column in subject.columns if column not in subject.key], known, "i", "p")
    first = quoted(subject.key[0])
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE changed AS
            SELECT i.*, CASE WHEN p.{first} IS NULL THEN 'i' ELSE 'u' END AS _op
            FROM admitted AS i LEFT JOIN {processed} AS p ON {subject.match("i", "p")}
            WHERE p.{first} IS NULL OR NOT ({same})"""
    )


def _mark_gone(
    connection: duckdb.DuckDBPyConnection,
    processed: str,
    load: Load,
    gone_from: str,
    all_were_read: bool,
    allow_shrink: bool,
) -> int:
    subject = load.subject
    kept = dict.fromkeys([*subject.key, *([subject.partition] if subject.partition else [])])
    names = ", ".join(f"p.{quoted(column)}" for column in kept)
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE gone AS SELECT {names} FROM {processed} AS p
            ANTI JOIN present AS i ON {subject.match("i", "p")} WHERE {gone_from}"""
    )
    gone = duck.count(connection, "gone")
    compared = duck.count(connection, f"{processed} AS p WHERE {gone_from}")
    if not allow_shrink:
        # A day may become empty, the table may not: there all keys count.
        whole = load.kind == "days" and not all_were_read
        total = duck.count(connection, processed) if whole else compared
        _refuse_truncation(subject, total - duck.count(connection, "present") if whole else gone, total)
    dated = f", TIMESTAMPTZ {literal(load.loaded_at.isoformat())} AS {quoted(subject.cursor)}" if subject.cursor else ""
    if subject.cursor in kept:
        dated = ""
    # Deleted between the reading of the rows and that of the keys: the deletion is the newer news.
    connection.execute(f"DELETE FROM changed USING gone WHERE {subject.match('changed', 'gone')}")
    connection.execute(f"INSERT INTO changed BY NAME SELECT gone.*, 'd' AS _op{dated} FROM gone")
    return compared


def _refuse_truncation(subject: Subject, gone: int, total: int) -> None:
    if gone > SHRINK_LIMIT * total and gone >= SHRINK_FLOOR:
        raise TruncatedLoad(
            str(subject),
            f"{gone:,} of {total:,} rows have vanished at the source, more than a fifth",
            "check the source; if it is right, run again with --allow-shrink",
        )


def _same(columns: Iterable[str], known: Container[str], left: str, right: str) -> str:
    """The condition that two rows agree; a column that `right` does not know agrees if it is NULL on the left."""
    parts = []
    for column in columns:
        other = f"{right}.{quoted(column)}" if column in known else "NULL"
        parts.append(f"{left}.{quoted(column)} IS NOT DISTINCT FROM {other}")
    return " AND ".join(parts) or "TRUE"
