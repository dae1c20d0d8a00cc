"""SIGKILL before, during and after what a run writes to an S3 server: run again, nothing is lost, double or mixed."""

import os
import shutil
import signal
import threading
import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import boto3
import fix_servers
import kills
import pytest
from faulty_s3 import FaultyS3, Request
from kills import COUNTED, Scene, Zygote, chance, noted
from trial_source import Trial

from lake import probe
from lake.layout import Lake

KILLS = 11  # a work: at a few of all the moments


@dataclass
class BucketScene(Scene):
    """A scene whose lakes lie in a bucket, behind a proxy."""

    proxy: FaultyS3 = field(kw_only=True)
    bucket: str = field(kw_only=True)

    def attempt(self) -> Trial:
        """A copy below another prefix, made by the server."""
        place = self.folder / f"attempt-{next(self.numbers)}"
        (place / "staging").mkdir(parents=True)
        os.environ["WATERSHED_STAGING"] = str(place / "staging")
        client, prefix = _client(), f"attempt-{uuid.uuid4().hex[:8]}"
        old = f"{self.trial.lake.prefix}/"
        for entry in client.list_objects_v2(Bucket=self.bucket, Prefix=old).get("Contents", []):
            new = f"{prefix}/{entry['Key'].removeprefix(old)}"
            client.copy_object(Bucket=self.bucket, Key=new, CopySource={"Bucket": self.bucket, "Key": entry["Key"]})
        return replace(self.trial, lake=Lake(f"s3://{self.bucket}/{prefix}"))

    def writes(self) -> int:
        """How many requests of the work change what the server holds."""
        attempt = self.attempt()
        seen: list[Request] = []
        self.proxy.start_over(lambda request: seen.append(request) or "" if request.is_write else "")  # type: ignore[func-returns-value]
        ended = self._child(attempt)
        assert ended["signal"] == 0
        assert "error" not in ended["said"], ended["said"]
        return len(seen)

    def kill_at(self, attempt: Trial, number: int, when: str) -> bool:
        """Do the work, killed `before` its nth write has gone out, `in` its middle, or `after` it, unanswered."""
        pids: list[int] = []
        begun, count, chosen = threading.Event(), [0], list[Request]()

        def die() -> None:
            begun.wait(60)
            os.kill(pids[0], signal.SIGKILL)

        def decide(request: Request) -> str:
            count[0] += request.is_write
            if not request.is_write or count[0] != number:
                return ""
            chosen.append(request)
            if when == "after":
                return "lost"
            die()
            return "reset" if when == "before" else "half sent"

        def done(request: Request) -> None:
            if request in chosen and when == "after":
                die()

        def note(pid: int) -> None:
            pids.append(pid)
            begun.set()

        self.proxy.start_over(decide, done)
        ended = self._child(attempt, note)
        self.proxy.start_over()
        COUNTED["kills"] += ended["signal"] == signal.SIGKILL
        self.assert_nothing_half_done(attempt)
        return bool(ended["signal"] == signal.SIGKILL)

    def forget(self, attempt: Trial) -> None:
        """The bucket is removed with the test."""
        shutil.rmtree(os.environ["WATERSHED_STAGING"])

    def _child(self, attempt: Trial, begun: Any = lambda _: None) -> dict[str, Any]:
        given = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        return self.zygote.run(attempt, self.work, None, given, begun)


def _client() -> Any:
    """The server itself, without the proxy."""
    return boto3.client("s3", endpoint_url=fix_servers.address("AWS_ENDPOINT_URL"))


@pytest.mark.parametrize("is_known", [False, True], ids=["a first load", "a later load"])
def test_a_run_killed_at_a_write_to_s3_is_made_good_by_the_next(
    trial: Trial,
    zygote: Zygote,
    bucket: str,
    proxy: FaultyS3,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_known: bool,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
    proxy.start_over()
    trial.lake = Lake(f"s3://{bucket}/before")
    probe.traits(trial.lake)  # found out once, and kept in the lake
    trial.orders(20)
    trial.orders(20, day="2026-01-06", first=21)
    if is_known:
        trial.run()
        trial.orders(10, day="2026-01-07", first=41)
        trial.sql("update orders set amount = 0, updated_at = clock_timestamp() where order_id % 7 = 0")
        trial.sql("delete from orders where order_id = 25")
    scene = BucketScene(zygote, trial, "run", tmp_path, proxy=proxy, bucket=bucket)
    scene.settle()
    writes = scene.writes()
    assert writes >= 8
    dice = chance(f"s3 {is_known}")
    moments = [(number, when) for number in range(1, writes + 1) for when in ("before", "in", "after")]
    for number, when in sorted(dice.sample(moments, KILLS)):
        with noted(f"{when} write {number} of {writes}"):
            attempt = scene.attempt()
            assert scene.kill_at(attempt, number, when)
            scene.redo(attempt)
            scene.forget(attempt)
    assert kills.contents(trial.lake, trial)["processed"] != scene.outcome["processed"]  # each began before the work
