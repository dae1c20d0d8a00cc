"""What the watchdog says: a check, of which hypertable, whether it is well, and if not what would mend it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from lake.errors import PlatformError

Severity = Literal["ERROR", "WARN"]

DRIFT = "as_declared"
POLICIES = "policies_run"
ERRORS = "jobs_succeed"
BACKLOG = "no_backlog"
MEMORY = "chunks_fit_memory"
LAG = "roll_ups_in_time"
CLOCK = "clock_agrees"
SERVERS = "servers_answer"

OF_HYPERTABLE: dict[str, str] = {
    DRIFT: "The server has hypertable, indexes, roll-ups and policies as metrics/hypertables.yml declares them.",
    POLICIES: "Whatever keeps the hypertable is switched on and has run when it was due.",
    ERRORS: "No job that keeps the hypertable ended with an error.",
    BACKLOG: "No chunk waits to be compressed or moved to the lake, and none that should be gone is still there.",
    MEMORY: "The chunks that are written to fit into the server's memory, and a query over all of them into its locks.",
    LAG: "No roll-up is behind its rows for longer than its refresh_lag.",
}
OF_STORE: dict[str, str] = {
    CLOCK: "The metrics server's clock agrees with this machine's: policies go by the server's.",
    SERVERS: "Every server that the platform talks to answers within seconds.",
}


@dataclass(frozen=True)
class Finding:
    """One verdict: `what` is a sentence; `mend`, a command or what to change, is there if it is not `ok`."""

    check: str
    hypertable: str
    ok: bool
    what: str
    mend: str = ""
    severity: Severity = "ERROR"
    figures: Mapping[str, float | int | str] = field(default_factory=dict)

    def __str__(self) -> str:
        """`sensor_readings: 2 chunks …; mend it with `…``."""
        where = f"{self.hypertable}: " if self.hypertable else ""
        return f"{where}{self.what}" + (f"; {self.mend}" if self.mend and not self.ok else "")


@dataclass(frozen=True)
class Limits:
    """What is still well: how late a thing may be, how far clocks may differ, which share of memory and locks is used.

    TimescaleDB advises that the chunks being written to fit into a quarter of the machine's memory, and PostgreSQL that
    shared_buffers be set to a quarter of it; so `memory_share` is of shared_buffers. `tick` is the time between two
    looks: what is not a tick late is not late.
    """

    tick: timedelta = timedelta(minutes=10)
    grace: timedelta = timedelta(hours=2)
    clock: timedelta = timedelta(seconds=30)
    memory_share: float = 1.0
    lock_share: float = 0.5


@dataclass(frozen=True)
class Moment:
    """The two clocks of a look: the platform's, by which its own jobs go, and the server's, by which policies go."""

    now: datetime
    server: datetime


def untold(error: PlatformError, check: str = CLOCK, hypertable: str = "") -> Finding:
    """The finding for a store that cannot be asked."""
    return Finding(check, hypertable, False, f"cannot be judged: {error.where} {error.what}", error.mend)


def join(sentences: list[str]) -> str:
    """Several sentences as one line, the first few of many."""
    more = f"; and {len(sentences) - 3} more" if len(sentences) > 3 else ""
    return "; ".join(sentences[:3]) + more


def at(instant: datetime | None) -> str:
    """`2026-11-22 12:59 UTC`."""
    return f"{instant:%Y-%m-%d %H:%M} UTC" if instant else "never"
