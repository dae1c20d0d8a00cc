"""The command `watershed`. Every command ends in a sentence; what a person can mend shows no stack trace.

Imports are made inside the commands: `watershed sql` and `--help` must not wait for Dagster and dbt.
"""

from __future__ import annotations

import datetime
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lake.errors import PlatformError, SpecError
from watershed.cli_diff import diff
from watershed.cli_lake import lake
from watershed.cli_metric import metric
from watershed.cli_metrics import metrics
from watershed.cli_report import report
from watershed.cli_sql import sql
from watershed.cli_warehouse import warehouse
from watershed.commands import DAY, Commands, shop_option

if TYPE_CHECKING:
    from ingestion.spec import Source
    from orchestration.site import Site

HEADROOM = datetime.timedelta(days=14)  # the made-up shop opens this far back, so that further runs have days to trade


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Watershed: from operational sources to a tested star schema and metrics, in one repository."""


@main.command()
@shop_option
@click.option("--scale", envvar="SCALE", type=float, default=1.0, show_default=True, help="Size of the made-up shop.")
@click.option("--seed", envvar="SEED", type=int, default=7, show_default=True, help="Seed of the made-up shop.")
@click.option("--data", envvar="DATA", metavar="FOLDER", help="Folder with the shop's files, or s3://bucket/prefix.")
@click.option("--trade/--no-trade", default=True, help="Let a day of trade happen first, if the shop was there.")
@click.option("--allow-shrink", is_flag=True, help="Accept that more than a fifth of a table has vanished.")
@click.option("--from", "first", type=DAY, help="Read days again whole: the first (UTC, YYYY-MM-DD); no day is traded.")
@click.option("--to", "last", type=DAY, help="The last day to read again; the first one, if it is not given.")
def run(
    shop: str,
    scale: float,
    seed: int,
    data: str | None,
    trade: bool,
    allow_shrink: bool,
    first: datetime.datetime | None,
    last: datetime.datetime | None,
) -> None:
    """Run the main job: read what changed, build, test, publish, fill the metrics store."""
    if last and not first:
        raise click.UsageError("--to needs --from")
    from orchestration import site
    from orchestration.lock import alone
    from orchestration.terminal import plain

    here = site.site(shop)
    with alone(here.home):
        servers(here)
        site.enter(shop)
        look_first()
        if trade and not first:
            open_shop(here, scale, seed, data)
        with quiet():
            from orchestration import main_job, progress

            progress.listen(plain)
            if first:
                outcome = main_job.settle(first.date(), (last or first).date(), allow_shrink=allow_shrink)
            else:
                outcome = main_job.run(allow_shrink=allow_shrink)
    from watershed import report
    from watershed.tables import console

    report.after_run(console(), outcome, shop)
    if not outcome.is_ok:
        raise click.exceptions.Exit(1)
    if outcome.failed_checks:
        failed = len(outcome.failed_checks)
        raise click.ClickException(f"{failed} check{'s' if failed > 1 else ''} failed (see above)")


@main.command()
@shop_option
def status(shop: str) -> None:
    """Show every table's rows, freshness and last load in one screen."""
    from orchestration import site

    site.enter(shop)
    from watershed import status as screen
    from watershed.tables import console

    screen.show(console())


@main.command()
@shop_option
@click.argument("table", metavar="[TABLE]", required=False)
@click.option("--since", type=DAY, help="Compare the days from this one on (UTC, YYYY-MM-DD); all, if not given.")
@click.option("--repair", is_flag=True, help="Mend what differs: read and fold the days again, build their marts.")
@click.option(
    "--pause", type=click.FloatRange(min=0), default=0.0, help="Rest this long per second of the source's work."
)
def reconcile(shop: str, table: str | None, since: datetime.datetime | None, repair: bool, pause: float) -> None:
    """Compare tables at their source, in raw, in processed and in marts, day by day; exit code 1 if any differs.

    TABLE is SOURCE.TABLE, or a source; all tables, if it is not given.
    """
    from contextlib import nullcontext

    from orchestration import site
    from orchestration.lock import alone
    from orchestration.terminal import plain
    from watershed import reconcile as comparing
    from watershed.tables import console

    home = site.enter(shop).home
    day = since.date() if since else None
    with alone(home) if repair else nullcontext(), quiet():
        progress = lambda line: click.echo(f"  {line}", err=True)  # noqa: E731
        report = comparing.reconciled(table, since=day, pause=pause, repair=repair, say=plain, progress=progress)
    plain(comparing.show(report, console()))
    if not report.is_ok:
        raise click.exceptions.Exit(1)


main.add_command(diff)
main.add_command(warehouse)
main.add_command(lake)
main.add_command(report)
main.add_command(sql)
main.add_command(metric)
main.add_command(metrics)


@main.group(cls=Commands)
def source() -> None:
    """Declare sources: draft from a database, compare with it, add to the project."""


