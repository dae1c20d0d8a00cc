"""What each word of a contract does to new and vanished columns, changed types, and values that do not fit."""

import math
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from trial_source import Trial, on_ceph, on_folder

from ingestion import load
from lake import commit, read, verify
from lake.errors import PlatformError, SchemaDrift

WORDS = ("evolve", "freeze", "discard_value", "discard_row")
WIDENINGS = {
    "smallint to integer": ("smallint", "integer", "7"),
    "integer to bigint": ("integer", "bigint", "7"),
    "real to double": ("real", "double precision", "0.5"),
    "more digits": ("numeric(12,2)", "numeric(16,4)", "7.25"),
    "fewer whole digits, more after the point": ("numeric(12,2)", "numeric(12,6)", "7.25"),
    "integer to numeric": ("integer", "numeric(20,2)", "7"),
    "date to timestamp": ("date", "timestamp", "'2026-01-05'"),
    "integer to text": ("integer", "text", "7"),
    "numeric to text": ("numeric(12,2)", "text", "7.25"),
    "boolean to text": ("boolean", "text", "true"),
    "timestamptz to text": ("timestamptz", "text", "'2026-01-05 12:00+00'"),
}


def _type_of(trial: Trial, column: str, zone: Any = "processed", suffix: str = "") -> pa.DataType:
    return read.columns(commit.table(trial.lake, trial.address(zone, suffix)))[column]


def _all_verified(trial: Trial) -> None:
    """Every load lies in raw as it was written."""
    about = load.subject(trial.source, trial.table)
    raw = commit.table(trial.lake, trial.address("raw"))
    loads = [state["load_id"] for state in commit.states(raw, -1) if "load_id" in state]  # type: ignore[arg-type]
    assert loads
    assert [verify.verify(trial.lake, about, load_id).difference for load_id in loads] == [None] * len(loads)


def _touch(trial: Trial, number: int, change: str) -> None:
    trial.sql(f"update orders set {change}, updated_at = clock_timestamp() where order_id = {number}")


@on_folder
def test_a_new_column_is_left_out_under_discard_value(trial: Trial) -> None:
    trial.declare(contract={"columns": "discard_value"})
    trial.orders(3)
    trial.run()
    trial.sql("alter table orders add note text default 'hm'")
    trial.order(4)
    loaded = trial.run()
    assert (loaded.taken.inserted, loaded.taken.quarantined) == (1, 0)
    assert "new column note is left out" in loaded.sentence
    assert "note" not in read.columns(commit.table(trial.lake, trial.address()))
    trial.declare(contract={"columns": "evolve"})
    trial.reload("2026-01-05")
    trial.assert_same("order_id, amount, note")


@on_folder
def test_rows_with_a_new_column_are_set_aside_under_discard_row(trial: Trial) -> None:
    trial.declare(contract={"columns": "discard_row"})
    trial.orders(3)
    trial.run()
    trial.sql("alter table orders add note text")
    trial.order(4, note="hm")
    trial.order(5)
    loaded = trial.run()
    assert (loaded.taken.inserted, loaded.taken.quarantined) == (1, 1)
    assert loaded.taken.reasons == {"note is new at the source": 1}
    assert trial.rows("order_id, note, _reason", zone="quarantine") == [(4, "hm", "note is new at the source")]
    assert trial.rows("order_id") == [(1,), (2,), (3,), (5,)]
    assert "note" not in read.columns(commit.table(trial.lake, trial.address()))


@on_folder
@pytest.mark.parametrize("word", WORDS)
def test_a_vanished_column_stops_a_frozen_table_only(trial: Trial, word: str) -> None:
    trial.declare(contract={"columns": word})
    trial.orders(3)
    trial.run()
    trial.sql("alter table orders drop amount")
    _touch(trial, 2, "customer_email = 'a@b.c'")
    if word == "freeze":
        with pytest.raises(SchemaDrift, match='column "amount" is missing at the source; bring it back'):
            trial.run()
        assert len(trial.rows()) == 3
    else:
        trial.run()
        assert trial.rows("order_id, amount") == [(1, 1), (2, None), (3, 3)]


@on_folder
@pytest.mark.parametrize(("before", "after", "value"), WIDENINGS.values(), ids=WIDENINGS)
def test_a_widening_changes_the_lake_and_loses_nothing(trial: Trial, before: str, after: str, value: str) -> None:
    trial.declare(contract={"types": "evolve"}, history=True)
    trial.sql(f"alter table orders add v {before} default {value}")
    trial.orders(3)
    trial.order(4, day="2026-01-06", v=None)
    trial.run()
    trial.sql(f"alter table orders alter v drop default, alter v type {after}")
    trial.order(5, day="2026-01-07")
    loaded = trial.run()
    assert "column v is widened from" in loaded.sentence
    assert (loaded.taken.inserted, loaded.taken.updated) == (1, 0)
    assert trial.reload("2026-01-01", "2026-01-31").taken.updated == 0
    trial.assert_same("order_id, v")
    kinds = {str(_type_of(trial, "v", *where)) for where in [("raw",), ("processed",), ("processed", "_history")]}
    assert len(kinds) == 1
    assert len(trial.rows(suffix="_history")) == 5
    _all_verified(trial)


