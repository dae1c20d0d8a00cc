"""The command `watershed metrics anomalies`: incidents that are open, and those of late."""

import datetime

import click

from watershed.commands import shop_option


@click.command()
@shop_option
@click.option("--hypertable", help="Only incidents in which this hypertable has a part.")
@click.option("--days", default=7, show_default=True, help="Also incidents that were over in so many days.")
@click.option("--look", is_flag=True, help="Look now, as the schedule does every hour, before listing; sends no alert.")
def anomalies(shop: str, hypertable: str | None, days: int, look: bool) -> None:
    """List what was odd, by cause: open incidents first, then those that are over.

    What is watched stands in metrics/anomalies.yml.
    """
    from metrics import anomaly_spec, incidents
    from metrics.spec import read
    from orchestration import clock, site
    from watershed.metrics_state import store

    site.enter(shop)
    declared = read()
    if hypertable:
        declared[hypertable]
    now = datetime.datetime.now(datetime.UTC)
    if look:
        watched = anomaly_spec.read(declared)
        incidents.note(store(), incidents.looks(store(), declared, watched, now), watched.quiet, now)
    found = incidents.known(store(), clock.now() - datetime.timedelta(days=days), hypertable)
    for incident in sorted(found, key=lambda one: one.ended_at is not None):
        click.echo(f"{'over' if incident.ended_at else 'open':<6}{incident}")
    going_on = sum(incident.ended_at is None for incident in found)
    click.echo(f"{going_on} open, {len(found) - going_on} over in {days} days." if found else "Nothing was odd.")
