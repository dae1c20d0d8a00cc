"""Comparing two versions of the warehouse, on small files made by hand."""

import random
import subprocess
import sys
from collections import Counter
from datetime import date
from pathlib import Path

import duckdb
import pytest

from lake.errors import Busy, PermanentError
from warehouse import diff, diff_rows
from warehouse.diff_facts import MartDiff

SALES = """
    create schema marts;
    create schema metrics;
    create table marts.fct_sales as
    select
        md5(i::varchar) as sale_key, i as order_id, date '2026-01-01' + (i % 30)::integer as order_date,
        (i % 100 + 0.5)::decimal(12, 2) as net_amount, 'paid' as status_code, now() as _loaded_at
    from range(5000) as t(i);
    create table metrics.metric_readings as
    select timestamptz '2026-01-01 00:00:00+00' + to_hours((i // 3)::integer) as read_at,
        i % 3 as device_id, i * 0.5::double as value
    from range(300) as t(i);
"""


def written(path: Path, *statements: str) -> Path:
    with duckdb.connect(str(path)) as connection:
        for statement in statements:
            connection.execute(statement)
    return path


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return written(tmp_path / "old.duckdb", SALES)


@pytest.fixture
def change(tmp_path: Path, old: Path):
    """Compare the shop with itself after `statements`."""

    def changed(*statements: str, examples: int = 5) -> dict[str, MartDiff]:
        new = written(tmp_path / "new.duckdb", SALES, "set schema = 'marts'", *statements)
        return {it.name: it for it in diff.compare(old, new, examples=examples)}

    return changed


def test_the_same_rows_in_another_order_loaded_at_another_time_are_no_difference(change):
    found = change(
        "create table again as from fct_sales order by status_code, order_id desc",
        "update again set _loaded_at = _loaded_at + interval 1 hour",
        "drop table fct_sales",
        "alter table again rename to fct_sales",
    )
    assert all(it.is_equal for it in found.values())
    assert {it.rows_after for it in found.values()} == {5000, 300}


def test_rows_added_removed_and_changed_are_counted_by_the_key(change):
    sales = change(
        "update fct_sales set net_amount = net_amount + 7, status_code = 'returned' where order_id < 3",
        "update fct_sales set net_amount = 1000 where order_id = 10",
        "delete from fct_sales where order_id between 100 and 104",
        "insert into fct_sales select md5('n' || i), i, date '2026-03-01', 5, 'paid', now() from range(9) as t(i)",
    )["fct_sales"]
    assert (sales.rows_before, sales.rows_after) == (5000, 5004)
    assert (sales.key, sales.added, sales.removed, sales.changed) == (("sale_key",), 9, 5, 4)
    assert sales.changed_values == (("net_amount", 4), ("status_code", 3))
    assert not sales.is_equal


def test_the_examples_show_values_before_and_after(change):
    sales = change(
        "update fct_sales set net_amount = 1000 where order_id = 10", "delete from fct_sales where order_id = 11"
    )["fct_sales"]
    removed, changed = sorted(sales.examples, key=lambda it: it.kind, reverse=True)
    assert removed.kind == "removed"
    assert ("order_id", 11, None) in removed.values
    assert [(name, float(old), float(new)) for name, old, new in changed.values] == [("net_amount", 10.5, 1000.0)]
    assert [name for name, _ in changed.key] == ["sale_key"]


def test_the_days_and_the_largest_changes_come_first(change):
    sales = change(
        "update fct_sales set net_amount = net_amount + order_id where order_id in (0, 30, 60, 90, 31, 61)", examples=3
    )["fct_sales"]
    assert [(it.day, it.changed) for it in sales.days] == [(date(2026, 1, 1), 3), (date(2026, 1, 2), 2)]
    (largest,) = sales.largest
    assert [float(new - old) for _, old, new in largest.rows] == [90, 61, 60]
    assert [float(it.after - it.before) for it in sales.measures if it.column == "net_amount"] == [272]


