"""Tiering killed at every step, with readers beside it, and on S3: hot and cold together are always all rows, once."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from metrics_rows import Readings
from tier_cases import DAY, LATER, RANGES, analyst, book, fill, hot, in_lake, moving, prepared, tiered, whole
from tier_victim import STEPS

from lake import cold, read
from lake.layout import Lake
from metrics import spec, tier, tier_reload

NAIVE = "SELECT count(*) FROM (SELECT read_at FROM metrics_store.sensor_readings UNION ALL SELECT read_at FROM {})"


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.setenv("LAKE_ROOT", str(tmp_path / "lake"))
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def victim(store: str, lake: Lake) -> Iterator[subprocess.Popen[str]]:
    program = [sys.executable, str(Path(__file__).with_name("tier_victim.py")), store, lake.root, LATER.isoformat()]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_killed_at_any_step_no_row_is_lost_or_seen_twice_and_the_next_run_does_the_rest(
    store: str, declared: spec.Spec, readings: Readings, lake: Lake, victim: subprocess.Popen[str]
) -> None:
    rows = fill(store, readings)
    prepared(store, tiered(declared))
    assert victim.stdin
    assert victim.stdout
    with analyst(store) as session:
        expected = whole(session)
    for step in STEPS:
        victim.stdin.write(f"{step}\n")
        victim.stdin.flush()
        assert victim.stdout.readline() == "killed\n", step
        with analyst(store) as session:
            assert whole(session) == expected, step
    assert [gone for _, _, gone in book(store)] == [True]
    tier.run(store, lake, tiered(declared).hypertables[0], LATER)
    assert book(store) == [(range.start, 144, True) for range in RANGES[:4]]
    assert (hot(store)[0], in_lake(lake)) == (rows - 576, 576)
    with analyst(store) as session:
        assert whole(session) == expected


def test_a_reader_in_a_loop_sees_every_row_once_while_rows_go_to_the_lake_and_come_back(
    store: str, declared: spec.Spec, readings: Readings, lake: Lake
) -> None:
    fill(store, readings)
    one = tiered(declared).hypertables[0]
    tier.run(store, lake, one, LATER - 3 * DAY)  # the first range, so that there is a cold table
    seen: list[tuple[int, ...] | str] = []
    done = threading.Event()

    def look(session: duckdb.DuckDBPyConnection) -> None:
        while not done.is_set():
            try:
                seen.append(whole(session))
            except duckdb.Error as error:
                seen.append(str(error))

    with analyst(store) as session, analyst(store) as other:
        expected = whole(session)
        threads = [threading.Thread(target=look, args=(each,)) for each in (session, other)]
        for thread in threads:
            thread.start()
        try:
            for turn in range(2):
                now = LATER + turn * 10 * DAY
                while any(not did.count for did in tier.run(store, lake, one, now)):
                    pass  # a reader was in the way
                tier_reload.run(store, lake, one, RANGES[0].start.date(), RANGES[3].start.date(), now)
        finally:
            done.set()
            for thread in threads:
                thread.join()
    assert len(seen) > 10
    assert set(seen) == {expected}


def test_copied_and_not_dropped_yet_rows_are_counted_once_where_a_plain_union_counts_them_twice(
    store: str, declared: spec.Spec, readings: Readings, lake: Lake
) -> None:
    rows = fill(store, readings)
    prepared(store, tiered(declared))
    with moving(store, lake, tiered(declared)) as mover:
        mover.checked(RANGES[0])
    with analyst(store) as session:
        relation = read.relation(lake, cold.address("sensor_readings"))
        assert session.execute(NAIVE.format(relation)).fetchall() == [(rows + 144,)]
        assert whole(session)[0] == rows


def test_the_whole_way_there_and_back_on_s3(
    store: str, declared: spec.Spec, readings: Readings, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKE_ROOT", root := f"s3://{bucket}/lake")
    rows, one = fill(store, readings), tiered(declared).hypertables[0]
    done = tier.run(store, Lake(root), one, LATER - 2 * DAY)
    assert [did.count for did in done] == [1, 1]
    with analyst(store) as session:
        assert whole(session)[0] == rows
        assert hot(store)[0] == rows - 288
        tier_reload.run(store, Lake(root), one, RANGES[1].start.date(), RANGES[1].start.date(), LATER)
        assert hot(store)[0] == rows - 144
        assert whole(session)[0] == whole(session)[2] == rows
