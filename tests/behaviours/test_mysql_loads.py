"""A table on MariaDB from the source to processed: whole, by windows, with deletes, and beside late writers."""

import datetime
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fix_servers
import pytest
from mysql_trial import MySQLTrial, mysql_trial
from trial_source import SALT, VARIABLE, on_ceph, on_folder

from ingestion import extract
from lake.errors import SourceUnavailable

COLUMNS = "order_id, amount, ordered_at, updated_at"


@pytest.fixture
def trial(mysql_dsn: str, lake_root: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[MySQLTrial]:
    monkeypatch.setenv(VARIABLE, mysql_dsn)
    monkeypatch.setenv("WATERSHED_MASK_SALT", SALT)
    with mysql_trial(mysql_dsn, lake_root) as trial:
        yield trial


def same(trial: MySQLTrial) -> None:
    """Processed holds exactly the source's rows; instants there are in UTC, as the test's session is."""
    held = [tuple(_naive(value) for value in row) for row in trial.rows(COLUMNS)]
    assert sorted(held, key=repr) == trial.at_source(COLUMNS)


def _naive(value: Any) -> Any:
    return value.replace(tzinfo=None) if isinstance(value, datetime.datetime) else value


@on_ceph
def test_a_first_load_takes_all_and_a_second_what_changed(trial: MySQLTrial) -> None:
    trial.orders(500)
    trial.orders(500, "2026-01-06", first=501)
    assert trial.run().taken.inserted == 1000
    same(trial)
    time.sleep(2.1)  # the horizon is in whole seconds: what is older is not read again
    trial.orders(1, "2026-01-07", first=2000)
    trial.sql("update orders set amount = 99 where order_id in (7, 700)")
    trial.run()
    time.sleep(2.1)
    trial.sql("update orders set amount = 98 where order_id = 8")
    taken = trial.run().taken
    assert (taken.updated, taken.inserted) == (1, 0)
    assert taken.rows_read < 10
    same(trial)


@on_folder
def test_deletes_are_swept_and_a_load_again_changes_nothing(trial: MySQLTrial) -> None:
    trial.orders(100)
    trial.run()
    trial.sql("delete from orders where order_id % 20 = 0".replace("%", "%%"), ())
    trial.sql("update orders set amount = 5 where order_id = 3")
    taken = trial.run().taken
    assert (taken.updated, taken.deleted) == (1, 5)
    same(trial)
    again = trial.run().taken
    assert (again.inserted, again.updated, again.deleted) == (0, 0, 0)
    same(trial)


@on_folder
def test_many_chunks_and_pages_make_the_same_table(trial: MySQLTrial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "CHUNK_ROWS", 700)
    monkeypatch.setattr("ingestion.connectors.mysql_chunks.Grain.page", 100)
    trial.orders(5000)
    trial.sql("analyze table orders")
    loaded = trial.run()
    assert loaded.chunks > 5
    assert loaded.taken.inserted == 5000
    same(trial)


@on_folder
def test_an_interrupted_load_goes_on_where_it_was_and_is_of_one_instant(
    trial: MySQLTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ingestion.connectors.mysql import MySQL

    monkeypatch.setattr(extract, "CHUNK_ROWS", 700)
    trial.more["max_connections"] = 1
    trial.orders(5000)
    trial.sql("analyze table orders")
    whole, count = MySQL.read, 0

    def until_cut(self: MySQL, *given: Any) -> Iterator[Any]:
        nonlocal count
        count += 1
        if count > 4:
            raise SourceUnavailable("the test", "the connection is gone", "run again")
        yield from whole(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(MySQL, "read", until_cut)
        with pytest.raises(SourceUnavailable):
            trial.load()
    trial.sql("update orders set amount = 77 where order_id in (1, 4999)")
    trial.sql("delete from orders where order_id in (2, 4998)")
    trial.orders(10, first=6000)
    loaded = trial.run()
    assert loaded.chunks_kept == 4
    same(trial)


@on_folder
def test_days_are_read_again_whole(trial: MySQLTrial) -> None:
    trial.orders(10, "2026-01-05")
    trial.orders(10, "2026-01-06", first=11)
    trial.run()
    trial.sql("update orders set amount = 1, updated_at = '2026-01-01' where order_id <= 11")  # no cursor tells
    assert trial.reload("2026-01-05").taken.updated == 10
    assert trial.reload("2026-01-06").taken.updated == 1
    same(trial)


@on_folder
@pytest.mark.parametrize("kind", ["datetime", "datetime(6)", "timestamp"])
def test_a_cursor_of_any_precision_finds_what_changed(trial: MySQLTrial, kind: str) -> None:
    trial.sql(f"alter table orders modify updated_at {kind} not null default now({6 if kind.endswith('(6)') else 0})")
    trial.orders(5)
    trial.run()
    trial.sql("update orders set amount = 50, updated_at = utc_timestamp(6) where order_id = 1")
    trial.sql("delete from orders where order_id = 2")
    taken = trial.run().taken
    assert (taken.updated, taken.deleted) == (1, 1)


@on_folder
def test_writers_that_commit_late_lose_and_double_nothing(trial: MySQLTrial) -> None:
    """Each writer stamps a row when it inserts it and commits up to 1.5 s later; loads run all the while."""
    dsn, stop = os.environ[VARIABLE], threading.Event()

    def write(first: int) -> None:
        with fix_servers.mysql(dsn) as connection, connection.cursor() as cursor:
            number = first
            while not stop.is_set():
                cursor.execute("start transaction")
                for _ in range(10):
                    number += 10
                    cursor.execute(
                        "insert into orders (order_id, amount, ordered_at) values (%s, 1, '2026-01-05')", [number]
                    )
                    cursor.execute("update orders set amount = amount + 1 where order_id = %s", [number - 10])
                time.sleep(number * 7 % 15 / 10)
                cursor.execute("commit")

    threads = [threading.Thread(target=write, args=(first,), daemon=True) for first in range(6)]
    for thread in threads:
        thread.start()
    deadline, naive = time.monotonic() + 12, 0
    try:
        last = "1970-01-01"
        while time.monotonic() < deadline:
            trial.declare(deletes="ignore")
            trial.run()
            rows = trial.ask(f"select max(updated_at), count(*) from orders where updated_at > '{last}'")
            naive, last = naive + rows[0][1], str(rows[0][0] or last)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    time.sleep(2.1)
    trial.run()
    assert trial.ask("select count(*) from orders")[0][0] > 300
    same(trial)


@on_folder
def test_masked_and_dropped_values_are_nowhere_in_the_lake_or_in_the_staging(
    trial: MySQLTrial, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trial.sql("alter table orders add card varchar(30)")
    trial.orders(20)
    trial.sql(
        "update orders set customer_email = concat('someone', order_id, '@private.test'), card = '4111-1111-1111'"
    )
    trial.declare(mask={"customer_email": "sha256"}, drop=["card"])
    seen: list[bytes] = []
    whole = extract.staging.clear

    def looked_through(place: Path) -> None:
        seen.extend(path.read_bytes() for path in place.rglob("*") if path.is_file())
        whole(place)

    monkeypatch.setattr(extract.staging, "clear", looked_through)
    trial.run()
    assert trial.rows("count(distinct customer_email), min(length(customer_email))") == [(20, 64)]
    files = seen + [path.read_bytes() for path in Path(trial.lake.root).rglob("*") if path.is_file()]
    assert len(seen) > 0
    for word in (b"private.test", b"4111-1111"):
        assert not [content for content in files if word in content]


@on_folder
def test_dates_that_are_none_go_to_quarantine_and_the_row_stays(trial: MySQLTrial) -> None:
    trial.sql("set sql_mode = 'ALLOW_INVALID_DATES'")
    trial.sql("alter table orders add born date, add seen datetime(3)")
    trial.orders(3)
    trial.sql("update orders set born = '0000-00-00', seen = '2024-02-30 10:00:00' where order_id = 2")
    trial.run()
    assert trial.rows("order_id, born, seen") == [(1, None, None), (2, None, None), (3, None, None)]
    told = trial.rows("order_id, _column, _value", zone="quarantine")
    assert told == [(2, "born", "0000-00-00"), (2, "seen", "2024-02-30 10:00:00.000")]


@on_folder
def test_a_server_without_the_table_harms_nothing_that_was_loaded(trial: MySQLTrial) -> None:
    trial.orders(5)
    trial.run()
    before = trial.versions()
    trial.sql("rename table orders to elsewhere")
    with pytest.raises(Exception, match="there is no table"):
        trial.run()
    assert trial.versions() == before
    trial.sql("rename table elsewhere to orders")
    assert trial.run().taken.rows_read >= 0
    same(trial)
