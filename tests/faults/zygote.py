"""A program that imports everything once and forks a child for each run, which ends by SIGKILL at a given moment.

Requests come as JSON, one a line: `work` (see WORKS), `root` of the lake, `declared` of the trial's table, further
`environment`, and `moment`: null to let it end; `{"after": seconds}`; `{"step": [file, line, nth]}`, the nth time that
this line is reached; `{"record": [folders]}`, which tells all steps (below); or `{"full": [file, line, nth]}`, from
when on no file can grow, as on a full disk. The first line of an answer has the child's process id, the second how it
ended.

A *step* is a line of `lake/`, `ingestion/` or `warehouse/` that finds the disk other than the line before it did. All
that outlives SIGKILL is on disk, so to be killed at each step is to be killed at every line.

Nothing of deltalake is used before the fork: its runtime does not survive one. DuckDB's one-thread instances do.
"""

import dataclasses
import json
import os
import resource
import select
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, cast

import deltalake  # noqa: F401  imported once for all children
import works
from trial_source import Trial

from ingestion.connectors import postgres
from lake import read
from lake.layout import Lake

PROJECT = Path(__file__).resolve().parents[2]
TRACED = tuple(f"{PROJECT / folder}{os.sep}" for folder in ("lake", "ingestion", "warehouse"))
Step = tuple[str, int, int]


class Tracer:
    """Calls `at` with each step-like place: a line of the project's own and the how-manieth time it is reached."""

    def __init__(self, at: Callable[[Step], None]) -> None:
        self.at, self.seen = at, Counter[tuple[str, int]]()

    def start(self) -> None:
        threading.settrace(self._of_call)
        sys.settrace(self._of_call)

    def _of_call(self, frame: FrameType, event: str, _: Any) -> Any:
        return self._of_line if frame.f_code.co_filename.startswith(TRACED) else None

    def _of_line(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            place = (frame.f_code.co_filename, frame.f_lineno)
            self.seen[place] += 1
            self.at((*place, self.seen[place]))
        return self._of_line


class Recorder:
    """The steps of a run: where the disk is other than at the line before."""

    def __init__(self, folders: list[str]) -> None:
        self.folders, self.steps = folders, list[Step]()
        self.disk = self._disk()

    def at(self, place: Step) -> None:
        disk = self._disk()
        if disk != self.disk:
            self.disk = disk
            self.steps.append(place)

    def _disk(self) -> list[Any]:
        found: list[Any] = []
        waiting = list(self.folders)
        while waiting:
            try:
                with os.scandir(waiting.pop()) as entries:
                    for entry in entries:
                        stat = entry.stat(follow_symlinks=False)
                        found.append((entry.path, stat.st_ino, stat.st_size))
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(entry.path)
            except FileNotFoundError:  # a folder that is not there yet, or a file just removed
                continue
        return found


def child(request: dict[str, Any], answer: int) -> None:
    """Do the work in this process; never returns."""
    code, said = 0, dict[str, Any]()
    try:
        os.environ.update(request["environment"])
        moment = request["moment"] or {}
        recorder = Recorder(moment["record"]) if "record" in moment else None
        if recorder:
            Tracer(recorder.at).start()
        if "step" in moment:
            step = tuple(moment["step"])
            Tracer(lambda place: die() if place == step else None).start()
        if "full" in moment:
            last = tuple(moment["full"])
            Tracer(lambda place: fill() if place == last else None).start()
        trial = Trial(cast("Any", None), Lake(request["root"]), request["declared"])
        works.WORKS[request["work"]](trial)
        sys.settrace(None)
        said["steps"] = recorder.steps if recorder else []
    except BaseException as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        said["error"] = f"{type(error).__name__}: {error}"
        traceback.print_exc()
        code = 1
    finally:
        os.write(answer, json.dumps(said).encode())
        os._exit(code)


def die() -> None:
    """End as by `kill -9`: nothing is flushed, nothing is tidied up."""
    os.kill(os.getpid(), signal.SIGKILL)


def fill() -> None:
    """Let no file grow any more."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))


@dataclasses.dataclass
class Ended:
    """How a child ended: by which signal (0: by itself), after how many seconds; what it said last."""

    signal: int
    seconds: float
    cpu_seconds: float
    said: dict[str, Any]


def fork(request: dict[str, Any]) -> Ended:
    """Run a child to its end, or kill it at its moment."""
    mine, its = os.pipe()
    start = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os.close(mine)
        child(request, its)
    os.close(its)
    tell({"pid": pid})
    watched = os.pidfd_open(pid)
    after = (request["moment"] or {}).get("after", 300)
    select.select([watched, mine], [], [], after)  # what it says may fill the pipe
    if not select.select([mine], [], [], 0)[0]:
        os.kill(pid, signal.SIGKILL)
    with os.fdopen(mine, "rb") as pipe:
        said = pipe.read()
    _, status, used = os.wait4(pid, 0)
    os.close(watched)
    ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    spent = used.ru_utime + used.ru_stime
    return Ended(ended_by, time.monotonic() - start, spent, json.loads(said) if said else {})


def tell(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    # A cursor of an instance with one thread has no other threads that a fork would lose.
    read._instance(False, "1GB").execute("SET threads = 1")
    postgres._engine()
    tell({"ready": os.getpid()})
    for line in sys.stdin:
        tell(dataclasses.asdict(fork(json.loads(line))))
