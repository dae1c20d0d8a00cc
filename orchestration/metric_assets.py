"""The metrics store's hypertables as assets: loaded from the published warehouse, rolled up, kept to policy."""

import datetime
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import dagster as dg

from lake import layout
from lake.errors import PlatformError, SpecError
from metrics import load, quarantine, readers, record, state, upkeep
from metrics.done import Done
from metrics.server import connected
from metrics.spec import Hypertable, Spec, read
from orchestration import books, clock, outcome, page
from warehouse import access

LOADED = {"sensor_readings": "metric_sensor_readings", "sales_hourly": "metric_sales_hourly"}
WITH_ASSET = (*LOADED, "pipeline_runs")  # hypertables with an asset of their own
WATCH, UPKEEP = "watch_metrics", "metrics_upkeep"  # jobs that run every few minutes
OWNERS = ["team:data_platform"]


def assets() -> list[dg.AssetsDefinition]:
    """One asset for each hypertable, and one for their roll-ups."""
    spec = read()
    loaded = [_loaded(spec, spec[name], model) for name, model in LOADED.items()]
    return [*loaded, _pipeline_runs(spec), _rollups(spec)]


def dsn() -> str:
    """The metrics store's connection. Raises SpecError if METRICS_DSN is unset."""
    value = os.environ.get("METRICS_DSN", "")
    if not value:
        raise SpecError("METRICS_DSN", "is not set", "set it to the TimescaleDB database of the metrics store")
    return value


def record_run(instance: dg.DagsterInstance, run_id: str) -> int:
    """Write all that a run has materialized so far to metrics.pipeline_runs, and return how many rows that is.

    Raises what `metrics.record.runs` raises. Recording a run again replaces its rows.
    """
    rows = runs_of(instance, run_id)
    record.runs(dsn(), rows, now=datetime.datetime.now(datetime.UTC))
    return len(rows)


def close_books(instance: dg.DagsterInstance, run_id: str) -> None:
    """Record what an ended run has materialized and checked, how fresh the lake is and what the servers say; roll up.

    Does nothing if the metrics store cannot be reached or was never set up: the run's own steps have told of that.
    A look of the watchdog has measured by itself; of it the checks are recorded.
    """
    with suppress(PlatformError):
        record_run(instance, run_id)
        if _is_look(instance, run_id):
            books.record_checks(dsn(), instance, run_id)
            return
        at = books.ended_at(instance, run_id)
        further: tuple[Callable[[], None], ...] = (
            lambda: books.record_checks(dsn(), instance, run_id),
            lambda: books.record_freshness(dsn(), at),
            lambda: books.record_servers(dsn(), books.measured(instance, at)),
        )
        for record_it in further:
            with suppress(PlatformError, OSError):  # one that fails, as on a lake that is down, stops no other
                record_it()
        keep()


def keep() -> list[Done]:
    """Bring the roll-ups up to date, and move or drop what is past its time; what was done. Raises a PlatformError."""
    lake = layout.from_environment() if os.environ.get("LAKE_ROOT") else None
    return upkeep.run(dsn(), read(), clock.now(), lake)


def _is_look(instance: dg.DagsterInstance, run_id: str) -> bool:
    held = instance.get_run_by_id(run_id)
    return held is not None and held.job_name in (WATCH, UPKEEP)


def runs_of(instance: dg.DagsterInstance, run_id: str) -> list[record.Run]:
    """One row for each asset that a run has materialized so far."""
    rows: dict[str, record.Run] = {}
    counts: dict[str, list[str]] = {}
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION):
        event = entry.asset_materialization
        if event is None:
            continue
        name = event.asset_key.to_user_string()
        counts.setdefault(name, []).extend([event.partition] if event.partition else [])
        values = {key: value.value for key, value in event.metadata.items()}
        rows[name] = record.Run(
            finished_at=datetime.datetime.fromtimestamp(entry.timestamp, datetime.UTC),
            asset=name,
            run_id=run_id,
            partition_range=_range(counts[name]),
            row_count=_integer(values.get("dagster/row_count")),
            bytes=_integer(values.get("bytes")),
            duration_s=float(values["duration_s"]) if "duration_s" in values else None,  # type: ignore[arg-type]
        )
    return list(rows.values())


