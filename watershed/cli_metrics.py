"""The commands `watershed metrics …`: the metrics store as `metrics/hypertables.yml` declares it."""

from __future__ import annotations

import click

from watershed.commands import Commands, shop_option
from watershed.metrics_anomalies import anomalies
from watershed.metrics_cold import cold, reload, tier
from watershed.metrics_load import load
from watershed.metrics_serve import serve
from watershed.metrics_watch import upkeep, watch


@click.group(cls=Commands)
def metrics() -> None:
    """Keep the metrics store as declared, look at it, fill it."""


@metrics.command()
@shop_option
def plan(shop: str) -> None:
    """Say what `apply` would change on the server, step by step; change nothing."""
    _enter(shop)
    from watershed import metrics_state

    for line in metrics_state.planned():
        click.echo(line)


@metrics.command()
@shop_option
@click.option("--dry-run", is_flag=True, help="Say what would be done; change nothing.")
@click.option("--allow-data-loss", is_flag=True, help="Also take the steps that the plan marks as losing data.")
def apply(shop: str, dry_run: bool, allow_data_loss: bool) -> None:
    """Make the server as declared, in one transaction; a step that loses data needs --allow-data-loss."""
    _enter(shop)
    from watershed import metrics_state

    lines = metrics_state.planned() if dry_run else metrics_state.applied(allow_data_loss=allow_data_loss)
    for line in lines:
        click.echo(line)


@metrics.command()
@shop_option
def status(shop: str) -> None:
    """Every hypertable in one screen: rows, chunks, size, ages, roll-ups' lag, policies, drift."""
    _enter(shop)
    from watershed import metrics_state
    from watershed.tables import console

    click.echo(metrics_state.show(console()))


for command in (load, serve, watch, anomalies, upkeep, cold, tier, reload):
    metrics.add_command(command)


def _enter(shop: str) -> None:
    """Take the shop's metrics store, unless METRICS_DSN names another."""
    from orchestration import site

    site.enter(shop)
