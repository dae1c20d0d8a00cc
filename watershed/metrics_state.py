"""What `watershed metrics plan`, `apply` and `status` say: the metrics store beside its declaration."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lake.errors import SpecError
from metrics import readers, spec, state
from metrics.finding import DRIFT, LAG
from metrics.server import connected
from metrics.words import counted, span
from orchestration import clock
from watershed.tables import grid, size

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as Grid

    from metrics.finding import Finding
    from metrics.spec import Spec
    from metrics.state import Change, Status

ALLOW = "`watershed metrics apply --allow-data-loss`"
EDITIONS = {"apache": "Apache-2 edition", "community": "community edition"}


def store() -> str:
    """The metrics store's connection. Raises SpecError if METRICS_DSN is unset."""
    value = os.environ.get("METRICS_DSN", "")
    if not value:
        raise SpecError("METRICS_DSN", "is not set", "set it to the TimescaleDB database of the metrics store")
    return value


def planned() -> Iterator[str]:
    """What `apply` would do, one sentence a step, and what to do next. Raises what `metrics.state.plan` raises."""
    with connected(store(), read_only=True) as connection:
        changes = state.plan(connection, spec.read(), clock.now())
    yield from _lines(changes)
    steps = [change for change in changes if not change.is_note and not change.is_kept]
    losing = [change for change in steps if change.loses]
    if not steps:
        yield _as_declared(changes)
    elif losing:
        which = counted(len(losing), "step")
        yield f"{counted(len(steps), 'step')} to take, {which} of them with loss of data: only by {ALLOW}."
    else:
        yield f"{counted(len(steps), 'step')} to take: run `watershed metrics apply`."


def applied(*, allow_data_loss: bool) -> Iterator[str]:
    """Make the server as declared; what was done, one sentence a step. Raises what `metrics.state.apply` raises."""
    declared = spec.read()
    with connected(store()) as connection:
        changes = state.apply(connection, declared, allow_data_loss=allow_data_loss, now=clock.now())
        yield from _lines(changes)
        yield from readers.allow(connection, os.environ.get("METRICS_READER_DSN"))
        left = state.drift(connection, declared)
    done = sum(1 for change in changes if change.statements and (allow_data_loss or not change.is_kept))
    yield f"{counted(done, 'step')} taken. {_as_declared(left)}" if done else _as_declared(left)


def show(console: Console) -> str:
    """Print the store's hypertables, roll-ups and policies, and what is wrong; answers what to do, in a sentence."""
    from metrics import watch

    declared, now = spec.read(), clock.now()
    found = state.status(store(), declared, now)
    findings = watch.findings(store(), declared, now, clock=datetime.datetime.now(datetime.UTC))
    console.print(_hypertables(found))
    console.print(_rollups(declared, found, findings))
    console.print()
    for line in policy_lines(found):
        console.print(f"[dim]{line}[/dim]", soft_wrap=True)
    wrong = [finding for finding in findings if not finding.ok]
    if differing := [finding for finding in wrong if finding.check == DRIFT]:
        number = sum(int(finding.figures.get("differences", 1)) for finding in differing)
        names = ", ".join(finding.hypertable or "the platform's own tables" for finding in differing)
        console.print(f"drift: {counted(number, 'difference')}, in {names}", soft_wrap=True)
    others = [finding for finding in wrong if finding.check != DRIFT]
    for finding in others:
        console.print(f"{finding.check}: {finding}", soft_wrap=True, markup=False)
    if others:
        more = " (see `watershed metrics watch`)" if len(wrong) > 1 else ""
        return f"{counted(len(wrong), 'thing')} to mend{more}; first: {others[0].mend}."
    if differing:
        return "Run `watershed metrics plan`: the server is not as declared."
    return "The server is as declared, and all is well."


def policy_lines(found: Sequence[Status]) -> list[str]:
    """`all: retention …`: what each policy does, with the hypertables of which the same holds."""
    policies: dict[str, list[str]] = {}
    for it in found:
        for policy in it.policies:
            policies.setdefault(policy, []).append(it.name.removeprefix("metrics."))
    return [
        f"{'all' if len(names) == len(found) > 1 else ', '.join(names)}: {policy}" for policy, names in policies.items()
    ]


def _lines(changes: Sequence[Change]) -> Iterator[str]:
    """Steps in their order, then notes, each said once for all the hypertables that it is about."""
    yield from (str(change) for change in changes if not change.is_note)
    notes: dict[str, list[str]] = {}
    for change in changes:
        if change.is_note:
            notes.setdefault(change.what, []).append(change.hypertable.removeprefix("metrics."))
    yield from (f"note, {', '.join(names)}: {what}" for what, names in notes.items())


def _as_declared(changes: Sequence[Change]) -> str:
    kept = sum(1 for change in changes if change.is_kept)
    return f"The server is as declared, but for {counted(kept, 'thing')} that stays." if kept else (
        "The server is as declared."
    )  # fmt: skip


def _hypertables(found: Sequence[Status]) -> Grid:
    kind = EDITIONS[found[0].edition]
    shown = grid(
        f"Metrics ({kind})", "hypertable", "rows", "chunks", "size", "oldest", "newest", "cold rows", "cold size"
    )
    for it in found:
        rows = f"{'' if it.is_exact else '~'}{it.rows:,}" if it.is_applied else "not applied"
        cold = (f"{it.cold.rows:,}", size(it.cold.bytes)) if it.cold else ("-", "-")
        shown.add_row(it.name, rows, str(it.chunks), size(it.bytes), _minute(it.oldest), _minute(it.newest), *cold)
    return shown


def _rollups(declared: Spec, found: Sequence[Status], findings: Sequence[Finding]) -> Grid:
    """The lag is judged as the watchdog judges it."""
    shown = grid("\nRoll-ups", "roll-up", "rows", "newest", "waiting", "behind at most", "verdict")
    lags = {finding.hypertable: finding for finding in findings if finding.check == LAG}
    for it in found:
        name = it.name.removeprefix("metrics.")
        rollups, lag = declared[name].rollups, lags.get(name)
        for one in it.rollups:
            waiting = str(lag.figures.get(f"{one.bucket}_waiting", "-")) if lag else "-"
            allowed = span(rollups.every[one.bucket].refresh_lag) if rollups else "-"
            late = lag is not None and not lag.ok and f"roll-up {one.bucket} " in lag.what
            verdict = "late" if late else "in time" if waiting != "-" else "-"
            shown.add_row(one.name, f"{one.rows:,}", _minute(one.newest), waiting, allowed, verdict)
    return shown


def _minute(instant: datetime.datetime | None) -> str:
    return f"{instant:%Y-%m-%d %H:%M}" if instant else "-"
