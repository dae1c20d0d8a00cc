"""The panels of the dashboards as the page draws them: plots over time as SVG, the rest as figures and tables.

A plot's colours are CSS properties `--c1` to `--c8`; what is wrong (failed, errors) is `--bad` on every plot.
"""

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import altair

from warehouse.dashboards.answers import EVERY, Answer, series
from warehouse.dashboards.macros import seconds
from warehouse.page.plots import SERIES, drawn, drawn_once
from warehouse.page.units import LABELS, PLAIN, is_number, shown

MOST = 8  # series of a plot; of bars the rest is one more, of lines the rest stands in the table
SHORTEST = datetime.timedelta(days=7)
WRONG = {"failed", "errors"}
COLOURS = tuple(f"var(--c{number})" for number in range(1, MOST + 1))
DAY = datetime.timedelta(seconds=seconds(EVERY))
OTHERS = "others"
STEPS_S = (
    0.01, 0.1, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 864000
)  # fmt: skip

Points = dict[str, list[tuple[datetime.datetime, float]]]


@dataclass(frozen=True)
class Cell:
    """A value of a table: how it is shown, whether it is a number, and what it is a mark of (good, warn or nothing)."""

    text: str
    is_number: bool = False
    mark: str = ""


@dataclass(frozen=True)
class Shown:
    """A panel as it stands on the page.

    `kind` is stat, table, gauge, plot or small; `empty` if there is nothing to show, `unread` if it could not be read:
    `note` tells of it. `plots` are (heading, SVG), `legend` (name, colour), `bars` parts of a hundred.
    """

    title: str
    say: str
    kind: str
    note: str = ""
    plots: tuple[tuple[str, str], ...] = ()
    legend: tuple[tuple[str, str], ...] = ()
    figures: tuple[tuple[str, str], ...] = ()
    heads: tuple[Cell, ...] = ()
    rows: tuple[tuple[Cell, ...], ...] = ()
    bars: tuple[float, ...] = ()


def panels(answered: Sequence[Answer]) -> list[Shown]:
    """The panels of one dashboard; all plots begin on the first day on which there is anything, a week ago at least."""
    begins = min(
        (row[it.columns.index("time")] for it in answered if "time" in it.columns for row in it.rows), default=None
    )
    return [_shown(it, begins) for it in answered]


def _shown(answer: Answer, begins: datetime.datetime | None) -> Shown:
    panel = answer.panel
    if answer.trouble or not answer.rows:
        return Shown(
            panel.title, panel.say, "unread" if answer.trouble else "empty", note=answer.trouble or panel.empty
        )
    match panel.kind:
        case "stat":
            figures = zip(answer.columns, answer.rows[0], strict=True)
            units = panel.units
            said = tuple((name, shown(value, units.get(name, panel.unit))) for name, value in figures)
            return Shown(panel.title, panel.say, "stat", figures=said)
        case "table":
            return Shown(panel.title, panel.say, "table", **_table(answer))
        case "gauge":
            return _gauge(answer)
    since = min(begins or answer.until, answer.until - SHORTEST)
    days = (max(since, answer.since).replace(hour=0, minute=0, second=0, microsecond=0), answer.until)
    return _band(answer, days) if panel.kind == "band" else _timed(answer, days)


def _timed(answer: Answer, days: tuple[datetime.datetime, datetime.datetime]) -> Shown:
    panel, found = answer.panel, series(answer)
    is_bars = panel.kind == "bars"
    if is_bars and not any(value for points in found.values() for _, value in points):
        return Shown(panel.title, panel.say, "empty", note="None in this time.", **_numbers(answer, found))
    kept = _folded(found) if is_bars else dict(list(found.items())[:MOST])
    colours = dict(zip(kept, _colours(kept), strict=True))
    note = f"{len(found) - MOST} series more stand in the table." if not is_bars and len(found) > MOST else ""
    plot = drawn(lambda width: _chart(answer, kept, colours, days, width), panel.title)
    return Shown(
        panel.title,
        panel.say,
        "plot",
        note=note,
        plots=(("", plot),),
        legend=tuple(colours.items()) if len(colours) > 1 or panel.unit == "short" else (),
        **_numbers(answer, found),
    )


