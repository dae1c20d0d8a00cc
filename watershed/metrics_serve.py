"""The command `watershed metrics serve`: the platform's figures for Prometheus."""

import datetime
import os
import signal
import threading
from types import FrameType

import click

from lake.errors import SpecError
from watershed.commands import shop_option


@click.command()
@shop_option
@click.option("--port", type=click.IntRange(1, 65535), default=9464, show_default=True, help="Port to answer on.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to answer on. Any other than loopback is open to the network: there is no password.",
)
def serve(shop: str, port: int, host: str) -> None:
    """Answer Prometheus on http://127.0.0.1:9464/metrics with the platform's figures, until Ctrl-C."""
    from metrics import exposition
    from metrics.spec import read
    from metrics.watch import findings
    from orchestration import clock, site

    site.enter(shop)
    dsn, spec = _dsn(), read()

    def watch() -> list[tuple[str, str, bool]]:
        found = findings(dsn, spec, clock.now(), clock=datetime.datetime.now(datetime.UTC))
        return [(it.check, it.hypertable, it.ok) for it in found]

    figures = exposition.Figures(dsn, spec, watch, say=lambda sentence: click.echo(sentence, err=True))
    server = exposition.serve(figures, host, port)
    shown = f"[{host}]" if ":" in host else host
    click.echo(f"Figures of {shop} for Prometheus: http://{shown}:{port}/metrics (Ctrl-C ends it)")
    try:
        _until_told()
    finally:
        server.shutdown()
        server.server_close()
    click.echo("Stopped: nothing is served any more.")


def _dsn() -> str:
    """The store's connection: of the role that may only read, if there is one."""
    dsn = os.environ.get("METRICS_READER_DSN") or os.environ.get("METRICS_DSN")
    if not dsn:
        raise SpecError("METRICS_READER_DSN", "is not set, nor METRICS_DSN", "run `make run` once, or set one of them")
    return dsn


def _until_told() -> None:
    """Wait for Ctrl-C, or for the signal with which systemd and containers end a program."""
    told = threading.Event()

    def tell(_signal: int, _frame: FrameType | None) -> None:
        told.set()

    before = {number: signal.signal(number, tell) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        told.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
