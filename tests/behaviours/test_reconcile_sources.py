"""Reconciliation of every kind of source: MySQL, shards, dropped files, a Python function."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fix_servers
import psycopg
import pytest
from deltalake import DeltaTable
from drops import Drops
from mysql_trial import mysql_trial
from trial_source import ORDERS, Trial, on_folder

from ingestion import load, reconcile
from ingestion.reconciled import Reconciled
from ingestion.spec import Source, Table
from lake.fold import fold
from lake.layout import Lake

ONE = "trip_id,fare,picked_up_at\n1,9.50,2026-01-05 08:00:00\n2,4.25,2026-01-06 09:30:00\n"
TWO = "trip_id,fare,picked_up_at\n3,7.00,2026-01-07 10:00:00\n"
SHARDS = ("TRIAL_NORTH_DSN", "TRIAL_SOUTH_DSN")


def lose(lake: Lake, path: str, where: str) -> None:
    DeltaTable(f"{lake.root}/{path}").delete(where)


def mended(lake: Lake, source: Source, table: Table) -> Reconciled:
    """Repair what differs, and compare again."""
    found = reconcile.compare(lake, source, table)
    assert not found.is_ok
    reconcile.repair(lake, source, table, found, say=lambda _: None)
    again = reconcile.compare(lake, source, table)
    assert again.sentences == []
    return again


@pytest.mark.parametrize("zones", [("raw",), ("processed",), ("raw", "processed")])
def test_mysql(mysql_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zones: tuple[str, ...]) -> None:
    monkeypatch.setenv("TRIAL_DSN", mysql_dsn)
    with mysql_trial(mysql_dsn, str(tmp_path / "lake")) as trial:
        trial.orders(5)
        trial.orders(5, day="2026-01-06", first=6)
        trial.run()
        assert reconcile.compare(trial.lake, trial.source, trial.table).sentences == []
        for zone in zones:
            lose(trial.lake, f"{zone}/trial/orders", "order_id = 3")
        assert mended(trial.lake, trial.source, trial.table).rows == {"source": 10, "raw": 10, "processed": 10}
        trial.sql("update orders set amount = 99, updated_at = '2020-01-01' where order_id = 7")
        mended(trial.lake, trial.source, trial.table)
        assert trial.rows("amount", where="order_id = 7") == [(99,)]


@pytest.fixture
def shards(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, psycopg.Connection]]:
    dsn = fix_servers.address("SHOP_DSN")
    with fix_servers.database(dsn) as one, fix_servers.database(dsn) as other:
        connections = {}
        for variable, address in zip(SHARDS, (one, other), strict=True):
            monkeypatch.setenv(variable, address)
            connections[variable] = psycopg.connect(address, autocommit=True)
            connections[variable].execute(ORDERS)
        yield connections
        for connection in connections.values():
            connection.close()


@on_folder
def test_shards_are_one_table(trial: Trial, shards: dict[str, psycopg.Connection]) -> None:
    source = trial.source.model_copy(update={"shards": SHARDS})
    put = "insert into orders (order_id, amount, ordered_at) select n, n, '2026-01-05' from generate_series(1, 5) n"
    for connection in shards.values():
        connection.execute(put)
    load.changes(trial.lake, source, trial.table)
    fold(trial.lake, load.subject(source, trial.table))
    found = reconcile.compare(trial.lake, source, trial.table)
    assert (found.sentences, found.rows["source"], found.behind) == ([], 10, 0)
    for zone in ("raw", "processed"):
        lose(trial.lake, f"{zone}/trial/orders", f"order_id = 3 and _shard = '{SHARDS[1]}'")
    shards[SHARDS[0]].execute("delete from orders where order_id = 1")
    shards[SHARDS[1]].execute("update orders set amount = 50, updated_at = clock_timestamp() where order_id = 2")
    assert reconcile.compare(trial.lake, source, trial.table).behind == 1
    mended(trial.lake, source, trial.table)
    assert [row for row in trial.rows("_shard, order_id") if row[1] in (1, 3)] == [
        (SHARDS[0], 3),
        (SHARDS[1], 1),
        (SHARDS[1], 3),
    ]


@pytest.mark.parametrize("declared", [{}, {"partition": "day(picked_up_at)"}])
def test_files(tmp_path: Path, declared: dict[str, Any]) -> None:
    (tmp_path / "drops").mkdir()
    drops = Drops(str(tmp_path / "drops"), Lake(str(tmp_path / "lake")), declared=declared)
    drops.drop("one.csv", ONE)
    drops.run()
    assert reconcile.compare(drops.lake, drops.source, drops.table).sentences == []
    drops.drop("two.csv", TWO)
    found = reconcile.compare(drops.lake, drops.source, drops.table)
    assert (found.sentences, found.behind) == ([], 1)
    drops.run()
    for zone in ("raw", "processed"):
        lose(drops.lake, f"{zone}/drops/trips", "trip_id = 2")
    mended(drops.lake, drops.source, drops.table)
    assert drops.rows("trip_id") == [(1,), (2,), (3,)]
    Path(drops.root, "one.csv").unlink()  # taken; what becomes of the file is nobody's business
    assert reconcile.compare(drops.lake, drops.source, drops.table).is_ok
    Path(drops.root, "two.csv").rename(Path(drops.root, "three.csv"))
    assert reconcile.compare(drops.lake, drops.source, drops.table).is_ok


def test_a_python_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "numbers_of_trial.py").write_text(
        "def rows(since=None):\n"
        "    for n in range(1, 4):\n"
        "        yield {'n': n, 'name': f'number {n}', 'at': f'2026-01-0{n}T12:00:00+00:00'}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("TRIAL_NUMBERS", "none")
    table = Table(
        name="numbers",
        key=["n"],
        load="replace",
        function="numbers_of_trial:rows",
        columns={"n": "bigint", "name": "text", "at": "timestamptz"},
    )
    source = Source(name="numbers", connector="python", connection="TRIAL_NUMBERS", tables=[table])
    lake = Lake(str(tmp_path / "lake"))
    load.changes(lake, source, table)
    fold(lake, load.subject(source, table))
    assert reconcile.compare(lake, source, table).sentences == []
    lose(lake, "processed/numbers/numbers", "n = 2")
    assert mended(lake, source, table).rows["processed"] == 3