@source.command()
@click.argument("origin", metavar="VARIABLE|DSN")
@click.option("--schema", help="Schema to draft; public, or the fullest one.")
@click.option("--connection", metavar="VARIABLE", help="Name of the variable to write into the draft.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write a file, not the terminal.")
def discover(origin: str, schema: str | None, connection: str | None, output: Path | None) -> None:
    """Draft a source file from a database's catalogue, with the reason for each guess.

    VARIABLE names an environment variable that holds the connection; a connection given as it is, is not written down.
    """
    from watershed import source as sources

    text, sentence = sources.text_of_draft(origin, schema, connection)
    if output is None:
        click.echo(text, nl=False)
    elif output.exists():
        raise SpecError(str(output), "is there already", "move it away, or choose another name")
    else:
        output.write_text(text, encoding="utf-8")
    click.echo(sentence if output is None else f"{output}: {sentence}", err=output is None)


@source.command("check")
@shop_option
@click.argument("name", metavar="[SOURCE]", required=False)
def check_source(shop: str, name: str | None) -> None:
    """Compare declarations with databases and lake: what would fail, what to look at, what the next load reads."""
    from ingestion import compare
    from lake import layout
    from orchestration import site
    from watershed import source as sources

    site.enter(sources.shop_of(name) or shop)
    failing = False
    for declared in sources.declared(name):
        try:
            found = compare.compare(declared, layout.from_environment())
        except PlatformError as error:  # the other sources are looked at all the same
            failing = True
            click.echo(f"{error}.")
            continue
        failing |= bool(found.failing)
        click.echo("\n".join(sources.lines_of_check(found)))
    if failing:
        raise click.exceptions.Exit(1)


@source.command("add")
@click.argument("what", metavar="FILE|SOURCE")
def add_source(what: str) -> None:
    """Make a source file part of the project: dbt's source, and a staging model for each table that has none."""
    from watershed import source as sources

    for line in sources.add(what):
        click.echo(line)


@main.command()
@click.argument("what", type=click.Choice(["postgres", "s3", "mariadb", "all"]), default="postgres")
def up(what: str) -> None:
    """Start the local servers: PostgreSQL with TimescaleDB, or for tests an S3 server and MariaDB."""
    from orchestration.site import PROJECT
    from orchestration.terminal import plain
    from services import mariadb, postgres, s3

    if what in ("postgres", "all"):
        postgres.up(PROJECT, plain)
    if what in ("s3", "all"):
        s3.up(PROJECT, plain)
    if what in ("mariadb", "all"):
        mariadb.up(PROJECT, plain)
    plain(f"Servers are up; their addresses are in {PROJECT / '.services' / 'env'}.")


@main.command()
def down() -> None:
    """Stop the local servers that were started here; their data stays."""
    import services
    from orchestration.site import PROJECT
    from orchestration.terminal import plain

    services.down(PROJECT, plain)
    plain("Servers are stopped; `make run` starts them again.")


@main.command()
@shop_option
@click.option("--port", default=3000, show_default=True, help="Port on 127.0.0.1.")
def ui(shop: str, port: int) -> None:
    """Open Dagster's web UI on 127.0.0.1, with schedules and sensors running."""
    from orchestration import site
    from orchestration.terminal import plain

    here = site.site(shop)
    free(port)
    servers(here)
    site.enter(shop)
    plain(f"Dagster's web UI: http://127.0.0.1:{port} (Ctrl-C ends it)")
    command = [str(Path(sys.executable).parent / "dagster"), "dev", "-h", "127.0.0.1", "-p", str(port)]
    workspace = ["-w", str(site.PROJECT / "workspace.yaml")]
    os.chdir(site.PROJECT)
    os.execv(command[0], [*command, *workspace])  # noqa: S606 - our own interpreter's dagster


@main.command()
@shop_option
def docs(shop: str) -> None:
    """Write the documentation as static pages: dbt's docs and the expectations' results."""
    from orchestration import site
    from orchestration.terminal import plain

    here = site.enter(shop)
    with quiet():
        from watershed import pages

        index = pages.write(here.home)
    plain(f"Documentation: {index}")


@main.command()
@click.option("--check", is_flag=True, help="Write nothing; fail if a file is stale.")
def generate(check: bool) -> None:
    """Write the files that follow from the source files: dbt's sources and JSON Schemas."""
    from orchestration.terminal import plain
    from watershed import generate as generated

    if check:
        generated.check()
        plain("Generated files are as the source files say.")
        return
    changed = generated.write()
    plain(f"Written: {', '.join(map(str, changed))}." if changed else "Nothing to write: all files are up to date.")


@main.group(cls=Commands)
def quarantine() -> None:
    """See rows and values that broke a contract, replay them after it is mended, or give them up."""


@quarantine.command("list")
@shop_option
def list_quarantine(shop: str) -> None:
    """Count what lies in quarantine, per table and reason."""
    from orchestration import site
    from orchestration.terminal import plain
    from watershed import quarantine as held
    from watershed.tables import console

    site.enter(shop)
    plain(held.show_all(console()))


