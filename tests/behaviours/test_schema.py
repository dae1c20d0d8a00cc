"""Columns and tables that come, go and change at the source."""

import pytest
from trial_source import Trial, on_ceph, on_folder

from lake.errors import SchemaDrift, SpecError, TruncatedLoad


def _refused(trial: Trial, sentence: str, error: type[Exception] = SchemaDrift) -> None:
    """A load is refused with `sentence`, and nothing is committed."""
    before = trial.versions()
    with pytest.raises(error) as raised:
        trial.run()
    assert sentence in str(raised.value)
    assert str(raised.value).startswith("source trial, table orders: ")
    assert trial.versions() == before


@on_ceph
def test_a_new_column_is_null_in_old_rows(trial: Trial) -> None:
    trial.orders(5)
    trial.run()
    trial.sql("alter table orders add note text")
    assert trial.run().taken.rows_read == 0
    trial.sql("update orders set note = 'late', updated_at = clock_timestamp() where order_id = 2")
    trial.order(6, note="new")
    taken = trial.run().taken
    assert (taken.inserted, taken.updated) == (1, 1)
    trial.assert_same("order_id, amount, note")


@on_folder
def test_a_new_column_with_values_arrives_when_its_day_is_loaded_again(trial: Trial) -> None:
    trial.orders(5)
    trial.run()
    trial.sql("alter table orders add note text default 'standard'")
    assert trial.reload("2026-01-05").taken.updated == 5
    trial.assert_same("order_id, note")


@on_folder
def test_a_new_column_reaches_the_history(trial: Trial) -> None:
    trial.declare(history=True, partition=None)
    trial.orders(2)
    trial.run()
    trial.sql("alter table orders add note text")
    trial.sql("update orders set note = 'late', updated_at = clock_timestamp() where order_id = 2")
    trial.run()
    assert trial.rows("order_id, note", suffix="_history") == [(1, None), (2, "late"), (2, None)]


@on_folder
def test_a_frozen_table_refuses_a_new_column(trial: Trial) -> None:
    trial.declare(contract={"columns": "freeze"})
    trial.orders(5)
    trial.run()
    trial.sql("alter table orders add note text")
    _refused(trial, 'column "note" is new at the source; declare `contract: {columns: evolve}`')
    trial.declare(drop=["note"])
    trial.run()


@on_ceph
def test_a_changed_type_is_refused(trial: Trial) -> None:
    trial.orders(5)
    trial.run()
    trial.sql("alter table orders alter amount type text")
    trial.order(6)
    _refused(trial, 'column "amount" was decimal128(12, 2) and is now text (string); change it back')
    trial.sql("alter table orders alter amount type numeric(12, 2) using amount::numeric")
    trial.run()
    trial.assert_same()


@on_folder
def test_a_changed_precision_is_a_changed_type(trial: Trial) -> None:
    trial.orders(5)
    trial.run()
    trial.sql("alter table orders alter amount type numeric(14, 4)")
    _refused(trial, 'column "amount" was decimal128(12, 2) and is now numeric(14,4)')


@on_folder
def test_a_missing_table_is_named(trial: Trial) -> None:
    trial.orders(5)
    trial.run()
    trial.sql("drop table orders")
    _refused(trial, "there is no table public.orders at the source; create it, or remove it from the source file")
    assert len(trial.rows()) == 5


@on_folder
@pytest.mark.parametrize(
    ("column", "declared"),
    [
        ("order_id", {}),
        ("updated_at", {}),
        ("ordered_at", {}),
        ("customer_email", {"mask": {"customer_email": "sha256"}}),
        ("customer_email", {"drop": ["customer_email"]}),
        ("amount", {"columns": {"amount": {"description": "What it costs."}}}),
    ],
)
def test_a_declared_column_that_is_missing_is_named(trial: Trial, column: str, declared: dict[str, object]) -> None:
    trial.declare(**declared)
    trial.orders(5)
    trial.run()
    trial.sql(f"alter table orders drop {column} cascade")
    _refused(trial, f'column "{column}" is declared but missing at the source; bring it back')


@on_folder
def test_an_undeclared_column_may_go_and_keeps_its_last_values(trial: Trial) -> None:
    trial.orders(5)
    trial.run()
    trial.sql("alter table orders drop amount")
    trial.sql("update orders set updated_at = clock_timestamp() where order_id = 1")
    trial.run()
    assert trial.rows("order_id, amount") == [(1, None), (2, 2), (3, 3), (4, 4), (5, 5)]


@on_folder
@pytest.mark.parametrize("name", ["year", "_op", "Amount"])
def test_a_column_with_a_name_that_is_taken_is_refused(trial: Trial, name: str) -> None:
    trial.sql(f'alter table orders add "{name}" integer')
    _refused(trial, f'column "{name}" has the name of ')
    trial.declare(drop=[name])
    trial.orders(5)
    trial.run()
    trial.assert_same()


@on_folder
def test_odd_names_are_names(trial: Trial) -> None:
    names = ["unit price", 'a "quoted" one', "select", "naïve; --", "a.b", "100%"]
    quoted = ['"' + name.replace('"', '""') + '"' for name in names]
    for name in quoted:
        trial.sql(f"alter table orders add {name} integer default 1")
    trial.orders(3)
    trial.run()
    trial.sql("update orders set " + ", ".join(f"{name} = 2" for name in quoted) + ", updated_at = clock_timestamp()")
    assert trial.run().taken.updated == 3
    trial.assert_same(", ".join(quoted))


@on_folder
def test_a_cursor_that_is_no_time_is_refused(trial: Trial) -> None:
    trial.declare(cursor="amount")
    _refused(trial, 'the cursor column "amount" is numeric; name a column of type timestamptz or timestamp', SpecError)


@on_folder
def test_a_partition_that_is_no_time_is_refused(trial: Trial) -> None:
    trial.declare(partition="day(customer_email)")
    _refused(trial, 'the partition column "customer_email" is text; name a column of type', SpecError)


@on_folder
def test_a_source_that_lost_more_than_a_fifth_is_refused(trial: Trial) -> None:
    trial.orders(100)
    trial.run()
    trial.sql("delete from orders where order_id > 79")
    before = trial.versions()
    with pytest.raises(TruncatedLoad) as raised:
        trial.run()
    assert str(raised.value) == (
        "trial.orders: 21 of 100 rows have vanished at the source, more than a fifth; "
        "check the source; if it is right, run again with --allow-shrink"
    )
    assert trial.versions() == before
    assert trial.run(allow_shrink=True).taken.deleted == 21
    trial.assert_same()


@on_folder
def test_a_source_that_lost_a_fifth_is_believed(trial: Trial) -> None:
    trial.orders(100)
    trial.run()
    trial.sql("delete from orders where order_id > 80")
    assert trial.run().taken.deleted == 20


@on_folder
def test_an_emptied_table_that_is_read_whole_is_refused(trial: Trial) -> None:
    trial.declare(load="replace", deletes="ignore", partition=None, cursor=None)
    trial.orders(20)
    trial.run()
    trial.sql("truncate orders")
    with pytest.raises(TruncatedLoad, match="20 of 20 rows have vanished"):
        trial.run()
