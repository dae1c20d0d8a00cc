"""The watchdog: is each hypertable kept as declared, is anything behind, and what would mend it.

Judged by effects (chunks, marks, runs), not by the status that a job records of itself: on some minors of PostgreSQL
every job of the community edition records a failure although its work is committed. Reads only.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

import psycopg

from lake.errors import PlatformError
from metrics import state, watch_chunks, watch_policies, watch_upkeep
from metrics.change import Change
from metrics.finding import CLOCK, DRIFT, OF_HYPERTABLE, Finding, Limits, Moment, join
from metrics.server import Connection, Edition, connected, edition, one
from metrics.spec import SCHEMA, Hypertable, Spec

_BOOKS = ("_state", "_dirty")
APPLY = "mend it with `watershed metrics apply`, after a look at `watershed metrics plan`"


def findings(
    dsn: str, spec: Spec, now: datetime, *, clock: datetime | None = None, limits: Limits | None = None
) -> list[Finding]:
    """One finding for each check and hypertable, well or not, and one on the server's clock.

    Args:
        dsn: The metrics server; any role that may read schema `metrics` will do.
        spec: The declaration.
        now: The platform's clock, by which its own jobs keep the Apache-2 edition.
        clock: This machine's time of day, which the server's clock is held against; `now` if it is not moved.
        limits: What is still well.

    Raises TransientError if the server does not answer, PermanentError if it has no TimescaleDB.
    """
    bounds = limits or Limits()
    with connected(dsn, read_only=True) as connection:
        with connection.transaction():
            kind = edition(connection)
            server: datetime = one(connection, "SELECT clock_timestamp()")
        found = [_clock(server, clock or now, bounds), *_drift(connection, spec)]
        for hypertable in spec.hypertables:
            found += _judged(connection, hypertable, kind, Moment(now, server), bounds)
    return [*found, watch_chunks.together(found)]


def _judged(
    connection: Connection, hypertable: Hypertable, kind: Edition, moment: Moment, limits: Limits
) -> list[Finding]:
    """The findings on one hypertable; of what is not on the server, only that it cannot be judged."""
    try:
        with connection.transaction():
            for name in (*_relations(hypertable), *_BOOKS):
                if one(connection, "SELECT to_regclass(%s)", (f"{SCHEMA}.{name}",)) is None:
                    return _unjudged(hypertable, f"{SCHEMA}.{name}")
            return list(_of_hypertable(connection, hypertable, kind, moment, limits))
    except (psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedTable):  # books of an older version
        return _unjudged(hypertable, "what metrics/hypertables.yml declares")


def _unjudged(hypertable: Hypertable, lacking: str) -> list[Finding]:
    what = f"cannot be judged before {lacking} is there"
    return [Finding(check, hypertable.name, True, what) for check in OF_HYPERTABLE if check != DRIFT]


def _of_hypertable(
    connection: Connection, hypertable: Hypertable, kind: Edition, moment: Moment, limits: Limits
) -> Iterator[Finding]:
    if kind == "community":
        jobs = watch_policies.jobs(connection, hypertable)
        yield watch_policies.run(hypertable, jobs, moment, limits)
        tiered = watch_upkeep.succeed(connection, hypertable)  # the way to the lake is the platform's on both editions
        yield tiered if hypertable.tier and not tiered.ok else watch_policies.succeed(hypertable, jobs)
        yield watch_policies.lag(connection, hypertable, jobs, moment)
        yield watch_chunks.of_policies(connection, hypertable, jobs, moment)
    else:
        yield watch_upkeep.run(connection, hypertable, moment, limits)
        yield watch_upkeep.succeed(connection, hypertable)
        yield watch_upkeep.lag(connection, hypertable, moment)
        yield watch_chunks.of_upkeep(connection, hypertable, moment, limits)
    yield watch_chunks.memory(connection, hypertable, moment, limits)


def _drift(connection: Connection, spec: Spec) -> Iterator[Finding]:
    """One finding for each hypertable, and one for what belongs to none."""
    relations = {f"{SCHEMA}.{name}": table.name for table in spec.hypertables for name in _relations(table)}
    changes: dict[str, list[Change]] = {"": [], **{table.name: [] for table in spec.hypertables}}
    try:
        for change in state.drift(connection, spec):
            changes[relations.get(change.hypertable, "")].append(change)
    except PlatformError as error:  # one of another shape keeps the others from being compared
        name = relations.get(error.where, "")
        yield Finding(DRIFT, name, False, f"{error.where} {error.what}", error.mend, figures={"differences": 1})
        left = f"not compared: {error.where} is to be mended first"
        yield from (Finding(DRIFT, other, True, left) for other in changes if other != name)
        return
    for name, differences in changes.items():
        yield _differing(name, differences)


def _differing(name: str, differences: list[Change]) -> Finding:
    count = {"differences": len(differences)}
    if not differences:
        return Finding(DRIFT, name, True, "the server is as declared", figures=count)
    what = f"the server differs from metrics/hypertables.yml: {join([str(change) for change in differences])}"
    return Finding(DRIFT, name, False, what, APPLY, figures=count)


def _relations(hypertable: Hypertable) -> tuple[str, ...]:
    return hypertable.name, *hypertable.rollup_names.values()


def _clock(server: datetime, clock: datetime, limits: Limits) -> Finding:
    off = (server - clock).total_seconds()
    figures = {"server_ahead_s": round(off, 3)}
    if abs(off) <= limits.clock / timedelta(seconds=1):
        return Finding(CLOCK, "", True, f"the metrics server's clock differs by {abs(off):.1f} s", figures=figures)
    way = "ahead of" if off > 0 else "behind"
    what = f"the metrics server's clock is {abs(off):,.0f} s {way} this machine's"
    mend = "set the clock of the machine that is wrong, for good with `timedatectl set-ntp true`"
    return Finding(CLOCK, "", False, what, mend, figures=figures)