def test_a_key_of_several_leading_columns_is_found(change):
    readings = change("update metrics.metric_readings set value = -1 where device_id = 2 and value < 100")
    assert readings["metric_readings"].key == ("read_at", "device_id")
    assert readings["metric_readings"].changed == 66


def test_columns_added_removed_and_retyped_are_named_and_the_others_compared(change):
    sales = change(
        "alter table fct_sales add column store_id integer",
        "alter table fct_sales drop column status_code",
        "alter table fct_sales alter column net_amount type double",
        "update fct_sales set net_amount = 3 where order_id = 1",
    )["fct_sales"]
    assert sales.columns_added == (("store_id", "INTEGER"),)
    assert sales.columns_removed == (("status_code", "VARCHAR"),)
    assert sales.columns_retyped == (("net_amount", "DECIMAL(12,2)", "DOUBLE"),)
    assert sales.changed == 1


def test_a_new_table_and_one_that_is_gone_are_told(change):
    found = change("create table fct_orders as select 1 as order_key", "drop table fct_sales")
    assert found["fct_orders"].is_new
    assert found["fct_orders"].rows_after == 1
    assert found["fct_sales"].is_gone
    assert found["fct_sales"].rows_before == 5000


def test_rows_without_a_key_are_compared_as_bags(tmp_path):
    old = written(
        tmp_path / "1.duckdb", "create schema marts; create table marts.fct_x as select i % 3 as a from range(9) t(i)"
    )
    new = written(
        tmp_path / "2.duckdb", "create schema marts; create table marts.fct_x as select i % 2 as a from range(8) t(i)"
    )
    (found,) = diff.compare(old, new)
    assert (found.key, found.added, found.removed, found.changed) == ((), 2, 3, 0)
    assert [(it.kind, it.values) for it in found.examples] == [
        ("removed", (("a", 2, None),)),
        ("added", (("a", None, 0),)),
        ("added", (("a", None, 1),)),
    ]


@pytest.mark.parametrize("seed", range(6))
def test_the_counts_are_those_of_python(tmp_path, seed):
    """Rows with NULLs in their values, compared with dictionaries."""
    chance = random.Random(seed)
    rows = {key: chance.choice([None, 1, 2, 3]) for key in chance.sample(range(4000), 3000)}
    after = {key: chance.choice([None, value, 9]) for key, value in rows.items() if chance.random() > 0.02}
    after |= dict.fromkeys(range(5000, 5000 + seed), 1)
    files = []
    for name, values in (("a", rows), ("b", after)):
        table = ", ".join(f"({key}, {'null' if value is None else value})" for key, value in values.items())
        files.append(
            written(tmp_path / name, f"create schema marts; create table marts.t as from (values {table}) as t(k, v)")
        )
    (found,) = diff.compare(*files)
    counted = Counter(
        "added" if key not in rows else "removed" if key not in after else "changed" * (rows[key] != after[key])
        for key in rows.keys() | after.keys()
    )
    assert {kind: getattr(found, kind) for kind in diff_rows.KINDS} == {kind: counted[kind] for kind in diff_rows.KINDS}


def test_a_file_that_is_missing_corrupt_or_being_written_is_said_in_a_sentence(tmp_path, old):
    with pytest.raises(PermanentError, match="there is no such file"):
        diff.compare(old, tmp_path / "none.duckdb")
    broken = tmp_path / "broken.duckdb"
    broken.write_bytes(old.read_bytes()[:5000])
    with pytest.raises(PermanentError, match="is no whole DuckDB file"):
        diff.compare(old, broken)
    with pytest.raises(PermanentError, match="both sides are the same file"):
        diff.compare(old, old)


def test_a_file_that_a_build_is_writing_is_said_to_be_busy(tmp_path, old):
    script = f"import duckdb; c = duckdb.connect({str(tmp_path / 'b')!r}); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()
        with pytest.raises(Busy, match="is being written"):
            diff.compare(old, tmp_path / "b")
        writer.communicate(b"\n")
