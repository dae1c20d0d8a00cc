"""What comes after a first load, measured for ours on PostgreSQL: changes, days, deletes, and a kill in the middle."""

import datetime
import json
import os
import shutil
import signal
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import lineitem
from benchmarks.cpu import Measured
from benchmarks.lineitem import Place

TABLE = "lineitem_stamped"
STAMPED = {"name": TABLE, "load": "merge", "cursor": "updated_at"}
FIRST_DAY = datetime.date(1995, 6, 1)
DAYS = 30
CHUNKS = 20
KILLED_AT = 0.9

Child = Callable[..., Measured]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Found:
    """What a scenario found, in lines; `wrong`: where the result was not what it must be."""

    lines: Sequence[str]
    wrong: Sequence[str] = field(default=())


class _Failed(Exception):
    """A process of a scenario did not end well."""

    def __init__(self, run: Measured) -> None:
        super().__init__(run.failure)
        self.said = run.said


def incremental(place: Place, scratch: Path, child: Child, say: Say) -> Found:
    """One row in a hundred changed: over all days, then all in the newest days."""
    root = _stamped(place, scratch, child, say)
    rows = place.rows // 100
    newest = f"l_shipdate >= (select l_shipdate from {TABLE} order by l_shipdate desc offset {rows} limit 1)"
    lines, wrong = [], []
    for words, condition in (
        ("in all days", "(l_orderkey * 7 + l_linenumber) % 100 = 0"),
        ("in the newest days", newest),
    ):
        with lineitem.session(place.kind, place.dsn) as execute:
            mark = execute("select clock_timestamp()::text")[0][0]
            execute(f"update {TABLE} set l_tax = l_tax, updated_at = clock_timestamp() where {condition}")
            changed, days = execute(
                f"select count(*), count(distinct l_shipdate) from {TABLE} where updated_at > '{mark}'"
            )[0]
        query = f"select * from {TABLE} where updated_at > '{mark}'"
        bare = _well(child(place, "copied", {"kind": place.kind, "query": query}, scratch))
        run = _well(child(place, "loaded", {"kind": place.kind, "root": str(root), **STAMPED}, scratch))
        said = run.answer
        if said["rows_read"] != changed:
            wrong.append(f"1 % {words}: {said['rows_read']:,} rows read instead of {changed:,}")
        lines.append(
            f"1 % changed {words} ({changed:,} rows of {days:,} days): {run.cpu_s:.1f} CPU-s,"
            f" load {said['load_s']:.1f} s and fold {said['fold_s']:.1f} s of {run.wall_s:.1f} s,"
            f" {run.peak_bytes / 1e6:,.0f} MB;"
            f" the bare query {bare.cpu_s:.1f} CPU-s, {bare.wall_s:.1f} s"
        )
        say(lines[-1])
    wrong += _differs(place, root, child, scratch)
    return Found(lines, wrong)


def windows(place: Place, scratch: Path, child: Child, say: Say) -> Found:
    """A month by days, each loaded and folded for itself: into a new lake, then again."""
    _table(place, scratch, say)
    days = [(FIRST_DAY + datetime.timedelta(days=number)).isoformat() for number in range(DAYS)]
    queries = [f"select * from {TABLE} where l_shipdate = '{day}'" for day in days]
    root = scratch / "windows"
    lines = []
    for words in ("into a new lake", "once more"):
        bare = _well(child(place, "copied_often", {"queries": queries}, scratch)).answer["seconds"]
        job = {"kind": place.kind, "root": str(root), "days": days, **STAMPED}
        run = _well(child(place, "loaded_by_day", job, scratch))
        over = [load - query for load, query in zip(run.answer["loads_s"], bare, strict=True)]
        lines.append(
            f"{DAYS} days one by one {words} ({run.answer['rows_read']:,} rows): a load takes"
            f" {statistics.median(over):.2f} s over its query (median; most {max(over):.2f}; the query"
            f" {statistics.median(bare):.2f}), its fold {statistics.median(run.answer['folds_s']):.2f} s;"
            f" all {run.cpu_s:.1f} CPU-s, {run.wall_s:.1f} s"
        )
        say(lines[-1])
    shutil.rmtree(root)
    return Found(lines)


def sweep(place: Place, scratch: Path, child: Child, say: Say) -> Found:
    """Deletes found by comparing keys: what that adds to a load that finds nothing new."""
    root = _stamped(place, scratch, child, say)
    job = {"kind": place.kind, "root": str(root), **STAMPED}
    _well(child(place, "loaded", job, scratch))  # what earlier measurements changed
    without = _well(child(place, "loaded", job, scratch))
    swept = _well(child(place, "loaded", {**job, "deletes": "sweep"}, scratch))
    with lineitem.session(place.kind, place.dsn) as execute:
        before = execute(f"select count(*) from {TABLE}")[0][0]
        execute(f"delete from {TABLE} where (l_orderkey * 7 + l_linenumber) % 1000 = 1")
        gone = before - execute(f"select count(*) from {TABLE}")[0][0]
    found = _well(child(place, "loaded", {**job, "deletes": "sweep"}, scratch))
    millions = before / 1e6
    spent = [run.answer["load_cpu_s"] + (run.server_cpu_s or 0) for run in (without, swept, found)]
    lines = [
        f"sweep of {before:,} keys, nothing gone: {(spent[1] - spent[0]) / millions:.2f} CPU-s and"
        f" {(swept.answer['load_s'] - without.answer['load_s']) / millions:.2f} s for a million keys,"
        f" {swept.peak_bytes / 1e6:,.0f} MB",
        f"sweep of {before:,} keys, {gone:,} gone: {(spent[2] - spent[0]) / millions:.2f} CPU-s and"
        f" {(found.answer['load_s'] - without.answer['load_s']) / millions:.2f} s for a million keys, then its fold"
        f" {found.answer['fold_s']:.1f} s",
    ]
    for line in lines:
        say(line)
    wrong = [f"sweep: {found.answer['deleted']:,} deleted, not {gone:,}"] if found.answer["deleted"] != gone else []
    return Found(lines, [*wrong, *_differs(place, root, child, scratch)])


