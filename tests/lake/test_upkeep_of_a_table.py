"""Compaction, vacuum and orphans of one table on a folder: what is put together, what is removed, what never is."""

import datetime
import json
import os
import random
import threading
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from deltalake.transaction import AddAction

from lake import commit, compaction, inventory, journal, read, upkeep, vacuum
from lake.errors import PermanentError, SpecError
from lake.layout import Address, Lake
from lake.parquet import Writer

ORDERS = Address("raw", "shop", "orders")
FIRST, SECOND = datetime.date(2026, 1, 5), datetime.date(2026, 1, 6)
ORPHAN = "year=2026/month=01/day=05/part-00ff-all-00000.parquet"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def _load(lake: Lake, *numbers: int, day: datetime.date = FIRST, base: DeltaTable | None = None, **more: Any) -> int:
    """Append rows in a file of their own, as a load does; the version."""
    table = pa.table({"order_id": list(numbers), **{name: [value] * len(numbers) for name, value in more.items()}})
    writer = Writer(lake, ORDERS, os.urandom(8).hex(), {"order_id"}, partition=day)
    writer.rows_of(None, [table])
    state = {"load_id": f"load {numbers}", "cursor": str(numbers)}
    base = base or commit.table(lake, ORDERS)
    return commit.add(lake, ORDERS, table.schema, writer.written, state, base=base, by_day=True).version


def _loads(lake: Lake, count: int) -> None:
    for number in range(count):
        _load(lake, 2 * number, 2 * number + 1)


def _delta(lake: Lake) -> DeltaTable:
    found = commit.table(lake, ORDERS)
    assert found is not None
    return found


def _numbers(lake: Lake, columns: str = "order_id") -> list[Any]:
    with read.connect(lake) as connection:
        found = connection.execute(f"SELECT {columns} FROM {read.relation(lake, ORDERS)} ORDER BY ALL").fetchall()
    return [row[0] if len(row) == 1 else row for row in found]


def _paths(lake: Lake) -> set[str]:
    return {file.path for file in inventory.below(lake, str(ORDERS)) if file.path.endswith(".parquet")} - {
        f"_delta_log/{path.name}" for path in _log(lake).glob("*.parquet")
    }


def _log(lake: Lake) -> Path:
    return Path(lake.uri(ORDERS)) / "_delta_log"


def _drop(lake: Lake, path: str) -> Path:
    """Leave a file in the table's folder that no commit names."""
    whole = Path(lake.uri(ORDERS)) / path
    whole.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"order_id": [666]}), whole)
    return whole


def _later(**length: float) -> datetime.datetime:
    return datetime.datetime.now(UTC) + timedelta(**length)


def test_the_small_files_of_a_day_become_one_and_days_stay_apart(lake: Lake) -> None:
    _loads(lake, 5)
    _load(lake, 20, day=SECOND)
    _load(lake, 21, day=SECOND)
    done = upkeep.keep(lake, ORDERS)
    assert (done.before.files, done.after.files) == (7, 2)
    assert (done.before.small, done.after.small, done.after.rows) == (7, 0, 12)
    assert sorted(one.day for one in commit.files(_delta(lake)) if one.day) == [FIRST, SECOND]
    assert _numbers(lake) == [*range(10), 20, 21]


def test_rows_stay_in_the_order_in_which_they_were_written(lake: Lake) -> None:
    for numbers in ((9, 3), (7, 1), (8, 2)):
        _load(lake, *numbers)
    compaction.compact(lake, ORDERS)
    (one,) = commit.files(_delta(lake))
    rows = pq.read_table(Path(lake.uri(ORDERS)) / one.path, partitioning=None)
    assert rows["order_id"].to_pylist() == [9, 3, 7, 1, 8, 2]


def test_a_compaction_says_that_no_row_has_changed_and_keeps_the_state(lake: Lake) -> None:
    _loads(lake, 3)
    before = commit.state(_delta(lake))
    compaction.compact(lake, ORDERS)
    delta = _delta(lake)
    actions = journal.actions(lake, ORDERS, delta.version())
    changes = [action[kind]["dataChange"] for action in actions for kind in ("add", "remove") if kind in action]
    assert changes == [False] * 4
    assert commit.state(delta)["cursor"] == before["cursor"]
    loads = [state["load_id"] for state in commit.states(delta, -1) if "load_id" in state]
    assert loads == ["load (0, 1)", "load (2, 3)", "load (4, 5)"]


