"""What Dagster shows of the report page: where it is and what stands first on it, or why there is none."""

from pathlib import Path

import dagster as dg
import pytest

from orchestration import page
from warehouse.page.headline import Figure, Headline
from warehouse.page.write import Page


def test_a_page_that_cannot_be_written_is_a_warning_and_no_failure(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("WAREHOUSE_ROOT", str(tmp_path))
    said: list[str] = []
    context = dg.build_asset_context()
    monkeypatch.setattr(context.log, "warning", said.append)
    metadata = page.written(context)
    (sentence,) = said
    assert metadata == {"report": sentence}
    assert "the report page was not written" in sentence
    assert "no warehouse has been published yet" in sentence


@pytest.mark.parametrize("picture", ["<svg/>", None])
def test_the_preview_holds_the_first_figures_and_the_plot(picture):
    head = Headline("USD", "May 2026", (Figure("Revenue", "10 USD", (("+5.0% on Apr 2026", "up"),)),))
    shown = page.preview(Page(Path("index.html"), 3, (head,), (("7 checks passed", "good"),), picture)).value
    assert shown is not None
    assert "- 7 checks passed" in shown
    assert "**May 2026**" in shown
    assert "| Revenue | 10 USD | +5.0% on Apr 2026 |" in shown
    assert ("data:image/svg+xml;base64," in shown) == (picture is not None)
