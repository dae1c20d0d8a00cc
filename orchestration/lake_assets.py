"""Raw and processed tables as assets, one pair for each table that a source file declares."""

import datetime
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from ingestion import load
from ingestion.spec import Source, Table
from lake import layout, read
from lake.fold import Folded, fold, fold_history
from lake.layout import Address
from orchestration import days, expectation_checks, outcome, pictures


class Reading(dg.ConfigurableResource):  # type: ignore[type-arg]
    """How sources are read: `days` re-reads the run's days whole, `changes` only what changed since the last load."""

    read: str = "days"
    allow_shrink: bool = False


def assets(source: Source) -> list[dg.AssetsDefinition]:
    """The raw and processed assets of a source, and the history of the tables that keep one."""
    built = []
    for table in source.tables:
        built += [_raw(source, table), _processed(source, table)]
        if table.history:
            built.append(_history(source, table))
    return built


def _raw(source: Source, table: Table) -> dg.AssetsDefinition:
    @dg.asset(
        key=["raw", source.name, table.name],
        group_name="raw",
        kinds={source.connector, "deltalake"},
        owners=[table.owner or source.owner],
        description=f"{table.description} As the source said it: an append-only log of what was not known before.",
        partitions_def=days.partitions(source) if table.partition else None,
        backfill_policy=dg.BackfillPolicy.single_run(),
        check_specs=[
            dg.AssetCheckSpec(
                "nothing_quarantined",
                asset=["raw", source.name, table.name],
                description="Every row read keeps the table's contract; rows that break it are set aside, not lost.",
            )
        ],
        metadata={"dagster/uri": f"raw/{source.name}/{table.name}", "key": ", ".join(table.key), "load": table.load},
    )
    def raw(context: dg.AssetExecutionContext, reading: Reading) -> Iterator[Any]:
        with outcome.explained(context):
            lake = layout.from_environment()
            wanted = None if reading.read == "changes" else days.asked(context)
            if reading.read == "changes" or (wanted is None and table.partition):
                loaded = load.changes(lake, source, table, allow_shrink=reading.allow_shrink)
            else:
                first, last = wanted or (days.first_day(source), datetime.datetime.now(datetime.UTC).date())
                loaded = load.days(lake, source, table, first, last, allow_shrink=reading.allow_shrink)
            facts = read.facts(lake, loaded.subject.at("raw"))
        context.log.info(loaded.sentence)
        taken = loaded.taken
        is_clean = not (taken.quarantined or taken.values_quarantined)
        if not is_clean:
            context.log.error(_quarantined(loaded))
        yield dg.MaterializeResult(
            metadata={
                "dagster/row_count": facts.rows if facts else 0,
                "rows_read": taken.rows_read,
                "rows_new": taken.inserted,
                "rows_changed": taken.updated,
                "rows_deleted": taken.deleted,
                "rows_unchanged": taken.unchanged,
                "rows_quarantined": taken.quarantined,
                "values_quarantined": taken.values_quarantined,
                "keys_compared": taken.keys_compared,
                "rows_read_from_source": loaded.rows_read,
                "chunks": loaded.chunks,
                "chunks_kept": loaded.chunks_kept,
                "bytes": facts.bytes if facts else 0,
                "duration_s": round(loaded.seconds, 3),
                "window": loaded.window,
            },
            check_results=[
                dg.AssetCheckResult(
                    passed=is_clean,
                    check_name="nothing_quarantined",
                    description=None if is_clean else _quarantined(loaded),
                    metadata={
                        "rows_quarantined": taken.quarantined,
                        "values_quarantined": taken.values_quarantined,
                        "reasons": dict(taken.reasons),
                    },
                )
            ],
        )

    return raw


def _quarantined(loaded: load.Loaded) -> str:
    """E.g. `shop.orders: 2 rows are set aside (order_id (key) is NULL: 2); they are in quarantine/shop/orders …`."""
    taken, where = loaded.taken, loaded.subject.at("quarantine")
    reasons = ", ".join(f"{reason}: {count:,}" for reason, count in taken.reasons.items())
    counts = [(taken.quarantined, "row"), (taken.values_quarantined, "value")]
    what = " and ".join(f"{count:,} {name}{'s' if count > 1 else ''}" for count, name in counts if count)
    mend = f"correct them at the source, or mend the contract and run `watershed quarantine replay {loaded.subject}`"
    return f"{loaded.subject}: {what} set aside ({reasons}); {mend}; they are kept in {where}"


