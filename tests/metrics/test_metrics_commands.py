"""`watershed metrics plan`, `apply` and `status` as a person runs them, against every server that is given."""

import os
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import psycopg
import pytest
from click.testing import CliRunner, Result
from metrics_rows import NOW, Readings

from metrics.load import load
from metrics.spec import Spec
from watershed.cli import main

Run = Callable[..., Result]
TAKEN = "steps taken. The server is as declared."


@pytest.fixture
def command(tmp_path: Path) -> Run:
    """Runs `watershed metrics …` on a server, with nothing of the surroundings but the clock of the tests."""

    def run(dsn: str, *words: str) -> Result:
        given = {"WATERSHED_HOME": str(tmp_path), "METRICS_DSN": dsn, "WATERSHED_NOW": NOW.isoformat()}
        with patch.dict(os.environ, given):
            os.environ.pop("METRICS_READER_DSN", None)
            return CliRunner().invoke(main, ["metrics", *words])

    return run


def by_hand(dsn: str, statement: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statement)  # type: ignore[arg-type]


def columns(dsn: str) -> list[tuple[str, ...]]:
    query = (
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'metrics' ORDER BY 1, 2"
    )
    with psycopg.connect(dsn) as connection:
        return connection.execute(query).fetchall()  # type: ignore[return-value]


def test_the_way_from_an_empty_server_to_the_declared_one(metrics_dsn: str, command: Run) -> None:
    by_hand(metrics_dsn, "DROP SCHEMA IF EXISTS metrics CASCADE")
    plan = command(metrics_dsn, "plan")
    assert plan.exit_code == 0
    assert "metrics.sales_hourly: create hypertable with key (sold_at, store_id) and chunks of 7 days" in plan.output
    assert plan.output.endswith(" steps to take: run `watershed metrics apply`.\n")
    assert command(metrics_dsn, "apply", "--dry-run").output == plan.output
    assert columns(metrics_dsn) == []
    status = command(metrics_dsn, "status").output
    assert "metrics.sales_hourly     not applied" in status
    assert status.endswith("Run `watershed metrics plan`: the server is not as declared.\n")
    apply = command(metrics_dsn, "apply")
    assert (apply.exit_code, apply.output.splitlines()[-1].partition(" ")[2]) == (0, TAKEN)
    assert command(metrics_dsn, "plan").output.splitlines()[-1] == "The server is as declared."
    assert command(metrics_dsn, "apply").output.splitlines()[-1] == "The server is as declared."


def test_a_step_that_loses_data_is_marked_refused_and_taken_only_on_demand(
    store: str, command: Run, readings: Readings
) -> None:
    command(store, "apply")
    load(store, readings.hypertable, readings.table(NOW, 5).to_reader(), now=NOW)
    by_hand(store, "ALTER TABLE metrics.sensor_readings ADD COLUMN note text")
    by_hand(store, "UPDATE metrics.sensor_readings SET note = 'x'")
    plan = command(store, "plan")
    step = "metrics.sensor_readings: drop column note, which is not declared (LOSES DATA: 15 values of column note)\n"
    assert step in plan.output
    assert plan.output.endswith(
        "1 step to take, 1 step of them with loss of data: only by `watershed metrics apply --allow-data-loss`.\n"
    )
    before, refusal = columns(store), command(store, "apply")
    assert refusal.exit_code == 1
    assert refusal.output.startswith(
        "Error: metrics.sensor_readings: drop column note, which is not declared would lose"
    )
    assert "Traceback" not in refusal.output
    assert columns(store) == before
    done = command(store, "apply", "--allow-data-loss")
    assert done.output.endswith("1 step taken. The server is as declared.\n")
    assert ("sensor_readings", "note") not in columns(store)


def test_what_stays_although_it_is_not_declared_is_told_at_each_plan(store: str, command: Run) -> None:
    command(store, "apply")
    by_hand(store, "CREATE INDEX mine ON metrics.sensor_readings (store_id)")
    for words in (["plan"], ["apply"], ["apply", "--allow-data-loss"]):
        lines = command(store, *words).output.splitlines()
        assert any(line.endswith("declare it, or run `DROP INDEX metrics.mine`") for line in lines)
        assert lines[-1] == "The server is as declared, but for 1 thing that stays."
    by_hand(store, "DROP INDEX metrics.mine")


def test_the_status_is_one_screen_that_ends_with_what_to_do(
    store: str, command: Run, readings: Readings, declared: Spec
) -> None:
    command(store, "apply")
    load(store, readings.hypertable, readings.table(NOW, 5).to_reader(), now=NOW)
    said = command(store, "status")
    assert said.exit_code == 0
    for hypertable in declared.hypertables:
        assert f"metrics.{hypertable.name} " in said.output
    (line,) = [line for line in said.output.splitlines() if line.startswith("metrics.sensor_readings ")]
    assert line.split()[1] == "15"
    assert "retention" in said.output
    by_hand(store, "DROP INDEX metrics.sensor_readings_device_id_read_at_idx")
    drifted = command(store, "status").output
    assert "drift: 1 difference, in sensor_readings" in drifted


def test_a_server_that_is_not_one_is_a_sentence(command: Run, bare_dsn: str) -> None:
    for words in (["plan"], ["apply"], ["status"]):
        said = command(bare_dsn, *words)
        assert said.exit_code == 1
        assert "has no TimescaleDB; let an administrator run `CREATE EXTENSION timescaledb` in it" in said.output
        assert said.output.startswith("Error: metrics database t_metrics_")


def test_without_an_address_the_variable_is_named(command: Run) -> None:
    said = command("", "plan")
    assert (said.exit_code, said.output.startswith("Error: METRICS_DSN: is not set; ")) == (1, True)
