"""The report page on the asset page of the published warehouse: where it is, and its first figures and plot.

Browsers follow no link from a page of a server to a file, so there is its path, to be copied, beside a preview.
"""

from typing import Any

import dagster as dg

from orchestration import clock
from orchestration.pictures import picture
from warehouse.page import write


def written(context: dg.AssetExecutionContext) -> dict[str, Any]:
    """Write the page of the version in force; the metadata that lead there, or say why there is none."""
    page = write.attempt(now=clock.now())
    if isinstance(page, str):
        context.log.warning(page)
        return {"report": page}
    context.log.info(f"report page of version {page.version}: {page.path}")
    return {"report": dg.MetadataValue.path(str(page.path)), "report_preview": preview(page)}


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
