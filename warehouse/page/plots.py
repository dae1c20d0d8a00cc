"""The page's plots: Vega-Lite drawn to SVG at build time, in the page's own colours (CSS properties).

Each plot is drawn twice, wide and narrow; the page shows the one that fits. A mark's numbers are its SVG title, which
browsers show on hovering; the tables beside the plots hold them for everyone else. Colours that CSS decides make one
drawing do for light, dark and paper.
"""

import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import altair
import vl_convert

from warehouse.page.figures import Cohort, Month, Trade

WIDTHS = {"wide": 920, "narrow": 330}
LABELLED = 14  # with at most so many months each bar bears its value
SVG = "http://www.w3.org/2000/svg"
INK, MUTED, RULE, SERIES = (f"var(--{name})" for name in ("ink", "muted", "rule", "series"))
ALONE = {INK: "#777", MUTED: "#777", RULE: "#7775", SERIES: "#4f7cac"}
CONFIG: dict[str, Any] = {
    "background": None,
    "font": "sans-serif",
    "padding": {"left": 2, "right": 2, "top": 2, "bottom": 2},
    "view": {"stroke": None},
    "axis": {
        "labelColor": MUTED,
        "labelFontSize": 12,
        "domainColor": RULE,
        "gridColor": RULE,
        "ticks": False,
        "labelPadding": 8,
        "title": None,
    },
}
TEXT: dict[str, Any] = {"dy": -5, "color": INK, "fontSize": 13, "aria": False}
PADDING = 4  # of both sides
FIT = {"type": "fit-x", "contains": "padding"}  # a plot is as wide as its column, axes and all
DROPPED = ("aria-label", "aria-roledescription", "aria-hidden", "role", "pointer-events", "stroke-miterlimit")
NUMBER = re.compile(r"-?\d+\.\d{3,}(?:e-?\d+)?")

ElementTree.register_namespace("", SVG)


def revenue(trade: Trade, unfinished: Month | None) -> str:
    """Bars of a currency's revenue by month; the month that is not over is paler."""
    return drawn(lambda width: _revenue(trade, unfinished, width), f"Revenue by month in {trade.currency}")


def products(trade: Trade) -> str:
    """Bars of the articles that brought most."""
    return drawn(lambda width: _products(trade, width), f"Best-selling products in {trade.currency}")


def cohorts(found: Sequence[Cohort]) -> str:
    """A heat map: of each month's new customers, the part that ordered again so many months later."""
    return drawn(lambda width: _cohorts(found, width), "Customers by month of their first order, and who came back")


def _revenue(trade: Trade, unfinished: Month | None, width: int) -> Any:
    months = trade.months
    values = [
        {
            "month": f"{month.start:%Y-%m}",
            "revenue": float(month.revenue),
            "opacity": 0.45 if month is unfinished else 1.0,
            "title": f"{month.start:%B %Y}{' so far' if month is unfinished else ''}: "
            f"{trade.currency} {month.revenue:,.0f}, {month.orders:,} orders",
        }
        for month in months
    ]
    labelled = len(months) <= LABELLED
    x = altair.X(
        "month:O",
        sort=None,
        scale=altair.Scale(paddingInner=0.25, paddingOuter=0.1),
        axis=altair.Axis(
            labelAngle=0,
            labelOverlap=False,
            labelExpr=_month_labels(months, labelled),
            labelFontSize=12 if width > 600 else 9,
        ),
    )
    axis = None if labelled else altair.Axis(format="~s", tickCount=4, domain=False)
    base = altair.Chart(altair.InlineData(values), width=width, height=240).encode(
        x=x, y=altair.Y("revenue:Q", axis=axis)
    )
    bars = base.mark_bar(color=SERIES, cornerRadiusEnd=2).encode(
        description="title:N", opacity=altair.Opacity("opacity:Q", scale=None)
    )
    if not labelled:
        return bars
    size = 12 if width > 600 else 9
    text = base.mark_text(dy=-8, color=INK, fontSize=size, aria=False).encode(
        text=altair.Text("revenue:Q", format=".2~s" if width < 600 else ".3~s")
    )
    return altair.layer(bars, text)


def _month_labels(months: Sequence[Month], labelled: bool) -> str:
    """A Vega expression that names months by their abbreviation, and the year where it begins."""
    found = {}
    for number, month in enumerate(months):
        is_first = number == 0 or month.start.month == 1
        name = f"{month.start:%b}" if labelled else ""
        found[f"{month.start:%Y-%m}"] = [name, f"{month.start:%Y}" if is_first else ""] if labelled or is_first else ""
    return f"{found!r}[datum.value]"


