"""An S3 server that fails now and then, or for good: the run gets through or says so in one sentence; a rerun is exact.

No row is lost and none is there twice, even where the server has done what it did not get to say.
"""

import os
from collections import Counter
from collections.abc import Iterator

import pytest
from faulty_s3 import Decide, FaultyS3, Request
from kills import SEED, chance
from trial_source import Trial

from lake import layout, objects, probe
from lake.errors import LakeUnavailable
from lake.layout import Lake

OFTEN = 0.12  # of the requests fail
KINDS = ("500", "503", "429", "reset", "lost", "half sent", "half answered", "slow")


@pytest.fixture
def faulty(trial: Trial, bucket: str, proxy: FaultyS3, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyS3]:
    """The trial's lake behind the proxy, with thirty orders in it; changed at the source since."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
    trial.lake = Lake(f"s3://{bucket}/lake")
    trial.orders(20)
    trial.orders(10, day="2026-01-06", first=21)
    trial.run()
    trial.orders(10, day="2026-01-07", first=31)
    trial.sql("update orders set amount = 0, updated_at = clock_timestamp() where order_id % 7 = 0")
    trial.sql("delete from orders where order_id = 25")
    yield proxy
    proxy.start_over()


def _exact(trial: Trial) -> None:
    """The lake holds what the source does, and raw each piece of news once."""
    trial.assert_same()
    changed = [number for number in range(1, 41) if number % 7 == 0 and number <= 30]
    ops = [op for (op,) in trial.rows("_op", zone="raw")]
    assert (ops.count("i"), ops.count("u"), ops.count("d")) == (40, len(changed), 1)


def _run(trial: Trial) -> str:
    """Run; what it said if it did not get through."""
    try:
        trial.run()
    except LakeUnavailable as error:
        said = str(error)
        assert "\n" not in said
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            assert os.environ[name] not in said
        return said
    return ""


@pytest.mark.parametrize("kind", KINDS)
def test_requests_that_fail_now_and_then_harm_nothing(trial: Trial, faulty: FaultyS3, kind: str) -> None:
    dice = chance(kind)
    before = faulty.met[kind]
    faulty.start_over(lambda _: kind if dice.random() < OFTEN else "")
    _run(trial)
    assert faulty.met[kind] > before, f"WATERSHED_FAULT_SEED={SEED}"
    faulty.start_over()
    trial.run()
    _exact(trial)


def _once_each(kind: str, what: str, method: str) -> Decide:
    """Let the first request for each path that holds `what` fail."""
    seen = Counter[str]()

    def decide(request: Request) -> str:
        path = request.path.split("&", 1)[0]
        seen[path] += request.method == method and what in path
        return kind if request.method == method and what in path and seen[path] == 1 else ""

    return decide


@pytest.mark.parametrize("is_known", [False, True], ids=["first", "later"])
def test_commits_whose_answers_are_lost_count_as_made(
    trial: Trial, faulty: FaultyS3, bucket: str, is_known: bool
) -> None:
    if not is_known:
        trial.lake = Lake(f"s3://{bucket}/other")
        probe.traits(trial.lake)
    trial.declare(history=True)
    before = faulty.met["lost"]
    faulty.start_over(_once_each("lost", "_delta_log/", "PUT"))
    trial.run()
    assert faulty.met["lost"] - before == 3  # raw, processed, history
    faulty.start_over()
    trial.assert_same()
    versions = trial.versions()
    trial.run()
    assert trial.versions() == versions


def test_a_new_column_whose_commits_are_answered_by_silence_comes_in_once(trial: Trial, faulty: FaultyS3) -> None:
    trial.sql("alter table orders add note text")
    trial.sql("update orders set note = 'new', updated_at = clock_timestamp() where order_id = 14")
    faulty.start_over(_once_each("lost", "_delta_log/", "PUT"))
    for _ in range(3):  # a column that came without an answer is found by the next run
        _run(trial)
    faulty.start_over()
    trial.run()
    _exact(trial)
    assert trial.rows("note", where="note is not null") == [("new",)]


def test_files_whose_completion_is_answered_by_silence_are_there_once(trial: Trial, faulty: FaultyS3) -> None:
    faulty.start_over(_once_each("lost", "uploadId", "POST"))
    _run(trial)
    faulty.start_over()
    trial.run()
    _exact(trial)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Time limits of a second or two."""
    monkeypatch.setattr(layout, "ANSWER_S", 1)
    monkeypatch.setattr(layout, "RETRY_S", 3)
    objects._s3.cache_clear()
    yield
    objects._s3.cache_clear()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("what", ["", "uploads"], ids=["at all", "to uploads"])
def test_a_server_that_never_answers_does_not_hold_a_run_for_ever(trial: Trial, faulty: FaultyS3, what: str) -> None:
    faulty.start_over(lambda request: "hang" if what in request.path else "")
    sentence = f"lake {trial.lake.root}: the S3 server does not answer; start it, or correct AWS_ENDPOINT_URL"
    assert _run(trial) == sentence
    faulty.start_over()
    trial.run()
    _exact(trial)


@pytest.mark.usefixtures("impatient")
def test_a_server_that_fails_for_good_is_told(trial: Trial, faulty: FaultyS3) -> None:
    for kind in ("500", "503", "429", "reset", "half answered"):
        faulty.start_over(lambda _, kind=kind: kind)
        sentence = f"lake {trial.lake.root}: the S3 server does not answer; start it, or correct AWS_ENDPOINT_URL"
        assert _run(trial) == sentence, kind
    faulty.start_over()
    trial.run()
    _exact(trial)
