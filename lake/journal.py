"""The log of one table as the files that it consists of: which versions there are, since when, what each one did."""

import datetime
import json
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from lake import inventory
from lake.errors import PermanentError
from lake.layout import Address, Lake

LOG = "_delta_log"
READS_AT_ONCE = 16
ENTRY = re.compile(r"^(\d{20})\.json$")
CHECKPOINT = re.compile(r"^(\d{20})\.checkpoint\.(?:.+\.)?parquet$")
LEFT_OVER = re.compile(r"#\d+$|^_commit_.*\.json\.tmp$")  # what a killed commit leaves in the log's folder


class Damaged(PermanentError):
    """A table's log cannot be read as it lies there."""


@dataclass(frozen=True)
class Entry:
    """One version's file in the log; `since` never goes back from one version to the next, whatever the clocks did."""

    version: int
    bytes: int
    since: datetime.datetime


@dataclass(frozen=True)
class Log:
    """What lies in a table's log: entries by version, versions with a checkpoint, and left-overs of killed commits."""

    entries: tuple[Entry, ...]
    checkpoints: tuple[int, ...]
    left_over: tuple[inventory.Stored, ...]

    def since(self, instant: datetime.datetime) -> Iterator[int]:
        """The versions committed at `instant` or later."""
        return (entry.version for entry in self.entries if entry.since >= instant)


def log(lake: Lake, address: Address) -> Log:
    """The files of a table's log, from one listing."""
    entries: list[Entry] = []
    checkpoints: set[int] = set()
    left_over: list[inventory.Stored] = []
    for file in sorted(inventory.below(lake, f"{address}/{LOG}", deep=False), key=lambda one: one.path):
        if match := ENTRY.match(file.path):
            since = max(file.since, entries[-1].since) if entries else file.since
            entries.append(Entry(int(match[1]), file.bytes, since))
        elif match := CHECKPOINT.match(file.path):
            checkpoints.add(int(match[1]))
        elif LEFT_OVER.search(file.path):
            left_over.append(file)
    return Log(tuple(entries), tuple(sorted(checkpoints)), tuple(left_over))


def actions(lake: Lake, address: Address, version: int) -> list[dict[str, Any]]:
    """The actions of one version. Raises Damaged if its entry is missing or cannot be read."""
    path = name(version)
    where = f"lake table {address}"
    mend = f"run `watershed lake restore {address}`"
    try:
        lines = inventory.read(lake, f"{address}/{LOG}/{path}").decode().splitlines()
        found = [json.loads(line) for line in lines if line.strip()]
    except FileNotFoundError:
        raise Damaged(where, f"log entry {path} is missing", mend) from None
    except ValueError:
        raise Damaged(where, f"log entry {path} is cut off or no JSON", mend) from None
    if not found or not all(isinstance(action, dict) for action in found):
        raise Damaged(where, f"log entry {path} is empty or says nothing", mend)
    return found


def read(lake: Lake, address: Address, versions: Iterable[int]) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """The actions of several versions, some read at a time. Raises Damaged as `actions` does."""
    wanted = list(versions)
    with ThreadPoolExecutor(READS_AT_ONCE if lake.on_s3 else 1) as pool:
        for start in range(0, len(wanted), 4 * READS_AT_ONCE):
            some = wanted[start : start + 4 * READS_AT_ONCE]
            yield from zip(some, pool.map(lambda version: actions(lake, address, version), some), strict=True)


def info(actions: list[dict[str, Any]]) -> dict[str, Any]:
    """Who made a version, when and with what state."""
    return next((dict(action["commitInfo"]) for action in actions if "commitInfo" in action), {})


def told_at(actions: list[dict[str, Any]]) -> datetime.datetime | None:
    """When a version says that it was made (UTC, its writer's clock)."""
    stamp = info(actions).get("timestamp")
    return None if stamp is None else datetime.datetime.fromtimestamp(stamp / 1000, datetime.UTC)


def name(version: int) -> str:
    """The name of a version's entry."""
    return f"{version:020}.json"
