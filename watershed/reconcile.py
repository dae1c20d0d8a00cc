"""`watershed reconcile`: source, raw, processed and marts compared; mended, if asked for, and compared again."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ingestion import reconcile
from lake import layout
from lake.errors import PlatformError
from warehouse import reconcile as marts
from warehouse.layout import layout as warehouse_layout

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as Grid

    from ingestion.reconciled import Reconciled
    from ingestion.spec import Source, Table
    from lake.layout import Lake
    from warehouse.reconcile import Mart, MartReconciled

SHOWN = 12  # differences of one table that are listed
Say = Callable[[str], None]


@dataclass
class Report:
    """What was compared: tables by name (an error where one could not be), marts, and what was mended."""

    tables: dict[str, Reconciled | PlatformError] = field(default_factory=dict)
    marts: dict[str, MartReconciled] = field(default_factory=dict)
    trouble: list[str] = field(default_factory=list)
    mended: list[str] = field(default_factory=list)

    @property
    def differing(self) -> list[str]:
        """The tables and marts that differ, or could not be compared."""
        tables = [name for name, one in self.tables.items() if isinstance(one, PlatformError) or not one.is_ok]
        return tables + [one.mart.full_name for one in self.marts.values() if not one.is_ok]

    @property
    def is_ok(self) -> bool:
        """Whether all that was asked for was compared, and nothing differs."""
        return not (self.differing or self.trouble)


def reconciled(
    name: str | None, *, since: datetime.date | None, pause: float, repair: bool, say: Say, progress: Say
) -> Report:
    """Compare the tables of a name (`source.table`, a source, or all) from a UTC day on, and mend them if asked to."""
    lake, chosen, report = layout.from_environment(), _chosen(name), Report()
    for source, table in chosen:
        _compare(report, lake, source, table, since, pause, progress)
    if repair:
        for source, table in chosen:
            _repair(report, lake, source, table, since, pause, say, progress)
    names = {f"{source.name}.{table.name}" for source, table in chosen}
    try:
        of_tables = _marts(names)
        _compare_marts(report, lake, of_tables, since, progress)
        if repair:
            _repair_marts(report, lake, of_tables, since, say, progress)
    except PlatformError as error:
        report.trouble.append(str(error))
    return report


def show(report: Report, console: Console) -> str:
    """Print the table and what differs; answers the last sentence."""
    console.print(_grid(report))
    for name, one in report.tables.items():
        if isinstance(one, PlatformError):
            console.print(f"[red]not compared[/red]  {one}", soft_wrap=True)
            continue
        _list(console, one.sentences)
        for remark in one.remarks:
            console.print(f"[dim]{name}: {remark}[/dim]", soft_wrap=True)
    for found in report.marts.values():
        _list(console, found.differences)
    for trouble in report.trouble:
        console.print(f"[red]not compared[/red]  {trouble}", soft_wrap=True)
    return sentence(report)


def sentence(report: Report) -> str:
    """How it ended, and what to do."""
    compared = f"{_counted(len(report.tables), 'table')} and {_counted(len(report.marts), 'mart')}"
    mended = f" Mended: {', '.join(report.mended)}." if report.mended else ""
    if report.is_ok:
        return f"{compared} compared: nothing differs.{mended}"
    differing = report.differing
    if not differing:
        return f"{compared} compared; not all could be (see above).{mended}"
    named = ", ".join(differing[:4]) + (f" and {len(differing) - 4} more" if len(differing) > 4 else "")
    if report.mended or report.trouble:
        return f"{compared} compared: {named} still differ{'s' if len(differing) == 1 else ''} (see above).{mended}"
    tables = [name for name, one in report.tables.items() if not isinstance(one, PlatformError) and not one.is_ok]
    which = f" {tables[0]}" if len(differing) == 1 and tables else ""
    mend = f"mend {'it' if len(differing) == 1 else 'them'} with `watershed reconcile{which} --repair`"
    return f"{compared} compared: {named} differ{'s' if len(differing) == 1 else ''}; {mend}."


def _chosen(name: str | None) -> list[tuple[Source, Table]]:
    from ingestion.spec import sources

    every = [(source, table) for source in sources() for table in source.tables]
    found = [(source, table) for source, table in every if name in (None, source.name, f"{source.name}.{table.name}")]
    if not found:
        from watershed import quarantine

        return [quarantine.declared(name or "")]  # says which name is meant
    return found


def _compare(
    report: Report, lake: Lake, source: Source, table: Table, since: datetime.date | None, pause: float, progress: Say
) -> None:
    name = f"{source.name}.{table.name}"
    try:
        report.tables[name] = reconcile.compare(lake, source, table, since=since, pause=pause, say=progress)
    except PlatformError as error:  # the other tables are compared all the same
        report.tables[name] = error


def _repair(
    report: Report,
    lake: Lake,
    source: Source,
    table: Table,
    since: datetime.date | None,
    pause: float,
    say: Say,
    progress: Say,
) -> None:
    name = f"{source.name}.{table.name}"
    found = report.tables[name]
    if isinstance(found, PlatformError) or found.is_ok:
        return
    _found(found.sentences, say)
    try:
        reconcile.repair(lake, source, table, found, since=since, say=lambda line: say(f"mended    {line}"))
    except PlatformError as error:
        report.trouble.append(str(error))
    _compare(report, lake, source, table, since, pause, progress)
    after = report.tables[name]
    if not isinstance(after, PlatformError) and after.is_ok:
        report.mended.append(name)


def _marts(names: set[str]) -> list[Mart]:
    """The marts of these tables; none if nothing was built yet."""
    if not warehouse_layout().build.exists():
        return []
    return [mart for mart in marts.marts() if f"{mart.source}.{mart.table}" in names]


def _compare_marts(
    report: Report, lake: Lake, wanted: Sequence[Mart], since: datetime.date | None, progress: Say
) -> None:
    for found in marts.compare(lake, wanted, since=since, say=progress):
        report.marts[found.mart.full_name] = found


def _repair_marts(
    report: Report, lake: Lake, wanted: Sequence[Mart], since: datetime.date | None, say: Say, progress: Say
) -> None:
    differing = [one for one in report.marts.values() if not one.is_ok]
    for one in differing:
        _found(one.differences, say)
    if not (differing or report.mended) or not warehouse_layout().build.exists():
        return
    _build([], report, lake, wanted, since, say, progress)
    if stubborn := [one.mart.name for one in report.marts.values() if not one.is_ok]:
        _build(stubborn, report, lake, wanted, since, say, progress)
    report.mended += [one.mart.full_name for one in differing if report.marts[one.mart.full_name].is_ok]


def _build(
    stubborn: Sequence[str],
    report: Report,
    lake: Lake,
    wanted: Sequence[Mart],
    since: datetime.date | None,
    say: Say,
    progress: Say,
) -> None:
    if not marts.repair(stubborn, say=lambda line: say(f"mended    {line}")):
        report.trouble.append("warehouse: not everything was built, tested and published; the version in force stays")
    _compare_marts(report, lake, wanted, since, progress)


def _grid(report: Report) -> Grid:
    from watershed.tables import grid

    shown = grid("Reconciliation", "table", "days", "source", "raw", "processed", "marts", "result")
    for name, one in report.tables.items():
        of_table = [found for found in report.marts.values() if f"{found.mart.source}.{found.mart.table}" == name]
        mart = "; ".join(found.state for found in of_table) or "-"
        if isinstance(one, PlatformError):
            shown.add_row(name, "-", "-", "-", "-", mart, "[red]not compared[/red]")
            continue
        is_ok = one.is_ok and all(found.is_ok for found in of_table)
        result = "ok" if is_ok else "[red]differs[/red]"
        behind = f", {one.behind:,} behind" if one.behind else ""
        places = [one.state_of(place) for place in ("source", "raw", "processed")]
        shown.add_row(name, f"{one.days:,}", *places, mart, f"{result}{behind}")
    return shown


def _found(sentences: Sequence[str], say: Say) -> None:
    for line in sentences[:SHOWN]:
        say(f"found     {line}")
    if len(sentences) > SHOWN:
        say(f"found     and {len(sentences) - SHOWN:,} more")


def _list(console: Console, sentences: Sequence[str]) -> None:
    for line in sentences[:SHOWN]:
        console.print(f"[red]differs[/red]  {line}", soft_wrap=True)
    if len(sentences) > SHOWN:
        console.print(f"         and {len(sentences) - SHOWN:,} more")


def _counted(count: int, name: str) -> str:
    return f"{count} {name}{'' if count == 1 else 's'}"