def _folded(found: Points) -> Points:
    """The largest series, and what is left added up as one."""
    named = list(found.items())
    if len(named) <= MOST:
        return found
    rest: dict[datetime.datetime, float] = {}
    for _, points in named[MOST - 1 :]:
        for at, value in points:
            rest[at] = rest.get(at, 0.0) + value
    return {**dict(named[: MOST - 1]), OTHERS: sorted(rest.items())}


def _colours(names: Sequence[str] | Points) -> Iterator[str]:
    others = iter(COLOURS)
    for name in names:
        yield "var(--bad)" if name in WRONG else next(others)


def _chart(
    answer: Answer,
    found: Points,
    colours: dict[str, str],
    days: tuple[datetime.datetime, datetime.datetime],
    width: int,
) -> Any:
    panel = answer.panel
    is_bars = panel.kind == "bars"
    values = list(_stacked(found) if is_bars else _placed(found))
    for it in values:
        at = it.pop("at")
        it |= {"start": _instant(at), "end": _instant(at + DAY * 0.86)}
        it["title"] = f"{at.day} {at:%B}: {it['name']} {shown(it['value'], panel.unit)}"
    base = altair.Chart(altair.InlineData(values), width=width, height=200 if width > 600 else 170)
    colour = altair.Color("name:N", scale=altair.Scale(domain=list(colours), range=list(colours.values())), legend=None)
    scale = altair.Scale(zero=is_bars or panel.unit in ("short", "bytes", "none"), nice=True)
    if panel.unit == "percentunit":
        scale = altair.Scale(zero=False, domainMax=1)
    most = max((it["top" if is_bars else "value"] for it in values), default=0.0)
    y = altair.Y("top:Q" if is_bars else "value:Q", axis=_axis(panel.unit, most), scale=scale)
    if is_bars:
        return base.mark_rect().encode(
            x=_days(days, width), x2="end", y=y, y2="bottom", color=colour, description="title:N"
        )
    lines = base.mark_line(strokeWidth=2, strokeJoin="round").encode(
        x=_days(days, width), y=y, color=colour, detail="name:N"
    )
    dots = base.mark_circle(size=26 if width > 600 else 16, opacity=1).encode(
        x=_days(days, width), y=y, color=colour, description="title:N"
    )
    return altair.layer(lines, dots)


def _placed(found: Points) -> Iterator[dict[str, Any]]:
    for name, points in found.items():
        yield from ({"at": at, "name": name, "value": value} for at, value in points)


def _stacked(found: Points) -> Iterator[dict[str, Any]]:
    """Bars that stand on each other, the largest series below; what is nothing is not drawn."""
    tops: dict[datetime.datetime, float] = {}
    for it in _placed(found):
        bottom = tops.get(it["at"], 0.0)
        tops[it["at"]] = bottom + it["value"]
        if it["value"]:
            yield it | {"bottom": bottom, "top": bottom + it["value"]}


