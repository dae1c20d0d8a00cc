"""Raw: the append-only log of what a source said that was not known yet.

Rows just read lie in a DuckDB table; this compares them with processed, sets aside what breaks the contract, and
appends new (`i`), changed (`u`) and vanished (`d`) rows to raw, together with the cursor, in one commit. Reading the
same window again therefore appends nothing.
"""

import datetime
import hashlib
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import duckdb
from deltalake import DeltaTable

from lake import commit, read
from lake.duck import literal, quoted
from lake.errors import TruncatedLoad
from lake.layout import Address, Lake

Kind = Literal["changes", "days", "full"]
SHRINK_LIMIT = 0.2
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

    def at(self, zone: Literal["raw", "processed", "quarantine"]) -> Address:
        """The table's address in one zone."""
        return Address(zone, self.source, self.table)


@dataclass(frozen=True)
class Load:
    """One reading of a window; its id follows from source, table and window."""

    subject: Subject
    kind: Kind
    window: str
    loaded_at: datetime.datetime

    @property
    def id(self) -> str:
        """Sixteen hex digits."""
        text = f"{self.subject}|{self.kind}|{self.window}|{self.loaded_at.isoformat()}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Taken:
    """What one load brought: rows read, new, changed, deleted, unchanged, quarantined (with reasons)."""

    rows_read: int = 0
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    quarantined: int = 0
    keys_compared: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

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
    gone_from: str | None = None,
    present_keys: str | None = None,
    allow_shrink: bool = False,
) -> Taken:
    """Append to raw what the table `incoming` says that processed does not.

    `base` is raw as it was before `incoming` was read (None: not there); if another load was committed since, Busy is
    raised. `gone_from` is an SQL condition over processed: its rows that are missing in `incoming` (or in the relation
    `present_keys`, if given) are deleted. Raises TruncatedLoad if that would delete more than a fifth of them.
    """
    subject = load.subject
    known = read.columns(commit.table(lake, subject.at("processed")))
    read_rows = _count(connection, "incoming")
    reasons = _set_aside(connection, lake, load)
    if known:
        _keep_changed(connection, lake, subject, known)
    else:
        connection.execute("CREATE OR REPLACE TEMP VIEW changed AS SELECT *, 'i' AS _op FROM incoming")
    compared = 0
    if known and gone_from:
        compared = _mark_gone(connection, lake, load, gone_from, present_keys or "present", allow_shrink)
    counts = dict(connection.execute("SELECT _op, count(*) FROM changed GROUP BY 1").fetchall())
    taken = Taken(
        read_rows, counts.get("i", 0), counts.get("u", 0), counts.get("d", 0), sum(reasons.values()), compared, reasons
    )
    _append(connection, lake, load, cursor, any(counts.values()), base)
    return taken


def _append(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    load: Load,
    cursor: str | None,
    has_rows: bool,
    base: DeltaTable | None,
) -> None:
    address = load.subject.at("raw")
    before = commit.state(base)
    after: dict[str, str | None] = {
        "load_id": load.id,
        "kind": load.kind,
        "window": load.window,
        "loaded_at": load.loaded_at.isoformat(),
    }
    after["cursor"] = cursor if load.kind != "days" else before.get("cursor")
    if not has_rows and before and after["cursor"] == before.get("cursor"):
        return
    day = load.loaded_at
    rows = connection.execute(
        f"""SELECT *, TIMESTAMPTZ {literal(day.isoformat())} AS _loaded_at, {literal(load.id)} AS _load_id,
            '{day:%Y}' AS year, '{day:%m}' AS month, '{day:%d}' AS day FROM changed"""
    )
    commit.append(lake, address, rows.to_arrow_reader(100_000), after, base=base)


