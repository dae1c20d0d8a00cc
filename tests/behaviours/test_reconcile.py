"""Reconciliation: faults that a foreign writer puts into raw and processed are found, told and mended."""

import datetime
from collections.abc import Callable
from typing import Any

import dagster
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from trial_source import Trial, on_folder

from ingestion import load, reconcile
from ingestion.reconciled import Reconciled
from lake import commit, mend, read, verify
from lake.errors import TruncatedLoad
from orchestration import reconcile_checks

FIRST, SECOND = "2026-01-05", "2026-01-06"


@pytest.fixture
def loaded(trial: Trial) -> Trial:
    """Ten orders of each of two days, one of them changed since, in the lake."""
    trial.orders(10, day=FIRST)
    trial.orders(10, day=SECOND, first=11)
    trial.run()
    trial.sql("update orders set amount = 1000, updated_at = clock_timestamp() where order_id = 12")
    trial.run()
    return trial


def compare(trial: Trial, **options: Any) -> Reconciled:
    return reconcile.compare(trial.lake, trial.source, trial.table, **options)


def repaired(trial: Trial, found: Reconciled, **options: Any) -> list[str]:
    said: list[str] = []
    reconcile.repair(trial.lake, trial.source, trial.table, found, say=said.append, **options)
    return said


def delta(trial: Trial, zone: str) -> DeltaTable:
    """The table as a writer of its own opens it."""
    return DeltaTable(trial.lake.uri(trial.address(zone)), storage_options=trial.lake.storage_options())


def foreign_rows(trial: Trial, zone: str, where: str) -> pa.Table:
    """Rows as they lie there, with their partition columns."""
    with read.connect(trial.lake) as connection:
        query = f"SELECT * FROM {read.relation(trial.lake, trial.address(zone))} WHERE {where}"
        return connection.execute(query).to_arrow_table()


def lose(trial: Trial, zone: str) -> None:
    delta(trial, zone).delete("order_id IN (3, 4)")


def double(trial: Trial, zone: str) -> None:
    rows = foreign_rows(trial, zone, "order_id IN (3, 4)")
    write_deltalake(delta(trial, zone), rows, mode="append")


def change(trial: Trial, zone: str) -> None:
    delta(trial, zone).update({"amount": "12345"}, predicate="order_id = 3")


def come_late(trial: Trial, zone: str) -> None:
    """Rows with an old time appear at the source; at `processed` a load of them has been lost on the way there."""
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    trial.order(30, day=FIRST, updated_at=past)
    trial.order(31, day="2026-01-09", updated_at=past)
    if zone == "processed":
        trial.reload(FIRST, "2026-01-09")
        delta(trial, zone).delete("order_id IN (30, 31)")


def vanish(trial: Trial, zone: str) -> None:
    """Rows go at the source; that they are gone does not stay in the lake."""
    if zone == "raw":
        trial.sql("delete from orders where order_id IN (3, 4)")
        trial.run()
        delta(trial, zone).delete("_op = 'd'")
        return
    rows = foreign_rows(trial, zone, "order_id IN (3, 4)")
    trial.sql("delete from orders where order_id IN (3, 4)")
    trial.run()
    write_deltalake(delta(trial, zone), rows, mode="append")


FAULTS = {"lost": lose, "doubled": double, "changed": change, "late": come_late, "deleted": vanish}


@on_folder
@pytest.mark.parametrize("zone", ["raw", "processed"])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_in_the_lake_is_found_and_repaired(
    loaded: Trial, fault: Callable[[Trial, str], None], zone: str
) -> None:
    assert compare(loaded).sentences == []
    fault(loaded, zone)
    found = compare(loaded)
    assert not found.is_ok
    assert any(zone in sentence for sentence in found.sentences), found.sentences
    repaired(loaded, found)
    again = compare(loaded)
    assert again.sentences == []
    assert again.rows["raw"] == again.rows["processed"] == again.rows["source"]
    loaded.assert_same()
    assert mend.damages(loaded.lake, found.subject) == []


