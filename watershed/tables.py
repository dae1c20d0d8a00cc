"""Tables, ages and sizes as people read them on a terminal."""

import datetime
import sys

from rich.console import Console
from rich.table import Table as Grid


def console() -> Console:
    """Where people read: as wide as their terminal; wide enough for every figure where the output is a file."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 120)


def grid(title: str, *columns: str) -> Grid:
    """An empty table without borders: numbers to the right, names and times to the left."""
    shown = Grid(title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False)
    for index, column in enumerate(columns):
        is_text = index == 0 or column in ("newest day", "newest", "loaded", "policies")
        shown.add_column(column, justify="left" if is_text else "right", no_wrap=column != "policies")
    return shown


def ago(instant: datetime.datetime) -> str:
    """How long ago an instant was, e.g. `3 min ago`."""
    seconds = (datetime.datetime.now(datetime.UTC) - instant).total_seconds()
    for limit, unit, length in ((90, "s", 1), (5400, "min", 60), (129600, "h", 3600)):
        if seconds < limit:
            return f"{max(0, seconds) / length:.0f} {unit} ago"
    return f"{seconds / 86400:.0f} days ago"


def size(count: float) -> str:
    """Bytes in decimal units, e.g. `2.6 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
