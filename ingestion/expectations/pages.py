"""Great Expectations' page views with templates that need no network, and with every value escaped.

Its own templates load Bootstrap, jQuery, Vega and fonts from eight hosts, and its index is drawn by them alone: opened
from disk without a network the page is blank. Only the frame and the tables are replaced; the contents of the
pages are rendered by Great Expectations. Imported by its site builder, by name.
"""

import html
from pathlib import Path
from typing import Any

from great_expectations.render.view.view import DefaultJinjaIndexPageView, DefaultJinjaPageView
from jinja2 import ChoiceLoader, FileSystemLoader, pass_context

TEMPLATES = Path(__file__).parent / "templates"


class OfflinePageView(DefaultJinjaPageView):
    """A suite's or a result's page."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        theirs = [self.env.loader] if self.env.loader else []
        self.env.loader = ChoiceLoader([FileSystemLoader(TEMPLATES), *theirs])

    @pass_context
    def render_content_block(self, context: Any, block: Any, *options: Any, **named: Any) -> Any:
        """The HTML of a block; plain texts are escaped, for 1.24 puts values of the data into tables as they are."""
        return super().render_content_block(context, _escaped(block), *options, **named)


class OfflineIndexView(OfflinePageView, DefaultJinjaIndexPageView):
    """The page that lists all others."""

    _template = "index_page.j2"


def _escaped(block: Any) -> Any:
    if isinstance(block, list):
        return [_escaped(item) if isinstance(item, str) else item for item in block]
    return html.escape(block, quote=False) if isinstance(block, str) else block
