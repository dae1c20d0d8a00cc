"""Days looked at row by row: what the source has of them, held against raw and processed.

Rows that may rightly differ are told apart: newer than the last load, set aside by the contract, or kept although the
source has deleted them.
"""

import datetime
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from ingestion import contract
from ingestion.connectors import MISFIT, Connector, Shape, Window
from ingestion.connectors.shard import SHARD
from ingestion.reconcile_case import ZONES, Case, dates
from ingestion.reconciled import Day, Difference, Place
from lake import commit, gate, read, reconcile
from lake.access import told
from lake.duck import literal, quoted
from lake.fold import MEMORY


@dataclass(frozen=True)
class Looked:
    """What a look at single rows has found."""

    differences: tuple[Difference, ...] = ()
    behind: int = 0
    kept: int = 0
    set_aside: int = 0


def look(case: Case, days: Collection[Day], before: Looked) -> Looked:
    """Hold the rows of these days in raw and processed against those that the source has."""
    with read.connect(case.lake, MEMORY) as connection, told(case.lake), case.sessions() as sessions:
        entry = collect(connection, case, sessions, days)
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
        flags = f"{case.day} AS _day, {_is_new(case)} AS _is_new, FALSE AS _is_kept"
        connection.execute(
            f"""CREATE OR REPLACE TEMP TABLE reference AS SELECT *, {flags}
                FROM (SELECT {values} FROM incoming WHERE rowid NOT IN (SELECT number FROM faulty_rows))"""
        )
        shown = [name for name in entry.columns if name in case.columns]
        on = reconcile.on(case.subject, dates(days))
        raw = reconcile.state(case.lake, case.subject, on)
        columns = ", ".join([*map(quoted, shown), f"{case.day} AS _day"])
        connection.execute(f"CREATE OR REPLACE TEMP TABLE rows_of_raw AS SELECT {columns} FROM {raw}")
        if case.keeps:
            connection.execute(
                f"""INSERT INTO reference BY NAME SELECT r.*, FALSE AS _is_new, TRUE AS _is_kept
                    FROM rows_of_raw AS r ANTI JOIN reference AS i ON {case.subject.match("i", "r")}"""
            )
        here = f"SELECT {columns} FROM {case.processed} WHERE {on}"
        if case.versions[1] < 0:
            here = "SELECT * FROM rows_of_raw LIMIT 0"
        connection.execute(f"CREATE OR REPLACE TEMP TABLE rows_of_processed AS {here}")
        counted = {place: _counted(connection, case, place, shown) for place in ZONES}
        (kept,) = connection.execute("SELECT count(*) FROM reference WHERE _is_kept").fetchall()[0]
    differences = tuple(one for place in ZONES for one in counted[place][0])
    behind = max(counted[place][1] for place in ZONES)
    return Looked(differences, behind, before.kept + int(kept), before.set_aside + sum(faults.rows.values()))


def _counted(
    connection: duckdb.DuckDBPyConnection, case: Case, place: Place, columns: list[str]
) -> tuple[list[Difference], int]:
    """The differences of one place by day, and how many rows are not loaded yet."""
    content = [name for name in columns if name not in case.subject.key]
    differs = " OR ".join(f"i.{quoted(name)} IS DISTINCT FROM p.{quoted(name)}" for name in content) or "FALSE"
    keys = ", ".join(map(quoted, case.subject.key))
    day = " AND i._day = p._day" if case.subject.partition else ""
    first = quoted(case.subject.key[0])
    # A row that has moved to another day since the last load is still on its old one.
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE judged AS
            SELECT p._day, m.{first} IS NOT NULL AS is_new, TRUE AS is_surplus, FALSE AS is_changed
            FROM rows_of_{place} AS p ANTI JOIN reference AS i ON {case.subject.match("i", "p")}{day}
            LEFT JOIN (SELECT DISTINCT {keys} FROM reference WHERE _is_new) AS m ON {case.subject.match("m", "p")}
            UNION ALL
            SELECT i._day, i._is_new, FALSE, p.{first} IS NOT NULL
            FROM reference AS i LEFT JOIN rows_of_{place} AS p ON {case.subject.match("i", "p")}{day}
            WHERE p.{first} IS NULL OR {differs}"""
    )
    rows = connection.execute(
        f"""SELECT _day, count(*) FILTER (NOT is_new AND NOT is_surplus AND NOT is_changed) AS missing,
            count(*) FILTER (NOT is_new AND is_changed) AS changed,
            count(*) FILTER (NOT is_new AND is_surplus) AS surplus, 0 AS doubled,
            count(*) FILTER (is_new) AS behind
            FROM judged GROUP BY 1
            UNION ALL SELECT _day, 0, 0, 0, sum(n - 1)::BIGINT, 0 FROM (
                SELECT _day, {keys}, count(*) AS n FROM rows_of_{place} GROUP BY ALL HAVING count(*) > 1) GROUP BY 1"""
    ).fetchall()
    days: dict[Day, list[int]] = {}
    for of, *counts in rows:
        days[of] = [one + other for one, other in zip(days.get(of, [0] * 5), counts, strict=True)]
    found = [Difference(place, of, *counts[:4]) for of, counts in days.items() if any(counts[:4])]
    return found, sum(counts[4] for counts in days.values())


def collect(
    connection: duckdb.DuckDBPyConnection,
    case: Case,
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
    wanted = dates(days)
    if wanted is not None and case.subject.partition:
        listed = ", ".join(f"DATE '{day}'" for day in sorted(wanted)) or "NULL"
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


def _stretches(case: Case, days: Collection[Day]) -> Iterator[Window]:
    """Days in a row as one window each; a table without days as a whole."""
    wanted = dates(days)
    if wanted is None or case.subject.partition is None:
        yield Window()
        return
    ordered = sorted(wanted)
    start = last = None
    for day in ordered:
        if last is not None and start is not None and day != last + datetime.timedelta(days=1):
            yield Window(first=start, last=last)
            start = None
        start, last = start or day, day
    if start is not None:
        yield Window(first=start, last=last)


def _is_new(case: Case) -> str:
    """The condition that the next load reads a row by its cursor; of what no cursor dates, nothing is known."""
    cursor, column = case.state.get("cursor"), case.table.cursor
    if case.table.files:  # a file of which the lake has no row; lost ones are missed in the record of their load
        raw = read.relation(case.lake, case.subject.at("raw"))
        return f"_file NOT IN (SELECT DISTINCT _file FROM {raw})"
    if cursor is None or column is None or column not in case.columns:
        return "FALSE"
    if cursor.startswith("{"):
        whens = [
            f"WHEN {literal(name)} THEN {_is_after(case, column, value)}"
            for name, value in json.loads(cursor).items()
            if value
        ]
        return f"CASE {quoted(SHARD)} {' '.join(whens)} ELSE TRUE END" if whens else "TRUE"
    return _is_after(case, column, cursor)


def _is_after(case: Case, column: str, cursor: str) -> str:
    name = quoted(column)
    if cursor.isdigit():  # a transaction's number: the first that was still open
        return f"coalesce(TRY_CAST({name} AS HUGEINT) >= {cursor}, TRUE)"
    kind = case.columns[column]
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        return "FALSE"
    instant = datetime.datetime.fromisoformat(cursor) - case.table.lookback
    return f"coalesce({name}::TIMESTAMPTZ > TIMESTAMPTZ {literal(instant.isoformat())}, TRUE)"
