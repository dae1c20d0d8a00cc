"""The report's pages on the asset pages of what they show: where they are, and their first figures and plot.

Browsers follow no link from a page of a server to a file, so there is its path, to be copied, beside a preview.
"""

import datetime
import os
from typing import Any

import dagster as dg

from orchestration import clock
from orchestration.pictures import picture
from warehouse.page import platform, write


def written(context: dg.AssetExecutionContext) -> dict[str, Any]:
    """Write the page of the version in force; the metadata that lead there, or say why there is none."""
    page = write.attempt(now=clock.now())
    if isinstance(page, str):
        context.log.warning(page)
        return {"report": page}
    context.log.info(f"report page of version {page.version}: {page.path}")
    return {"report": dg.MetadataValue.path(str(page.path)), "report_preview": preview(page)}


def platform_written(context: dg.AssetExecutionContext) -> dict[str, Any]:
    """Write the page about the platform from the metrics store; the metadata that lead there, or say why not."""
    now = datetime.datetime.now(datetime.UTC)
    page = platform.attempt(shop=os.environ.get("SHOP") or "warehouse", now=now, data_now=clock.now())
    if isinstance(page, str):
        context.log.warning(page)
        return {"platform_page": page}
    context.log.info(f"platform page: {page.path}")
    lines = [page.trouble] if page.trouble else [f"- {sentence}" for sentence, _ in page.verdict]
    if page.figures:
        lines += ["", "| | |", "|---|---:|", *(f"| {name} | {value} |" for name, value in page.figures)]
    found = {"platform_page": dg.MetadataValue.path(str(page.path))}
    return {**found, "platform_preview": dg.MetadataValue.md("\n".join(lines) or "nothing was recorded yet")}


def preview(page: write.Page) -> dg.MarkdownMetadataValue:
    """What stands first on the page, as Markdown."""
    lines = [f"- {sentence}" for sentence, _ in page.verdict]
    for head in page.headlines:
        lines += ["", f"**{head.month}**", "", "| | | |", "|---|---:|---|"]
        for figure in head.figures:
            lines.append(f"| {figure.name} | {figure.value} | {'; '.join(trend for trend, _ in figure.trends)} |")
    if page.picture:
        lines += ["", picture("revenue by month", page.picture)]
    return dg.MetadataValue.md("\n".join(lines) or "nothing was sold yet")
