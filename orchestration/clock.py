"""The platform's clock, which WATERSHED_NOW moves."""

import datetime
import os


def now() -> datetime.datetime:
    """WATERSHED_NOW, or the time of day (UTC)."""
    moved = os.environ.get("WATERSHED_NOW")
    return datetime.datetime.fromisoformat(moved) if moved else datetime.datetime.now(datetime.UTC)