@pytest.mark.parametrize("lake_root", ["ceph"], indirect=True)
@pytest.mark.parametrize("zone", ["raw", "processed"])
def test_lost_rows_are_found_and_repaired_wherever_the_lake_is(loaded: Trial, zone: str) -> None:
    lose(loaded, zone)
    found = compare(loaded)
    assert (found.days_differing, found.sentences[-1]) == (1, f"trial.orders, {FIRST}: 2 rows missing in {zone}")
    repaired(loaded, found)
    assert compare(loaded).is_ok
    loaded.assert_same()


@on_folder
def test_raw_gets_its_rows_back_from_processed_as_they_were_written(loaded: Trial) -> None:
    before = loaded.rows(zone="raw")
    lose(loaded, "raw")
    change(loaded, "raw")
    delta(loaded, "raw").update({"amount": "77"}, predicate="order_id = 7")
    said = repaired(loaded, compare(loaded))
    assert any("restored from processed, as recorded again" in line for line in said), said
    assert loaded.rows(zone="raw") == before


@on_folder
def test_what_processed_has_lost_too_is_read_again_and_the_record_says_so(loaded: Trial) -> None:
    for zone in ("raw", "processed"):
        lose(loaded, zone)
    (load_id, before) = max(mend.recorded(delta(loaded, "raw")).items(), key=lambda pair: pair[1]["rows"].get("i", 0))
    said = repaired(loaded, compare(loaded))
    assert any("its record is set anew" in line for line in said)
    assert "trial.orders: 1 day read again: 2 new in raw" in said
    notes = [one for one in commit.states(delta(loaded, "raw"), -1) if "note" in one]
    assert "watershed reconcile --repair" in notes[0]["note"][0]
    assert notes[0]["recorded_before"][load_id]["rows"] == before["rows"] == {"i": 20}
    assert verify.verify(loaded.lake, load.subject(loaded.source, loaded.table), load_id).difference is None
    assert commit.state(delta(loaded, "raw"))["cursor"] is not None
    loaded.assert_same()
    assert loaded.run().taken.inserted == 0


@on_folder
def test_only_bad_days_are_read_again_and_rewritten(loaded: Trial) -> None:
    lose(loaded, "processed")
    good = {one["path"] for one in live(loaded, "processed") if "2026-01-06" in one["path"]}
    version = loaded.version("raw")
    assert repaired(loaded, compare(loaded)) == ["trial.orders: 1 day folded anew from raw, 10 rows"]
    assert good <= {one["path"] for one in live(loaded, "processed")}
    assert loaded.version("raw") == version


@on_folder
def test_a_table_in_order_is_left_as_it_is(loaded: Trial) -> None:
    before = loaded.versions()
    assert repaired(loaded, compare(loaded)) == []
    assert loaded.versions() == before


@on_folder
def test_days_before_the_bound_are_not_looked_at(loaded: Trial) -> None:
    lose(loaded, "processed")
    assert compare(loaded, since=datetime.date(2026, 1, 6)).is_ok
    assert not compare(loaded, since=datetime.date(2026, 1, 5)).is_ok
    found = compare(loaded, since=datetime.date(2027, 1, 1))
    assert (found.is_ok, found.days) == (True, 0)


@on_folder
def test_a_row_that_left_the_compared_days_is_not_missed_there(loaded: Trial) -> None:
    loaded.sql(
        "update orders set ordered_at = '2026-01-01 12:00+00', updated_at = clock_timestamp() where order_id = 15"
    )
    loaded.run()
    assert compare(loaded).is_ok
    found = compare(loaded, since=datetime.date(2026, 1, 6))
    assert (found.is_ok, found.rows) == (True, {"source": 9, "raw": 9, "processed": 9})


@on_folder
def test_rows_newer_than_the_last_load_are_no_difference(loaded: Trial) -> None:
    loaded.order(40, day=FIRST)
    loaded.sql("update orders set amount = 5, updated_at = clock_timestamp() where order_id = 12")
    loaded.sql(
        "update orders set ordered_at = '2026-01-07 12:00+00', updated_at = clock_timestamp() where order_id = 13"
    )
    found = compare(loaded)
    assert (found.is_ok, found.sentences) == (True, [])
    assert found.behind == 4  # one new, one changed, one that has moved: missing on one day, surplus on the other
    loaded.run()
    assert compare(loaded).behind == 0