@quarantine.command("show")
@shop_option
@click.argument("table", metavar="SOURCE.TABLE")
@click.option("--limit", default=10, show_default=True, help="How many rows and values to show.")
@click.option("--reason", help="Only what lies there for this reason (as `list` words it).")
def show_quarantine(shop: str, table: str, limit: int, reason: str | None) -> None:
    """Show the newest rows and values of one table."""
    from orchestration import site
    from orchestration.terminal import plain
    from watershed import quarantine as held

    site.enter(shop)
    for line in held.show(table, limit, reason):
        plain(line)


@quarantine.command("replay")
@shop_option
@click.argument("table", metavar="SOURCE.TABLE")
def replay_quarantine(shop: str, table: str) -> None:
    """Let in what keeps the contract by now; what newer rows have overtaken is removed, the rest stays."""
    from orchestration import site
    from orchestration.lock import alone
    from orchestration.terminal import plain
    from watershed import quarantine as held

    with alone(site.enter(shop).home):
        plain(held.replay(table))


@quarantine.command("clear")
@shop_option
@click.argument("table", metavar="SOURCE.TABLE")
@click.option("--reason", help="Only what lies there for this reason (as `list` words it).")
@click.confirmation_option("--yes", prompt="Give these rows and values up?")
def clear_quarantine(shop: str, table: str, reason: str | None) -> None:
    """Take rows and values out of quarantine without letting them into the lake."""
    from orchestration import site
    from orchestration.lock import alone
    from orchestration.terminal import plain
    from watershed import quarantine as held

    with alone(site.enter(shop).home):
        plain(held.clear(table, reason))


def free(port: int) -> None:
    """Raise Busy if something listens on a port of 127.0.0.1 already."""
    import socket

    from lake.errors import Busy

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            mend = f"end what listens there, or choose another with `watershed ui --port {port + 1}`"
            raise Busy(f"port {port}", "is taken; perhaps the web UI is open already", mend) from None


def servers(here: Site) -> None:
    """Bring up the databases that the shop needs and set their variables; given ones are used as they are."""
    from orchestration import site
    from orchestration.terminal import plain
    from services import postgres

    wanted = {name: database for name, database in here.databases.items() if not os.environ.get(name)}
    if not wanted:
        return
    postgres.up(site.PROJECT, plain)
    ours = {name: postgres.database(site.PROJECT, database) for name, database in wanted.items()}
    if "METRICS_DSN" in ours and (reader := postgres.reader(site.PROJECT, here.databases["METRICS_DSN"])):
        ours["METRICS_READER_DSN"] = reader
    site.record(here, ours)


def look_first() -> None:
    """Read the declarations and reach the lake before a day is traded and before anything slow is loaded."""
    from ingestion.spec import sources
    from lake import access, layout

    sources()
    for sentence in access.check(layout.from_environment()):
        click.echo(sentence)


def open_shop(here: Site, scale: float, seed: int, data: str | None) -> None:
    """Open an example if its database is empty, otherwise let a day of trade happen; find the files of any other."""
    from orchestration import site
    from orchestration.terminal import plain
    from shop import completejourney, retail

    if here.source:
        return find_files(here, here.source, data)
    dsn = os.environ["SHOP_DSN"]
    if here.shop == "completejourney":
        if data is None and not site.recorded(here).get("WATERSHED_FIRST_DAY"):
            raise SpecError(
                "DATA", "is not set", "give the folder with the grocer's files: make run SHOP=… DATA=folder"
            )
        if data is not None:
            completejourney.load(dsn, Path(data).resolve(), plain)
        site.record(here, {"WATERSHED_FIRST_DAY": site.GROCER_FIRST_DAY})
        return
    now = datetime.datetime.now(datetime.UTC)
    standing = retail.create(dsn, seed=seed, scale=scale, until=(now - HEADROOM).date(), say=plain)
    if standing.started_on:
        site.record(here, {"WATERSHED_FIRST_DAY": standing.started_on.isoformat()})
    if not standing.is_new:
        retail.trade_day(dsn, now=now, say=plain)


def find_files(here: Site, source: Source, data: str | None) -> None:
    """Take DATA as the place of the files of a shop of one's own, and keep it for later commands."""
    from orchestration import site

    if source.connector != "files":
        if data is not None:
            mend = f"leave it out; {source.name} is reached by {source.connection}"
            raise SpecError("DATA", f"is for shops of files, and {source.name} is one of {source.connector}", mend)
        return
    if data is None:
        if not os.environ.get(source.connection):
            mend = f"give the folder with the files of {source.name}: make run SHOP={source.name} DATA=folder"
            raise SpecError("DATA", "is not set", mend)
        return
    if not data.startswith("s3://"):
        folder = Path(data).expanduser().resolve()
        if not folder.is_dir():
            raise SpecError("DATA", f"there is no folder {folder}", f"name the folder with the files of {source.name}")
        data = str(folder)
    site.record(here, {source.connection: data})


@contextmanager
def quiet() -> Iterator[None]:
    """Keep libraries' notices of beta features off the terminal."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