@on_folder
@pytest.mark.parametrize(
    ("before", "after"),
    [("bigint", "double precision"), ("bytea", "text"), ("timestamptz", "timestamp"), ("boolean", "integer")],
)
def test_what_is_no_widening_stops_a_table_that_may_evolve(trial: Trial, before: str, after: str) -> None:
    trial.declare(contract={"types": "evolve"})
    trial.sql(f"alter table orders add v {before}")
    trial.orders(3)
    trial.run()
    using = "encode(v, 'hex')" if before == "bytea" else f"v::{after}"
    trial.sql(f"alter table orders alter v type {after} using {using}")
    versions = trial.versions()
    with pytest.raises(SchemaDrift, match=r'column "v" was .* and is now .*; change it back, declare') as raised:
        trial.run()
    assert str(raised.value).startswith("source trial, table orders: ")
    assert trial.versions() == versions


@on_folder
def test_a_frozen_table_refuses_what_would_be_a_widening(trial: Trial) -> None:
    trial.orders(3)
    trial.run()
    trial.sql("alter table orders alter amount type numeric(16, 4)")
    with pytest.raises(SchemaDrift, match=r"declare `contract: \{types: evolve\}` to widen the lake's"):
        trial.run()


@on_folder
def test_a_column_that_became_narrower_keeps_the_lakes_type(trial: Trial) -> None:
    trial.declare(contract={"types": "evolve"})
    trial.orders(3)
    trial.run()
    trial.sql("alter table orders alter amount type integer")
    trial.order(4, amount=44)
    assert trial.run().taken.inserted == 1
    assert str(_type_of(trial, "amount")).startswith("decimal128(12, 2)")
    trial.assert_same("order_id, amount")


@on_folder
def test_a_widening_that_was_killed_is_done_by_the_next_load(trial: Trial) -> None:
    trial.declare(contract={"types": "evolve"}, history=True)
    trial.orders(3)
    trial.run()
    trial.sql("alter table orders alter amount type numeric(16, 4)")
    trial.order(4, amount="4.4444")
    done = commit.replace
    for commits in (0, 1, 1):  # before the first, second and third table is rewritten
        left = [commits]

        def replace(*args: Any, left: list[int] = left, **options: Any) -> commit.Committed:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            return done(*args, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(commit, "replace", replace)
            with pytest.raises(KeyboardInterrupt):
                trial.run()
        assert len(trial.rows()) == 3
    trial.run()
    trial.assert_same()
    assert str(_type_of(trial, "amount", "raw")) == str(_type_of(trial, "amount")) == "decimal128(16, 4)"
    _all_verified(trial)


@on_folder
def test_values_of_a_changed_type_that_do_not_fit_are_copied_and_become_null(trial: Trial) -> None:
    trial.declare(contract={"types": "discard_value"})
    trial.orders(3)
    trial.run()
    trial.sql("alter table orders alter amount type text")
    for number, text in ((4, "4.40"), (5, "about 5"), (6, "6.666"), (7, "NaN")):
        trial.order(number, amount=text)
    loaded = trial.run()
    assert (loaded.taken.inserted, loaded.taken.quarantined, loaded.taken.values_quarantined) == (4, 0, 3)
    assert "3 values quarantined" in loaded.sentence
    assert [float(amount) if amount else amount for (amount,) in trial.rows("amount", where="order_id > 3")] == [
        4.4,
        None,
        None,
        None,
    ]
    assert trial.rows("order_id, _column, _value", zone="quarantine") == [
        (5, "amount", "about 5"),
        (6, "amount", "6.666"),
        (7, "amount", "NaN"),
    ]
    assert loaded.taken.reasons == {
        "amount (text) has a value that the lake's type cannot hold": 2,
        "amount (text) is NaN, which the lake's type cannot hold": 1,
    }


@on_folder
def test_rows_with_values_of_a_changed_type_that_do_not_fit_are_set_aside(trial: Trial) -> None:
    trial.declare(contract={"types": "discard_row"})
    trial.orders(3)
    trial.run()
    trial.sql("alter table orders alter amount type text")
    trial.order(4, amount="4.40")
    trial.order(5, amount="about 5", customer_email="a@b.c")
    _touch(trial, 2, "amount = 'two'")
    taken = trial.run().taken
    assert (taken.inserted, taken.updated, taken.quarantined, taken.values_quarantined) == (1, 0, 2, 0)
    assert trial.rows("order_id, amount") == [(1, 1), (2, 2), (3, 3), (4, Decimal("4.40"))]
    assert trial.rows("order_id, amount, customer_email, _misfit", zone="quarantine") == [
        (2, None, None, '{"amount":"two"}'),
        (5, None, "a@b.c", '{"amount":"about 5"}'),
    ]


@on_ceph
@pytest.mark.parametrize("word", ["freeze", "evolve", "discard_value"])
def test_a_value_that_no_lake_type_holds_is_copied_once(trial: Trial, word: str) -> None:
    trial.declare(contract={"types": word}, load="replace", cursor=None, deletes="ignore")
    trial.orders(3)
    trial.order(4, amount="NaN")
    loaded = trial.run()
    assert (loaded.taken.inserted, loaded.taken.quarantined, loaded.taken.values_quarantined) == (4, 0, 1)
    reason = "amount (numeric(12,2)) is NaN, which the lake's type cannot hold"
    assert loaded.taken.reasons == {reason: 1}
    assert trial.rows("amount", where="order_id = 4") == [(None,)]
    assert trial.rows("order_id, _column, _value", zone="quarantine") == [(4, "amount", "NaN")]
    before = trial.versions()
    assert trial.run().taken.values_quarantined == 1
    assert trial.versions() == before


@on_folder
def test_a_row_with_a_value_that_no_lake_type_holds_is_set_aside_under_discard_row(trial: Trial) -> None:
    trial.declare(contract={"types": "discard_row"})
    trial.orders(3)
    trial.order(4, amount="NaN")
    taken = trial.run().taken
    assert (taken.inserted, taken.quarantined, taken.values_quarantined) == (3, 1, 0)
    assert trial.rows("order_id, amount, _misfit", zone="quarantine") == [(4, None, '{"amount":"NaN"}')]


@on_folder
def test_quarantine_holds_nothing_in_plain_that_is_masked_or_dropped(trial: Trial, tmp_path: Any) -> None:
    trial.declare(
        contract={"types": "discard_row", "columns": "discard_row"},
        mask={"customer_email": "sha256"},
        drop=["secret"],
    )
    trial.sql("alter table orders add secret text")
    trial.orders(3)
    trial.run()
    trial.sql("alter table orders alter amount type text")
    trial.order(4, amount="about 4", customer_email="plain@example.org", secret="4111-1111")
    trial.order(5, amount="NaN", customer_email="plain@example.org", secret="4111-1111")
    assert trial.run().taken.quarantined == 2
    emails = trial.rows("customer_email", zone="quarantine")
    assert all(len(email) == 64 for (email,) in emails)
    assert "secret" not in read.columns(commit.table(trial.lake, trial.address("quarantine")))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files for text in (b"plain@", b"4111-") if text in path.read_bytes()]