@on_folder
def test_a_row_deleted_since_the_last_load_differs_until_the_next_load_finds_it(loaded: Trial) -> None:
    loaded.sql("delete from orders where order_id = 3")
    found = compare(loaded)
    assert (found.is_ok, found.heals) == (False, True)
    assert found.sentences == [f"trial.orders, {FIRST}: 1 row in raw and processed that the source has not"]
    loaded.run()
    assert compare(loaded).is_ok


@on_folder
def test_a_load_that_waits_to_be_folded_is_found(loaded: Trial) -> None:
    loaded.order(40, day=FIRST)
    loaded.load()
    found = compare(loaded)
    assert f"trial.orders, {FIRST}: 1 row missing in processed" in found.sentences
    assert "trial.orders: raw holds loads that are not in processed yet" in found.sentences
    repaired(loaded, found)
    assert compare(loaded).is_ok
    loaded.assert_same()


@on_folder
def test_deletes_that_are_ignored_are_kept_and_no_difference(loaded: Trial) -> None:
    loaded.declare(deletes="ignore")
    loaded.sql("delete from orders where order_id in (3, 4) or ordered_at > '2026-01-06'")
    found = compare(loaded)
    assert (found.is_ok, found.kept) == (True, 12)
    lose(loaded, "raw")
    repaired(loaded, compare(loaded))
    assert compare(loaded).is_ok
    assert len(loaded.rows("order_id")) == 20
    lose(loaded, "processed")
    assert not compare(loaded).is_ok
    repaired(loaded, compare(loaded))
    assert len(loaded.rows("order_id")) == 20
    double(loaded, "processed")
    assert not compare(loaded).is_ok


@on_folder
def test_masked_values_are_compared_as_the_lake_holds_them(trial: Trial) -> None:
    trial.declare(mask={"customer_email": "sha256"})
    trial.order(1, customer_email="ada@example.org")
    trial.order(2, customer_email="bob@example.org")
    trial.run()
    assert compare(trial).is_ok
    delta(trial, "processed").update({"customer_email": "'ada@example.org'"}, predicate="order_id = 1")
    assert compare(trial).sentences == [f"trial.orders, {FIRST}: 1 row with other values in processed"]
    trial.sql("update orders set customer_email = 'eve@example.org' where order_id = 2")
    repaired(trial, compare(trial))
    assert compare(trial).is_ok
    assert all(len(email) == 64 for (email,) in trial.rows("customer_email"))


@on_folder
def test_columns_that_stay_at_the_source_are_no_difference(trial: Trial) -> None:
    trial.sql("alter table orders add column tags text[], add column note jsonb, add column secret text")
    trial.declare(drop=["secret"])
    trial.order(1, tags=["a", "b"], secret="x", note='{"a": 1}')
    trial.run()
    trial.sql("update orders set secret = 'y'")
    trial.sql("alter table orders add column colour text default 'red'")
    assert compare(trial).sentences == []


@on_folder
def test_a_column_that_cannot_be_compared_is_named(loaded: Trial) -> None:
    loaded.declare(contract={"types": "discard_value"})
    loaded.sql("alter table orders alter column amount type numeric(14, 3)")
    found = compare(loaded)
    assert found.is_ok
    assert [note.split(":")[0] for note in found.notes] == ["amount is not compared with the source"]
    change(loaded, "processed")
    assert not compare(loaded).is_ok


@on_folder
def test_rows_and_values_in_quarantine_are_rightly_missing(trial: Trial) -> None:
    trial.sql("alter table orders drop constraint orders_pkey")
    trial.orders(5)
    trial.order(3, amount=99)  # a second row of one key
    trial.order(6, amount="NaN")  # a value that the column cannot hold
    trial.order(7, day=SECOND)
    trial.run()
    found = compare(trial)
    assert (found.sentences, found.set_aside) == ([], 1)
    delta(trial, "processed").delete("order_id = 1")
    repaired(trial, compare(trial))
    assert compare(trial).is_ok


