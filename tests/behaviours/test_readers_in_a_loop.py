"""Whoever reads a table in a loop while windows of it are overwritten sees old or new, never a mix, never an error."""

import datetime
import json
import os
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import loop_reader
import polars
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from fix_servers import PROJECT
from trial_source import on_folder

from lake import commit, duck, parquet, read, upkeep, vacuum
from lake.layout import Lake

FIRST = datetime.date(2026, 1, 5)
SPANS = (range(2), range(2, 5), range(5, 6))  # days that are overwritten together
ROWS = 40  # a day
OVERWRITES, ON_S3 = 500, 10  # a commit on S3 takes twenty times as long as one on a folder, and so does a read


def _overwrite(lake: Lake, generation: int, base: DeltaTable | None, days_a_commit: int = 99) -> DeltaTable:
    """Put rows that all carry this generation in place of all rows of the span whose turn it is."""
    number = generation % len(SPANS)
    days = list(SPANS[number])
    while days:
        now, days = days[:days_a_commit], days[days_a_commit:]
        writer = parquet.Writer(lake, loop_reader.TABLE, f"{generation:08x}", told=("generation",))
        for day in now:
            whole = {"span": number, "generation": generation, "text": f"written as number {generation}"}
            rows = pa.table({name: [value] * ROWS for name, value in whole.items()})
            writer.rows_of(FIRST + datetime.timedelta(days=day), [rows])
        removed = commit.removals(base, [FIRST + datetime.timedelta(days=day) for day in now]) if base else []
        commit.add(
            lake, loop_reader.TABLE, rows.schema, writer.written, {"n": generation},
            base=base, by_day=True, removed=removed,
        )  # fmt: skip
        base = base or commit.table(lake, loop_reader.TABLE)
    assert base is not None
    return base


def _made(lake: Lake) -> DeltaTable:
    base = None
    for generation in range(len(SPANS)):
        base = _overwrite(lake, generation, base)
    assert base is not None
    return base


def _state(newest: int) -> list[list[Any]]:
    """What the table holds after the overwrite number `newest`: the last generation of each span, in all its days."""
    generations = {number % len(SPANS): number for number in range(newest - len(SPANS) + 1, newest + 1)}
    return [
        [number, f"{FIRST.day + day:02}", generations[number], ROWS]
        for number, days in enumerate(SPANS)
        for day in days
    ]


@contextmanager
def _readers(lake: Lake, folder: Path, without: Collection[str] = ()) -> Iterator[dict[str, dict[str, Any]]]:
    """All readers at work, each a process of its own; afterwards what each has seen."""
    names, found = [name for name in loop_reader.READERS if name not in without], {}
    started = {
        name: subprocess.Popen(
            [sys.executable, loop_reader.__file__, name, lake.root, str(folder)], cwd=PROJECT, stderr=subprocess.PIPE,
            text=True, env={**os.environ, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"},
        )
        for name in names
    }  # fmt: skip
    try:
        while any(not (folder / f"{name}.ready").exists() for name in names):
            ended = [name for name in names if started[name].poll() is not None]
            assert not ended, f"{ended[0]}: {started[ended[0]].communicate()[1]}"
            time.sleep(0.05)
        yield found
        (folder / "stop").touch()
        for name in names:
            _, said = started[name].communicate(timeout=120)
            assert started[name].returncode == 0, f"{name}: {said}"
            found[name] = json.loads((folder / f"{name}.json").read_text())
    finally:
        for process in started.values():
            process.kill()
            process.wait()


def _assert_each_saw_whole_versions(found: dict[str, dict[str, Any]], first: int, last: int) -> None:
    enough = min(8, (last - first) // 3)
    possible = {json.dumps(_state(newest)): newest for newest in range(first, last + 1)}
    for name, one in found.items():
        mixed = [state for state in one["seen"] if json.dumps(state) not in possible]
        assert not mixed, f"{name} saw what no commit made: {mixed[0]}"
        order = [possible[json.dumps(state)] for state in one["seen"]]
        assert order == sorted(order), f"{name} saw an older version after a newer one: {order}"
        assert order[-1] == last, f"{name} did not see the last overwrite"
        assert len(order) >= enough, f"{name} read {one['reads']} times and saw too few versions to tell: {order}"


def test_readers_see_old_or_new_while_windows_are_overwritten(
    lake_root: str, tmp_path: Path, request: pytest.FixtureRequest
):
    lake = Lake(lake_root)
    base, made = _made(lake), len(SPANS)
    count = ON_S3 if lake.on_s3 else OVERWRITES
    # rclone answers a request for a part of an object with all of it, which these two refuse.
    without = ("polars", "deltalake") if request.node.callspec.params["lake_root"] == "rclone" else ()
    with _readers(lake, tmp_path, without) as found:
        for generation in range(made, made + count):
            base = _overwrite(lake, generation, base)
    _assert_each_saw_whole_versions(found, made - 1, made + count - 1)


@on_folder
def test_readers_go_on_while_upkeep_removes_what_is_past_the_retention(lake_root: str, tmp_path: Path):
    lake = Lake(lake_root)
    base, made, count = _made(lake), len(SPANS), 60
    with _readers(lake, tmp_path) as found:
        for generation in range(made, made + count):
            base = _overwrite(lake, generation, base)
            if generation == made + count // 2:
                middle = upkeep.clock(lake)
        kept = upkeep.keep(lake, loop_reader.TABLE, now=middle + vacuum.RETENTION)
    assert kept.vacuumed.old > count / 2, "too few files were removed to tell"
    _assert_each_saw_whole_versions(found, made - 1, made + count - 1)


@pytest.mark.parametrize("lake_root", ["folder", "ceph"], indirect=True)
def test_a_version_within_the_retention_is_read_after_upkeep(lake_root: str):
    lake = Lake(lake_root)
    base = _made(lake)
    for generation in range(3, 12):
        base = _overwrite(lake, generation, base)
    version, since = base.version(), upkeep.clock(lake)
    held = DeltaTable(lake.uri(loop_reader.TABLE), version, lake.storage_options())
    begun = polars.scan_delta(held).select(loop_reader.COLUMNS)
    for generation in range(12, 15):
        base = _overwrite(lake, generation, base)
    kept = upkeep.keep(lake, loop_reader.TABLE, now=since + vacuum.RETENTION)
    assert kept.vacuumed.old, "upkeep removed nothing"
    assert loop_reader.state(held.to_pyarrow_table(columns=list(loop_reader.COLUMNS))) == _state(11)
    assert loop_reader.state(begun.collect().to_arrow()) == _state(11)
    with read.connect(lake) as connection:
        source = f"delta_scan({duck.literal(lake.uri(loop_reader.TABLE))}, version => {version})"
        rows = connection.execute(f"SELECT {', '.join(loop_reader.COLUMNS)} FROM {source}").to_arrow_table()
    assert loop_reader.state(rows) == _state(11)


def test_a_window_in_two_commits_is_seen_as_a_mix(tmp_path: Path):
    """What the tests above would say if the days of one window were committed one by one."""
    lake = Lake(str(tmp_path / "lake"))
    base, made, count = _made(lake), len(SPANS), 30
    with _readers(lake, tmp_path) as found:
        for generation in range(made, made + count):
            base = _overwrite(lake, generation, base, days_a_commit=1)
    with pytest.raises(AssertionError, match="saw what no commit made"):
        _assert_each_saw_whole_versions(found, made - 1, made + count - 1)
