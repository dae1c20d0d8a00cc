"""Raw folded into processed: one row per key, only touched days rewritten, each fold one repeatable commit.

The files of a first load are taken over from raw as they are. Whatever else is folded comes sorted by day from DuckDB,
which spills what does not fit into memory, and is written one file at a time: memory does not grow with the table.
"""

import datetime
import secrets
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

from lake import commit, objects, read
from lake.access import told
from lake.duck import literal, quoted
from lake.intake import Subject
from lake.layout import DAY_COLUMNS, Address, Lake
from lake.parquet import Writer, Written, day_folder, named_day

BATCH_ROWS = 50_000
# Beyond this DuckDB spills; what it holds of thousands of day files it cannot spill: 256 MB was too little for 2,225.
MEMORY = "1GB"


@dataclass(frozen=True)
class Folded:
    """What one fold did: loads taken in, rows written, and the UTC days rewritten (empty if not partitioned)."""

    loads: int = 0
    rows_written: int = 0
    days: tuple[datetime.date, ...] = field(default=())


def fold(lake: Lake, subject: Subject) -> Folded:
    """Bring processed up to raw. Does nothing if no load is waiting; killed anywhere, the next call does it all.

    Where another process folds at the same time, the one that came second looks again what is left to do.
    """
    return commit.persistently(lambda: _fold(lake, subject))


def fold_history(lake: Lake, subject: Subject) -> Folded:
    """Bring `<table>_history` up to raw: every observation of every key, appended once, as raw has it.

    Which of two observations of one instant counts is for the reader to say: the later load, see `_loaded_at`.
    """
    return commit.persistently(lambda: _fold_history(lake, subject))


def _fold(lake: Lake, subject: Subject) -> Folded:
    address = subject.at("processed")
    base = commit.table(lake, address)
    before = commit.state(base)
    raw = commit.table(lake, subject.at("raw"))
    waiting, state = _waiting(raw, before)
    if raw is None or not waiting:
        return Folded()
    with told(lake):
        taken_over = _taken_over(lake, subject, raw, state) if base is None else None
    if taken_over is not None:
        return Folded(len(waiting), taken_over[0], taken_over[1])
    with read.connect(lake, MEMORY) as connection, told(lake):
        # Both tables as they were looked at: other processes may commit meanwhile.
        _latest(connection, subject, read.relation(lake, subject.at("raw"), raw), waiting)
        processed = read.relation(lake, address, base) if base is not None else None
        days = _touched(connection, subject, processed) if subject.partition else ()
        rows = _rewritten(connection, subject, days, processed)
        writer = Writer(lake, address, _name(state), subject.told)
        if subject.partition:
            writer.sorted_by("_day", rows)
            schema = pa.schema([entry for entry in rows.schema if entry.name != "_day"])
        else:
            writer.rows_of(None, (pa.Table.from_batches([batch]) for batch in rows))
            schema = rows.schema
        removed = commit.removals(base, days if subject.partition else None) if base is not None else []
        by_day = subject.partition is not None
        done = commit.add(lake, address, schema, writer.written, state, base=base, by_day=by_day, removed=removed)
    return Folded(len(waiting), done.rows, days)


def _fold_history(lake: Lake, subject: Subject) -> Folded:
    address = Address("processed", subject.source, f"{subject.table}_history")
    base = commit.table(lake, address)
    raw = commit.table(lake, subject.at("raw"))
    waiting, state = _waiting(raw, commit.state(base))
    if raw is None or not waiting:
        return Folded()
    with read.connect(lake, MEMORY) as connection, told(lake):
        shed = ", ".join(DAY_COLUMNS)
        query = f"SELECT * EXCLUDE ({shed}) FROM {read.relation(lake, subject.at('raw'), raw)}"
        query += f" WHERE _load_id IN ({', '.join(literal(load) for load in waiting)})"
        if base is not None:  # a commit of upkeep may tell of a load again
            query += f" AND _load_id NOT IN (SELECT _load_id FROM {read.relation(lake, address, base)})"
        rows = connection.execute(query).to_arrow_reader(100_000)
        done = commit.append(lake, address, rows, state, base=base, by_day=False, told=subject.told)
    return Folded(len(waiting), done.rows)


