"""Clocks that jump by days, forwards and back, between loads and in them: later loads win, nothing is lost early."""

import datetime
import time
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import cast

import kills
import pytest
from faulty_s3 import FaultyS3
from trial_source import Trial

from ingestion import load
from lake import commit, replay, upkeep
from lake.errors import AccessDenied, LakeUnavailable
from lake.layout import Lake

JUMPS = (0, 400, -3, 30, -700, 0.5, -0.5)  # days; each load is made at another one
Clock = Callable[[float], None]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Set this process's clock so many days off, as often as wanted; the store's stays as it is."""
    off = [0.0]
    real, true = time.time, datetime.datetime

    class Jumping(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> "Jumping":
            return cls.fromtimestamp(real() + off[0] * 86_400, tz)

    jumping = SimpleNamespace(**vars(datetime) | {"datetime": Jumping})
    assert isinstance(Jumping.now(datetime.UTC), true)
    for module in (load, replay):
        monkeypatch.setattr(module, "datetime", cast("ModuleType", jumping))
    monkeypatch.setattr(time, "time", lambda: real() + off[0] * 86_400)

    def jump(days: float) -> None:
        off[0] = days

    return jump


def _loads(trial: Trial) -> list[dict[str, str]]:
    raw = commit.table(trial.lake, trial.address("raw"))
    assert raw is not None
    return [state for state in commit.states(raw, -1) if "load_id" in state]


def test_whatever_the_clock_says_later_loads_win_and_no_load_has_the_id_of_another(trial: Trial, clock: Clock) -> None:
    trial.declare(history=True)
    trial.orders(30)
    for number, jump in enumerate(JUMPS):
        clock(jump)
        trial.sql("update orders set amount = %s, updated_at = clock_timestamp() where order_id < 10", [number])
        trial.sql("delete from orders where order_id = %s", [20 + number])
        trial.run()
        trial.assert_same()
    loads = _loads(trial)
    assert len({state["load_id"] for state in loads}) == len(loads) == len(JUMPS)
    told = [state["loaded_at"] for state in loads]
    assert told == sorted(told)
    assert trial.rows("count(*)", zone="raw", where="order_id = 1") == [(len(JUMPS),)]
    assert trial.rows("count(*)", suffix="_history", where="order_id = 1") == [(len(JUMPS),)]


def test_a_clock_that_jumps_within_a_load_or_before_its_fold_changes_nothing(
    trial: Trial, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial.orders(30)
    trial.run()
    jumps = iter(JUMPS * 20)
    real = commit.add
    for number in range(3):
        trial.sql("update orders set amount = %s, updated_at = clock_timestamp() where order_id < 10", [number])
        with monkeypatch.context() as patch:
            patch.setattr(commit, "add", lambda *given, **named: (clock(next(jumps)), real(*given, **named))[1])
            trial.load()
            clock(next(jumps))
            trial.fold()
        trial.assert_same()
    trial.reload("2026-01-05")
    trial.assert_same()
    assert len({state["load_id"] for state in _loads(trial)}) == 4


def test_a_clock_that_is_wrong_lets_no_version_be_removed_early(trial: Trial, clock: Clock) -> None:
    trial.orders(30)
    for number, jump in enumerate((0, -90, 90, 0)):  # entries of the log that say they are old, or still to come
        clock(jump)
        trial.sql("update orders set amount = %s, updated_at = clock_timestamp() where order_id < 10", [number])
        trial.run()
    stray = kills.stray(trial)
    before = kills.versions(trial)
    for jump in (0, 90, -90):  # the clock by which upkeep is run
        clock(jump)
        for address in kills.addresses(trial).values():
            upkeep.keep(trial.lake, address)
    after = kills.versions(trial)
    assert {name: after[name][: len(found)] for name, found in before.items()} == before
    assert stray.exists()
    trial.assert_same()


def test_a_file_from_the_future_is_not_taken_for_an_old_one(trial: Trial) -> None:
    trial.orders(5)
    trial.run()
    stray = kills.stray(trial, days=3)
    address = trial.address()
    now = upkeep.clock(trial.lake)
    for days, is_there in ((2, True), (3.5, True), (4.5, False)):  # a day of grace after what its date says
        upkeep.keep(trial.lake, address, now=now + datetime.timedelta(days=days))
        assert stray.exists() == is_there, days


def test_a_server_whose_clock_differs_too_much_says_so(trial: Trial, bucket: str, proxy: FaultyS3) -> None:
    trial.lake = Lake(f"s3://{bucket}/lake")
    trial.orders(5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        proxy.start_over(lambda _: "skewed")
        with pytest.raises((AccessDenied, LakeUnavailable), match="clock"):
            trial.run()
        proxy.start_over()
        trial.run()
        trial.assert_same()
