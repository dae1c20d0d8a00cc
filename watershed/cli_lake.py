"""The commands `watershed lake …`: set up, look at, keep in order and mend the lake."""

from __future__ import annotations

import os

import click

from watershed.commands import Commands, shop_option


@click.group(cls=Commands)
def lake() -> None:
    """Set up, look at, keep in order and mend the lake."""


@lake.command()
@shop_option
@click.option("--dry-run", is_flag=True, help="Say what would be done; change nothing.")
@click.option("--kms-key", default="", help="Encrypt by this KMS key, not by the server's own.")
@click.option(
    "--version-days", type=click.IntRange(1), default=30, show_default=True, help="Removed objects stay so long."
)
@click.option(
    "--quarantine-days", type=click.IntRange(1), default=7, show_default=True, help="Those of the quarantine so long."
)
def init(shop: str, dry_run: bool, kms_key: str, version_days: int, quarantine_days: int) -> None:
    """Make the lake's bucket and set it up: closed to the public, versioned, encrypted, with rules for what may go."""
    _enter(shop)
    from lake import layout, setup

    place = layout.from_environment()
    wish = setup.Wish(version_days, quarantine_days, kms_key)
    for line in setup.set_up(place, wish, dry_run=dry_run):
        click.echo(line)
    click.echo("nothing was changed" if dry_run else f"the lake is ready at {place.root}")


@lake.command()
@shop_option
def status(shop: str) -> None:
    """Every table of every zone: rows, size, files, small ones, oldest and newest day, versions."""
    _enter(shop)
    from watershed import lake_status
    from watershed.tables import console

    click.echo(lake_status.show(console()))


@lake.command()
@shop_option
@click.argument("table", required=False)
@click.option("--dry-run", is_flag=True, help="Count what would be done; change nothing.")
@click.option("--retention-days", type=float, default=30, show_default=True, help="Old versions stay readable so long.")
@click.option("--grace-hours", type=float, default=24, show_default=True, help="Uncommitted files stay so long.")
@click.option("--force", is_flag=True, help="Allow less than an hour of either: only if nobody reads or loads.")
def upkeep(shop: str, table: str | None, dry_run: bool, retention_days: float, grace_hours: float, force: bool) -> None:
    """Put small files together, and remove what no version of the retention needs; TABLE e.g. shop.orders."""
    _enter(shop)
    from watershed import lake_upkeep
    from watershed.tables import console

    click.echo(
        lake_upkeep.run(
            console(), table, dry_run=dry_run, retention_days=retention_days, grace_hours=grace_hours, force=force
        )
    )


@lake.command()
@shop_option
@click.argument("table", required=False)
@click.option("--deep", is_flag=True, help="Read every file, and sum every load in raw again.")
def check(shop: str, table: str | None, deep: bool) -> None:
    """Find what is broken: log entries, checkpoints, missing and cut-off files; TABLE e.g. shop.orders."""
    _enter(shop)
    from watershed import lake_damage

    for line in lake_damage.check(table, deep=deep):
        click.echo(line)


@lake.command()
@shop_option
@click.argument("table")
@click.option("--to", metavar="VERSION|TIME", help="Not the last whole version, but this one, e.g. 17 or 2026-11-20.")
def restore(shop: str, table: str, to: str | None) -> None:
    """Bring a table back to its last whole version, and say what is lost; TABLE e.g. raw/shop/orders."""
    _enter(shop)
    from watershed import lake_damage

    for line in lake_damage.bring_back(table, to):
        click.echo(line)


def _enter(shop: str) -> None:
    """Take the shop's lake, unless LAKE_ROOT names another."""
    if not os.environ.get("LAKE_ROOT"):
        from orchestration import site

        site.enter(shop)
