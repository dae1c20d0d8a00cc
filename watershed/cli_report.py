"""The command `watershed report`: the page about the published version."""

import datetime
from pathlib import Path

import click

from watershed.commands import shop_option


@click.command()
@shop_option
@click.option("--platform", "of_platform", is_flag=True, help="The page about the platform: runs, servers, sensors.")
@click.option("--open", "opens", is_flag=True, help="Open it in the browser.")
def report(shop: str, of_platform: bool, opens: bool) -> None:
    """Write the report page of the version in force anew, and say where it is; each publish writes it by itself."""
    from orchestration import site

    site.enter(shop)
    path, said = _platform(shop) if of_platform else _published()
    if opens and click.launch(path.as_uri()) != 0:
        click.echo("No browser could be started here.", err=True)
    click.echo(said)


def _published() -> tuple[Path, str]:
    from orchestration import clock
    from warehouse.page import write

    page = write.write(now=clock.now())
    return page.path, f"Report of version {page.version}: {page.path}"


def _platform(shop: str) -> tuple[Path, str]:
    from orchestration import clock
    from warehouse.page import platform

    page = platform.write(shop=shop, now=datetime.datetime.now(datetime.UTC), data_now=clock.now())
    said = f"Platform page: {page.path}"
    return page.path, f"{said}\n{page.trouble}" if page.trouble else said


def after(change: str) -> str:
    """Write the page after a publish or rollback that `change` tells of; both in sentences."""
    from orchestration import clock
    from warehouse.page import write

    page = write.attempt(now=clock.now())
    said = f"{page[:1].upper()}{page[1:]}." if isinstance(page, str) else f"Report: {page.path}"
    return f"{change}\n{said}"
