"""The commands `watershed warehouse …`: publish, list, check and choose the versions that analysts see."""

from __future__ import annotations

import click

from watershed.commands import Commands, shop_option


@click.group(cls=Commands)
def warehouse() -> None:
    """Publish the warehouse; list, check and choose its published versions."""


@warehouse.command()
@shop_option
@click.option("--check", is_flag=True, help="Read every version to its last row.")
def versions(shop: str, check: bool) -> None:
    """List the published versions that are kept, with the one in force marked by a star."""
    from orchestration import site
    from watershed import warehouse as published

    site.enter(shop)
    is_sound = True
    for line, is_good in published.listed(check=check):
        click.echo(line)
        is_sound &= is_good
    if not is_sound:
        raise click.exceptions.Exit(1)


@warehouse.command()
@shop_option
def publish(shop: str) -> None:
    """Publish what the last build has made, if all its tests have passed; finish what a kill has left half done."""
    from orchestration import site
    from warehouse import publish as publishing
    from watershed import cli_report

    site.enter(shop)
    version = publishing.publish(wait_s=5.0)
    click.echo(cli_report.after(f"Version {version.number} is published: {version.path}"))


@warehouse.command()
@shop_option
@click.option(
    "--to", type=click.IntRange(1), metavar="NUMBER", help="This version, not the one before the present one."
)
def rollback(shop: str, to: int | None) -> None:
    """Put an earlier version back in force, for analysts and in the lake; the build starts from it, too."""
    from orchestration import site
    from warehouse import publish as publishing
    from watershed import cli_report

    site.enter(shop)
    version = publishing.rollback(to, wait_s=5.0)
    said = f"Version {version.number} is in force again; the next run builds upon it and publishes a new one."
    click.echo(cli_report.after(said))
