"""The watchdog of the metrics store as asset checks, every ten minutes: what is wrong, and what mends it.

A check of a hypertable belongs to its asset; those of hypertables without an asset are told together at the roll-ups'.
All of them are one step, which also writes down what the servers say and how old the lake's tables are. They change
nothing that they judge, and a failing one stops nothing.
"""

import datetime
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import dagster as dg

from lake.errors import PlatformError
from metrics import probes, watch
from metrics.finding import CLOCK, OF_HYPERTABLE, OF_STORE, Finding, join, untold
from metrics.record import ServerStat
from metrics.spec import read
from orchestration import books, clock, metric_alerts, metric_assets
from orchestration.metric_assets import WATCH as NAME
from orchestration.metric_upkeep import is_under_way

STORE = dg.AssetKey(["metrics", "rollups"])


def checks() -> list[dg.AssetChecksDefinition]:
    """All checks of the metrics store; one step."""
    return [_watch()]


def selection() -> dg.AssetSelection:
    """All of these checks."""
    return dg.AssetSelection.checks(*(spec.key for spec in _specs()))


def job() -> Any:
    """The job `watch_metrics`: these checks and nothing else. In a queue it goes before the loads."""
    return dg.define_asset_job(
        NAME,
        selection(),
        executor_def=dg.in_process_executor,
        tags={"dagster/priority": "10"},
        description="Is the metrics store as declared, is anything behind, do all servers answer? Changes nothing.",
    )


def schedule() -> dg.ScheduleDefinition:
    """Every ten minutes, unless the last look still waits for its turn; switched on."""

    @dg.schedule(
        name=NAME,
        cron_schedule="*/10 * * * *",
        job_name=NAME,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="The watchdog of the metrics store.",
    )
    def every_ten_minutes(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        under_way = is_under_way(context.instance, NAME)
        return dg.SkipReason("the last look has not ended yet") if under_way else dg.RunRequest()

    return every_ten_minutes


def _watch() -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(
        name="watchdog",
        specs=_specs(),
        description="Judges the metrics store and the servers by what can be seen of them.",
    )
    def watchdog(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        now = datetime.datetime.now(datetime.UTC)
        asked = books.asked(context.instance)
        stats = probes.measure(asked, now)
        found = [*_found(now), probes.answer(asked, stats)]
        for finding in found:
            if not finding.ok:
                context.log.error(str(finding))
        _record(context, stats, now)
        yield from metric_alerts.tell(context, list(results(found)))

    return watchdog


def results(found: Sequence[Finding]) -> Iterator[dg.AssetCheckResult]:
    """One result for each check: of the findings with its name that belong to its asset."""
    for spec in _specs():
        mine = [one for one in found if one.check == spec.name and _asset(one) == spec.asset_key]
        wrong = [one for one in mine if not one.ok]
        urgent = not wrong or any(one.severity == "ERROR" for one in wrong)
        yield dg.AssetCheckResult(
            asset_key=spec.asset_key,
            check_name=spec.name,
            passed=not wrong,
            severity=dg.AssetCheckSeverity.ERROR if urgent else dg.AssetCheckSeverity.WARN,
            description=join([str(one) for one in wrong]) or (mine[0].what if len(mine) == 1 else None),
            metadata=_figures(mine),
        )


def _found(now: datetime.datetime) -> list[Finding]:
    """The findings of the store; if it cannot be asked at all, the sentence of why as each check's."""
    spec = read()
    try:
        return watch.findings(metric_assets.dsn(), spec, clock.now(), clock=now)
    except PlatformError as error:
        names = [(check, table.name) for check in OF_HYPERTABLE for table in spec.hypertables]
        return [untold(error, check, name) for check, name in (*names, (CLOCK, ""))]


def _record(context: dg.AssetCheckExecutionContext, stats: list[ServerStat], now: datetime.datetime) -> None:
    """Write down what was measured; what cannot be written was told as a finding."""
    with suppress(PlatformError, OSError):
        books.record_servers(metric_assets.dsn(), stats)
    with suppress(PlatformError, OSError):
        books.record_freshness(metric_assets.dsn(), now)


def _specs() -> list[dg.AssetCheckSpec]:
    assets = {_key(name): None for name in metric_assets.WITH_ASSET}
    kinds = [(asset, name, said) for asset in (*assets, STORE) for name, said in OF_HYPERTABLE.items()]
    kinds += [(STORE, name, said) for name, said in OF_STORE.items()]
    return [dg.AssetCheckSpec(name, asset=asset, description=said) for asset, name, said in kinds]


def _asset(finding: Finding) -> dg.AssetKey:
    return _key(finding.hypertable) if finding.hypertable in metric_assets.WITH_ASSET else STORE


def _key(hypertable: str) -> dg.AssetKey:
    return dg.AssetKey(["metrics", hypertable])


def _figures(found: Sequence[Finding]) -> dict[str, Any]:
    """The figures of one finding as they are, of several with the hypertable's name in front."""
    if len(found) == 1:
        return dict(found[0].figures)
    named = {f"{one.hypertable or 'store'}.{name}": value for one in found for name, value in one.figures.items()}
    return dict(sorted(named.items()))
