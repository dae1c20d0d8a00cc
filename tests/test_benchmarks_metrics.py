"""The metrics store's benchmark compares like with like: COPY and the loader leave the same rows, its table is one."""

from collections.abc import Iterator
from pathlib import Path

import fix_servers
import psycopg
import pytest

from benchmarks import metrics, metrics_steps

ROWS = 5000


@pytest.fixture(scope="module")
def bench_dsn() -> Iterator[str]:
    with metrics.database(fix_servers.address("METRICS_DSN")) as dsn:
        yield dsn


def held(dsn: str) -> object:
    with psycopg.connect(dsn) as connection:
        query = "SELECT count(*), sum(hashtextextended(r::text, 0)) FROM metrics.sensor_readings AS r"
        return connection.execute(query).fetchone()


def test_copy_and_the_loader_leave_the_same_rows(bench_dsn: str, tmp_path: Path) -> None:
    file = str(tmp_path / "rows")
    assert metrics_steps.made(file, ROWS)["bytes"] == Path(f"{file}.copy").stat().st_size
    assert metrics_steps.fresh(bench_dsn)["edition"] in ("apache", "community")
    assert metrics_steps.copied(bench_dsn, file)["by"] in ("server", "pipe")
    by_copy = held(bench_dsn)
    metrics_steps.fresh(bench_dsn)
    assert metrics_steps.generated(bench_dsn, ROWS, some=True)["changed"] == ROWS / 2
    upserted = metrics_steps.loaded(bench_dsn, file, ROWS)
    assert (upserted["rows"], upserted["changed"]) == (ROWS, ROWS / 2 + ROWS / 20)
    assert held(bench_dsn) == by_copy
    assert metrics_steps.loaded(bench_dsn, file, ROWS)["changed"] == 0


def test_one_day_is_read_on_either_side(bench_dsn: str, tmp_path: Path) -> None:
    rows = 3 * 24 * 60 * metrics_steps.DEVICES
    metrics_steps.fresh(bench_dsn)
    metrics_steps.generated(bench_dsn, rows)
    assert metrics_steps.tiered(bench_dsn, str(tmp_path / "lake"), rows, 1)["bytes"] > 0
    found = metrics_steps.queried(bench_dsn, str(tmp_path / "lake"), rows, times=1)
    assert found["hot"]["rows"] == found["cold"]["rows"] == 24 * 60 * metrics_steps.DEVICES


def test_the_report_is_a_table() -> None:
    report = metrics.Report(server="TimescaleDB 2.19.3 (apache).", cpu_s=2, others_cpu_s=1)
    report.line("append, CPU s", "10.0", "11.0", "1.10", "≤ 1.3")
    lines = report.markdown("On 10 rows.").splitlines()
    assert lines[2] == "| append, CPU s | 10.0 | 11.0 | 1.10 | ≤ 1.3 |"
    assert {line.count("|") for line in lines[:3]} == {6}
    assert lines[-1].startswith("On 10 rows. TimescaleDB 2.19.3 (apache). Meanwhile")
