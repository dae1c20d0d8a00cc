"""Reconciliation: faults that a foreign writer puts into raw and processed are found, told and mended."""

import datetime
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from trial_source import Trial, on_folder

from ingestion import reconcile
from ingestion.reconcile import Reconciled
from lake import mend, read

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