def test_upkeep_that_has_nothing_to_do_makes_no_version(lake: Lake) -> None:
    _loads(lake, 3)
    upkeep.keep(lake, ORDERS)
    version = _delta(lake).version()
    done = upkeep.keep(lake, ORDERS)
    assert _delta(lake).version() == version
    assert done.before == done.after


def test_a_large_file_is_not_written_again_for_a_tiny_one(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "CHEAP", 0)
    _load(lake, *random.Random(1).sample(range(10**15), 5000))
    _load(lake, 6000)
    large = max(one.bytes for one in commit.files(_delta(lake)))
    assert compaction.compact(lake, ORDERS, target_bytes=large * 4).files_before == 0
    _load(lake, *random.Random(2).sample(range(10**15), 4000))
    assert compaction.compact(lake, ORDERS, target_bytes=large * 4).files_before == 3


def test_files_of_the_target_size_are_left_alone(lake: Lake) -> None:
    _loads(lake, 4)
    smallest = min(one.bytes for one in commit.files(_delta(lake)))
    assert compaction.compact(lake, ORDERS, target_bytes=smallest).files_before == 0


def test_columns_that_came_later_are_null_in_older_rows(lake: Lake) -> None:
    _load(lake, 1)
    _load(lake, 2, note="new")
    upkeep.keep(lake, ORDERS)
    assert _numbers(lake, "order_id, note") == [(1, None), (2, "new")]


def test_bounds_of_columns_are_told_again(lake: Lake) -> None:
    _load(lake, 4, 9)
    _load(lake, 2)
    compaction.compact(lake, ORDERS)
    (one,) = commit.files(_delta(lake))
    told = json.loads(one.stats)
    assert (told["minValues"], told["maxValues"], told["numRecords"]) == ({"order_id": 2}, {"order_id": 9}, 3)


def test_a_file_without_statistics_gets_them(lake: Lake) -> None:
    _load(lake, 1)
    path = "year=2026/month=01/day=06/part-00ff-all-00000.parquet"
    size = _drop(lake, path).stat().st_size
    delta = _delta(lake)
    values: dict[str, str | None] = {"year": "2026", "month": "01", "day": "06"}
    delta.create_write_transaction(
        [AddAction(path, size, values, 0, True, "{}")], "append", delta.schema(), ["year", "month", "day"]
    )
    assert upkeep.keep(lake, ORDERS).after.rows == 2
    assert [one.rows for one in commit.files(_delta(lake))] == [1, 1]


def test_a_load_that_began_before_a_compaction_commits_after_it(lake: Lake) -> None:
    _loads(lake, 3)
    base = _delta(lake)
    compaction.compact(lake, ORDERS)
    _load(lake, 100, base=base)
    assert _numbers(lake) == [*range(6), 100]
    assert commit.state(_delta(lake))["cursor"] == "(100,)"