def _processed(source: Source, table: Table) -> dg.AssetsDefinition:
    key = [source.name, table.name]
    suite = expectation_checks.suite(source, table)

    @dg.asset(
        key=key,
        group_name="processed",
        kinds={"deltalake", "parquet"},
        owners=[table.owner or source.owner],
        description=f"{table.description} Typed, one row per key ({', '.join(table.key)}).",
        deps=[dg.AssetKey(["raw", *key])],
        partitions_def=days.partitions(source) if table.partition else None,
        backfill_policy=dg.BackfillPolicy.single_run(),
        check_specs=expectation_checks.specs(dg.AssetKey(key), suite),
    )
    def processed(context: dg.AssetExecutionContext) -> Iterator[Any]:
        with outcome.explained(context):
            started = datetime.datetime.now(datetime.UTC)
            lake, subject = layout.from_environment(), load.subject(source, table)
            folded = fold(lake, subject)
            facts = read.facts(lake, subject.at("processed"))
            results = expectation_checks.results(lake, source, table, suite, context) if facts else []
        rows_per_day = facts.rows_per_day if facts else {}
        metadata: dict[str, Any] = {
            "dagster/row_count": facts.rows if facts else 0,
            "bytes": facts.bytes if facts else 0,
            "files": facts.files if facts else 0,
            "rows_rewritten": folded.rows_written,
            "days_rewritten": len(folded.days),
            "duration_s": round((datetime.datetime.now(datetime.UTC) - started).total_seconds(), 3),
        }
        if rows_per_day:
            metadata["newest_day"] = max(rows_per_day).isoformat()
        wide: dict[str, Any] = {"dagster/column_schema": _schema(facts, table)}
        if rows_per_day:
            wide["rows_per_day"] = pictures.bars(rows_per_day)
        _per_day(context, facts, wide)
        _late_days(context, folded, rows_per_day)
        context.log.info(_sentence(source, table, folded, metadata))
        yield dg.MaterializeResult(metadata=metadata, check_results=results)

    return processed


def _history(source: Source, table: Table) -> dg.AssetsDefinition:
    @dg.asset(
        key=[source.name, f"{table.name}_history"],
        group_name="processed",
        kinds={"deltalake", "parquet"},
        owners=[table.owner or source.owner],
        description=f"Every observed version of every row of {source.name}.{table.name}, dated by {table.cursor}.",
        deps=[dg.AssetKey(["raw", source.name, table.name])],
    )
    def history(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        with outcome.explained(context):
            started = datetime.datetime.now(datetime.UTC)
            lake = layout.from_environment()
            folded = fold_history(lake, load.subject(source, table))
            facts = read.facts(lake, Address("processed", source.name, f"{table.name}_history"))
        context.log.info(f"{source.name}.{table.name}_history: {folded.rows_written:,} versions added")
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": facts.rows if facts else 0,
                "bytes": facts.bytes if facts else 0,
                "versions_added": folded.rows_written,
                "duration_s": round((datetime.datetime.now(datetime.UTC) - started).total_seconds(), 3),
            }
        )

    return history


def _schema(facts: read.TableFacts | None, table: Table) -> dg.TableSchema:
    """Columns with the types they have in the lake."""
    types = facts.columns if facts else {}
    described = {name: column.description for name, column in table.columns.items()}
    return dg.TableSchema([dg.TableColumn(name, str(kind), described.get(name)) for name, kind in types.items()])


def _per_day(context: dg.AssetExecutionContext, facts: read.TableFacts | None, wide: Mapping[str, Any]) -> None:
    """Give each day of the run its own rows and bytes, and only the last one what is large: a year has 365 events."""
    wanted = days.asked(context)
    if wanted is None or facts is None:
        context.add_asset_metadata(wide)
        return
    figures = {}
    for key in context.partition_keys:
        day = datetime.date.fromisoformat(key)
        figures[key] = {
            "dagster/partition_row_count": facts.rows_per_day.get(day, 0),
            "bytes_of_day": facts.bytes_per_day.get(day, 0),
            **(wide if day == wanted[1] else {}),
        }
    days.describe(context, figures)


def _late_days(context: dg.AssetExecutionContext, folded: Folded, rows_per_day: Mapping[datetime.date, int]) -> None:
    """Report days outside the run's range that late or changed rows have rewritten."""
    wanted = days.asked(context)
    if wanted is None:
        return
    known = set(context.assets_def.partitions_def.get_partition_keys()) if context.assets_def.partitions_def else set()
    late = [day for day in folded.days if not wanted[0] <= day <= wanted[1] and day.isoformat() in known]
    why = "late or changed rows"
    rows = {day.isoformat(): {"dagster/partition_row_count": rows_per_day.get(day, 0), "why": why} for day in late}
    days.report(context, rows)


def _sentence(source: Source, table: Table, folded: Folded, metadata: Mapping[str, Any]) -> str:
    name = f"{source.name}.{table.name}"
    if not folded.loads:
        return f"{name}: unchanged, {metadata['dagster/row_count']:,} rows"
    where = f" in {len(folded.days):,} days" if folded.days else ""
    return f"{name}: {metadata['dagster/row_count']:,} rows, {folded.rows_written:,} written{where}"