@on_ceph
def test_a_load_lies_in_raw_as_it_was_written(trial: Trial) -> None:
    trial.orders(30)
    trial.run()
    trial.sql("delete from orders where order_id = 7")
    _touch(trial, 8, "amount = 80")
    trial.run()
    trial.sql("alter table orders add note text default 'new'")
    trial.order(31)
    trial.run()
    _all_verified(trial)


@on_folder
def test_damage_to_a_load_is_told(trial: Trial, tmp_path: Any) -> None:
    import pyarrow.parquet as pq

    trial.orders(30)
    trial.run()
    about = load.subject(trial.source, trial.table)
    load_id = commit.state(commit.table(trial.lake, trial.address("raw")))["load_id"]
    (path,) = (tmp_path / "lake" / "raw").rglob("*.parquet")
    whole = pq.ParquetFile(path).read()
    amounts = whole["amount"].to_pylist()

    def told(rows: pa.Table) -> str | None:
        path.unlink()  # processed may be a second name of the same bytes
        pq.write_table(rows, path)
        return verify.verify(trial.lake, about, load_id).difference

    place = whole.schema.get_field_index("amount")
    column = pa.array([amounts[0] + 1, *amounts[1:]], whole.schema.field(place).type)
    changed = whole.set_column(place, whole.schema.field(place), column)
    assert (
        told(changed) == f"trial.orders, load {load_id}: all rows are in raw, but values differ from what was written"
    )
    assert told(whole.slice(1)) == f"trial.orders, load {load_id}: 30 new rows were written, 29 are in raw"
    assert told(whole) is None
    path.unlink()
    with pytest.raises(PlatformError):
        verify.verify(trial.lake, about, load_id)


@on_folder
def test_a_load_that_never_was_cannot_be_verified(trial: Trial) -> None:
    trial.orders(3)
    trial.run()
    with pytest.raises(PlatformError, match="no checksum of a load 0000 is recorded"):
        verify.verify(trial.lake, load.subject(trial.source, trial.table), "0000")


@on_folder
def test_special_floats_enter_a_double_column_as_they_are(trial: Trial) -> None:
    trial.sql("alter table orders add v double precision default 'NaN'")
    trial.orders(1)
    trial.order(2, v="-Infinity")
    assert trial.run().taken.values_quarantined == 0
    (first,), (second,) = trial.rows("v")
    assert second == -math.inf or first == -math.inf
    _all_verified(trial)
