"""How a table is read: of one instant, over several connections, whatever kind of relation it is."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from trial_source import DECLARED, VARIABLE, Trial, on_folder

from ingestion import extract, load
from ingestion.connectors import postgres
from ingestion.spec import Source, Table
from lake import commit, read
from lake.errors import PlatformError, SpecError
from lake.verify import verify

pytestmark = on_folder


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "CHUNK_ROWS", 1000)
    monkeypatch.setattr(postgres, "PAGES", 4)


def many(trial: Trial, rows: int = 10_000, days: int = 20) -> None:
    trial.sql(
        "insert into orders (order_id, amount, ordered_at)"
        f" select n, n, timestamptz '2026-01-01 12:00+00' + (n % {days}) * interval '1 day'"
        f" from generate_series(1, {rows}) n"
    )
    trial.sql("analyze")


def meanwhile(monkeypatch: pytest.MonkeyPatch, act: Any) -> list[int]:
    """Let `act` happen once, when the first chunk has been read."""
    real, happened = postgres.Postgres.read, []

    def reading(self: Any, *given: Any) -> Iterator[pa.RecordBatch]:
        yield from real(self, *given)
        if not happened:
            happened.append(1)
            act()

    monkeypatch.setattr(postgres.Postgres, "read", reading)
    return happened


@pytest.mark.parametrize("connections", [1, 3])
def test_all_chunks_are_of_one_instant(trial: Trial, monkeypatch: pytest.MonkeyPatch, connections: int) -> None:
    many(trial)
    before = trial.at_source("order_id, amount")
    happened = meanwhile(monkeypatch, lambda: _stir(trial))
    source = trial.source.model_copy(update={"max_connections": connections})
    loaded = load.changes(trial.lake, source, trial.table)
    trial.fold()
    assert happened
    assert loaded.chunks > 5
    assert sorted(trial.rows("order_id, amount"), key=repr) == before


def _stir(trial: Trial) -> None:
    trial.sql("update orders set amount = -1, updated_at = clock_timestamp() where order_id % 3 = 0")  # to the end
    trial.sql("delete from orders where order_id % 100 = 1")
    trial.order(20_000)


def test_a_loose_snapshot_is_not_held_and_still_misses_nothing(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    many(trial)
    trial.declare(snapshot="loose", deletes="ignore")
    sessions: list[postgres.Postgres] = []
    real = postgres.Postgres.begin

    def begin(self: postgres.Postgres, *, hold: bool = True) -> str:
        sessions.append(self)
        return real(self, hold=hold)

    monkeypatch.setattr(postgres.Postgres, "begin", begin)
    change = "update orders set amount = -1, updated_at = clock_timestamp() where order_id % 3 = 0"
    happened = meanwhile(monkeypatch, lambda: trial.sql(change))
    trial.run()
    assert happened
    assert [session.snapshot for session in sessions] == [None]
    trial.assert_same()


@pytest.mark.parametrize(
    "parent",
    [
        "create table orders (like model including all) partition by range (order_id);"
        "create table a partition of orders for values from (0) to (5000) partition by range (order_id);"
        "create table a1 partition of a for values from (0) to (2500);"
        "create table a2 partition of a for values from (2500) to (5000);"
        "create table b partition of orders default",
        "create table orders (like model including all); create table heir () inherits (orders)",
        "create view orders as select * from model",
        "create materialized view orders as select * from model",
    ],
    ids=["partitions", "heirs", "view", "materialized view"],
)
def test_every_kind_of_relation_is_read_once(trial: Trial, parent: str) -> None:
    trial.sql("alter table orders rename to model; alter index orders_pkey rename to model_pkey")
    trial.sql("alter table model alter updated_at drop not null")
    trial.sql(parent)
    into = "model" if "view" in parent else "orders"
    trial.sql(
        f"insert into {into} (order_id, amount, ordered_at) select n, n, '2026-01-05' from generate_series(1, 9000) n"
    )
    if "inherits" in parent:
        trial.sql("insert into heir (order_id, amount, ordered_at, updated_at) values (10000, 1, '2026-01-06', now())")
    if "materialized" in parent:
        trial.sql("refresh materialized view orders")
    trial.sql("analyze")
    loaded = trial.run()
    trial.assert_same()
    assert loaded.chunks == 1 if parent.startswith("create view") else loaded.chunks > 1


def test_the_bounds_in_the_log_are_those_of_the_files_also_in_processed(trial: Trial) -> None:
    many(trial)
    trial.run()
    for zone in ("raw", "processed"):
        delta = commit.table(trial.lake, trial.address(zone))
        actions = pa.table(delta.get_add_actions(flatten=True))  # type: ignore[union-attr]
        for file in actions.to_pylist():
            path = f"{trial.lake.uri(trial.address(zone))}/{file['path']}"
            table = pa.parquet.read_table(path, columns=["order_id", "ordered_at"], partitioning=None)
            assert file["num_records"] == table.num_rows
            assert (file["min.order_id"], file["max.order_id"]) == _ends(table["order_id"])
            low, high = _ends(table["ordered_at"])
            assert file["min.ordered_at"] <= low
            assert file["max.ordered_at"] >= high


def _ends(column: Any) -> tuple[Any, Any]:
    ends = pa.compute.min_max(column).as_py()
    return ends["min"], ends["max"]


def test_a_first_load_is_written_once_and_shared_by_raw_and_processed(trial: Trial) -> None:
    many(trial)
    trial.run()
    kinds = []
    for zone in ("raw", "processed"):
        root = Path(trial.lake.uri(trial.address(zone)))
        kinds.append({path.stat().st_ino for path in root.rglob("*.parquet")})
    assert kinds[0] == kinds[1]
    assert len(kinds[0]) == 20


def test_the_recorded_checksum_is_that_of_the_rows_in_raw(trial: Trial) -> None:
    trial.sql("alter table orders add note text, add at date, add n smallint, add f real, add j jsonb, add b bytea")
    many(trial)
    trial.sql("update orders set note = 'ü' || order_id, at = '2026-02-01', n = 3, f = 0.1, j = '{\"a\": 1}', b = 'x'")
    trial.run()
    trial.sql("update orders set amount = 7, updated_at = clock_timestamp() where order_id < 50")
    trial.run()
    states = commit.states(commit.table(trial.lake, trial.address("raw")), -1)  # type: ignore[arg-type]
    assert [state["rows"] for state in states] == [{"i": 10_000}, {"u": 49}]
    for state in states:
        checked = verify(trial.lake, load.subject(trial.source, trial.table), state["load_id"])
        assert checked.difference is None
        assert checked.is_comparable


def test_a_changed_declaration_reads_the_whole_table_and_says_so_first(
    trial: Trial, caplog: pytest.LogCaptureFixture
) -> None:
    trial.orders(10)
    trial.sql("update orders set customer_email = 'somebody@example.org'")
    trial.run()
    trial.declare(mask={"customer_email": "sha256"})
    loaded = trial.run()
    assert loaded.kind == "full"
    assert "trial.orders: mask changed: the whole table is read again" in caplog.text
    assert len(trial.rows("distinct customer_email")[0][0]) == 64
    assert trial.run().kind == "changes"


def test_a_changed_partition_is_refused(trial: Trial) -> None:
    trial.orders(10)
    trial.run()
    trial.declare(partition="day(updated_at)")
    with pytest.raises(SpecError, match="partition was ordered_at and is now updated_at; change it back"):
        trial.run()
    trial.declare(partition=DECLARED["partition"])
    trial.run()


def test_a_limit_on_rows_per_second_loses_none(trial: Trial) -> None:
    many(trial, 3000)
    source = trial.source.model_copy(update={"max_rows_per_s": 2_000_000})
    load.changes(trial.lake, source, trial.table)
    trial.fold()
    trial.assert_same()


def test_the_source_is_read_only_and_each_statement_is_limited(trial: Trial) -> None:
    trial.orders(10)
    source = trial.source.model_copy(update={"statement_timeout_s": 7})
    session = postgres.Postgres(source)
    try:
        assert session._ask(
            "select current_setting('statement_timeout'), current_setting('transaction_read_only')"
        ) == [("7s", "on")]
        session.shape(trial.table)
        with pytest.raises(PlatformError, match="read-only"):
            session._ask("delete from public.orders returning 1")
    finally:
        session.close()


def test_an_order_by_the_days_of_the_lake_holds_for_times_that_do_not_rise(trial: Trial) -> None:
    trial.sql(
        "insert into orders (order_id, amount, ordered_at)"
        " select n, n, timestamptz '1969-12-20 23:59:59.999999+00' + (n * 7919 % 40) * interval '13 hours'"
        " from generate_series(1, 5000) n"
    )
    trial.run()
    trial.assert_same()
    wrong = "ordered_at::DATE <> make_date(year::INT, month::INT, day::INT)"
    assert trial.rows("count(*)", where=wrong) == [(0,)]


LARGE = """
import json, os, sys
from trial_source import Trial
from lake.layout import Lake
trial = Trial(None, Lake(sys.argv[1]), json.loads(sys.argv[2]))
print(trial.run().taken.inserted)
print([line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")][0])
"""


def test_memory_stays_below_half_a_gigabyte_for_a_table_of_any_size(trial: Trial) -> None:
    many(trial, 1_500_000, days=700)  # a quarter of a gigabyte of rows in random order of days
    paths = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parents[2])])
    done = subprocess.run(
        [sys.executable, "-c", LARGE, trial.lake.root, json.dumps(trial.declared)],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows, peak = done.stdout.split()
    assert int(rows) == 1_500_000
    assert int(peak) < 512 * 1024
    facts = read.facts(trial.lake, trial.address())
    assert facts is not None
    assert (facts.rows, facts.files) == (1_500_000, 700)


def test_one_source_may_have_a_thousand_columns_with_odd_names(trial: Trial) -> None:
    names = ["select", "with space", "with.dot", 'with"quote', "ÄÖÜ", "Order_Id2", "a" * 63, "percent%s", "{brace}"]
    names += [f"c{number}" for number in range(1580)]
    columns = ", ".join(f'"{name.replace(chr(34), chr(34) * 2)}" smallint' for name in names)
    trial.sql(f"create table wide (id int primary key, {columns})".replace("%", "%%"), [])
    trial.sql('insert into wide (id, "select", "with.dot") values (1, 2, 3), (2, null, 4)')
    trial.declare(name="wide", key=["id"], load="replace", cursor=None, partition=None, deletes="ignore")
    trial.run()
    assert trial.rows('id, "select", "with.dot", "ÄÖÜ"') == [(1, 2, 3, None), (2, None, 4, None)]
    trial.sql('update wide set "with""quote" = 9 where id = 2')
    assert trial.run().taken.updated == 1


def table(**declared: Any) -> Table:
    return Table(**(DECLARED | declared))


def source(*tables: Table, **more: Any) -> Source:
    return Source(name="trial", connector="postgres", connection=VARIABLE, tables=list(tables), **more)


def test_a_source_with_odd_settings_of_server_and_role_gives_the_same(trial: Trial, operational_dsn: str) -> None:
    name = psycopg.conninfo.conninfo_to_dict(operational_dsn)["dbname"]
    for setting in ("datestyle = 'SQL, DMY'", "timezone = 'Pacific/Chatham'", "intervalstyle = 'sql_standard'"):
        trial.sql(f"alter database {name} set {setting}")
    trial.orders(5)
    trial.run()
    trial.assert_same()


def test_a_table_that_is_altered_before_it_is_read_is_told_and_read_by_the_next_load(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial.orders(10)
    trial.run()
    versions = trial.versions()
    trial.orders(5, first=11)
    real = postgres.Postgres.begin

    def begin(self: postgres.Postgres, *, hold: bool = True) -> str:
        trial.sql("alter table orders drop column customer_email, add column channel text default 'web'")
        return real(self, hold=hold)

    with monkeypatch.context() as patch:
        patch.setattr(postgres.Postgres, "begin", begin)
        with pytest.raises(
            PlatformError, match=r'source trial: column "customer_email" does not exist; mend the cause'
        ):
            trial.run()
    assert trial.versions() == versions
    trial.run()
    trial.assert_same()
    assert trial.rows("count(channel)") == [(5,)]  # known rows get theirs when they are read again


def test_an_empty_table_and_one_that_becomes_empty_are_loaded(trial: Trial) -> None:
    trial.run()
    assert trial.version() == 0
    assert trial.rows("count(*)") == [(0,)]
    trial.orders(10)
    trial.run()
    trial.sql("delete from orders")
    assert trial.run().taken.deleted == 10
    assert trial.rows("count(*)") == [(0,)]


def test_a_cursor_that_goes_backwards_or_is_null_loses_no_row_to_a_lookback(trial: Trial) -> None:
    trial.sql("alter table orders alter updated_at drop not null")
    trial.orders(10)
    trial.declare(lookback="P1D")
    trial.run()
    trial.sql("update orders set amount = 1, updated_at = updated_at - interval '2 hours' where order_id = 1")
    trial.sql("update orders set amount = 2, updated_at = null where order_id = 2")
    assert trial.run().taken.updated == 2
    trial.assert_same()
