"""SIGKILL in the middle of a load and of a fold: run again, the lake is that of an undisturbed run."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from trial_source import Trial

from lake import parquet
from lake.layout import Lake

HERE = Path(__file__).parent
LOOSE = """create table orders (order_id bigint, customer_email text, amount numeric(12, 2),
    ordered_at timestamptz, updated_at timestamptz default clock_timestamp())"""
CONTENT = "* EXCLUDE (_load_id, _loaded_at)"
GOOD = "select order_id from orders where order_id is not null"
LOGGED = "order_id, amount, updated_at, _op"


def _program(trial: Trial, point: str, number: int) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(HERE.parent), str(HERE)])
    return subprocess.Popen(
        [sys.executable, str(HERE / "killed_run.py"), trial.lake.root, json.dumps(trial.declared), point, str(number)],
        env=os.environ | {"PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _killed(trial: Trial, point: str, number: int) -> None:
    program = _program(trial, point, number)
    _, errors = program.communicate(timeout=120)
    assert program.returncode == -signal.SIGKILL, errors


@pytest.fixture
def twin(trial: Trial, tmp_path: Path) -> Trial:
    """The same source and declaration, loaded into another lake without any disturbance."""
    trial.sql("drop table orders")
    trial.sql(LOOSE)
    trial.declare(history=True)
    return Trial(trial.connection, Lake(str(tmp_path / "undisturbed")), trial.declared)


def _trade(trial: Trial) -> None:
    """New, changed, moved, deleted and bad rows."""
    trial.orders(40, day="2026-01-07", first=1000)
    trial.sql("update orders set amount = 0, updated_at = clock_timestamp() where order_id % 7 = 0")
    trial.sql("update orders set ordered_at = '2026-01-09', updated_at = clock_timestamp() where order_id = 11")
    trial.sql("delete from orders where order_id in (3, 103)")
    trial.sql("insert into orders (amount, ordered_at) values (1, '2026-01-07'), (2, '2026-01-07')")


def _assert_equal(trial: Trial, twin: Trial) -> None:
    assert trial.rows(CONTENT) == twin.rows(CONTENT)
    assert trial.rows("order_id") == sorted(trial.connection.execute(GOOD).fetchall())
    for zone, suffix, columns in (
        ("raw", "", "order_id, amount, _op"),
        ("processed", "_history", "order_id, amount, _op"),
        ("quarantine", "", "order_id, amount, _reason"),
    ):
        assert trial.rows(columns, zone, suffix) == twin.rows(columns, zone, suffix), zone


# The second run commits, in this order: quarantine, raw, processed, history.
POINTS = [("in", 1), ("after", 1), ("in", 2), ("after", 2), ("in", 3), ("after", 3), ("in", 4), ("after", 4)]


@pytest.mark.parametrize(("point", "number"), POINTS)
def test_a_run_killed_at_a_commit_is_made_good_by_the_next(trial: Trial, twin: Trial, point: str, number: int) -> None:
    trial.orders(100, day="2026-01-05")
    trial.orders(100, day="2026-01-06", first=101)
    trial.run()
    twin.run()
    _trade(trial)
    twin.run()
    before = trial.rows(CONTENT)
    _killed(trial, point, number)
    if (number, point) in [(1, "in"), (1, "after"), (2, "in"), (2, "after"), (3, "in")]:
        assert trial.rows(CONTENT) == before
    trial.run()
    _assert_equal(trial, twin)
    versions = trial.versions()
    trial.run()
    assert trial.versions() == versions


# The first run has nothing for quarantine: raw, processed, history.
@pytest.mark.parametrize(("point", "number"), [("in", 1), ("after", 1), ("in", 2), ("after", 2), ("in", 3)])
def test_a_first_run_killed_at_a_commit_is_made_good_by_the_next(
    trial: Trial, twin: Trial, point: str, number: int
) -> None:
    trial.orders(100, day="2026-01-05")
    trial.orders(100, day="2026-01-06", first=101)
    _killed(trial, point, number)
    trial.run()
    twin.run()
    assert trial.rows(CONTENT) == twin.rows(CONTENT)
    assert trial.rows(LOGGED, "raw") == twin.rows(LOGGED, "raw")
    assert trial.rows(LOGGED, suffix="_history") == twin.rows(LOGGED, suffix="_history")


@pytest.mark.parametrize(("point", "number"), [("in", 1), ("in", 2)])
def test_a_run_on_s3_killed_at_a_commit_is_made_good_by_the_next(
    trial: Trial, bucket: str, point: str, number: int
) -> None:
    trial.lake = Lake(f"s3://{bucket}/lake")
    trial.orders(50)
    trial.run()
    trial.sql("update orders set amount = 0, updated_at = clock_timestamp() where order_id % 7 = 0")
    trial.orders(10, day="2026-01-06", first=51)
    _killed(trial, point, number)
    assert len(trial.rows()) == 50
    trial.run()
    trial.assert_same()
    assert len(trial.rows(zone="raw")) == 50 + 7 + 10


@pytest.mark.parametrize("files", [0, 3, 6])
@pytest.mark.parametrize("is_known", [False, True], ids=["first", "later"])
def test_a_wide_fold_that_ends_between_its_files_shows_nothing_and_is_done_again(
    trial: Trial, twin: Trial, monkeypatch: pytest.MonkeyPatch, files: int, is_known: bool
) -> None:
    for number in range(7):
        trial.orders(10, day=f"2026-01-0{number + 1}", first=10 * number + 1)
    if is_known:
        twin.run()
        trial.run()
        trial.sql("update orders set amount = amount + 1, updated_at = clock_timestamp()")
    twin.run()
    before = trial.rows(CONTENT) if is_known else []
    trial.load()
    real, done = parquet.Writer.rows_of, []

    def ends(*given: object) -> None:
        if len(done) == files:
            raise KeyboardInterrupt
        done.append(1)
        real(*given)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(parquet.Writer, "rows_of", ends)
        with pytest.raises(KeyboardInterrupt):
            trial.fold()
    assert (trial.rows(CONTENT) if trial.version() >= 0 else []) == before
    trial.fold()
    assert trial.rows(CONTENT) == twin.rows(CONTENT)
    assert trial.fold().loads == 0


def test_runs_killed_at_any_moment_are_made_good_by_the_last(trial: Trial, twin: Trial) -> None:
    chance = random.Random(7)
    trial.orders(20_000, day="2026-01-05")
    for round_ in range(4):
        trial.orders(20_000, day=f"2026-01-{10 + round_}", first=100_000 * (round_ + 1))
        program = _program(trial, "never", 0)
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0.05, 0.8))
        program.kill()
        program.communicate()
    trial.run()
    twin.run()
    assert len(trial.rows("order_id")) == 100_000
    assert trial.rows(CONTENT) == twin.rows(CONTENT)
    assert len(trial.rows("order_id", "raw")) == 100_000
    assert len(trial.rows("order_id", suffix="_history")) == 100_000
