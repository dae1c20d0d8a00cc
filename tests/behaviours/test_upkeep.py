"""Upkeep between loads, during loads and under readers, on a folder and on S3; the commands that do it."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from click.testing import CliRunner
from trial_source import Trial, on_folder

from ingestion import load
from lake import commit, compaction, inventory, journal, upkeep, vacuum, verify
from lake.errors import PermanentError
from lake.layout import Address
from watershed import cli_lake

# One S3 server will do: what is done to the store here is listing, copying and removing.
on_folder_and_s3 = pytest.mark.parametrize("lake_root", ["folder", "ceph"], indirect=True)


def _later(**length: float) -> datetime:
    return datetime.now(UTC) + timedelta(**length)


def _runs(trial: Trial, count: int) -> None:
    """Some small loads, each of rows of two days and a change."""
    for number in range(count):
        trial.orders(3, first=10 * number + 1)
        trial.orders(2, day="2026-01-06", first=10 * number + 5)
        trial.sql("update orders set amount = amount + 1, updated_at = clock_timestamp() where order_id = 1")
        trial.run()


def _keep(trial: Trial, **options: Any) -> list[upkeep.Kept]:
    return [upkeep.keep(trial.lake, address, **options) for address in inventory.tables(trial.lake)]


def _command(*arguments: str) -> str:
    result = CliRunner().invoke(cli_lake.lake, list(arguments))
    return result.output


@on_folder_and_s3
def test_loads_before_between_and_after_upkeep_bring_what_the_source_holds(trial: Trial) -> None:
    trial.declare(history=True)
    _runs(trial, 3)
    raw, _ = (trial.rows(zone="raw"), _keep(trial))
    assert trial.rows(zone="raw") == raw
    assert trial.run().taken.rows_read == 0
    versions = trial.versions()
    trial.run()
    assert trial.versions() == versions
    trial.orders(4, first=500)
    trial.sql("delete from orders where order_id = 2")
    trial.run()
    _keep(trial, now=_later(days=40))
    trial.assert_same()
    trial.order(900)
    trial.run()
    trial.assert_same()


@on_folder_and_s3
def test_each_load_can_still_be_verified_after_its_files_were_put_together(trial: Trial) -> None:
    _runs(trial, 3)
    loads = [state["load_id"] for state in commit.states(_raw(trial), -1)]
    _keep(trial)
    _keep(trial, now=_later(days=40))
    assert len(commit.files(_raw(trial))) == 1
    subject = load.subject(trial.source, trial.table)
    assert [verify.verify(trial.lake, subject, load_id).difference for load_id in loads] == [None] * 3


@on_folder
def test_compacting_raw_gives_the_fold_nothing_to_do(trial: Trial) -> None:
    _runs(trial, 3)
    before = trial.version()
    compaction.compact(trial.lake, trial.address("raw"))
    assert trial.fold().loads == 0
    assert trial.version() == before


@on_folder
def test_a_load_that_waits_while_raw_is_compacted_is_folded(trial: Trial) -> None:
    _runs(trial, 2)
    trial.order(700)
    trial.load()
    compaction.compact(trial.lake, trial.address("raw"))
    assert trial.fold().loads == 1
    trial.assert_same()


@on_folder
def test_a_first_load_that_was_not_folded_yet_is_not_put_together(trial: Trial) -> None:
    trial.orders(3)
    trial.orders(3, day="2026-01-06", first=10)
    trial.load()
    _keep(trial)
    trial.fold()
    trial.assert_same()
    _keep(trial, now=_later(days=40))
    trial.assert_same()
    assert len(commit.files(_raw(trial))) == 1


@on_folder
def test_a_first_load_whose_processed_table_is_built_anew_is_read_from_compacted_files(trial: Trial) -> None:
    trial.orders(3)
    trial.orders(3, day="2026-01-06", first=10)
    trial.run()
    _keep(trial)
    inventory.remove(
        trial.lake, [f"{trial.address()}/{one.path}" for one in inventory.below(trial.lake, str(trial.address()))]
    )
    trial.fold()
    trial.assert_same()


@on_folder
def test_a_load_in_progress_loses_nothing_to_upkeep(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    _runs(trial, 2)
    add = commit.add

    def tidied_first(*given: Any, **more: Any) -> Any:
        """All is written, nothing committed: the worst moment."""
        with monkeypatch.context() as patch:
            patch.setattr(commit, "add", add)
            _keep(trial, now=_later(hours=23))
        return add(*given, **more)

    trial.orders(3, first=300)
    monkeypatch.setattr(commit, "add", tidied_first)
    trial.run()
    trial.assert_same()


@on_folder
def test_loads_and_upkeep_at_once_end_with_what_the_source_holds(trial: Trial) -> None:
    _runs(trial, 1)
    done = threading.Event()
    wrong: list[str] = []

    def tidy() -> None:
        while not done.is_set():
            try:
                _keep(trial)
            except Exception as error:
                wrong.append(repr(error))

    tidier = threading.Thread(target=tidy)
    tidier.start()
    try:
        for number in range(1, 7):
            trial.orders(3, first=10 * number + 1)
            trial.sql("update orders set amount = amount + 1, updated_at = clock_timestamp() where order_id < 5")
            trial.run()
    finally:
        done.set()
        tidier.join()
    assert wrong == []
    trial.assert_same()


@on_folder_and_s3
def test_orphans_and_uploads_that_were_never_completed_are_collected_after_the_grace_period(trial: Trial) -> None:
    _runs(trial, 1)
    address = trial.address()
    orphan = f"{address}/year=2026/month=01/day=05/part-00ff-2026-01-05-00000.parquet"
    inventory.write(trial.lake, orphan, b"half a file")
    inventory.write(trial.lake, f"{address}/foreign.csv", b"a;b")
    inventory.write(trial.lake, ".probe-0123", b"x")
    if trial.lake.on_s3:
        boto3.client("s3").create_multipart_upload(Bucket=trial.lake.bucket, Key=trial.lake.key(f"{orphan}.part"))
    early = vacuum.vacuum(trial.lake, address, _later(hours=23))
    assert (early.orphans, early.uploads, early.foreign) == (0, 0, ("foreign.csv",))
    late = vacuum.vacuum(trial.lake, address, _later(hours=25))
    assert (late.orphans, late.uploads) == (1, 1 if trial.lake.on_s3 else 0)
    assert upkeep.sweep_root(trial.lake, _later(hours=23)) == 0
    assert upkeep.sweep_root(trial.lake, _later(hours=25)) == 1
    assert vacuum.vacuum(trial.lake, address, _later(hours=25)).foreign == ("foreign.csv",)
    trial.assert_same()


@on_folder_and_s3
def test_the_status_names_every_table_and_what_to_do(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "holds no table yet" in _command("status")
    _runs(trial, 3)
    shown = _command("status")
    assert "raw/trial/orders" in shown
    (line,) = (line for line in shown.splitlines() if line.startswith("processed/trial/orders"))
    assert line.split()[1] == "15"
    assert line.split()[-5:-3] == ["0%", "2026-01-05"]
    assert "in order" in shown
    monkeypatch.setattr("watershed.lake_status.MANY_SMALL", 2)
    assert "raw/trial/orders have many small files (4 in all); run `watershed lake upkeep`." in _command("status")


@on_folder
def test_the_command_says_what_it_did_and_what_it_would_do(trial: Trial) -> None:
    _runs(trial, 3)
    inventory.write(trial.lake, f"{trial.address()}/foreign.csv", b"a;b")
    assert "Would put 4 small files together" in _command("upkeep", "--dry-run")
    shown = _command("upkeep")
    assert "Put 4 small files together into 1" in shown
    assert "processed/trial/orders: foreign file foreign.csv was left alone; move it away." in shown
    assert "Put 0 small files together" in _command("upkeep", "trial.orders")
    assert "table trial.order: is not in lake" in _command("upkeep", "trial.order")
    assert 'did you mean "trial.orders"?' in _command("upkeep", "trial.order")
    assert "too short for running readers and loads" in _command("upkeep", "--grace-hours", "0.5")


def _raw(trial: Trial) -> Any:
    return commit.table(trial.lake, Address("raw", "trial", "orders"))


def _cut_entry(trial: Trial, zone: Any, version: int) -> None:
    path = f"{trial.address(zone)}/_delta_log/{version:020}.json"
    whole = inventory.read(trial.lake, path)
    inventory.write(trial.lake, path, whole[: len(whole) // 2])


@on_folder_and_s3
def test_a_table_with_a_broken_entry_says_so_is_restored_and_loads_again_what_was_lost(trial: Trial) -> None:
    trial.declare(history=True)
    _runs(trial, 3)
    before = (trial.rows("order_id, amount"), trial.rows("order_id, amount, _op", suffix="_history"))
    _cut_entry(trial, "raw", 1)
    sentence = "lake table raw/trial/orders: log entry 00000000000000000001.json is cut off or no JSON"
    with pytest.raises(PermanentError, match=sentence):
        trial.run()
    assert "damaged" in _command("status")
    assert "run `watershed lake restore raw/trial/orders`" in _command("check")
    shown = _command("restore", "raw/trial/orders")
    assert "raw/trial/orders: is again what it was at version 0" in shown
    assert "lost: load of version 1 (rows not known, its entry is broken)" in shown
    assert "processed/trial/orders: is again what it was at version 0" in shown
    assert "processed/trial/orders_history: is again what it was at version 0" in shown
    assert "all are whole" in _command("check", "--deep")
    trial.run()
    trial.assert_same()
    assert trial.rows("order_id, amount") == before[0]
    after = trial.rows("order_id, amount, _op", suffix="_history")
    assert {row[:2] for row in after} <= {row[:2] for row in before[1]}
    _rebuilt(trial)
    assert "all are whole" in _command("check", "--deep")
    assert "nothing was changed" in _command("restore", "raw/trial/orders")


@on_folder_and_s3
def test_a_lost_file_of_raw_is_found_and_its_load_is_read_again(trial: Trial) -> None:
    _runs(trial, 3)
    newest = max(compaction.in_order(_raw(trial)), key=lambda one: one.path in _added(trial, 2))
    inventory.remove(trial.lake, [f"{trial.address('raw')}/{newest.path}"])
    assert f"raw/trial/orders: file {newest.path} is missing." in _command("check", "trial.orders")
    assert "(15 rows before, 10 now); version 2 undone" in _command("restore", "raw/trial/orders")
    trial.run()
    trial.assert_same()
    _rebuilt(trial)


@on_folder
def test_a_lost_file_of_processed_comes_back_from_raw(trial: Trial) -> None:
    _runs(trial, 3)
    path = next(one.path for one in commit.files(_delta(trial)) if "day=05" in one.path)
    inventory.remove(trial.lake, [f"{trial.address()}/{path}"])
    shown = _command("restore", "processed/trial/orders")
    assert "processed/trial/orders: is again what it was at version 1" in shown
    trial.run()
    trial.assert_same()


@on_folder
def test_raw_that_goes_back_further_than_processed_can_says_so(trial: Trial) -> None:
    _runs(trial, 3)
    now = _later(seconds=1)
    upkeep.keep(trial.lake, trial.address(), now=now, retention=timedelta(), grace=timedelta(), force=True)
    _cut_entry(trial, "raw", 2)
    shown = _command("restore", "raw/trial/orders")
    assert "rows of the lost loads stay in processed/trial/orders" in shown
    trial.run()
    trial.assert_same()


@on_folder
def test_a_name_that_means_several_tables_or_a_time_that_means_none_is_refused(trial: Trial) -> None:
    _runs(trial, 1)
    assert "is in 2 zones; say which zone: raw/trial/orders, processed/trial/orders" in _command(
        "restore", "trial.orders"
    )
    assert "--to: yesterday is neither a version nor a time" in _command(
        "restore", "raw/trial/orders", "--to", "yesterday"
    )


def _delta(trial: Trial) -> Any:
    return commit.table(trial.lake, trial.address())


def _added(trial: Trial, version: int) -> set[str]:
    actions = journal.actions(trial.lake, trial.address("raw"), version)
    return {action["add"]["path"] for action in actions if "add" in action}


def _rebuilt(trial: Trial) -> None:
    """Raw alone holds everything: processed is built anew from it."""
    for address in (trial.address(), trial.address(suffix="_history")):
        files = [f"{address}/{one.path}" for one in inventory.below(trial.lake, str(address))]
        inventory.remove(trial.lake, files)
    trial.fold()
    trial.assert_same()
