"""The daily partitions shared by all partitioned assets, and what a run was asked to do with them."""

import datetime
import os
import uuid
from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster._core.events import DagsterEvent, DagsterEventBatchMetadata
from dagster._core.execution.context.metadata_logging import AssetMetadataHandle, OutputMetadataAccumulator

from ingestion.spec import Source


def partitions(source: Source) -> dg.DailyPartitionsDefinition:
    """UTC days from the source's first day (or WATERSHED_FIRST_DAY) up to today (or the day of WATERSHED_NOW)."""
    moved = os.environ.get("WATERSHED_NOW")
    end = datetime.datetime.fromisoformat(moved).date() + datetime.timedelta(days=1) if moved else None
    return dg.DailyPartitionsDefinition(
        start_date=first_day(source).isoformat(),
        end_date=end.isoformat() if end else None,
        timezone="UTC",
        end_offset=0 if end else 1,  # today is a partition of its own while it fills
    )


def first_day(source: Source) -> datetime.date:
    """The first day that has a partition."""
    given = os.environ.get("WATERSHED_FIRST_DAY")
    return datetime.date.fromisoformat(given) if given else source.first_day


def asked(context: dg.AssetExecutionContext) -> tuple[datetime.date, datetime.date] | None:
    """The first and last day of the run's partitions; None if the run or the asset has none."""
    if context.assets_def.partitions_def is None:
        return None
    if not context.has_partition_key and not context.has_partition_key_range:
        return None
    keys = context.partition_key_range
    return datetime.date.fromisoformat(keys.start), datetime.date.fromisoformat(keys.end)


def describe(context: dg.AssetExecutionContext, metadata: Mapping[str, Mapping[str, Any]]) -> None:
    """Add metadata to many partitions (key → name → value) of the asset that is being made.

    Dagster's own `add_asset_metadata` copies and checks at every call what all calls before it have said, so that the
    time of a range grows with the square of its length; this copies once.
    """
    step = context.get_step_execution_context()
    made = {AssetMetadataHandle(asset_key=context.asset_key, partition_key=key): it for key, it in metadata.items()}
    known: dict[Any, Mapping[str, Any]] = dict(step._metadata_accumulator.per_output_metadata)
    step._metadata_accumulator = OutputMetadataAccumulator(per_output_metadata=known | made)


def report(context: dg.AssetExecutionContext, metadata: Mapping[str, Mapping[str, Any]]) -> None:
    """Record materializations of partitions (key → name → value) beside those that the run was asked for.

    They are stored by the batch, as a run's own partitions are; `context.log_event` stores each by itself.
    """
    step, batch = context.get_step_execution_context(), str(uuid.uuid4())
    for number, (key, it) in enumerate(metadata.items(), start=1):
        made = dg.AssetMaterialization(context.asset_key, partition=key, metadata=it)
        DagsterEvent.asset_materialization(step, made, DagsterEventBatchMetadata(batch, number == len(metadata)))
