"""The command `watershed diff`: what differs between two versions of the warehouse."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from watershed.commands import shop_option

if TYPE_CHECKING:
    from warehouse.diff import MartDiff


@click.command()
@shop_option
@click.argument("old", required=False)
@click.argument("new", required=False)
@click.option(
    "--branch", metavar="REF", help="Build what this branch, tag or commit would, and what the work tree does."
)
@click.option("--examples", type=click.IntRange(min=0), default=5, show_default=True, help="Rows shown of each kind.")
@click.option("--format", "form", type=click.Choice(["table", "markdown", "json"]), default="table", show_default=True)
@click.option("--exit-code", is_flag=True, help="Leave with 1 if anything differs.")
def diff(
    shop: str, old: str | None, new: str | None, branch: str | None, examples: int, form: str, exit_code: bool
) -> None:
    """Compare two versions of the warehouse: a number, `current`, `build`, a file or an http(s) address.

    By default the version before the one in force with that one; one version is compared with the one in force.
    """
    import tempfile

    from orchestration import site
    from warehouse import diff_sides
    from warehouse.diff import compare

    if branch and (old or new):
        raise click.UsageError("--branch builds both sides; name no versions")
    site.enter(shop)
    with tempfile.TemporaryDirectory(prefix="watershed-diff-") as scratch:
        if branch:
            title, marts = _against(branch, Path(scratch), examples)
        else:
            sides = diff_sides.chosen(old, new, Path(scratch))
            title = f"Warehouse: {sides[0].name} → {sides[1].name}"
            marts = compare(sides[0].path, sides[1].path, examples=examples)
    _show(marts, title, form)
    if exit_code and not all(it.is_equal for it in marts):
        raise click.exceptions.Exit(1)


def _against(branch: str, scratch: Path, examples: int) -> tuple[str, tuple[MartDiff, ...]]:
    from warehouse import diff_branch

    change = diff_branch.against(branch, scratch, examples=examples)
    click.echo(f"Built again: {', '.join(change.models) or 'nothing'}.", err=True)
    return f"Warehouse: {branch} → this change", change.marts


def _show(marts: tuple[MartDiff, ...], title: str, form: str) -> None:
    from warehouse import diff_report

    if form == "markdown":
        return click.echo(diff_report.markdown(marts, title), nl=False)
    if form == "json":
        return click.echo(diff_report.as_json(marts))
    from watershed.tables import console, grid

    click.echo(title)
    for heading, columns, rows in diff_report.tables(marts):
        shown = grid(heading, *columns)
        for column in shown.columns:
            column.no_wrap = False
        for row in rows:
            shown.add_row(*row)
        console().print()
        console().print(shown)
    click.echo(f"\n{diff_report.verdict(marts)}")