def _set_aside(connection: duckdb.DuckDBPyConnection, lake: Lake, load: Load) -> dict[str, int]:
    """Move rows that break the contract from `incoming` to `rejected` and to quarantine; tell how many, by reason."""
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE rejected AS SELECT incoming.*, bad._reason, bad.at AS _at
            FROM incoming JOIN ({_broken(load.subject)}) AS bad ON incoming.rowid = bad.at"""
    )
    reasons = dict(connection.execute("SELECT _reason, count(*) FROM rejected GROUP BY 1 ORDER BY 1").fetchall())
    if reasons:
        _quarantine(connection, lake, load)
        connection.execute("DELETE FROM incoming WHERE rowid IN (SELECT _at FROM rejected)")
    return {str(reason): int(count) for reason, count in reasons.items()}


def _broken(subject: Subject) -> str:
    cases = {f"{quoted(column)} IS NULL": f"{column} (key) is NULL" for column in subject.key}
    if subject.partition:
        name = quoted(subject.partition)
        day = f"CAST({name} AS DATE)"
        cases[f"{name} IS NULL"] = f"{subject.partition} (partition) is NULL"
        # Beyond these years a day has no place in the lake: no path, no Python date.
        cases[f"NOT isfinite({day}) OR year({day}) NOT BETWEEN 1 AND 9999"] = (
            f"{subject.partition} (partition) is no day"
        )
    whens = " ".join(f"WHEN {condition} THEN {literal(reason)}" for condition, reason in cases.items())
    parts = [f"SELECT * FROM (SELECT rowid AS at, CASE {whens} END AS _reason FROM incoming) WHERE _reason IS NOT NULL"]
    if not subject.key_is_enforced:
        keys = ", ".join(quoted(column) for column in subject.key)
        latest = f"{quoted(subject.cursor)} DESC NULLS LAST, " if subject.cursor else ""
        parts.append(
            f"""SELECT rowid, {literal(f"the key ({', '.join(subject.key)}) is not unique")} FROM incoming
                WHERE NOT coalesce({" OR ".join(f"({condition})" for condition in cases)}, FALSE)
                QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY {latest}hash(incoming)) > 1"""
        )
    return " UNION ALL ".join(parts)


def _quarantine(connection: duckdb.DuckDBPyConnection, lake: Lake, load: Load) -> None:
    """Append the rejected rows that quarantine does not hold yet: a table that is read whole meets them each time."""
    address = load.subject.at("quarantine")
    base = commit.table(lake, address)
    new = "TRUE"
    if base is not None:
        names = {*load.subject.columns, "_reason"}
        same = _same(names, set(read.columns(base)), "r", "q")
        new = f"NOT EXISTS (SELECT 1 FROM {read.relation(lake, address)} AS q WHERE {same})"
    day = load.loaded_at
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE set_aside AS
            SELECT r.* EXCLUDE (_at), TIMESTAMPTZ {literal(day.isoformat())} AS _loaded_at,
            {literal(load.id)} AS _load_id, '{day:%Y}' AS year, '{day:%m}' AS month, '{day:%d}' AS day
            FROM rejected AS r WHERE {new}"""
    )
    if _count(connection, "set_aside"):
        rows = connection.execute("SELECT * FROM set_aside").to_arrow_reader(100_000)
        commit.append(lake, address, rows, {"load_id": load.id}, base=base)


def _keep_changed(connection: duckdb.DuckDBPyConnection, lake: Lake, subject: Subject, known: Container[str]) -> None:
    processed = read.relation(lake, subject.at("processed"))
    same = _same([column for column in subject.columns if column not in subject.key], known, "i", "p")
    first = quoted(subject.key[0])
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE changed AS
            SELECT i.*, CASE WHEN p.{first} IS NULL THEN 'i' ELSE 'u' END AS _op
            FROM incoming AS i LEFT JOIN {processed} AS p ON {_match(subject, "i", "p")}
            WHERE p.{first} IS NULL OR NOT ({same})"""
    )


def _mark_gone(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    load: Load,
    gone_from: str,
    present: str,
    allow_shrink: bool,
) -> int:
    subject = load.subject
    keys = ", ".join(quoted(column) for column in subject.key)
    if present == "present":  # a row in quarantine is still there at the source
        query = f"SELECT {keys} FROM incoming UNION ALL SELECT {keys} FROM rejected"
        connection.execute(f"CREATE OR REPLACE TEMP VIEW present AS {query}")
    processed = read.relation(lake, subject.at("processed"))
    kept = dict.fromkeys([*subject.key, *([subject.partition] if subject.partition else [])])
    names = ", ".join(f"p.{quoted(column)}" for column in kept)
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE gone AS SELECT {names} FROM {processed} AS p
            ANTI JOIN {present} AS i ON {_match(subject, "i", "p")} WHERE {gone_from}"""
    )
    gone = _count(connection, "gone")
    compared = _count(connection, f"{processed} AS p WHERE {gone_from}")
    if not allow_shrink:
        # A day may become empty, the table may not: there all keys count.
        whole = load.kind == "days" and present != "present"
        total = _count(connection, processed) if whole else compared
        _refuse_truncation(subject, total - _count(connection, present) if whole else gone, total)
    dated = f", TIMESTAMPTZ {literal(load.loaded_at.isoformat())} AS {quoted(subject.cursor)}" if subject.cursor else ""
    if subject.cursor in kept:
        dated = ""
    # Deleted between the reading of the rows and that of the keys: the deletion is the newer news.
    connection.execute(f"DELETE FROM changed USING gone WHERE {_match(subject, 'changed', 'gone')}")
    connection.execute(f"INSERT INTO changed BY NAME SELECT gone.*, 'd' AS _op{dated} FROM gone")
    return compared


def _refuse_truncation(subject: Subject, gone: int, total: int) -> None:
    if gone > SHRINK_LIMIT * total and gone >= SHRINK_FLOOR:
        raise TruncatedLoad(
            str(subject),
            f"{gone:,} of {total:,} rows have vanished at the source, more than a fifth",
            "check the source; if it is right, run again with --allow-shrink",
        )


def _match(subject: Subject, left: str, right: str) -> str:
    return " AND ".join(f"{left}.{quoted(column)} = {right}.{quoted(column)}" for column in subject.key)


def _same(columns: Iterable[str], known: Container[str], left: str, right: str) -> str:
    """The condition that two rows agree; a column that `right` does not know agrees if it is NULL on the left."""
    parts = []
    for column in columns:
        other = f"{right}.{quoted(column)}" if column in known else "NULL"
        parts.append(f"{left}.{quoted(column)} IS NOT DISTINCT FROM {other}")
    return " AND ".join(parts) or "TRUE"


def _count(connection: duckdb.DuckDBPyConnection, relation: str) -> int:
    row: Any = connection.execute(f"SELECT count(*) FROM {relation}").fetchone()
    return int(row[0])
