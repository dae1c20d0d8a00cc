"""The commands `watershed lake …`: set up, look at, keep in order and mend the lake."""

from __future__ import annotations

import click

from watershed.commands import Commands


@click.group(cls=Commands)
def lake() -> None:
    """Set up, look at, keep in order and mend the lake."""