def _taken_over(
    lake: Lake, subject: Subject, raw: DeltaTable, state: dict[str, Any]
) -> tuple[int, tuple[datetime.date, ...]] | None:
    """Commit the files of a first load to processed, which needs no other rows; None if raw has more than that."""
    address = subject.at("processed")
    if len(commit.states(raw, -1)) != 1 or not commit.state(raw).get(commit.BULK):
        return None
    files = [replace(one, day=named_day(one.path)) for one in commit.files(raw)]
    here = [
        replace(
            one,
            path=f"{day_folder(one.day)}/{PurePosixPath(one.path).name}" if one.day else PurePosixPath(one.path).name,
        )
        for one in files
    ]
    objects.copy(
        lake,
        [(f"{subject.at('raw')}/{old.path}", f"{address}/{new.path}") for old, new in zip(files, here, strict=True)],
    )
    schema = pa.schema([pa.field(name, kind) for name, kind in read.columns(raw).items()])
    done = commit.add(lake, address, schema, here, state, base=None, by_day=subject.partition is not None)
    return done.rows, tuple(sorted({one.day for one in here if one.day}))


def _path(file: Written) -> str:
    name = PurePosixPath(file.path).name
    return f"{day_folder(file.day)}/{name}" if file.day else name


def _name(state: dict[str, Any]) -> str:
    """A name for the files of one attempt: one that was killed may have left some behind."""
    return f"{int(state['folded']):08x}{secrets.token_hex(4)}"


def _waiting(raw: DeltaTable | None, before: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """The ids of the loads that are not folded yet, and the state that folding them leaves."""
    if raw is None:
        return [], {}
    folded = int(before.get("folded", -1))
    if raw.version() <= folded:
        return [], {}
    loads = [state["load_id"] for state in commit.states(raw, folded) if "load_id" in state]
    return loads, {"folded": raw.version()}


def _latest(connection: duckdb.DuckDBPyConnection, subject: Subject, raw: str, loads: list[str]) -> None:
    keys = ", ".join(quoted(column) for column in subject.key)
    only_latest = f"QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY _loaded_at DESC) = 1"
    day = f"CAST({quoted(subject.partition)} AS DATE)" if subject.partition else "NULL::DATE"
    connection.execute(
        f"""CREATE TEMP TABLE latest AS
            SELECT * EXCLUDE ({", ".join(DAY_COLUMNS)}), {day} AS _day FROM {raw}
            WHERE _load_id IN ({", ".join(literal(load) for load in loads)}) {only_latest if len(loads) > 1 else ""}"""
    )


def _touched(
    connection: duckdb.DuckDBPyConnection, subject: Subject, processed: str | None
) -> tuple[datetime.date, ...]:
    moved = ""
    if processed is not None:
        moved = f"""UNION SELECT CAST(p.{quoted(subject.partition or "")} AS DATE) FROM {processed} AS p
            SEMI JOIN latest AS l ON {subject.match("p", "l")}"""
    connection.execute(f"CREATE TEMP TABLE touched AS SELECT _day FROM latest {moved}")
    return tuple(day for (day,) in connection.execute("SELECT DISTINCT _day FROM touched ORDER BY 1").fetchall())


def _rewritten(
    connection: duckdb.DuckDBPyConnection, subject: Subject, days: tuple[datetime.date, ...], processed: str | None
) -> pa.RecordBatchReader:
    """The rows of the touched days as they shall be, sorted by `_day`; all rows of a table without days."""
    query = "SELECT * FROM latest WHERE _op <> 'd'"
    if processed is not None:
        day = f"CAST(p.{quoted(subject.partition)} AS DATE)" if subject.partition else "NULL::DATE"
        inside = f"WHERE {commit.days_predicate(days)}" if subject.partition else ""
        shed = f" EXCLUDE ({', '.join(DAY_COLUMNS)})" if subject.partition else ""
        query += f""" UNION ALL BY NAME SELECT p.*{shed}, {day} AS _day
            FROM (SELECT * FROM {processed} {inside}) AS p ANTI JOIN latest AS l ON {subject.match("p", "l")}"""
    ordered = (
        f"SELECT * FROM ({query}) ORDER BY _day" if subject.partition else f"SELECT * EXCLUDE (_day) FROM ({query})"
    )
    return connection.execute(ordered).to_arrow_reader(BATCH_ROWS)
