"""`watershed lake upkeep`: small files put together, and what nobody needs removed; figures before and after."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from lake import layout, upkeep, vacuum
from watershed.lake_tables import named
from watershed.tables import grid, size

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as Grid

    from lake.upkeep import Kept


def run(
    console: Console, name: str | None, *, dry_run: bool, retention_days: float, grace_hours: float, force: bool
) -> str:
    """Keep one table or all in order and print what became of each; answers a sentence.

    A table that cannot be kept is said in a line; the others are kept all the same. Raises PlatformError at the end.
    """
    lake = layout.from_environment()
    retention, grace = datetime.timedelta(days=retention_days), datetime.timedelta(hours=grace_hours)
    vacuum.check(retention, grace, force=force)
    shown = grid(f"Upkeep of lake {lake.root}", "table", "files", "after", "size", "after", "removed", "freed")
    tables = named(lake, name)
    done, failed = upkeep.keep_all(lake, tables, retention=retention, grace=grace, force=force, dry_run=dry_run)
    for kept in done:
        _row(shown, kept)
    if done:
        console.print(shown)
    for line in _remarks(done):
        console.print(line, soft_wrap=True)
    swept = upkeep.sweep_root(lake, upkeep.clock(lake), grace, dry_run=dry_run) if tables and not name else 0
    if failed:
        for other in failed[1:]:
            console.print(str(other), soft_wrap=True)
        raise failed[0]
    return _sentence(done, swept, dry_run=dry_run)


def _row(shown: Grid, kept: Kept) -> None:
    removed = kept.vacuumed.old + kept.vacuumed.orphans
    shown.add_row(
        str(kept.address),
        f"{kept.before.files:,}",
        f"{kept.after.files:,}",
        size(kept.before.bytes),
        size(kept.after.bytes),
        f"{removed:,}",
        size(kept.vacuumed.bytes),
    )


def _remarks(done: list[Kept]) -> list[str]:
    """What a person should know beside the figures."""
    lines = []
    for kept in done:
        if kept.compacted.left:
            lines.append(f"{kept.address}: {kept.compacted.left}.")
        lines += [
            f"{kept.address}: foreign file {path} was left alone; move it away." for path in kept.vacuumed.foreign
        ]
    return lines


def _sentence(done: list[Kept], swept: int, *, dry_run: bool) -> str:
    small = sum(kept.before.small for kept in done) if dry_run else sum(kept.compacted.files_before for kept in done)
    into = sum(kept.compacted.files_after for kept in done)
    old, orphans = sum(kept.vacuumed.old for kept in done), sum(kept.vacuumed.orphans for kept in done)
    uploads = sum(kept.vacuumed.uploads for kept in done)
    freed = size(sum(kept.vacuumed.bytes for kept in done))
    extra = f", {uploads:,} broken-off uploads" if uploads else ""
    extra += f", {swept:,} left-over probes" if swept else ""
    rest = f"{old:,} files of old versions and {orphans:,} orphans ({freed}){extra}"
    if dry_run:
        return f"Would put {small:,} small files together, and remove {rest}; nothing was changed."
    return f"Put {small:,} small files together into {into:,}, and removed {rest}."
