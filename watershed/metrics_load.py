"""The command `watershed metrics load`: files into a hypertable."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from watershed.commands import shop_option

if TYPE_CHECKING:
    import pyarrow as pa

    from metrics.files import Reading
    from metrics.load import Loaded
    from metrics.spec import Hypertable


@click.command()
@shop_option
@click.argument("hypertable")
@click.argument("paths", metavar="FILE...", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--format",
    "form",
    type=click.Choice(["parquet", "csv", "lines"]),
    help="What the files are: lines is InfluxDB line protocol. [default: as their names say]",
)
@click.option("--zone", metavar="ZONE", help="Time zone of instants that say none, as UTC or Europe/Berlin.")
@click.option(
    "--precision",
    type=click.Choice(["ns", "us", "ms", "s"]),
    default="ns",
    show_default=True,
    help="Unit of the times in line protocol.",
)
@click.option("--measurement", help="Whose lines to take from line protocol. [default: the hypertable's name]")
def load(
    shop: str,
    hypertable: str,
    paths: tuple[str, ...],
    form: str | None,
    zone: str | None,
    precision: str,
    measurement: str | None,
) -> None:
    """Load Parquet, CSV or line protocol (also .gz) into a hypertable; each file whole or not at all, twice as once.

    Rows that break the declaration go to quarantine with the reason.
    """
    from metrics.files import Reading
    from metrics.spec import read
    from orchestration import site

    site.enter(shop)
    target = read()[hypertable]
    how = Reading(form=form, zone=zone, precision=precision, measurement=measurement)  # type: ignore[arg-type]
    for path in paths:
        click.echo(_one(Path(path), target, how))


def _one(path: Path, hypertable: Hypertable, how: Reading) -> str:
    """Load one file; answers a sentence."""
    from metrics import load, quarantine
    from metrics.files import opened
    from orchestration import clock
    from watershed.metrics_state import store

    with opened(path, hypertable, how) as found:
        lake = quarantine.lake_if_any()
        rows = _counted(found.rows)
        done = load.load(store(), hypertable, rows, now=clock.now(), lake=lake, text=found.is_text)
    return _sentence(path, hypertable, done, found.others)


def _counted(rows: pa.RecordBatchReader) -> pa.RecordBatchReader:
    """The same rows; a terminal shows how many have been read."""
    import pyarrow as pa

    def shown() -> Iterator[pa.RecordBatch]:
        read = 0
        for batch in rows:
            yield batch
            read += batch.num_rows
            click.echo(f"\r{read:,} rows read", nl=False, err=True)
        click.echo("\r" + " " * 40 + "\r", nl=False, err=True)

    return pa.RecordBatchReader.from_batches(rows.schema, shown()) if sys.stderr.isatty() else rows


def _sentence(path: Path, hypertable: Hypertable, done: Loaded, others: dict[str, int]) -> str:
    from metrics.words import counted

    parts = [f"{counted(done.rows, 'row')} of {path.name} taken in, {done.changed:,} new or changed"]
    if done.expired:
        parts.append(f"{done.expired:,} left out as older than the retention")
    if done.blanked:
        parts.append(f"{done.blanked:,} NaN made NULL")
    if others:
        parts.append(f"{sum(others.values()):,} lines of other measurements left out ({', '.join(list(others)[:5])})")
    if done.reasons:
        why = "; ".join(f"{count:,} because {reason}" for reason, count in list(done.reasons.items())[:5])
        parts.append(f"{done.set_aside:,} set aside in quarantine/metrics/{hypertable.name} ({why})")
    return f"metrics.{hypertable.name}: {', '.join(parts)}, in {done.seconds:.1f} s."