def _days(days: tuple[datetime.datetime, datetime.datetime], width: int, count: int | None = None) -> altair.X:
    """An axis of days in UTC, so many labels as fit, the newest day whole."""
    first, last = days
    end = last.replace(hour=0, minute=0, second=0, microsecond=0) + DAY
    length = (end - first).days
    fits = count or (10 if width > 600 else 5)
    step = max(1, -(-length // fits))
    ticks = [_instant(first + DAY * number) for number in range(0, length, step)]
    return altair.X(
        "start:T",
        scale=altair.Scale(type="utc", domain=[_instant(first), _instant(end)]),
        axis=altair.Axis(
            values=ticks, format="%-d %b", grid=False, labelAlign="left", labelAngle=0, labelOverlap=False,
            labelFontSize=12 if width > 600 else 10, title=None,
        ),
    )  # fmt: skip


def _axis(unit: str, most: float | None = None, count: int = 4) -> altair.Axis:
    """An axis of values; of seconds, up to `most`, in steps that are whole minutes or hours."""
    if unit == "s" and most:
        width = next((it for it in STEPS_S if it * (count + 1) >= most), STEPS_S[-1])
        ticks = [width * number for number in range(int(most / width) + 1)]
        return altair.Axis(labelExpr=LABELS["s"], values=ticks, domain=False, title=None)
    finest = 1 if unit == "short" else altair.Undefined
    return altair.Axis(labelExpr=LABELS.get(unit, PLAIN), tickCount=count, domain=False, title=None, tickMinStep=finest)


def _instant(moment: datetime.datetime) -> float:
    """Milliseconds since 1970: what ends a bar has no type in Vega-Lite, so a text would not be read as a time."""
    return moment.timestamp() * 1000


SMALL = 290  # wide


def _band(answer: Answer, days: tuple[datetime.datetime, datetime.datetime]) -> Shown:
    """One small plot for each value of the variable, all on the same scale."""
    each: dict[str, list[tuple[Any, ...]]] = {}
    for name, *row in answer.rows:
        each.setdefault(f"{answer.panel.repeat} {name}", []).append(tuple(row))
    span = [min(row[2] for row in answer.rows), max(row[4] for row in answer.rows)]
    plots = tuple(
        (name, drawn_once(_small(answer, rows, days, span), f"{answer.panel.title} {name}", "small"))
        for name, rows in each.items()
    )
    more = f"{answer.left_out} more are not drawn." if answer.left_out else ""
    return Shown(answer.panel.title, answer.panel.say, "small", note=more, plots=plots, **_table(answer))


def _small(
    answer: Answer, rows: list[tuple[Any, ...]], days: tuple[datetime.datetime, datetime.datetime], span: list[float]
) -> Any:
    unit = answer.panel.unit
    values = [
        {
            "start": _instant(at),
            "low": low,
            "mean": mean,
            "high": high,
            "title": f"{at.day} {at:%B}: {shown(mean, unit)}, from {shown(low, unit)} to {shown(high, unit)}",
        }
        for at, low, mean, high in rows
    ]
    y = altair.Scale(domain=span, zero=False, nice=True)
    base = altair.Chart(altair.InlineData(values), width=SMALL, height=120).encode(x=_days(days, SMALL, 4))
    band = base.mark_area(color=SERIES, opacity=0.22).encode(
        y=altair.Y("low:Q", scale=y, axis=_axis(unit, count=3)), y2="high:Q"
    )
    line = base.mark_line(color=SERIES, strokeWidth=2).encode(y=altair.Y("mean:Q", scale=y))
    dots = base.mark_circle(color=SERIES, size=22, opacity=1).encode(
        y=altair.Y("mean:Q", scale=y), description="title:N"
    )
    return altair.layer(band, line, dots)


def _numbers(answer: Answer, found: Points) -> dict[str, Any]:
    """The table beside a plot: a row for each bucket, the newest first, a column for each series."""
    at = {name: dict(points) for name, points in found.items()}
    moments = sorted({moment for points in at.values() for moment in points}, reverse=True)
    heads = (Cell("Day"), *(Cell(name, is_number=True) for name in at))
    rows = tuple(
        (
            Cell(f"{moment.day} {moment:%b %Y}"),
            *(Cell(shown(points.get(moment), answer.panel.unit), is_number=True) for points in at.values()),
        )
        for moment in moments
    )
    return {"heads": heads, "rows": rows}


def _table(answer: Answer) -> dict[str, Any]:
    panel = answer.panel
    names = {"each": str(panel.repeat).capitalize(), "time": "Day", "low": "Lowest", "mean": "Mean", "high": "Highest"}
    numbers = {place for place, _ in enumerate(answer.columns) if any(is_number(row[place]) for row in answer.rows)}
    heads = tuple(Cell(names.get(name, name), place in numbers) for place, name in enumerate(answer.columns))
    units = [panel.units.get(name, panel.unit if panel.kind == "band" else "short") for name in answer.columns]
    rows = tuple(
        tuple(
            Cell(
                f"{value.day} {value:%b %Y}" if name == "time" else shown(value, units[place]),
                place in numbers,
                panel.marks.get(value, "") if name == "State" else "",
            )
            for place, (name, value) in enumerate(zip(answer.columns, row, strict=True))
        )
        for row in answer.rows
    )
    return {"heads": heads, "rows": rows}


def _gauge(answer: Answer) -> Shown:
    """A table whose last column is a bar."""
    most = max((float(value) for _, value in answer.rows), default=0.0) or 1.0
    unit = answer.panel.unit
    return Shown(
        answer.panel.title,
        answer.panel.say,
        "gauge",
        heads=(Cell("Name"), Cell("Value", is_number=True)),
        rows=tuple((Cell(str(name)), Cell(shown(value, unit), is_number=True)) for name, value in answer.rows),
        bars=tuple(100 * float(value) / most for _, value in answer.rows),
    )
