"""The page's HTML: figures, plots and account set into one template; styles and the small script stand inside it."""

import base64
import datetime
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from warehouse.page import plots
from warehouse.page.figures import Cohort, Figures, Month, Trade
from warehouse.page.headline import DASH, Headline, currency_name, headlines, money
from warehouse.page.record import Record, instant
from warehouse.versions import Version

FOLDER = Path(__file__).parent / "template"


@dataclass(frozen=True)
class Drawn:
    """A currency with its plots, which `plots` has parsed and written anew: safe in HTML."""

    trade: Trade
    unfinished: Month | None
    revenue: str
    products: str


@dataclass(frozen=True)
class Rendered:
    """The page, what stands first on it, and revenue by month of the largest currency as an SVG that stands alone."""

    html: str
    headlines: tuple[Headline, ...]
    verdict: tuple[tuple[str, str], ...]
    picture: str | None


def rendered(version: Version, newest: int, found: Figures, record: Record) -> Rendered:
    """The page of `version`; `newest` is the highest number published so far, more than its own after a rollback."""
    trades = [_drawn(trade, found) for trade in found.trades]
    heads, said = headlines(found), verdict(record)
    text = set_in(
        "page.html",
        version=version,
        newest=newest,
        figures=found,
        record=record,
        headlines=heads,
        trades=trades,
        cohorts=_heat_map(found.cohorts),
        verdict=said,
        tables=[change for change in record.changes if change.rows_after is not None],
        gone=[change for change in record.changes if change.rows_after is None],
        unchanged=all(change.is_equal for change in record.changes),
    )
    return Rendered(text, heads, said, plots.standing_alone(trades[0].revenue) if trades else None)


def set_in(template: str, **values: Any) -> str:
    """The HTML of a template, with styles and the small script inside it."""
    style, script = ((FOLDER / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"day": day, "when": when, "number": number, "money": money, "currency": currency_name}
    return environment.get_template(template).render(style=style, script=script, script_digest=digest, **values)


def verdict(record: Record) -> tuple[tuple[str, str], ...]:
    """What to know before anything else, as (sentence, good | warn): checks, freshness, quarantine."""
    tests = len(record.checks)
    warned = [check for check in record.checks if not check.is_passed]
    stale = [one.table for one in record.freshness if one.is_stale]
    watched = [one for one in record.freshness if one.limit_hours]
    held = sum(one.rows + one.values for one in record.quarantine)
    said = []
    if tests:
        said.append((f"{len(warned)} of {tests} checks warn", "warn") if warned else (f"{tests} checks passed", "good"))
    if stale:
        said.append((f"stale: {', '.join(stale)}", "warn"))
    elif watched:
        said.append((f"{len(watched)} watched tables fresh", "good"))
    if held:
        said.append((f"{held:,} rows and values in quarantine", "warn"))
    elif record.freshness:
        said.append(("nothing in quarantine", "good"))
    return tuple(said)


def day(value: datetime.date | str | None) -> str:
    """A day in words; a dash for none."""
    if isinstance(value, str):
        value = datetime.date.fromisoformat(value[:10])
    return f"{value.day} {value:%b %Y}" if value else DASH


def when(value: datetime.datetime | str | None) -> str:
    """An instant in UTC, to the minute; a date stays one; a dash for none."""
    if isinstance(value, str) and len(value) == 10:
        return day(value)
    moment = instant(value) if isinstance(value, str) else value
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment else DASH


def number(value: int | None) -> str:
    """A count with separators; a dash for none."""
    return DASH if value is None else f"{value:,}"


def _drawn(trade: Trade, found: Figures) -> Drawn:
    unfinished = _unfinished(trade, found)
    best = plots.products(trade) if trade.products else ""
    return Drawn(trade, unfinished, plots.revenue(trade, unfinished), best)


def _unfinished(trade: Trade, found: Figures) -> Month | None:
    return None if trade.months[-1].start == found.full_month else trade.months[-1]


def _heat_map(found: Sequence[Cohort]) -> str | None:
    return plots.cohorts(found) if any(len(cohort.active) > 1 for cohort in found) else None
