"""The command `watershed metric`: figures by name, from the published warehouse."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import click

from watershed.commands import DAY, shop_option

if TYPE_CHECKING:
    import duckdb

    from warehouse.semantics import Layer


@click.command()
@shop_option
@click.argument("names", metavar="[NAME[,NAME...]]", required=False)
@click.option("--by", default="", metavar="NAME,...", help="Rows: day, week, month, quarter, year, and dimensions.")
@click.option("--where", multiple=True, metavar="SQL", help="A condition on them; may be given again.")
@click.option("--since", type=DAY, help="The first day that counts (YYYY-MM-DD).")
@click.option("--until", type=DAY, help="The last day that counts.")
@click.option("--order", default="", metavar="NAME,...", help="Columns to order by; -NAME for the greatest first.")
@click.option("--limit", type=click.IntRange(min=1), help="So many rows at most.")
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
@click.option("--sql", "shows_sql", is_flag=True, help="Show the SQL; do not run it.")
def metric(
    shop: str,
    names: str | None,
    by: str,
    where: tuple[str, ...],
    since: datetime.datetime | None,
    until: datetime.datetime | None,
    order: str,
    limit: int | None,
    form: str,
    shows_sql: bool,
) -> None:
    """Ask for metrics by name, for example `revenue --by month,region`; without a name, list them."""
    from orchestration import site
    from warehouse import semantics

    site.enter(shop)
    if not names:
        return _list(semantics.layer())
    question, answer = semantics.ask(
        _split(names),
        _split(by),
        where=where,
        since=since.date() if since else None,
        until=until.date() if until else None,
        order=_split(order),
        limit=limit,
    )
    if shows_sql:
        return click.echo(f"{question.sql};")
    _show(answer, form)


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _list(layer: Layer) -> None:
    from watershed.tables import console, grid

    shown = grid("", "metric", "kind", "meaning")
    for column in shown.columns:
        column.justify, column.no_wrap = "left", column.header != "meaning"
    for it in layer.metrics.values():
        shown.add_row(it.name, f"{it.kind}, by currency" if it.is_money else it.kind, it.description)
    console().print(shown)
    groups: dict[str, list[str]] = {}
    for name in layer.metrics:
        groups.setdefault(", ".join(it.short for it in layer.dimensions(name)), []).append(name)
    for dimensions, metrics in groups.items():
        of = "" if len(groups) == 1 else f" {', '.join(metrics)}"
        click.echo(f"\nAsk{of} by day, week, month, quarter, year, {dimensions}.")


def _show(answer: duckdb.DuckDBPyRelation, form: str) -> None:
    import csv
    import json
    import sys

    rows = answer.fetchall()
    if form == "csv":
        csv.writer(sys.stdout, lineterminator="\n").writerows([answer.columns, *rows])
    elif form == "json":
        named = [dict(zip(answer.columns, row, strict=True)) for row in rows]
        click.echo(json.dumps(named, indent=1, default=_plain))
    else:
        from watershed.tables import console, grid

        shown = grid("", *answer.columns)
        for column, kind in zip(shown.columns, answer.types, strict=True):
            column.justify = "left" if str(kind) in ("VARCHAR", "DATE", "BOOLEAN") else "right"
        for row in rows:
            shown.add_row(*map(_text, row))
        console().print(shown)
        click.echo(f"{len(rows)} row{'' if len(rows) == 1 else 's'}.")


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,.4f}" if isinstance(value, float) else f"{value:,}" if hasattr(value, "as_tuple") else str(value)


def _plain(value: object) -> object:
    return float(value) if hasattr(value, "as_tuple") else str(value)  # type: ignore[arg-type]
