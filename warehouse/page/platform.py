"""The page about the platform itself, `platform.html` beside the report: the dashboards' plots without Grafana.

It is written after the metrics were loaded, not at a publish, so that it shows the newest rows and costs no publish
anything. A store that cannot be read is a sentence on it.
"""

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lake.errors import PlatformError, redact
from warehouse.layout import layout
from warehouse.page.files import replaced

if TYPE_CHECKING:
    from warehouse.page.panels import Shown

NAME = "platform.html"
ORDER = ("watershed-platform", "watershed-store", "watershed-sensors")
UNWRITTEN = "Nothing has been read from the metrics store yet: the step `metrics/rollups` of a run writes this page."


@dataclass(frozen=True)
class Section:
    """The panels of one dashboard, under one heading."""

    anchor: str
    title: str
    description: str
    panels: tuple["Shown", ...]


@dataclass(frozen=True)
class PlatformPage:
    """The page that was written; `trouble` says why it shows nothing, `verdict` what to know first (good or warn)."""

    path: Path
    trouble: str | None
    verdict: tuple[tuple[str, str], ...]
    figures: tuple[tuple[str, str], ...]


def write(
    root: Path | str | None = None,
    *,
    shop: str,
    now: datetime.datetime,
    data_now: datetime.datetime | None = None,
) -> PlatformPage:
    """Read the metrics store and write the page.

    `now` is the time of day, by which runs, checks and servers are dated; `data_now` that of the shop's data, if its
    years are over. Both have a time zone.
    """
    from warehouse.dashboards import answers, described
    from warehouse.page import panels  # brings the plotting library, which only this needs

    chosen = {it.uid: it for it in described.dashboards()}
    trouble: str | None = None
    sections: tuple[Section, ...] = ()
    try:
        ends = {"platform": now, "data": data_now or now}
        found = answers.answers([chosen[uid] for uid in ORDER], ends)
        sections = tuple(
            Section(
                uid.removeprefix("watershed-"),
                chosen[uid].title.removeprefix("Watershed: ").capitalize(),
                chosen[uid].description,
                tuple(panels.panels(found[uid])),
            )
            for uid in ORDER
        )
    except PlatformError as error:
        trouble = f"{redact(str(error)).rstrip('.')}."
    said = tuple(_verdict(sections))
    path = _put(root, shop=shop, now=now, trouble=trouble, sections=sections, verdict=said)
    figures = tuple(figure for it in sections for panel in it.panels for figure in panel.figures)
    return PlatformPage(path, trouble, said, figures)


def attempt(
    root: Path | str | None = None,
    *,
    shop: str,
    now: datetime.datetime,
    data_now: datetime.datetime | None = None,
) -> PlatformPage | str:
    """As `write`, but a page that cannot be written is a sentence: it must not undo what it follows."""
    try:
        return write(root, shop=shop, now=now, data_now=data_now)
    except Exception as error:  # of the plotting library, the template, DuckDB, the disk
        lines = str(error).splitlines() or [type(error).__name__]
        said = redact(lines[0].rstrip("."))
        return f"the platform page was not written: {said}; `watershed report --platform` tries again"


def hold_place(folder: Path, *, shop: str, now: datetime.datetime) -> None:
    """Put a page there that says so, where none was written yet, so that the report's link leads somewhere."""
    if not (folder / NAME).exists():
        replaced(folder / NAME, _html(shop=shop, now=now, trouble=UNWRITTEN, sections=(), verdict=()))


def _put(root: Path | str | None, **values: object) -> Path:
    folder = layout(root).root / "report"
    folder.mkdir(parents=True, exist_ok=True)
    replaced(folder / NAME, _html(**values))
    return folder / NAME


def _html(**values: object) -> str:
    from warehouse.page import render

    return render.set_in("platform.html", **values)


# Which word in which table is counted, and how the count is said: (title of the panel, one, several, none).
_COUNTED: Mapping[str, tuple[str, str, str]] = {
    "Tables now": ("table is stale", "tables are stale", "watched tables fresh"),
    "Checks that fail now": ("check fails", "checks fail", "no check fails"),
    "Incidents": ("incident is open", "incidents are open", "no incident is open"),
    "Servers now": ("server is down", "servers are down", "servers up"),
    "Watchdog now": ("check of the metrics store fails", "checks of the metrics store fail", "metrics store well kept"),
}


def _verdict(sections: tuple[Section, ...]) -> Iterator[tuple[str, str]]:
    """What to know before anything else: what is stale, fails or is down."""
    shown = [panel for it in sections for panel in it.panels]
    has_checks = any(panel.title == "Failed checks" and panel.rows for panel in shown)
    for panel in (panel for panel in shown if panel.title in _COUNTED):
        one, several, none = _COUNTED[panel.title]
        wrong = sum(any(cell.mark == "warn" for cell in row) for row in panel.rows)
        if wrong:
            yield f"{wrong} {one if wrong == 1 else several}", "warn"
        elif panel.kind == "table" or (panel.title == "Checks that fail now" and panel.kind == "empty" and has_checks):
            yield none, "good"
