"""Runs that are killed, and what has to be true of the lake afterwards."""

import datetime
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import trial_source
from trial_source import Trial
from works import WORKS, addresses, tidy

from ingestion import load
from lake import checksum, commit, read
from lake.layout import Address, Lake
from lake.verify import verify

HERE = Path(__file__).parent
SEED = int(os.environ.get("WATERSHED_FAULT_SEED", "4"))
# What a test does to the lake is done by these variables, in its own process as in the one that is killed.
PASSED_ON = (trial_source.VARIABLE, "WATERSHED_MASK_SALT", "WATERSHED_STAGING")
COUNTED: Counter[str] = Counter()
SPENT = [0.0]


class Zygote:
    """The program that forks a child for each run; see `zygote.py`."""

    def __init__(self, log: Path) -> None:
        """Start it; what its children say goes to `log`."""
        self.log = log
        paths = os.pathsep.join([str(HERE.parent), str(HERE)])
        with log.open("a") as said:
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / "zygote.py")],
                env=os.environ | {"PYTHONPATH": paths},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
            )
        assert "ready" in self._hears()

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)

    def run(
        self,
        trial: Trial,
        work: str,
        moment: dict[str, Any] | None,
        environment: dict[str, str] | None = None,
        begun: Callable[[int], None] = lambda _: None,
    ) -> dict[str, Any]:
        """Do `work` in a child until it ends, or its moment comes; `begun` is told its process id."""
        passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ} | (environment or {})
        request = {"work": work, "root": trial.lake.root, "declared": trial.declared, "moment": moment}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request | {"environment": passed}) + "\n")
        self.process.stdin.flush()
        begun(self._hears()["pid"])
        ended = self._hears()
        SPENT[0] += ended["cpu_seconds"]
        return ended

    def _hears(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.log.read_text()[-4000:]
        heard: dict[str, Any] = json.loads(line)
        return heard


@dataclass
class Scene:
    """A work on a lake as it is `before`, its undisturbed outcome, and the attempts at it that are killed.

    Whatever is killed starts from a copy of `before`, with the source as it is now.
    """

    zygote: Zygote
    trial: Trial
    work: str
    folder: Path
    numbers: Iterator[int] = field(default_factory=itertools.count)
    allowed: dict[str, list[Any]] = field(default_factory=dict)
    outcome: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def settle(self) -> None:
        """Do the work undisturbed on a copy: its versions are what readers may see, its last one what must come out."""
        twin = self.attempt()
        before = versions(twin)
        WORKS[self.work](twin)
        self.allowed = {name: before[name] + found for name, found in versions(twin, before).items()}
        self.outcome = contents(twin.lake, twin)
        assert self.outcome == {name: [None, *found][-1] for name, found in self.allowed.items()}

    def steps(self) -> list[Any]:
        """All steps of the work, in order: see `zygote.py`."""
        attempt = self.attempt()
        folders = [attempt.lake.root, os.environ["WATERSHED_STAGING"]]
        ended = self.zygote.run(attempt, self.work, {"record": folders})
        assert ended["signal"] == 0
        assert "error" not in ended["said"], ended["said"]
        return list(ended["said"]["steps"])

    def time(self) -> None:
        """Measure how long the work takes when it is not killed."""
        self.seconds = self.zygote.run(self.attempt(), self.work, None)["seconds"]

    def attempt(self) -> Trial:
        """A copy of the lake as it was before, with a staging folder of its own."""
        place = self.folder / f"attempt-{next(self.numbers)}"
        (place / "staging").mkdir(parents=True)
        os.environ["WATERSHED_STAGING"] = str(place / "staging")  # put back by the fixture that set it first
        if Path(self.trial.lake.root).exists():
            shutil.copytree(self.trial.lake.root, place / "lake")
        return replace(self.trial, lake=Lake(str(place / "lake")))

    def kill(self, attempt: Trial, moment: dict[str, Any]) -> bool:
        """Do the work, killed at a moment; whether it had not ended before. Nothing half done can be seen."""
        ended = self.zygote.run(attempt, self.work, moment)
        assert "error" not in ended["said"], ended["said"]
        COUNTED["kills"] += ended["signal"] == 9
        self.assert_nothing_half_done(attempt)
        return bool(ended["signal"] == 9)

    def fill(self, attempt: Trial, step: Any) -> str:
        """Do the work on a disk that is full from a step on; what it says, empty if it got through."""
        ended = self.zygote.run(attempt, self.work, {"full": step})
        assert ended["signal"] == 0
        self.assert_nothing_half_done(attempt)
        return str(ended["said"].get("error", ""))

    def assert_nothing_half_done(self, attempt: Trial) -> None:
        """Each table is one of the versions that it has without a kill, whoever reads it."""
        for reader in ("duckdb", "deltalake"):
            for name, found in contents(attempt.lake, attempt, reader).items():
                assert found in [None, *self.allowed[name]], f"{name}, read by {reader}"

    def redo(self, attempt: Trial) -> None:
        """Do the work again, in this process: the lake is what it is without a kill."""
        WORKS[self.work](attempt)
        assert contents(attempt.lake, attempt) == self.outcome

    def assert_at_rest(self, attempt: Trial) -> None:
        """Done once more, the work commits nothing; and the last load lies in raw as it was written."""
        before = attempt.versions()
        WORKS[self.work](attempt)
        assert attempt.versions() == before
        if self.work == "upkeep":
            return
        last = commit.state(commit.table(attempt.lake, attempt.address("raw")))["load_id"]
        assert verify(attempt.lake, load.subject(attempt.source, attempt.table), last).difference is None

    def collect(self, attempt: Trial) -> None:
        """Upkeep collects what the kill left behind after the grace period and not before; all versions stay."""
        before, left = versions(attempt), strays(attempt)
        tidy(attempt, datetime.timedelta(hours=23))
        assert strays(attempt) == left
        tidy(attempt, datetime.timedelta(hours=25))
        assert strays(attempt) == 0
        after = versions(attempt)
        assert {name: after[name][: len(found)] for name, found in before.items()} == before
        assert contents(attempt.lake, attempt) == self.outcome

    def forget(self, attempt: Trial) -> None:
        """Remove an attempt's folders."""
        shutil.rmtree(Path(attempt.lake.root).parent)


@contextmanager
def noted(what: Any) -> Iterator[None]:
    """Say with a failure at which moment the run was killed, and by which seed it was chosen."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"killed at {what}; WATERSHED_FAULT_SEED={SEED}")
        raise


def chance(name: str) -> random.Random:
    """The dice of one test."""
    return random.Random(f"{SEED} {name}")


def contents(lake: Lake, trial: Trial, reader: str = "duckdb") -> dict[str, Any]:
    """The checksum of each table's rows, without what tells loads apart; None where there is no table."""
    return {name: content(lake, address, reader) for name, address in addresses(trial).items()}


def versions(trial: Trial, since: dict[str, list[Any]] | None = None) -> dict[str, list[Any]]:
    """The checksums of each table's versions, oldest first; without as many as `since` has."""
    found = {}
    for name, address in addresses(trial).items():
        newest = commit.table(trial.lake, address)
        numbers = range(0 if newest is None else newest.version() + 1)[len((since or {}).get(name, [])) :]
        found[name] = [content(trial.lake, address, "deltalake", number) for number in numbers]
    return found


def content(lake: Lake, address: Address, reader: str, version: int | None = None) -> Any:
    """The checksum of a table's rows as DuckDB or deltalake reads them."""
    delta = commit.table(lake, address)
    if delta is None:
        return None
    if version is not None:
        delta.load_as_version(version)
    with read.connect(lake) as connection:
        if reader == "deltalake":
            connection.register("read_by_deltalake", delta.to_pyarrow_dataset())
        relation = "read_by_deltalake" if reader == "deltalake" else read.relation(lake, address)
        columns = read.columns(delta)
        # A deleted row is dated by its load, if the table has a cursor.
        dated = "* REPLACE (CASE WHEN _op <> 'd' THEN updated_at END AS updated_at)"
        shown = dated if {"_op", "updated_at"} <= set(columns) else "*"
        found = checksum.of(connection, f"(SELECT {shown} FROM {relation})", "_op" if "_op" in columns else "'q'")
        if reader == "deltalake":
            connection.unregister("read_by_deltalake")
        return found


def strays(trial: Trial) -> int:
    """How many files lie in the tables' folders that no version of them names."""
    root, count = Path(trial.lake.root), 0
    for address in addresses(trial).values():
        known = set[str]()
        with suppress(FileNotFoundError):
            for log in sorted((root / str(address) / "_delta_log").glob("*.json")):
                actions = [json.loads(line) for line in log.read_text().splitlines()]
                known |= {action["add"]["path"] for action in actions if "add" in action}
        here = root / str(address)
        found = {str(path.relative_to(here)) for path in here.rglob("*.parquet") if "_delta_log" not in path.parts}
        count += len(found - known)
    return count


def stray(trial: Trial, days: float = 0) -> Path:
    """A file that a killed load might have left in processed, dated so many days from now."""
    folder = Path(trial.lake.root) / str(trial.address()) / "year=2026/month=01/day=05"
    path = folder / "part-00-2026-01-05-00000.parquet"
    path.write_bytes(b"left behind by a kill")
    dated = path.stat().st_mtime + days * 86_400
    os.utime(path, (dated, dated))
    return path
