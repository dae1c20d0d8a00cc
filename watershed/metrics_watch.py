"""The commands `watershed metrics watch` and `upkeep`: what is wrong with the metrics store, and the work it needs."""

import datetime

import click

from lake.errors import PlatformError
from watershed.commands import shop_option


@click.command()
@shop_option
@click.option("--all", "says_all", is_flag=True, help="Also say what is well.")
def watch(shop: str, says_all: bool) -> None:
    """Look once at the metrics store and all servers; say what is wrong and what mends it.

    Exit code 1 if a check failed. Changes nothing.
    """
    from metrics import finding, probes
    from metrics import watch as watchdog
    from metrics.spec import read
    from orchestration import clock, servers, site
    from watershed.metrics_state import store

    site.enter(shop)
    now = datetime.datetime.now(datetime.UTC)
    asked = servers.known()
    found = [probes.answer(asked, probes.measure(asked, now))]
    try:
        found += watchdog.findings(store(), read(), clock.now(), clock=now)
    except PlatformError as error:
        found.append(finding.untold(error))
    wrong = [one for one in found if not one.ok]
    for one in found if says_all else wrong:
        click.echo(f"{'ok' if one.ok else one.severity.lower():<6}{one.check:<18} {one}")
    click.echo(
        f"{len(found)} findings, {len(wrong)} of them to be mended." if wrong else f"{len(found)} findings, all well."
    )
    raise SystemExit(bool(wrong))


@click.command()
@shop_option
def upkeep(shop: str) -> None:
    """Bring the roll-ups up to date, and move to the lake or drop what is past its time, as the schedules do."""
    from orchestration import metric_assets, site

    site.enter(shop)
    done = metric_assets.keep()
    for one in done:
        click.echo(str(one))
    if not done:
        click.echo("Nothing was due.")
