"""Anomalies as asset checks: what is odd, by cause; each incident is told once when it begins and once when it is over.

Once an hour, since most of what is judged are whole hours. A check belongs to its hypertable's asset; those of
hypertables without an asset are told together at the roll-ups'. All are warnings: an odd value may be true, and it
stops nothing.
"""

import datetime
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg

from lake.errors import PlatformError
from metrics import anomaly_spec, incidents
from metrics.incidents import Incident, Look
from metrics.spec import read
from orchestration import metric_assets, nightly
from orchestration.alert import post

CHECK = "no_anomalies"
NAME = "find_anomalies"
STORE = dg.AssetKey(["metrics", "rollups"])
SAID = 5  # incidents that a failing check lists


def checks() -> list[dg.AssetChecksDefinition]:
    """All of these checks; one step."""

    @dg.multi_asset_check(name="anomalies", specs=specs(), description="Judges values by their own past.")
    def anomalies(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        now = datetime.datetime.now(datetime.UTC)
        try:
            seen, going_on = _found(now)
        except PlatformError as error:
            # Of a store that does not answer, or is not as declared, the watchdog tells.
            context.log.warning(f"anomalies cannot be judged: {error}")
            yield from (_unjudged(spec, error) for spec in specs())
            return
        for incident in going_on:
            context.log.warning(str(incident))
        try:
            incidents.tell(metric_assets.dsn(), post, now)
        except (OSError, ValueError) as error:
            context.log.warning(f"an alert could not be sent, it will be tried again at the next look: {error}")
        yield from results(seen, going_on)

    return [anomalies]


def selection() -> dg.AssetSelection:
    """All of these checks."""
    return dg.AssetSelection.checks(*(spec.key for spec in specs()))


def job() -> Any:
    """The job `find_anomalies`: these checks and nothing else."""
    return dg.define_asset_job(
        NAME,
        selection(),
        executor_def=dg.in_process_executor,
        description="Does anything lie further from its habit than it ever did? Alerts once for each cause.",
    )


def schedule() -> dg.ScheduleDefinition:
    """Every hour, after the load of the hour before; switched on."""
    return nightly.schedule(NAME, "45 * * * *", "What is odd in the metrics.", name=NAME)


@functools.cache
def specs() -> tuple[dg.AssetCheckSpec, ...]:
    """One check for each asset of which something is watched; the declarations are read once."""
    watched = dict.fromkeys(_asset(watch.hypertable) for watch in anomaly_spec.read().watches)
    return tuple(dg.AssetCheckSpec(CHECK, asset=asset, description="No incident is open.") for asset in watched)


def results(seen: Sequence[Look], going_on: Sequence[Incident]) -> Iterator[dg.AssetCheckResult]:
    """One result for each check: of the looks at its hypertables, and the open incidents these are part of."""
    for spec in specs():
        looks = [look for look in seen if _asset(look.hypertable) == spec.asset_key]
        names = {look.hypertable for look in looks}
        mine = [one for one in going_on if names & {part.hypertable for part in one.parts}]
        horizons = [look.horizon for look in looks if look.horizon]
        more = f"; and {len(mine) - SAID} more" if len(mine) > SAID else ""
        yield dg.AssetCheckResult(
            asset_key=spec.asset_key,
            check_name=CHECK,
            passed=not mine,
            severity=dg.AssetCheckSeverity.WARN,
            description="; ".join(str(one) for one in mine[:SAID]) + more or None,
            metadata={
                "values_judged": sum(look.judged for look in looks),
                "values_odd": sum(look.odd.num_rows for look in looks),
                "incidents": len(mine),
                "judged_up_to": max(horizons).isoformat() if horizons else "nothing yet",
                **({"odd": dg.MetadataValue.table(_rows(mine, names))} if mine else {}),
            },
        )


def _found(now: datetime.datetime) -> tuple[list[Look], list[Incident]]:
    declared = read()
    anomalies = anomaly_spec.read(declared)
    seen = incidents.looks(metric_assets.dsn(), declared, anomalies, now)
    incidents.note(metric_assets.dsn(), seen, anomalies.quiet, now)
    return seen, [one for one in incidents.known(metric_assets.dsn(), now) if one.ended_at is None]


def _unjudged(spec: dg.AssetCheckSpec, error: PlatformError) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=spec.asset_key,
        check_name=CHECK,
        passed=True,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"cannot be judged: {error}",
    )


def _rows(found: Sequence[Incident], names: set[str]) -> list[dg.TableRecord]:
    return [
        dg.TableRecord(
            {
                "cause": one.cause,
                "hypertable": part.hypertable,
                "series": part.series,
                "value of": part.name,
                "since": part.first_at,
                "last": part.last_at,
                "value": part.value,
                "expected": part.expected,
            }
        )
        for one in found
        for part in one.parts
        if part.hypertable in names
    ]


def _asset(hypertable: str) -> dg.AssetKey:
    return dg.AssetKey(["metrics", hypertable]) if hypertable in metric_assets.WITH_ASSET else STORE