@on_folder
@pytest.mark.parametrize("load_kind", ["merge", "append", "replace"])
@pytest.mark.parametrize("zone", ["raw", "processed"])
def test_a_table_without_days_is_mended_as_a_whole(trial: Trial, load_kind: str, zone: str) -> None:
    deletes = "sweep" if load_kind == "merge" else "ignore"
    trial.declare(partition=None, load=load_kind, deletes=deletes, history=load_kind == "merge")
    trial.orders(10)
    trial.run()
    assert compare(trial).is_ok
    for fault in (lose, double, change):
        fault(trial, zone)
        found = compare(trial)
        assert not found.is_ok
        repaired(trial, found)
        assert compare(trial).is_ok, fault
    trial.assert_same()


@on_folder
def test_rows_in_raw_that_no_load_recorded_are_taken_out(loaded: Trial) -> None:
    rows = foreign_rows(loaded, "raw", "order_id IN (3, 4)")
    rows = rows.set_column(rows.schema.get_field_index("_load_id"), "_load_id", pa.array(["stranger"] * 2))
    write_deltalake(delta(loaded, "raw"), rows, mode="append")
    found = compare(loaded)
    assert [one.load_id for one in found.damage] == ["stranger"]
    repaired(loaded, found)
    assert compare(loaded).is_ok
    assert len(loaded.rows("order_id", zone="raw")) == 21


@on_folder
def test_a_repair_that_would_empty_the_table_is_refused(loaded: Trial) -> None:
    loaded.orders(20, day=SECOND, first=50)
    loaded.run()
    loaded.sql("delete from orders where order_id > 11")
    with pytest.raises(TruncatedLoad, match="29 of 40 rows have vanished at the source"):
        repaired(loaded, compare(loaded))
    assert len(loaded.rows("order_id")) == 40


@on_folder
def test_the_check_of_a_table_fails_with_its_mend(loaded: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    check = reconcile_checks.of_table(loaded.source, loaded.table)
    result = check(dagster.build_asset_check_context())
    assert (result.passed, result.metadata["days_compared"].value) == (True, 2)
    lose(loaded, "processed")
    result = check(dagster.build_asset_check_context())
    assert (result.passed, result.severity) == (False, dagster.AssetCheckSeverity.ERROR)
    assert result.description == (
        f"trial.orders, {FIRST}: 2 rows missing in processed; mend it with `watershed reconcile trial.orders --repair`"
    )
    assert result.metadata["days_differing"].value == 1


def live(trial: Trial, zone: str) -> list[dict[str, Any]]:
    return pa.table(delta(trial, zone).get_add_actions()).to_pylist()


@on_folder
def test_columns_that_came_or_were_widened_since_leave_old_loads_in_order(loaded: Trial) -> None:
    loaded.declare(contract={"types": "evolve"})
    loaded.sql("alter table orders add column colour text")
    loaded.order(41, day=FIRST, colour="red")
    loaded.run()
    loaded.sql("alter table orders alter column amount type numeric(14, 2)")
    loaded.order(42, day=SECOND, amount=10**11)
    loaded.run()
    assert compare(loaded).sentences == []
    for fault in (lose, change):
        fault(loaded, "raw")
        repaired(loaded, compare(loaded))
        assert compare(loaded).is_ok, fault
    loaded.sql("alter table orders alter column amount type numeric(16, 4)")
    loaded.sql("update orders set amount = 0.1234 where order_id = 42")
    lose(loaded, "raw")
    lose(loaded, "processed")
    repaired(loaded, compare(loaded))  # which widens the lake's column: only now it can be compared
    found = compare(loaded)
    assert found.sentences == [f"trial.orders, {SECOND}: 1 row with other values in raw and processed"]
    repaired(loaded, found)
    assert compare(loaded).is_ok
    loaded.assert_same()
