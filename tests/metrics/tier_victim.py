"""Tiers a hypertable and is killed on the way, at the step that is read from the standard input; once for each line.

Run as a program. What it needs is imported once; each attempt is a fork from before anything was used.
"""

import os
import signal
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

from lake import cold, commit
from lake.layout import Lake
from metrics import spec, tier, tier_books


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def after(act: Callable[..., Any]) -> Callable[..., Any]:
    def acted(*given: Any, **named: Any) -> None:
        act(*given, **named)
        die()

    return acted


def in_the_drop(mover: Any, range: cold.Range) -> None:
    """The server has dropped and marked the range, and nothing is committed."""
    with mover.connection.transaction():
        values = (mover.hypertable.name, range.start, range.end, "10 seconds")
        said = mover.connection.execute("SELECT metrics._drop_left(%s, %s, %s, %s)", values).fetchone()
        assert said == (None,), said
        die()


STEPS: dict[str, Callable[[], None]] = {
    "files are written": lambda: setattr(commit, "add", die),
    "the lake has committed": lambda: setattr(cold, "copy", after(cold.copy)),
    "the copy was read back": lambda: setattr(tier_books, "note", die),
    "the copy was noted": lambda: setattr(tier_books, "note", after(tier_books.note)),
    "the roll-ups were summed up": lambda: setattr(tier.Mover, "leave", die),
    "the range was marked": lambda: setattr(tier.Mover, "leave", after(tier.Mover.leave)),
    "the drop is not committed": lambda: setattr(tier.Mover, "drop", in_the_drop),
    "the range was dropped": lambda: setattr(tier.Mover, "drop", after(tier.Mover.drop)),
}


def main(dsn: str, root: str, now: str) -> None:
    hypertable = spec.read()["sensor_readings"].model_copy(update={"tier": True})
    for line in sys.stdin:
        child = os.fork()
        if not child:
            STEPS[line.strip()]()
            tier.run(dsn, Lake(root), hypertable, datetime.fromisoformat(now))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print("killed" if os.WIFSIGNALED(status) else f"ended with {os.waitstatus_to_exitcode(status)}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
