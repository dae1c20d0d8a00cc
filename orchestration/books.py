"""What the platform writes down of itself after each run: checks, the lake's freshness, the servers it talks to."""

import datetime
from typing import Any

import dagster as dg

from lake import layout
from lake.errors import redact
from metrics import probes, record
from metrics.probes import Server
from metrics.record import CheckResult, ServerStat, TableFreshness
from orchestration import clock, servers

_MESSAGE = 1000  # characters of a check's description that a row keeps


def checks_of(instance: dg.DagsterInstance, run_id: str) -> list[CheckResult]:
    """One row for each check that a run has evaluated so far; tests of dbt are checks of their models."""
    found = []
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION):
        event = entry.dagster_event
        if event is None:
            continue
        said = event.asset_check_evaluation_data
        seconds: Any = said.metadata["duration_s"].value if "duration_s" in said.metadata else None
        found.append(
            CheckResult(
                finished_at=datetime.datetime.fromtimestamp(entry.timestamp, datetime.UTC),
                asset=said.asset_key.to_user_string(),
                check_name=said.check_name,
                run_id=run_id,
                is_passed=said.passed,
                severity=said.severity.value,
                duration_s=float(seconds) if seconds is not None else None,
                message=redact(said.description)[:_MESSAGE] if said.description and not said.passed else None,
            )
        )
    return found


def ended_at(instance: dg.DagsterInstance, run_id: str) -> datetime.datetime:
    """When a run ended, or the time of day if it has not: it dates what is measured after the run."""
    held = instance.get_run_record_by_id(run_id)
    end = held.end_time if held else None
    return datetime.datetime.fromtimestamp(end, datetime.UTC) if end else datetime.datetime.now(datetime.UTC)


def freshness(at: datetime.datetime) -> list[TableFreshness]:
    """How old each processed table of the lake is by the platform's clock; dated `at`. Reads logs, no data."""
    from warehouse import build
    from warehouse.page import lake_state

    now = clock.now()
    tables = [node for node in build.manifest()["sources"].values() if node.get("config", {}).get("enabled", True)]
    return [_row(one, at, now) for one in lake_state.freshness(layout.from_environment(), tables, now)]


def measured(instance: dg.DagsterInstance, at: datetime.datetime) -> list[ServerStat]:
    """The figures of every server that the platform talks to; dated `at`."""
    return probes.measure(asked(instance), at)


def asked(instance: dg.DagsterInstance) -> list[Server]:
    """Every server that the platform talks to, the one with Dagster's records among them."""
    return servers.known(getattr(instance.run_storage, "postgres_url", None))


def record_checks(dsn: str, instance: dg.DagsterInstance, run_id: str) -> None:
    """Write the checks of a run to metrics.check_results; doing it again replaces the rows. Errors as `load`."""
    if rows := checks_of(instance, run_id):
        record.check_results(dsn, rows, now=datetime.datetime.now(datetime.UTC))


def record_freshness(dsn: str, at: datetime.datetime) -> None:
    """Write how old the lake's tables are to metrics.table_freshness. Raises a PlatformError."""
    if rows := freshness(at):
        record.table_freshness(dsn, rows, now=datetime.datetime.now(datetime.UTC))


def record_servers(dsn: str, rows: list[ServerStat]) -> None:
    """Write what the servers said to metrics.server_stats. Errors as `load`."""
    record.server_stats(dsn, rows, now=datetime.datetime.now(datetime.UTC))


def _row(one: Any, at: datetime.datetime, now: datetime.datetime) -> TableFreshness:
    source, _, name = one.table.partition(".")
    newest, loaded = _instant(one.newest), _instant(one.loaded_at)
    dated = newest or loaded
    return TableFreshness(
        measured_at=at,
        source=source,
        table_name=name,
        newest_at=newest,
        loaded_at=loaded,
        lag_s=max(0.0, (now - dated).total_seconds()) if dated else None,
        allowed_lag_s=one.limit_hours * 3600.0 if one.limit_hours else None,
        row_count=one.rows,
        is_fresh=not one.is_stale if one.limit_hours else None,
    )


def _instant(text: str | None) -> datetime.datetime | None:
    """An instant as the log writes it; of a mere date its first."""
    if not text:
        return None
    at = datetime.datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=datetime.UTC)