def _loaded(spec: Spec, hypertable: Hypertable, model: str) -> dg.AssetsDefinition:
    @dg.asset(
        key=["metrics", hypertable.name],
        group_name="metrics",
        kinds={"timescaledb"},
        owners=OWNERS,
        description=hypertable.description,
        deps=[dg.AssetKey(["metrics", model]), dg.AssetKey(["warehouse", "published"])],
    )
    def loaded(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        with outcome.explained(context):
            _apply(context, spec)
            since = load.oldest_kept(hypertable, clock.now())
            columns = ", ".join(hypertable.columns)
            with access.connect() as connection:
                query = f"SELECT {columns} FROM metrics.{model} WHERE {hypertable.time} >= ?"
                rows = connection.execute(query, [since]).to_arrow_reader(65_536)
                lake = quarantine.lake_if_any()
                done = load.load(dsn(), hypertable, rows, now=clock.now(), replace_from=since, lake=lake)
        kept = f"{done.rows:,} rows read, {done.changed:,} new or changed, {done.removed:,} removed"
        context.log.info(f"metrics.{hypertable.name}: {kept}")
        for reason, count in done.reasons.items():
            context.log.warning(f"metrics.{hypertable.name}: {count:,} rows are in quarantine, because {reason}")
        counts = {"rows_changed": done.changed, "rows_set_aside": done.set_aside}
        return dg.MaterializeResult(
            metadata={**_held(spec, hypertable), **counts, "duration_s": round(done.seconds, 3)}
        )

    return loaded


def _pipeline_runs(spec: Spec) -> dg.AssetsDefinition:
    @dg.asset(
        key=["metrics", "pipeline_runs"],
        group_name="metrics",
        kinds={"timescaledb"},
        owners=OWNERS,
        description=spec["pipeline_runs"].description,
        deps=[dg.AssetKey(["metrics", name]) for name in LOADED],
    )
    def pipeline_runs(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        with outcome.explained(context):
            started = clock.now()
            rows = record_run(context.instance, context.run_id)
            held = _held(spec, spec["pipeline_runs"])
        context.log.info(f"metrics.pipeline_runs: {rows} materializations recorded")
        seconds = round((clock.now() - started).total_seconds(), 3)
        return dg.MaterializeResult(metadata={**held, "rows_recorded": rows, "duration_s": seconds})

    return pipeline_runs


def _rollups(spec: Spec) -> dg.AssetsDefinition:
    @dg.asset(
        key=["metrics", "rollups"],
        group_name="metrics",
        kinds={"timescaledb"},
        owners=OWNERS,
        description="The 1 h and 1 d roll-ups of all hypertables, brought up to date; rows past retention dropped.",
        # The lake's upkeep is no asset: it has a job of its own, which fills metrics.lake_tables.
        deps=[dg.AssetKey(["metrics", name]) for name in (*LOADED, "pipeline_runs")],
    )
    def rollups(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        with outcome.explained(context):
            started = time.monotonic()
            done = keep()
            held = state.status(dsn(), spec, clock.now())
        context.log.info(f"roll-ups and retention: {len(done)} things done" if done else "roll-ups: nothing to do")
        tables = [it for status in held for it in status.rollups]
        policies = dict.fromkeys(f"- {status.name}: {policy}" for status in held for policy in status.policies)
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": sum(it.rows for it in tables),
                "bytes": sum(status.bytes for status in held),
                "duration_s": round(time.monotonic() - started, 3),
                "tables": dg.MetadataValue.table(
                    [dg.TableRecord({"roll-up": it.name, "rows": it.rows, "newest": str(it.newest)}) for it in tables]
                ),
                "done": dg.MetadataValue.md("\n".join(f"- {line}" for line in done) or "nothing to do"),
                "policies": dg.MetadataValue.md("\n".join(policies)),
                **page.platform_written(context),
            }
        )

    return rollups


def _apply(context: dg.AssetExecutionContext, spec: Spec) -> None:
    with connected(dsn()) as connection:
        for change in state.apply(connection, spec, now=clock.now()):
            if not change.is_note:
                context.log.info(str(change))
        for sentence in readers.allow(connection, os.environ.get("METRICS_READER_DSN")):
            context.log.info(sentence)


def _held(spec: Spec, hypertable: Hypertable) -> dict[str, Any]:
    """What a hypertable holds now, as metadata."""
    (held,) = state.status(dsn(), spec.model_copy(update={"hypertables": (hypertable,)}), clock.now())
    return {
        "dagster/row_count": held.rows,
        "bytes": held.bytes,
        "chunks": held.chunks,
        "newest": held.newest.isoformat() if held.newest else "nothing yet",
    }


def _range(partitions: Sequence[str]) -> str | None:
    if not partitions:
        return None
    return min(partitions) if len(set(partitions)) == 1 else f"{min(partitions)}...{max(partitions)}"


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) else None
