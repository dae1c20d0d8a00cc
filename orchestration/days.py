"""The daily partitions shared by all partitioned assets, and what a run was asked to do with them."""

import datetime
import os

import dagster as dg

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
