"""The nightly job that keeps the lake in order: what it does, tells and records."""

import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pyarrow as pa
import pytest

from lake import commit, upkeep
from lake.layout import Address, Lake
from lake.parquet import Writer
from metrics import spec, status
from orchestration import upkeep_job

ORDERS, STORES = Address("raw", "shop", "orders"), Address("raw", "shop", "stores")


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.setenv("LAKE_ROOT", str(tmp_path / "lake"))
    return Lake(str(tmp_path / "lake"))


def _load(lake: Lake, address: Address, number: int) -> None:
    writer = Writer(lake, address, f"{number:08x}", {"order_id"}, partition=datetime.date(2026, 1, 5))
    writer.rows_of(None, [pa.table({"order_id": [number]})])
    schema = pa.schema([("order_id", pa.int64())])
    commit.add(lake, address, schema, writer.written, {"n": 1}, base=commit.table(lake, address), by_day=True)


def _run() -> tuple[bool, dict[str, Any]]:
    done = upkeep_job.job().execute_in_process(raise_on_error=False)
    found: dict[str, Any] = {}
    for event in done.filter_events(lambda event: event.event_type == dg.DagsterEventType.STEP_OUTPUT):
        found |= event.step_output_data.metadata
    return done.success, found


def test_every_table_is_kept_and_the_figures_are_recorded(
    lake: Lake, timescale_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METRICS_DSN", timescale_dsn)
    for number in range(3):
        _load(lake, ORDERS, number)
        _load(lake, STORES, number)
    success, figures = _run()
    assert success
    assert (figures["files_before"].value, figures["files_after"].value) == (6, 2)
    assert [record.data["table"] for record in figures["tables"].records] == [str(ORDERS), str(STORES)]
    with psycopg.connect(timescale_dsn) as connection:
        query = "select zone, source, table_name, files_before, files, small_files, row_count, versions"
        rows = connection.execute(f"{query} from metrics.lake_tables order by table_name").fetchall()
    assert rows == [("raw", "shop", name, 3, 1, 0, 3, 4) for name in ("orders", "stores")]
    (held,) = status.status(
        timescale_dsn,
        spec.read().model_copy(update={"hypertables": (spec.read()["lake_tables"],)}),
        datetime.datetime.now(datetime.UTC),
    )
    assert held.rows == 2


def test_a_table_that_is_broken_fails_the_job_after_the_others_were_kept(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("METRICS_DSN", raising=False)
    for number in range(3):
        _load(lake, ORDERS, number)
        _load(lake, STORES, number)
    (Path(lake.uri(ORDERS)) / "_delta_log" / f"{1:020}.json").unlink()
    success, _ = _run()
    assert not success
    assert upkeep.figures(commit.table(lake, STORES)).files == 1


def test_the_job_runs_every_night_by_itself() -> None:
    schedule = upkeep_job.schedule()
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("30 3 * * *", "UTC")
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
