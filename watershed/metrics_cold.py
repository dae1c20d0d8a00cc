"""`watershed metrics cold`, `tier` and `reload`: what of the metrics lies in the lake, and moving it there and back."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from watershed.commands import DAY, shop_option

if TYPE_CHECKING:
    from rich.console import Console

    from lake.layout import Lake
    from metrics.spec import Hypertable
    from metrics.tier_books import Copy

HYPERTABLE = click.argument("hypertable", metavar="[HYPERTABLE]", required=False)


@click.command()
@shop_option
@HYPERTABLE
@click.option("--check", is_flag=True, help="Read all of it back and compare count and checksum with the book.")
def cold(shop: str, hypertable: str | None, check: bool) -> None:
    """List the ranges that lie in the lake: rows, size, and whether the server has them, too."""
    _enter(shop)
    from watershed.tables import console

    for line in _listed(console(), hypertable, check=check):
        click.echo(line)


@click.command()
@shop_option
@HYPERTABLE
@click.option("--dry-run", is_flag=True, help="Say what would be moved; change nothing.")
def tier(shop: str, hypertable: str | None, dry_run: bool) -> None:
    """Move what is past its time to the lake, check it there, and drop it from the server."""
    _enter(shop)
    from lake import layout
    from lake.errors import PermanentError
    from metrics import tier as tiering
    from orchestration import clock
    from watershed.metrics_state import store

    lake, refused, moved = layout.from_environment(), 0, 0
    for one in _tiered(hypertable):
        for done in tiering.run(store(), lake, one, clock.now(), dry_run=dry_run):
            click.echo(f"{done}.")
            refused, moved = refused + (not done.count and not dry_run), moved + done.count
    if refused:
        raise PermanentError("watershed metrics tier", f"{refused} not moved (see above)", "mend it and run again")
    click.echo("Nothing was changed." if dry_run else f"{moved} ranges moved to the lake.")


@click.command()
@shop_option
@click.argument("hypertable")
@click.option("--from", "first", type=DAY, required=True, help="The first day to load back (UTC, YYYY-MM-DD).")
@click.option("--to", "last", type=DAY, required=True, help="The last day.")
@click.option("--keep-days", type=click.FloatRange(min=0, min_open=True), default=7.0, show_default=True,
              help="The rows stay so long before they are dropped again.")  # fmt: skip
def reload(shop: str, hypertable: str, first: datetime.datetime, last: datetime.datetime, keep_days: float) -> None:
    """Load cold days back into their hypertable; the ranges that hold a part of them come back whole."""
    _enter(shop)
    from lake import layout
    from metrics import tier_reload
    from orchestration import clock
    from watershed.metrics_state import store

    (one,) = _tiered(hypertable)
    keep = datetime.timedelta(days=keep_days)
    lake = layout.from_environment()
    for done in tier_reload.run(store(), lake, one, first.date(), last.date(), clock.now(), keep):
        click.echo(f"{done}.")


def _listed(console: Console, hypertable: str | None, *, check: bool) -> Iterator[str]:
    from lake.errors import PermanentError
    from metrics import tier_books
    from metrics.server import connected
    from watershed.metrics_state import store
    from watershed.tables import grid, size

    shown = grid("Cold ranges", "hypertable", "from", "to (UTC)", "rows", "size", "copied", "where")
    wrong: list[str] = []
    total = rows = 0
    with connected(store(), read_only=True) as connection:
        for one in _tiered(hypertable):
            copies = tier_books.copies(connection, one.name)
            bad = _wrong(one, copies) if check else []
            wrong += [f"metrics.{one.name}, {copy.range}" for copy in bad]
            for copy in copies:
                ends = (f"{at:%Y-%m-%d %H:%M}" for at in (copy.range.start, copy.range.end))
                where = "damaged" if copy in bad else _where(copy)
                shown.add_row(one.name, *ends, f"{copy.rows:,}", size(copy.bytes), f"{copy.copied_at:%Y-%m-%d}", where)
                total, rows = total + copy.bytes, rows + copy.rows
    if shown.row_count:
        console.print(shown)
    if wrong:
        mend = "run `watershed lake check --deep`, then `watershed lake restore` for its table in metrics_cold"
        raise PermanentError(wrong[0], f"the lake does not hold it as copied ({len(wrong)} such ranges)", mend)
    checked = "; all as they were copied" if check and shown.row_count else ""
    yield f"{shown.row_count} ranges with {rows:,} rows lie in the lake ({size(total)}){checked}."


def _wrong(hypertable: Hypertable, copies: list[Copy]) -> list[Copy]:
    """Those whose rows are not in the lake as they were copied."""
    from lake import cold as zone
    from lake import read
    from metrics.batches import arrow_schema

    lake: Lake = _lake()
    columns = {field.name: field.type for field in arrow_schema(hypertable)}
    bad = []
    with read.connect(lake) as connection:
        for copy in copies:
            then = {name: columns[name] for name in copy.columns if name in columns}
            found = zone.digest(connection, lake, hypertable.name, copy.range, then)
            if (found.rows, found.checksum) != (copy.rows, copy.checksum):
                bad.append(copy)
    return bad


def _lake() -> Lake:
    from lake import layout

    return layout.from_environment()


def _where(copy: Copy) -> str:
    if copy.dropped_at:
        return "lake, leaving the server" if copy.left_at else "lake"
    held = f", kept until {copy.hold_until:%Y-%m-%d}" if copy.hold_until else ""
    return f"lake and server{held}"


def _tiered(name: str | None) -> list[Hypertable]:
    """The hypertable called `name`, or all that are tiered. Raises SpecError for one that is not."""
    from lake.errors import SpecError
    from metrics.spec import read

    spec = read()
    if name is None:
        return [one for one in spec.hypertables if one.tier]
    if not spec[name].tier:
        raise SpecError(f"hypertable {name}", "is not tiered", "set `tier: true` for it in metrics/hypertables.yml")
    return [spec[name]]


def _enter(shop: str) -> None:
    from orchestration import site

    site.enter(shop)
