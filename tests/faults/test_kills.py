"""SIGKILL at every step of every kind of work, and at random instants: run again, nothing is lost, double or mixed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import kills
import pytest
from kills import Scene, Zygote, chance, noted
from trial_source import Trial

LOOSE = """create table orders (order_id bigint, customer_email text, amount numeric(12, 2),
    ordered_at timestamptz, updated_at timestamptz default clock_timestamp())"""
AT_RANDOM = 8  # instants per work
FULL = 8  # steps from which on the disk is full, per work
SHARE = 0.1  # of the kills that leave files behind: those are collected


@dataclass(frozen=True)
class Act:
    """What is prepared, which work is killed, and the fewest steps that it can have."""

    prepare: Callable[[Trial], None]
    work: str = "run"
    least: int = 15


def _first(trial: Trial) -> None:
    """A key that the source enforces: files are written once, and taken over by the fold."""
    for number in range(3):
        trial.orders(40, day=f"2026-01-0{number + 5}", first=1 + 40 * number)


def _first_of_bad(trial: Trial) -> None:
    _loose(trial)
    _first(trial)
    _spoil(trial)


def _later(trial: Trial) -> None:
    """New, changed, moved, deleted and bad rows."""
    _loose(trial)
    _first(trial)
    trial.run()
    _trade(trial)
    _spoil(trial)


def _days(trial: Trial) -> None:
    _first(trial)
    trial.run()
    _trade(trial)


def _whole(trial: Trial) -> None:
    """Without days and without a cursor: all is read, and compared."""
    trial.declare(partition=None, cursor=None, load="replace", deletes="ignore", history=False)
    _days(trial)


def _changed_schema(trial: Trial) -> None:
    """A wider type and a new column, with changed rows: raw, processed and history are rewritten, then loaded."""
    trial.sql("alter table orders alter amount type integer")
    trial.declare(contract={"columns": "evolve", "types": "evolve"})
    _days(trial)
    trial.sql("alter table orders alter amount type bigint, add note text")
    trial.sql("update orders set note = 'new', updated_at = clock_timestamp() where order_id = 50")


def _set_aside(trial: Trial) -> None:
    """Rows with a column that their contract did not let in, and now does."""
    trial.declare(contract={"columns": "discard_row", "types": "discard_row"})
    _first(trial)
    trial.run()
    trial.sql("alter table orders add note text")
    trial.order(500, note="new")
    trial.order(501, amount="NaN")
    trial.run()
    trial.declare(contract={"columns": "evolve", "types": "discard_row"})


def _untidy(trial: Trial) -> None:
    """Small files, and such as nothing names any more."""
    _first(trial)
    trial.run()
    for number in range(2):
        _trade(trial, 1000 * (number + 1))
        trial.run()
    kills.stray(trial)


def _loose(trial: Trial) -> None:
    trial.sql("drop table orders")
    trial.sql(LOOSE)


def _trade(trial: Trial, first: int = 1000) -> None:
    trial.orders(30, day="2026-01-08", first=first)
    trial.sql("update orders set amount = 0, updated_at = clock_timestamp() where order_id % 7 = 0")
    trial.sql("update orders set ordered_at = '2026-01-09', updated_at = clock_timestamp() where order_id = 11")
    trial.sql("delete from orders where order_id in (3, 100)")


def _spoil(trial: Trial) -> None:
    trial.sql("insert into orders (amount, ordered_at) values (1, '2026-01-07'), (2, '2026-01-07')")


ACTS = {
    "a first load": Act(_first),
    "a first load with bad rows": Act(_first_of_bad),
    "a later load": Act(_later),
    "days loaded again": Act(_days, "days"),
    "a table read whole": Act(_whole),
    "a changed schema": Act(_changed_schema),
    "quarantine let in": Act(_set_aside, "replay"),
    "upkeep": Act(_untidy, "upkeep"),
}


@pytest.fixture(params=ACTS)
def scene(request: pytest.FixtureRequest, trial: Trial, zygote: Zygote, tmp_path: Path) -> Scene:
    """A lake and a source for one of the acts, and the undisturbed outcome."""
    act = ACTS[request.param]
    trial.declare(history=True)
    act.prepare(trial)
    scene = Scene(zygote, trial, act.work, tmp_path)
    scene.settle()
    return scene


def test_a_work_killed_at_any_step_is_made_good_by_the_next(scene: Scene, request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.id
    dice = chance(name)
    steps = scene.steps()
    assert len(steps) >= ACTS[name].least
    left = 0
    for step in steps:
        with noted(step):
            attempt = scene.attempt()
            assert scene.kill(attempt, {"step": step})
            left += (strays := kills.strays(attempt))
            scene.redo(attempt)
            if scene.work == "upkeep":
                assert kills.strays(attempt) == 0
            elif strays and dice.random() < SHARE:
                scene.collect(attempt)
            scene.forget(attempt)
    assert left  # files that no commit names did lie there when the lake was read


@pytest.mark.parametrize("scene", ["a first load", "a later load", "a changed schema"], indirect=True)
def test_a_work_whose_disk_is_full_from_any_step_on_says_so_and_is_made_good_by_the_next(
    scene: Scene, request: pytest.FixtureRequest
) -> None:
    dice = chance(f"full {request.node.callspec.id}")
    steps = scene.steps()
    told = 0
    for step in dice.sample(steps, FULL):
        with noted(f"no room from {step} on"):
            attempt = scene.attempt()
            said = scene.fill(attempt, step)
            assert not said or "the disk is full; free some space" in said
            told += bool(said)
            scene.redo(attempt)
            scene.forget(attempt)
    assert told > FULL // 2  # from the last steps on nothing is written


def test_a_work_killed_at_random_instants_again_and_again_is_made_good_by_the_next(
    scene: Scene, request: pytest.FixtureRequest
) -> None:
    scene.time()
    dice = chance(request.node.callspec.id)
    for _ in range(AT_RANDOM):
        attempt = scene.attempt()
        for _ in range(dice.choice([1, 1, 2, 3])):
            instant = dice.uniform(0, scene.seconds)
            with noted(f"{instant:.3f} s"):
                scene.kill(attempt, {"after": instant})
        scene.redo(attempt)
        scene.assert_at_rest(attempt)
        scene.forget(attempt)
