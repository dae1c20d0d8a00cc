"""Alerts of the watchdog: one for all that a look found newly wrong, and one for all that is well again.

What was told stands in the metadata of a check's evaluation; what could not be sent is sent after the next look.
"""

from collections.abc import Sequence

import dagster as dg

from orchestration.alert import post

TOLD = "told"
SAID = 5  # sentences in one alert


def tell(context: dg.AssetCheckExecutionContext, found: Sequence[dg.AssetCheckResult]) -> list[dg.AssetCheckResult]:
    """Send what changed since the last look; the results, each with a note of whether its failure has been told."""
    told = {_key(one): _was_told(context, _key(one)) for one in found}
    wrong = [one for one in found if not one.passed and not told[_key(one)]]
    well = [one for one in found if one.passed and told[_key(one)]]
    if _send(context, "checks_failed", [one.description or _words(one) for one in wrong]):
        told |= dict.fromkeys(map(_key, wrong), True)
    if _send(context, "checks_passed", [f"{_words(one)}: well again" for one in well]):
        told |= dict.fromkeys(map(_key, well), False)
    return [
        dg.AssetCheckResult(
            passed=one.passed,
            asset_key=one.asset_key,
            check_name=one.check_name,
            metadata={**(one.metadata or {}), TOLD: told[_key(one)]},
            severity=one.severity,
            description=one.description,
        )
        for one in found
    ]


def _send(context: dg.AssetCheckExecutionContext, event: str, sentences: Sequence[str]) -> bool:
    """Send one alert; whether nothing was left unsent. The same sentence of several checks is one."""
    if not sentences:
        return True
    said = list(dict.fromkeys(sentences))
    more = f"; and {len(said) - SAID} more" if len(said) > SAID else ""
    message = "; ".join(said[:SAID]) + more
    try:
        post({"event": event, "job": context.run.job_name, "run_id": context.run.run_id, "message": message})
    except (OSError, ValueError) as error:
        context.log.warning(f"an alert could not be sent, it will be tried again after the next look: {error}")
        return False
    return True


def _was_told(context: dg.AssetCheckExecutionContext, key: dg.AssetCheckKey) -> bool:
    """Whether the receiver of alerts knows of this check's failure, by its last evaluation before this run."""
    for record in context.instance.event_log_storage.get_asset_check_execution_history(key, limit=5):
        event = record.event.dagster_event if record.event and record.run_id != context.run.run_id else None
        if event and event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            noted = event.asset_check_evaluation_data.metadata.get(TOLD)
            return bool(noted and noted.value)
    return False


def _key(result: dg.AssetCheckResult) -> dg.AssetCheckKey:
    if result.asset_key is None or result.check_name is None:
        raise ValueError("a result of the watchdog names its asset and check")
    return dg.AssetCheckKey(result.asset_key, result.check_name)


def _words(result: dg.AssetCheckResult) -> str:
    return f"{_key(result).asset_key.to_user_string()} {result.check_name}"
