"""A table whose log or files are broken, on a folder: what is said of it, and what a restore brings back and loses."""

import os
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lake import access, commit, damage, journal, moment, read, restore, upkeep
from lake.errors import PermanentError
from lake.layout import Address, Lake
from lake.parquet import Writer

ORDERS = Address("raw", "shop", "orders")
DAY = date(2026, 1, 5)
LAST = 7
Break = Callable[[Path], None]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Eight loads of one row each, with a checkpoint after the fourth."""
    lake = Lake(str(tmp_path / "lake"))
    for number in range(LAST + 1):
        _load(lake, number)
        if number == 3:
            _delta(lake).create_checkpoint()
    return lake


def _load(lake: Lake, number: int) -> int:
    writer = Writer(lake, ORDERS, f"{number:04x}{os.urandom(4).hex()}", {"order_id"}, partition=DAY)
    writer.rows_of(None, [pa.table({"order_id": [number]})])
    state = {"load_id": f"load {number}", "cursor": str(number), "rows": {"i": 1}}
    schema = pa.schema([("order_id", pa.int64())])
    return commit.add(lake, ORDERS, schema, writer.written, state, base=commit.table(lake, ORDERS), by_day=True).version


def _delta(lake: Lake) -> Any:
    found = commit.table(lake, ORDERS)
    assert found is not None
    return found


def _numbers(lake: Lake) -> list[int]:
    with read.connect(lake) as connection, access.told(lake):
        found = connection.execute(f"SELECT order_id FROM {read.relation(lake, ORDERS)} ORDER BY 1").fetchall()
    return [number for (number,) in found]


def _entry(lake: Lake, version: int) -> Path:
    return Path(lake.uri(ORDERS)) / "_delta_log" / journal.name(version)


def _file(lake: Lake, number: int) -> Path:
    (found,) = Path(lake.uri(ORDERS)).glob(f"year=*/*/*/part-{number:04x}*")
    return found


def _forget(lake: Lake) -> None:
    """Upkeep that keeps no old version."""
    upkeep.keep(lake, ORDERS)
    now = datetime.now(UTC) + timedelta(seconds=1)
    upkeep.keep(lake, ORDERS, now=now, retention=timedelta(), grace=timedelta(), force=True)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


BREAKS = {"is missing": Path.unlink, "is cut off or no JSON": _cut, "is empty or says nothing": _empty}


def test_a_whole_table_has_no_faults(lake: Lake) -> None:
    found = damage.check(lake, ORDERS)
    assert (found.version, found.files, found.faults, found.foreign, found.remarks) == (LAST, 8, (), (), ())


@pytest.mark.parametrize(("what", "break_it"), BREAKS.items())
def test_a_broken_entry_is_named_and_the_table_goes_back_to_the_version_before_it(
    lake: Lake, what: str, break_it: Break
) -> None:
    break_it(_entry(lake, 6))
    sentence = f"log entry {journal.name(6)} {what}"
    assert damage.check(lake, ORDERS).faults == (sentence,)
    done = restore.restore(lake, ORDERS)
    assert (done.before, done.to, done.versions) == (LAST, 5, (6, 7))
    assert done.loads == {"of version 6": None, "load 7": 1}
    assert _numbers(lake) == list(range(6))
    assert commit.state(_delta(lake))["cursor"] == "5"
    assert damage.check(lake, ORDERS).faults == ()
    assert {name.rpartition("/")[2] for name in done.moved} >= {journal.name(7)}
    assert all((Path(lake.root) / name).exists() for name in done.moved)


@pytest.mark.parametrize(("what", "break_it"), [one for one in BREAKS.items() if one[1] is not _empty])
def test_a_table_that_cannot_be_opened_says_which_entry_and_what_to_do(lake: Lake, what: str, break_it: Break) -> None:
    break_it(_entry(lake, 6))
    with pytest.raises(PermanentError) as raised:
        commit.table(lake, ORDERS)
    name = journal.name(6)
    assert str(raised.value) == (
        f"lake table raw/shop/orders: log entry {name} {what}; run `watershed lake restore raw/shop/orders`"
    )


def test_a_load_on_top_of_an_empty_entry_is_refused(lake: Lake) -> None:
    _empty(_entry(lake, LAST))
    with pytest.raises(PermanentError, match=r"log entry 0*7\.json is empty"):
        commit.state(commit.table(lake, ORDERS))


def test_no_version_number_is_used_twice(lake: Lake) -> None:
    _cut(_entry(lake, 5))
    restore.restore(lake, ORDERS)
    assert _delta(lake).version() == LAST
    assert _load(lake, 100) == LAST + 1
    assert _numbers(lake) == [0, 1, 2, 3, 4, 100]


def test_nor_when_the_restore_is_killed_halfway(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    _cut(_entry(lake, 5))
    with monkeypatch.context() as patch:
        patch.setattr(restore, "_fill", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            restore.restore(lake, ORDERS)
    assert "was moved aside" in damage.check(lake, ORDERS).faults[0]
    restore.restore(lake, ORDERS)
    assert _load(lake, 100) == LAST + 1
    assert damage.check(lake, ORDERS).faults == ()


def test_an_entry_that_a_checkpoint_stands_in_for_costs_history_only(lake: Lake) -> None:
    _entry(lake, 2).unlink()
    found = damage.check(lake, ORDERS)
    assert found.faults == ()
    assert found.remarks == (f"log entry {journal.name(2)} is missing; only its history is lost",)
    assert restore.restore(lake, ORDERS).versions == ()
    assert len(_numbers(lake)) == 8


def _checkpoint(lake: Lake) -> Path:
    (found,) = Path(lake.uri(ORDERS)).glob("_delta_log/*.checkpoint.parquet")
    return found


@pytest.mark.parametrize(("what", "break_it"), [("cannot be read", _cut), ("is missing", Path.unlink)])
def test_a_broken_checkpoint_is_moved_aside_and_nothing_is_lost(lake: Lake, what: str, break_it: Break) -> None:
    break_it(_checkpoint(lake))
    with pytest.raises(PermanentError, match=f"the checkpoint of version 3 {what}; run `watershed lake restore"):
        commit.table(lake, ORDERS)
    done = restore.restore(lake, ORDERS)
    assert (done.versions, done.loads) == ((), {})
    assert _numbers(lake) == list(range(8))


@pytest.mark.parametrize(("what", "break_it"), [("is missing", Path.unlink), ("cannot be read", _cut)])
def test_a_broken_data_file_is_named_with_its_table(lake: Lake, what: str, break_it: Break) -> None:
    path = _file(lake, 5)
    break_it(path)
    with pytest.raises(PermanentError) as raised:
        _numbers(lake)
    name = path.relative_to(lake.uri(ORDERS)).as_posix()
    mend = "run `watershed lake check raw/shop/orders`, then `watershed lake restore raw/shop/orders`"
    assert str(raised.value) == f"lake table raw/shop/orders: file {name} {what}; {mend}"
    (fault,) = damage.check(lake, ORDERS).faults
    assert fault.startswith(f"file {name} {'is missing' if what == 'is missing' else 'has '}")


@pytest.mark.parametrize("break_it", [Path.unlink, _cut])
def test_a_broken_data_file_takes_the_table_back_to_before_it_came_in(lake: Lake, break_it: Break) -> None:
    break_it(_file(lake, 5))
    done = restore.restore(lake, ORDERS)
    assert (done.to, done.loads) == (4, {"load 5": 1, "load 6": 1, "load 7": 1})
    assert (done.rows_before, done.rows_after) == (8, 5)
    assert _numbers(lake) == [0, 1, 2, 3, 4]
    assert commit.state(_delta(lake))["cursor"] == "4"
    assert _delta(lake).version() == LAST + 1
    assert damage.loads(_delta(lake)) == [f"load {number}" for number in range(5)]


def test_a_file_of_the_same_length_with_other_bytes_is_found_by_the_deep_check_only(lake: Lake) -> None:
    path = _file(lake, 5)
    path.write_bytes(bytes(path.stat().st_size))
    assert damage.check(lake, ORDERS).faults == ()
    (fault,) = damage.check(lake, ORDERS, deep=True).faults
    assert fault == f"file {path.relative_to(lake.uri(ORDERS)).as_posix()} cannot be read"


def test_a_foreign_file_is_named_and_is_no_fault(lake: Lake) -> None:
    (Path(lake.uri(ORDERS)) / "year=2026" / "stray.parquet").write_bytes(b"no parquet")
    found = damage.check(lake, ORDERS)
    assert (found.faults, found.foreign) == ((), ("year=2026/stray.parquet",))
    assert len(_numbers(lake)) == 8


def test_a_table_can_be_brought_to_a_version_or_an_instant_of_choice(lake: Lake) -> None:
    made = journal.told_at(journal.actions(lake, ORDERS, 3))
    assert made is not None
    done = restore.restore(lake, ORDERS, to=made + timedelta(microseconds=1))
    assert (done.to, list(done.loads)) == (3, ["load 4", "load 5", "load 6", "load 7"])
    assert _numbers(lake) == [0, 1, 2, 3]
    assert restore.restore(lake, ORDERS, to=6).rows_after == 7
    assert commit.state(_delta(lake))["cursor"] == "6"


def test_a_version_that_there_is_not_is_refused_with_those_there_are(lake: Lake) -> None:
    with pytest.raises(PermanentError, match="version 70 cannot be read; choose another: versions 0 to 7 can be read"):
        restore.restore(lake, ORDERS, to=70)


def test_a_version_whose_files_are_gone_is_refused_with_one_that_is_whole(lake: Lake) -> None:
    _forget(lake)
    with pytest.raises(PermanentError, match="files of version 3 are gone or broken; move the folders of this table"):
        restore.restore(lake, ORDERS, to=3)
    assert _numbers(lake) == list(range(8))


def test_a_table_of_which_nothing_can_be_read_says_how_to_begin_anew(lake: Lake) -> None:
    _checkpoint(lake).unlink()
    _entry(lake, 0).unlink()
    with pytest.raises(PermanentError, match=r"no version can be read: log entry .* is missing; move the folders"):
        restore.restore(lake, ORDERS)


def test_the_version_of_an_instant_is_the_last_one_made_by_then(lake: Lake) -> None:
    made = [journal.told_at(journal.actions(lake, ORDERS, version)) for version in range(LAST + 1)]
    for instant in made:
        assert instant is not None
        assert made[moment.version_at(lake, ORDERS, instant)] == instant
    assert moment.version_at(lake, ORDERS, datetime.now(UTC) + timedelta(days=1)) == LAST
    with pytest.raises(moment.NoVersion, match=r"raw/shop/orders: its first version is of .* UTC; choose a later time"):
        moment.version_at(lake, ORDERS, datetime(2020, 1, 1, tzinfo=UTC))


def test_an_instant_past_the_retention_says_how_far_time_travel_reaches_back(lake: Lake) -> None:
    made = journal.told_at(journal.actions(lake, ORDERS, 3))
    assert made is not None
    assert moment.whole_at(lake, ORDERS, made) >= 3
    _forget(lake)
    with pytest.raises(moment.NoVersion, match="were removed by upkeep; time travel reaches back to 20"):
        moment.whole_at(lake, ORDERS, made)
    assert moment.whole_at(lake, ORDERS, datetime.now(UTC) + timedelta(days=1)) == LAST + 1