def kill(place: Place, scratch: Path, child: Child, say: Say) -> Found:
    """A first load killed when nine tenths of its chunks are staged, and run again."""
    root, staging = scratch / "killed", scratch / "staging"
    shutil.rmtree(staging, ignore_errors=True)
    job = {"kind": place.kind, "root": str(root), "chunk_rows": place.rows // CHUNKS}
    staged, planned = 0, 0

    def watch(pid: int) -> None:
        nonlocal staged, planned
        for plan in staging.glob("*/*/plan.json"):
            planned = len(json.loads(plan.read_text())["chunks"])
            staged = len(list(plan.parent.glob("[0-9]*.arrow")))
            if staged >= KILLED_AT * planned:
                os.kill(pid, signal.SIGKILL)

    counter = Path(f"{root}.count")
    killed = child(place, "loaded", job, scratch, watch=watch)
    if not killed.failure.startswith("killed"):
        return Found(
            [f"kill at 90 %: the load was not caught ({killed.failure or 'it had ended'})"], ["kill: not done"]
        )
    first = int(counter.read_text())
    again = _well(child(place, "loaded", job, scratch))
    second = int(counter.read_text())
    reread = first + second - place.rows
    lines = [
        f"killed with {staged} of {planned} chunks staged and {first:,} rows read: the next load kept"
        f" {again.answer['kept']} of them, read {second:,} rows,"
        f" {reread:,} of them again (a chunk is {place.rows // CHUNKS:,}), and took {again.cpu_s:.1f} CPU-s,"
        f" {again.wall_s:.1f} s"
    ]
    say(lines[0])
    wrong = _differs(place, root, child, scratch, "lineitem")
    shutil.rmtree(root)
    return Found(lines, wrong)


def _stamped(place: Place, scratch: Path, child: Child, say: Say) -> Path:
    """A lake that holds the table with a cursor, as it is at the source."""
    root = scratch / "stamped"
    if not root.exists():
        _table(place, scratch, say)
        _well(child(place, "loaded", {"kind": place.kind, "root": str(root), **STAMPED}, scratch))
        say(f"{TABLE}: loaded the first time")
    return root


def _table(place: Place, scratch: Path, say: Say) -> None:
    """Make the variant of `lineitem` with a cursor, once a run: the scenarios change it."""
    made = scratch / "stamped.made"
    if made.exists():
        return
    with lineitem.session(place.kind, place.dsn) as execute:
        execute(f"drop table if exists {TABLE}")
        execute(f"create table {TABLE} as select *, now() - interval '1 day' as updated_at from lineitem")
        execute(f"alter table {TABLE} set (autovacuum_enabled = false), alter updated_at set not null")
        execute(f"alter table {TABLE} add primary key (l_orderkey, l_linenumber)")
        for column in ("updated_at", "l_shipdate"):
            execute(f"create index on {TABLE} ({column})")
        execute(f"vacuum (freeze, analyze) {TABLE}")
    made.touch()
    say(f"{TABLE}: made, with indexes on its cursor and its day")


def _well(run: Measured) -> Measured:
    if run.failure:
        raise _Failed(run)
    return run


def _differs(place: Place, root: Path, child: Child, scratch: Path, table: str = TABLE) -> list[str]:
    """Where the lake's processed table does not hold what the source holds."""
    result: Mapping[str, Any] = _well(child(place, "checked", {"where": str(root), "table": table}, scratch)).answer
    query = f"select count(*), sum(l_orderkey)::bigint, sum(l_extendedprice)::text from {table}"
    with lineitem.session(place.kind, place.dsn) as execute:
        wanted = dict(zip(("rows", "keys", "price"), execute(query)[0], strict=True))
    return [f"{table}: {key} {result[key]}, not {value}" for key, value in wanted.items() if result[key] != value]


def _guarded(scenario: Callable[[Place, Path, Child, Say], Found]) -> Callable[[Place, Path, Child, Say], Found]:
    """A scenario whose failure is a line and does not end the others."""

    def run(place: Place, scratch: Path, child: Child, say: Say) -> Found:
        try:
            return scenario(place, scratch, child, say)
        except _Failed as failure:
            line = f"{scenario.__name__}: {failure}"
            say(f"{line}\n{failure.said}")
            return Found([line], [line])

    return run


SCENARIOS = {scenario.__name__: _guarded(scenario) for scenario in (incremental, windows, sweep, kill)}