def _products(trade: Trade, width: int) -> Any:
    is_wide, names = width == WIDTHS["wide"], Counter(product.name for product in trade.products)
    values = [
        {
            "place": product.place,
            "name": product.name if names[product.name] == 1 else f"{product.name} · {product.product_id}",
            "department": product.department,
            "revenue": float(product.revenue),
            "shown": f"{product.revenue:,.0f}",
            "title": f"{product.place}. {product.name}: {trade.currency} {product.revenue:,.2f}, "
            f"{product.quantity:,} units in {product.orders:,} orders",
        }
        for product in trade.products
    ]
    base = altair.Chart(altair.InlineData(values), width=width, height=altair.Step(42)).encode(
        y=altair.Y("place:O", axis=None, scale=altair.Scale(paddingInner=0, paddingOuter=0))
    )
    bars = base.mark_bar(color=SERIES, height=8, yOffset=9, cornerRadiusEnd=2).encode(
        x=altair.X("revenue:Q", axis=None), description="title:N"
    )
    name = base.mark_text(align="left", limit=width - (400 if is_wide else 80), **TEXT).encode(
        text="name:N", x=altair.value(0)
    )
    value = base.mark_text(align="right", **TEXT).encode(text="shown:N", x=altair.value(width - PADDING))
    if not is_wide:
        return altair.layer(bars, name, value)
    department = base.mark_text(align="right", limit=260, **{**TEXT, "color": MUTED}).encode(
        text="department:N", x=altair.value(width - 110)
    )
    return altair.layer(bars, name, department, value)


def _cohorts(found: Sequence[Cohort], width: int) -> Any:
    is_wide = width == WIDTHS["wide"]
    values = [
        {
            "cohort": f"{cohort.start:%b %Y}" if is_wide else f"{cohort.start:%b %y}",
            "since": since,
            "share": active / cohort.size,
            "shown": _share(active / cohort.size, is_wide),
            "title": f"{cohort.size:,} new customers in {cohort.start:%B %Y}: {active:,} ordered "
            f"{since} month{'s' if since > 1 else ''} later",
        }
        for cohort in found
        for since, active in enumerate(cohort.active)
        if since
    ]
    highest = max(max(cohort.active[1:], default=0) / cohort.size for cohort in found) or 1.0
    names = altair.Axis(domain=False, labelFontSize=12 if is_wide else 10, minExtent=72 if is_wide else 48)
    base = altair.Chart(altair.InlineData(values), width=width, height=altair.Step(30)).encode(
        x=altair.X("since:O", axis=altair.Axis(domain=False, labelAngle=0, orient="top")),
        y=altair.Y("cohort:O", sort=None, axis=names),
    )
    shade = altair.Scale(domain=[0, highest], range=[0.04, 0.5])
    cells = base.mark_rect(color=SERIES, cornerRadius=3, stroke="var(--card)", strokeWidth=2).encode(
        fillOpacity=altair.FillOpacity("share:Q", scale=shade, legend=None), description="title:N"
    )
    text = base.mark_text(fontSize=12 if is_wide else 9, color=INK, aria=False).encode(text="shown:N")
    return altair.layer(cells, text)


def _share(share: float, is_wide: bool) -> str:
    """`37%`, and `0.4%` of few: a cell that is not empty must not say 0."""
    digits = 1 if 0 < share < 0.01 else 0
    return f"{share:.{digits}%}" if is_wide else f"{100 * share:.{digits}f}"


def standing_alone(drawn: str) -> str:
    """The wide one of two drawings, with colours of its own that are readable on light and on dark."""
    svg = drawn[: drawn.index("</svg>") + len("</svg>")]
    for name, colour in ALONE.items():
        svg = svg.replace(name, colour)
    return svg.replace("<svg ", f'<svg width="{WIDTHS["wide"]}" font-family="sans-serif" ', 1)


def drawn(draw: Callable[[int], Any], label: str) -> str:
    """What `draw` makes of a width, drawn in both."""
    return "".join(_svg(draw(width), label, name) for name, width in WIDTHS.items())


def drawn_once(chart: Any, label: str, name: str) -> str:
    """A chart of one width, which the page shows wherever it is; `name` is its CSS class."""
    return _svg(chart, label, name)


def _svg(chart: Any, label: str, name: str) -> str:
    """The chart as an SVG element for the page: scales with its column, numbers as titles, nothing else than shapes."""
    drawn = vl_convert.vegalite_to_svg({**chart.to_dict(validate=False), "config": CONFIG, "autosize": FIT})
    root = ElementTree.fromstring(drawn)  # noqa: S314 - our own drawing
    for element in list(root.iter()):
        title = element.get("aria-label") if element.tag == f"{{{SVG}}}path" else None
        for attribute in DROPPED:
            element.attrib.pop(attribute, None)
        for attribute in ("d", "transform", "x", "y", "x2", "y2", "width", "height"):
            if attribute in element.attrib:
                element.set(attribute, NUMBER.sub(lambda found: f"{float(found[0]):.2f}", element.attrib[attribute]))
        if title:
            ElementTree.SubElement(element, f"{{{SVG}}}title").text = title
    for attribute in ("width", "height", "class"):
        root.attrib.pop(attribute, None)
    root.attrib |= {"class": f"plot {name}", "role": "img", "aria-label": label}
    return ElementTree.tostring(root, encoding="unicode")
