"""The steps of docs/how-to/change-a-schema.md, on PostgreSQL: at each of them old and new readers' queries run."""

from decimal import Decimal
from typing import Any

import duckdb
import pytest
from deltalake import DeltaTable
from trial_source import Trial, on_folder

from lake import commit, read
from lake.errors import SchemaDrift

OLD = "select order_id, amount, ordered_at from source"
NEW = "select order_id, cast(amount_cents / 100.0 as decimal(12, 2)) as amount, ordered_at from source"


def ask(trial: Trial, model: str) -> list[Any]:
    """What a staging model of these lines gives: number and amount."""
    lines = model.replace("from source", f"from {read.relation(trial.lake, trial.address())} AS source")
    with read.connect(trial.lake) as connection:
        return connection.execute(f"SELECT order_id, amount FROM ({lines}) ORDER BY 1").fetchall()


def snapshot(trial: Trial) -> DeltaTable:
    """The table as somebody opens it now, who has not heard of any change."""
    found = commit.table(trial.lake, trial.address())
    assert found is not None
    return found


@on_folder
def test_a_column_is_replaced_by_another_while_both_readers_go_on(trial: Trial) -> None:
    for day in ("2026-01-05", "2026-01-06"):
        trial.orders(5, day, first=1 if day.endswith("5") else 6)
    trial.run()
    before = ask(trial, OLD)
    opened = snapshot(trial)

    trial.sql("alter table orders add amount_cents bigint")  # 1: add; the application writes both
    trial.sql("insert into orders (order_id, amount, amount_cents, ordered_at) values (11, 11, 1100, '2026-01-06')")

    trial.run()  # 2: load
    assert ask(trial, OLD) == [*before, (11, Decimal(11))]
    assert [amount for _, amount in ask(trial, NEW)] == [None] * 10 + [Decimal(11)]

    trial.sql("update orders set amount_cents = amount * 100 where amount_cents is null")  # 3: backfill
    assert trial.run().taken.updated == 0  # no cursor has moved
    assert trial.reload("2026-01-05", "2026-01-06").taken.updated == 10
    assert ask(trial, NEW) == ask(trial, OLD) == [*before, (11, Decimal(11))]  # 4: readers may switch at any time

    trial.declare(drop=["amount"])  # 5: contract in the lake
    trial.run()
    assert ask(trial, NEW) == [*before, (11, Decimal(11))]
    trial.sql("update orders set amount = 3, amount_cents = 300, updated_at = clock_timestamp() where order_id = 2")
    trial.run()
    assert ask(trial, NEW)[:3] == [before[0], (2, Decimal(3)), before[2]]
    with pytest.raises(duckdb.BinderException, match='"amount" not found'):
        ask(trial, OLD)

    trial.sql("alter table orders drop amount")  # 6: remove
    with pytest.raises(SchemaDrift, match='"amount" is declared but missing'):
        trial.run()
    trial.declare(drop=[])
    trial.sql("update orders set amount_cents = 1 where order_id = 1")
    trial.sql("update orders set updated_at = clock_timestamp() where order_id = 1")
    trial.run()
    assert ask(trial, NEW)[0] == (1, Decimal("0.01"))
    assert [row["amount"] for row in opened.to_pyarrow_table().sort_by("order_id").to_pylist()] == [
        amount for _, amount in before
    ]


@on_folder
@pytest.mark.parametrize(
    "change", ["add note text", "alter amount type numeric(20, 4)", "drop amount", "rename amount to a"]
)
def test_who_has_an_older_version_open_and_who_names_old_columns_reads_on(trial: Trial, change: str) -> None:
    trial.declare(contract={"columns": "evolve", "types": "evolve"})
    trial.orders(5)
    trial.run()
    opened, before = snapshot(trial), trial.rows("order_id, amount")
    trial.sql(f"alter table orders {change}")
    trial.sql("insert into orders (order_id, ordered_at) values (6, '2026-02-01 12:00+00')")
    trial.run()
    held = opened.to_pyarrow_table(columns=["order_id", "amount"]).sort_by("order_id").to_pylist()
    assert [(row["order_id"], row["amount"]) for row in held] == before
    now = trial.rows("order_id, amount, ordered_at::DATE::VARCHAR")
    assert [row[:2] for row in now[:5]] == before
    assert now[5] == (6, None, "2026-02-01")
    view = f"CREATE OR REPLACE TEMP VIEW v AS SELECT order_id, amount FROM {read.relation(trial.lake, trial.address())}"
    with read.connect(trial.lake) as connection:
        connection.execute(view)
        assert connection.execute("SELECT count(*), sum(amount) FROM v").fetchone() == (6, Decimal(15))
