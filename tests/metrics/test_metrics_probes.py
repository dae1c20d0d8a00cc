"""Asking servers for their figures: within a time limit, with few rights, without secrets; a dead one is a row."""

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import psycopg
import pytest
from metrics_rows import address, all_rows

from metrics import probes, record, spec
from metrics.probes import Server
from metrics.server import connected

AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
PASSWORD = "pass-me-not"


def asked(look: probes.Figures | Exception) -> Server:
    def answer() -> probes.Figures:
        if isinstance(look, Exception):
            raise look
        return look

    return Server("shop", "postgres", answer, "start it, or check SHOP_DSN")


def test_a_postgresql_server_tells_connections_work_hits_and_size(metrics_dsn: str) -> None:
    (told,) = probes.measure([Server("metrics", "postgres", partial(probes.postgres, metrics_dsn), "start it")], AT)
    assert (told.measured_at, told.server, told.kind, told.is_up, told.problem) == (
        AT,
        "metrics",
        "postgres",
        True,
        None,
    )
    assert 0 < (told.connections or 0) <= (told.max_connections or 0)
    assert (told.queries or 0) > 0
    assert told.query_source == "pg_stat_database"
    assert told.query_time_s is not None
    assert told.query_time_s >= 0
    assert 0 < (told.cache_hit_ratio or 0) <= 1
    assert (told.disk_bytes or 0) > 2**20
    assert str(told.version)[:2].isdigit()


def test_statements_come_from_pg_stat_statements_only_where_the_server_has_loaded_it(metrics_dsn: str) -> None:
    """Made in the database but not loaded by the server it answers with an error, and the database's counters do."""
    with suppress(psycopg.errors.InsufficientPrivilege), psycopg.connect(metrics_dsn) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    assert probes.postgres(metrics_dsn)["query_source"] == "pg_stat_database"


def test_a_figure_that_a_role_may_not_see_or_a_server_has_not_is_none_and_no_error(metrics_dsn: str) -> None:
    with connected(metrics_dsn) as connection:
        assert probes.figure(connection, "SELECT 7") == 7
        assert probes.figure(connection, "SELECT pg_read_file('/nowhere')") is None
        assert probes.figure(connection, "SELECT time_of_tomorrow FROM pg_stat_database") is None
        assert probes.figure(connection, "SELECT 8") == 8


def test_a_server_that_is_down_is_a_row_without_its_password(metrics_dsn: str) -> None:
    dead = address(metrics_dsn, port="1", password=PASSWORD)
    (told,) = probes.measure([Server("shop", "postgres", partial(probes.postgres, dead), "start it")], AT)
    assert (told.is_up, told.connections, told.disk_bytes) == (False, None, None)
    assert "Connection refused" in (told.problem or "")
    assert PASSWORD not in (told.problem or "")


@pytest.mark.parametrize("text", [f"cannot reach mysql://me:{PASSWORD}@here/shop", f"refused (password={PASSWORD})"])
def test_what_a_driver_says_is_kept_without_secrets_and_short(text: str) -> None:
    (told,) = probes.measure([asked(ValueError(text + " and on" * 500))], AT)
    assert PASSWORD not in (told.problem or "")
    assert len(told.problem or "") <= 300


def test_a_silent_server_is_given_up_and_keeps_nobody_waiting() -> None:
    let_go = threading.Event()

    def hang() -> probes.Figures:
        let_go.wait(60)
        return {}

    started = time.monotonic()
    told = probes.measure([Server(name, "s3", hang, "") for name in ("one", "two")], AT, limit_s=0.2)
    let_go.set()
    assert [one.problem for one in told] == ["no answer within 0.2 s"] * 2
    assert time.monotonic() - started < 30  # far less than both would have taken


def test_a_mysql_server_tells_its_figures_by_the_answers_of_its_status() -> None:
    answers = {
        "select version(), @@max_connections": [("11.8.6-MariaDB", 100)],
        "show global status": [("Threads_connected", "3"), ("Queries", "29"), ("Innodb_buffer_pool_reads", "10"),
                               ("Innodb_buffer_pool_read_requests", "100")],
    }  # fmt: skip
    figures = probes.mysql(lambda statement: answers.get(statement, [(None,)]))
    assert figures == {
        "version": "11.8.6-MariaDB", "connections": 3, "max_connections": 100, "queries": 29,
        "query_source": "status", "cache_hit_ratio": 0.9, "disk_bytes": None,
    }  # fmt: skip


def test_a_folder_is_measured_without_its_links(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "a").write_bytes(b"x" * 1000)
    (tmp_path / "b").write_bytes(b"x" * 500)
    outside = tmp_path.parent / "outside"
    outside.write_bytes(b"x" * 10_000)
    (tmp_path / "link").symlink_to(outside)
    assert probes.folder_bytes(tmp_path) == 1500 + (tmp_path / "link").lstat().st_size


def test_files_that_take_too_long_to_list_are_no_figure() -> None:
    def slow() -> Iterator[int]:
        while True:
            time.sleep(0.001)
            yield 1

    assert probes.occupied(slow(), limit_s=0.05) is None


def test_what_is_recorded_twice_is_there_once(store: str, declared: spec.Spec) -> None:
    stats = probes.measure([asked({"connections": 3, "max_connections": 100})], AT)
    checks = [
        record.CheckResult(AT, "shop/orders", "is_whole", "r1", False, "ERROR", 0.5, "2 rows differ"),
        record.CheckResult(AT, "shop/orders", "has_key", "r1", True, "ERROR"),
    ]
    fresh = [record.TableFreshness(AT, "shop", "orders", AT, AT, 0.0, 129_600.0, 5, True)]
    for _ in range(2):
        record.server_stats(store, stats, now=AT, spec=declared)
        record.check_results(store, checks, now=AT, spec=declared)
        record.table_freshness(store, fresh, now=AT, spec=declared)
    assert [row[:4] for row in all_rows(store, "server_stats")] == [(AT, "shop", "postgres", True)]
    assert sorted(row[1:] for row in all_rows(store, "check_results")) == [
        ("shop/orders", "has_key", "r1", True, "ERROR", None, None),
        ("shop/orders", "is_whole", "r1", False, "ERROR", 0.5, "2 rows differ"),
    ]
    assert all_rows(store, "table_freshness") == [(AT, "shop", "orders", AT, AT, 0.0, 129_600.0, 5, True)]
