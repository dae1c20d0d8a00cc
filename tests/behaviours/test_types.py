"""Types as a person meets them: cursors with and without a zone, declared types, keys of any type, misfits.

That each type of PostgreSQL arrives right is shown by test_types_postgres.
"""

from decimal import Decimal
from typing import Any

import pytest
from trial_source import Trial, on_ceph, on_folder


@on_folder
@pytest.mark.parametrize("kind", ["timestamp", "timestamptz"])
def test_a_cursor_with_or_without_a_zone_finds_what_changed(trial: Trial, kind: str) -> None:
    trial.sql(f"alter table orders alter updated_at type {kind}, alter ordered_at type {kind}")
    trial.orders(5)
    trial.run()
    trial.sql("update orders set amount = 50, updated_at = clock_timestamp() where order_id = 1")
    trial.sql("delete from orders where order_id = 2")
    taken = trial.run().taken
    assert (taken.rows_read, taken.updated, taken.deleted) == (1, 1, 1)
    trial.assert_same("order_id, amount")


@on_folder
@pytest.mark.parametrize(
    ("declared", "wanted"),
    [("decimal(20, 4)", ("DECIMAL(20,4)", Decimal("1.5000"))), ("text", ("VARCHAR", "1.5"))],
)
def test_a_declared_type_takes_the_place_of_the_catalogues(trial: Trial, declared: str, wanted: Any) -> None:
    trial.sql("alter table orders alter amount type numeric")
    trial.declare(columns={"amount": declared})
    trial.order(1, amount="1.5")
    trial.run()
    assert trial.rows("typeof(amount), amount") == [wanted]


@on_folder
def test_a_key_may_have_any_type(trial: Trial) -> None:
    trial.sql("alter table orders alter order_id type text using order_id::text")
    trial.declare(key=["order_id", "ordered_at"])
    for key in ("a", "A", "a ", "'; drop table orders; --", "é"):
        trial.order(key, amount=1)  # type: ignore[arg-type]
    trial.run()
    trial.sql("delete from orders where order_id = 'A'")
    trial.sql("update orders set amount = 2, updated_at = clock_timestamp() where order_id like '%%drop%%'", [])
    trial.run()
    trial.assert_same("order_id, amount")


@pytest.fixture
def dated(trial: Trial) -> Trial:
    """Three rows, one of which holds a date that no year of the lake can."""
    trial.sql("alter table orders add due_on date")
    for number, day in enumerate(["2026-01-09", "infinity", None], start=1):
        trial.order(number, due_on=day)
    return trial


@on_ceph
def test_a_value_that_does_not_fit_is_set_aside_and_its_row_goes_on(dated: Trial) -> None:
    dated.run()
    assert dated.rows("order_id, due_on::VARCHAR") == [(1, "2026-01-09"), (2, None), (3, None)]
    assert dated.rows("order_id, _column, _value", zone="quarantine") == [(2, "due_on", "infinity")]


@on_folder
def test_a_row_with_a_value_that_does_not_fit_is_set_aside_whole_where_the_contract_says_so(dated: Trial) -> None:
    dated.declare(contract={"types": "discard_row"})
    taken = dated.run().taken
    assert (taken.inserted, taken.quarantined) == (2, 1)
    assert dated.rows("order_id") == [(1,), (3,)]


@on_folder
def test_a_value_that_fits_again_takes_its_place(dated: Trial) -> None:
    dated.run()
    dated.sql("update orders set due_on = '2027-01-01', updated_at = clock_timestamp() where order_id = 2")
    dated.run()
    dated.assert_same("order_id, due_on")


@on_folder
def test_infinity_can_be_kept_as_declared_text(dated: Trial) -> None:
    dated.declare(columns={"due_on": "text"})
    dated.run()
    assert dated.rows("due_on") == [("2026-01-09",), ("infinity",), (None,)]


@on_folder
def test_a_masked_column_tells_nothing_of_a_value_that_does_not_fit(dated: Trial) -> None:
    dated.declare(mask={"due_on": "sha256"})
    dated.run()
    assert dated.version("quarantine") == -1
    assert [len(digest) for (digest,) in dated.rows("due_on", where="order_id = 1")] == [64]
