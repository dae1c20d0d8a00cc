"""Small plots for Dagster's asset pages, drawn as SVG without a plotting library."""

import base64
import datetime
from collections.abc import Mapping

import dagster as dg

WIDTH, HEIGHT, LABELS = 640, 120, 18


def bars(rows_per_day: Mapping[datetime.date, int]) -> dg.MarkdownMetadataValue:
    """Rows per UTC day as bars, from the first day to the last, with both dates and the peak written beside."""
    first, last, peak = min(rows_per_day), max(rows_per_day), max(rows_per_day.values()) or 1
    span = (last - first).days + 1
    width = WIDTH / span
    drawn = "".join(
        f'<rect x="{(day - first).days * width:.1f}" y="{HEIGHT - rows / peak * HEIGHT:.1f}"'
        f' width="{max(width * 0.9, 0.6):.1f}" height="{rows / peak * HEIGHT:.1f}"/>'
        for day, rows in rows_per_day.items()
    )
    text = 'font-family="sans-serif" font-size="12" fill="#777"'
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT + LABELS}">'
        f'<g fill="#4f7cac">{drawn}</g><text x="0" y="{HEIGHT + 14}" {text}>{first}</text>'
        f'<text x="{WIDTH}" y="{HEIGHT + 14}" text-anchor="end" {text}>{last}</text>'
        f'<text x="{WIDTH / 2}" y="{HEIGHT + 14}" text-anchor="middle" {text}>peak {peak:,} rows a day</text></svg>'
    )
    return dg.MetadataValue.md(picture("rows per day", svg))


def picture(name: str, svg: str) -> str:
    """An SVG as an image in Markdown."""
    return f"![{name}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"
