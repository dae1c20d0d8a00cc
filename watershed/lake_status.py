"""`watershed lake status`: what every table of the lake holds and how tidy it is, told from the logs alone."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lake import commit, journal, layout, upkeep, vacuum
from lake.errors import PlatformError
from watershed.lake_tables import all_tables
from watershed.tables import grid, size

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as Grid

    from lake.layout import Address, Lake

MANY_SMALL = 50  # so many small files in a table are worth a sentence


@dataclass
class _Seen:
    """What goes into the sentence at the end."""

    tables: int = 0
    small: int = 0
    untidy: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


def show(console: Console) -> str:
    """Print one line per table; answers what to do, in a sentence."""
    lake = layout.from_environment()
    columns = ("table", "rows", "size", "files", "small", "oldest", "newest", "versions", "back to")
    shown, seen = grid(f"Lake {lake.root}", *columns), _Seen()
    for address in all_tables(lake):
        seen.tables += 1
        try:
            _row(shown, lake, address, seen)
        except PlatformError as error:
            shown.add_row(str(address), "damaged", *["-"] * (len(columns) - 2))
            seen.damaged.append(str(error))
    if not seen.tables:
        return "The lake holds no table yet; run `make run`."
    console.print(shown)
    return _sentence(seen)


def _row(shown: Grid, lake: Lake, address: Address, seen: _Seen) -> None:
    delta = commit.table(lake, address)
    if delta is None:
        shown.add_row(str(address), *["-"] * 8)
        return
    figures = upkeep.figures(delta)
    days = sorted(one.day for one in commit.files(delta) if one.day)
    seen.small += figures.small
    if figures.small >= MANY_SMALL:
        seen.untidy.append(str(address))
    shown.add_row(
        str(address),
        f"{figures.rows:,}",
        size(figures.bytes),
        f"{figures.files:,}",
        f"{figures.small_share:.0%}",
        days[0].isoformat() if days else "-",
        days[-1].isoformat() if days else "-",
        f"{figures.versions:,}",
        f"{_back_to(lake, address):%Y-%m-%d}",
    )


def _back_to(lake: Lake, address: Address) -> datetime.datetime:
    """Since when every version can be read: from the first one, or as the last vacuum has noted."""
    noted = vacuum.reaches_back(lake, address)
    if noted is not None:
        return noted
    entries = journal.log(lake, address).entries
    first = journal.told_at(journal.actions(lake, address, entries[0].version)) if entries else None
    return first or datetime.datetime.now(datetime.UTC)


def _sentence(seen: _Seen) -> str:
    if seen.damaged:
        return "\n".join(seen.damaged)
    if seen.untidy:
        which = seen.untidy[0] if len(seen.untidy) == 1 else f"{len(seen.untidy)} tables"
        return f"{which} have many small files ({seen.small:,} in all); run `watershed lake upkeep`."
    return f"All {seen.tables} tables are in order; upkeep runs every night at 03:30 UTC while `make ui` is up."