def test_a_load_during_a_compaction_keeps_its_rows_and_its_state(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    _loads(lake, 3)
    together = compaction._together

    def slowly(*given: Any) -> Any:
        done = together(*given)
        _load(lake, 100)
        return done

    monkeypatch.setattr(compaction, "_together", slowly)
    assert compaction.compact(lake, ORDERS).files_before == 3
    assert _numbers(lake) == [*range(6), 100]
    assert commit.state(_delta(lake))["cursor"] == "(100,)"
    assert len(commit.files(_delta(lake))) == 2


def test_files_that_were_replaced_meanwhile_are_left_for_the_next_time(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    _loads(lake, 2)
    together = compaction._together

    def slowly(*given: Any) -> Any:
        done = together(*given)
        delta = _delta(lake)
        commit.add(lake, ORDERS, pa.schema([]), [], {"n": 1}, base=delta, by_day=True, removed=commit.removals(delta))
        return done

    monkeypatch.setattr(compaction, "_together", slowly)
    done = compaction.compact(lake, ORDERS)
    assert done.files_before == 0
    assert "next time" in done.left
    assert _numbers(lake) == []


def test_a_fold_that_began_before_a_compaction_is_told_to_look_again(lake: Lake) -> None:
    _loads(lake, 2)
    base = _delta(lake)
    removed = commit.removals(base)
    compaction.compact(lake, ORDERS)
    with pytest.raises(PermanentError, match="another process committed at the same time"):
        commit.add(lake, ORDERS, pa.schema([]), [], {}, base=base, by_day=True, removed=removed)
    assert _numbers(lake) == [0, 1, 2, 3]


def test_a_file_that_holds_fewer_rows_than_its_log_tells_is_not_put_together(lake: Lake) -> None:
    _load(lake, 1, 2)
    _load(lake, 3)
    whole = Path(lake.uri(ORDERS)) / commit.files(_delta(lake))[0].path
    pq.write_table(pa.table({"order_id": pa.array([], pa.int64())}), whole)
    with pytest.raises(PermanentError, match=r"raw/shop/orders: its files hold . rows where its log tells of 3"):
        compaction.compact(lake, ORDERS)


@pytest.mark.parametrize("left", [None, 0, 20])
def test_a_file_that_is_gone_or_cut_off_stops_the_upkeep_of_its_table_in_one_sentence(
    lake: Lake, left: int | None
) -> None:
    _loads(lake, 2)
    path = commit.files(_delta(lake))[0].path
    whole = Path(lake.uri(ORDERS)) / path
    content = whole.read_bytes()
    whole.unlink()
    if left is not None:
        whole.write_bytes(content[:left])
    with pytest.raises(PermanentError, match=f"raw/shop/orders: file {path} is missing or cannot be read; run"):
        upkeep.keep(lake, ORDERS)
    assert len(commit.files(_delta(lake))) == 2


def test_the_files_of_a_first_load_wait_until_processed_has_them(lake: Lake) -> None:
    writer = Writer(lake, ORDERS, "00aa", {"order_id"}, partition=FIRST)
    for day in (FIRST, SECOND):
        writer.rows_of(day, [pa.table({"order_id": [1]})])
    schema = pa.schema([("order_id", pa.int64())])
    commit.add(lake, ORDERS, schema, writer.written, {commit.BULK: True}, base=None, by_day=True)
    assert "processed will take them over" in upkeep.keep(lake, ORDERS).compacted.left
    assert len(commit.files(_delta(lake))) == 2


def test_a_killed_compaction_leaves_the_table_as_it_was_and_an_orphan_that_goes_later(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    _loads(lake, 3)
    live = _paths(lake)
    with monkeypatch.context() as patch:
        patch.setattr(compaction, "_commit", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            upkeep.keep(lake, ORDERS)
    assert _numbers(lake) == list(range(6))
    assert len(_paths(lake) - live) == 1
    assert vacuum.vacuum(lake, ORDERS, _later(hours=23)).orphans == 0
    assert vacuum.vacuum(lake, ORDERS, _later(hours=25)).orphans == 1
    assert _paths(lake) == live


def test_old_versions_stay_readable_for_the_retention_and_then_their_files_go(lake: Lake) -> None:
    _loads(lake, 3)
    upkeep.keep(lake, ORDERS)
    assert vacuum.vacuum(lake, ORDERS, _later(days=29)).old == 0
    assert DeltaTable(lake.uri(ORDERS), version=2).to_pyarrow_table().num_rows == 6
    now = _later(days=31)
    done = vacuum.vacuum(lake, ORDERS, now)
    assert (done.old, done.orphans) == (3, 0)
    assert vacuum.reaches_back(lake, ORDERS) == now - timedelta(days=30)
    assert _numbers(lake) == list(range(6))
    assert len(_paths(lake)) == 1


def test_a_dry_run_counts_and_removes_nothing(lake: Lake) -> None:
    _loads(lake, 3)
    upkeep.keep(lake, ORDERS)
    before = _paths(lake)
    assert upkeep.keep(lake, ORDERS, now=_later(days=31), dry_run=True).vacuumed.old == 3
    assert _paths(lake) == before
    assert vacuum.reaches_back(lake, ORDERS) is None


def test_a_dry_run_tells_how_many_files_there_would_be(lake: Lake) -> None:
    _loads(lake, 3)
    foreseen = upkeep.keep(lake, ORDERS, dry_run=True)
    assert (foreseen.before.files, foreseen.after.files) == (3, 1)
    done = upkeep.keep(lake, ORDERS)
    assert (done.after.files, done.after.rows) == (foreseen.after.files, foreseen.after.rows)


def test_only_orphans_past_the_grace_period_are_collected(lake: Lake) -> None:
    _load(lake, 1)
    live = _paths(lake)
    _drop(lake, ORPHAN)
    assert vacuum.vacuum(lake, ORDERS, _later(hours=23)).orphans == 0
    assert _numbers(lake) == [1]
    assert vacuum.vacuum(lake, ORDERS, _later(hours=25)).orphans == 1
    assert _paths(lake) == live


def test_a_foreign_file_is_never_read_and_never_removed_but_named(lake: Lake) -> None:
    _load(lake, 1)
    names = ("year=2026/month=01/day=05/export.parquet", "notes.txt", "part-00000-1-c000.snappy.parquet")
    for name in names:
        _drop(lake, name)
    done = vacuum.vacuum(lake, ORDERS, _later(days=400))
    assert done.foreign == tuple(sorted(names))
    assert (done.old, done.orphans) == (0, 0)
    assert all((Path(lake.uri(ORDERS)) / name).exists() for name in names)
    assert _numbers(lake) == [1]


def test_a_second_name_given_just_now_is_not_old_though_its_file_is(lake: Lake) -> None:
    _load(lake, 1)
    old = Path(lake.root) / "elsewhere.parquet"
    pq.write_table(pa.table({"order_id": [2]}), old)
    os.utime(old, (0, 0))
    (Path(lake.uri(ORDERS)) / ORPHAN).hardlink_to(old)
    assert vacuum.vacuum(lake, ORDERS, _later(hours=1)).orphans == 0


def test_what_is_committed_while_vacuum_looks_stays(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    _load(lake, 1)
    below = inventory.below
    writer = Writer(lake, ORDERS, "00bb", (), partition=FIRST)
    writer.rows_of(None, [pa.table({"order_id": [2]})])

    def then_committed(*given: Any, **more: Any) -> Any:
        found = list(below(*given, **more))
        if writer.written:
            written, writer.written = writer.written, []
            schema = pa.schema([("order_id", pa.int64())])
            commit.add(lake, ORDERS, schema, written, {}, base=commit.table(lake, ORDERS), by_day=True)
        return iter(found)

    monkeypatch.setattr(inventory, "below", then_committed)
    assert vacuum.vacuum(lake, ORDERS, _later(hours=48)).orphans == 0
    assert _numbers(lake) == [1, 2]


def test_what_is_taken_out_while_vacuum_looks_stays_though_the_file_is_old(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    _load(lake, 1)
    live = _paths(lake)
    log = journal.log

    def then_taken_out(*given: Any) -> Any:
        found = log(*given)
        monkeypatch.setattr(journal, "log", log)
        delta = _delta(lake)
        commit.add(lake, ORDERS, pa.schema([]), [], {}, base=delta, by_day=True, removed=commit.removals(delta))
        return found

    monkeypatch.setattr(journal, "log", then_taken_out)
    vacuum.vacuum(lake, ORDERS, _later(days=31))
    assert _paths(lake) == live


def test_where_the_log_is_gone_nothing_is_removed(lake: Lake) -> None:
    _loads(lake, 2)
    live = _paths(lake)
    _log(lake).rename(Path(lake.root) / "log")
    assert vacuum.vacuum(lake, ORDERS, _later(days=400)).orphans == 0
    assert _paths(lake) == live


def test_a_clock_that_went_back_makes_nothing_old(lake: Lake) -> None:
    _loads(lake, 3)
    upkeep.keep(lake, ORDERS)
    _drop(lake, ORPHAN)
    before = _paths(lake)
    done = vacuum.vacuum(lake, ORDERS, _later(days=-4000))
    assert (done.old, done.orphans) == (0, 0)
    assert _paths(lake) == before


def test_a_version_that_was_dated_into_the_past_is_not_older_than_the_one_before_it(lake: Lake) -> None:
    _loads(lake, 3)
    compaction.compact(lake, ORDERS)
    os.utime(_log(lake) / journal.name(3), (0, 0))
    # On a folder the inode's time cannot be set back; the listing of a store that tells only one time is imitated.
    entries = journal.log(lake, ORDERS).entries
    assert [entry.since for entry in entries] == sorted(entry.since for entry in entries)
    assert vacuum.vacuum(lake, ORDERS, _later(days=29)).old == 0


@pytest.mark.parametrize("short", ["retention", "grace"])
def test_a_retention_or_grace_under_an_hour_is_refused_unless_forced(lake: Lake, short: str) -> None:
    _loads(lake, 3)
    compaction.compact(lake, ORDERS)
    lengths = {short: timedelta(minutes=59)}
    with pytest.raises(SpecError, match=f"{short}: 0:59:00 is too short for running readers and loads"):
        upkeep.keep(lake, ORDERS, **lengths)
    upkeep.keep(lake, ORDERS, **lengths, force=True)


def test_without_retention_a_replaced_file_goes_at_once_but_one_being_written_stays(lake: Lake) -> None:
    _loads(lake, 3)
    _drop(lake, ORPHAN)
    done = upkeep.keep(lake, ORDERS, retention=timedelta(), force=True, now=_later(seconds=1))
    assert (done.vacuumed.old, done.vacuumed.orphans) == (3, 0)
    assert (Path(lake.uri(ORDERS)) / ORPHAN).exists()


def test_what_a_killed_commit_left_in_the_log_goes_too(lake: Lake) -> None:
    _load(lake, 1)
    left = [_log(lake) / name for name in ("00000000000000000001.json#3", "_commit_00ff.json.tmp")]
    for path in left:
        path.write_text("{}")
    assert vacuum.vacuum(lake, ORDERS, _later(hours=25)).orphans == 2
    assert not any(path.exists() for path in left)


def test_after_many_entries_a_checkpoint_is_written_and_the_state_is_still_told(lake: Lake) -> None:
    _loads(lake, upkeep.ENTRIES)
    assert upkeep.keep(lake, ORDERS).has_checkpoint
    assert journal.log(lake, ORDERS).checkpoints == (upkeep.ENTRIES,)
    assert not upkeep.keep(lake, ORDERS).has_checkpoint
    assert commit.state(_delta(lake))["cursor"] == "(98, 99)"
    assert len(commit.states(_delta(lake), -1)) == upkeep.ENTRIES + 1
    assert _numbers(lake) == list(range(2 * upkeep.ENTRIES))


def test_a_table_that_does_not_exist_is_left_alone(lake: Lake) -> None:
    assert upkeep.keep(lake, ORDERS).after == upkeep.Figures()
    assert not Path(lake.uri(ORDERS)).exists()


def test_readers_in_a_loop_see_all_rows_once_while_files_are_put_together(lake: Lake) -> None:
    _loads(lake, 2)
    wrong: list[Any] = []
    done = threading.Event()

    def look(count: Any) -> None:
        while not done.is_set():
            try:
                found = count()
            except Exception as error:
                found = repr(error)
            if found != (4, 6):
                wrong.append(found)

    def in_duckdb() -> Any:
        with read.connect(lake) as connection:
            query = f"SELECT count(*), sum(order_id)::BIGINT FROM {read.relation(lake, ORDERS)}"
            return connection.execute(query).fetchone()

    def in_polars() -> Any:
        frame = polars.read_delta(lake.uri(ORDERS))
        return frame.height, frame["order_id"].sum()

    readers = [threading.Thread(target=look, args=[count]) for count in (in_duckdb, in_polars)]
    for reader in readers:
        reader.start()
    for _ in range(15):
        _split(lake)
        upkeep.keep(lake, ORDERS)
    done.set()
    for reader in readers:
        reader.join()
    assert wrong == []


def _split(lake: Lake) -> None:
    """The same rows in two files again, in one commit."""
    delta = _delta(lake)
    writer = Writer(lake, ORDERS, os.urandom(8).hex(), {"order_id"}, partition=FIRST)
    for numbers in ([0, 1], [2, 3]):
        writer.rows_of(None, [pa.table({"order_id": numbers})])
    schema = pa.schema([("order_id", pa.int64())])
    commit.add(lake, ORDERS, schema, writer.written, {}, base=delta, by_day=True, removed=commit.removals(delta))
