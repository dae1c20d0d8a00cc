"""The command `watershed report`: the page about the published version."""

import click

from watershed.commands import shop_option


@click.command()
@shop_option
@click.option("--open", "opens", is_flag=True, help="Open it in the browser.")
def report(shop: str, opens: bool) -> None:
    """Write the report page of the version in force anew, and say where it is; each publish writes it by itself."""
    from orchestration import clock, site
    from warehouse.page import write

    site.enter(shop)
    page = write.write(now=clock.now())
    if opens and click.launch(page.path.as_uri()) != 0:
        click.echo("No browser could be started here.", err=True)
    click.echo(f"Report of version {page.version}: {page.path}")


def after(change: str) -> str:
    """Write the page after a publish or rollback that `change` tells of; both in sentences."""
    from orchestration import clock
    from warehouse.page import write

    page = write.attempt(now=clock.now())
    said = f"{page[:1].upper()}{page[1:]}." if isinstance(page, str) else f"Report: {page.path}"
    return f"{change}\n{said}"
