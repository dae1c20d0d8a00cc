"""Great Expectations' page views with templates that need no network.

Its own templates load Bootstrap, jQuery, Vega and fonts from six hosts, and its index is drawn by them alone: opened
from disk without a network the page is blank. Only the frame and the tables are replaced; the contents of the
pages are rendered by Great Expectations. Imported by its site builder, by name.
"""

from pathlib import Path
from typing import Any

from great_expectations.render.view.view import DefaultJinjaIndexPageView, DefaultJinjaPageView
from jinja2 import ChoiceLoader, Environment, FileSystemLoader

TEMPLATES = Path(__file__).parent / "templates"


class OfflinePageView(DefaultJinjaPageView):
    """A suite's or a result's page."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        _prefer_own_templates(self.env)


class OfflineIndexView(DefaultJinjaIndexPageView):
    """The page that lists all others."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        _prefer_own_templates(self.env)


def _prefer_own_templates(environment: Environment) -> None:
    theirs = [environment.loader] if environment.loader else []
    environment.loader = ChoiceLoader([FileSystemLoader(TEMPLATES), *theirs])
