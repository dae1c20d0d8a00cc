"""`watershed quarantine`: see what broke its table's contract, put it through the gate again, or give it up."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, TypeVar

from lake import layout, quarantine
from lake.errors import SpecError

if TYPE_CHECKING:
    from rich.console import Console

    from ingestion.spec import Source, Table
    from lake.replay import Replayed

METRICS = "metrics"  # in the place of a source: the hypertables of the metrics store
Named = TypeVar("Named")


def show_all(console: Console) -> str:
    """Print what lies in quarantine per table and reason; answers a sentence."""
    from watershed.tables import ago, grid

    lake = layout.from_environment()
    shown = grid("Quarantine", "table", "rows", "values", "newest", "reason")
    tables = total = 0
    for name, address in _places().items():
        found = quarantine.summary(lake, address)
        tables += bool(found)
        for held in found:
            total += held.rows + held.values
            shown.add_row(name, f"{held.rows:,}", f"{held.values:,}", ago(held.until), held.reason)
    if not total:
        return "Nothing is in quarantine."
    shown.columns[-1].justify, shown.columns[-1].no_wrap = "left", False
    console.print(shown)
    which = "table" if tables == 1 else "tables"
    return (
        f"{total:,} rows and values of {tables} {which} are in quarantine; see some with `watershed quarantine show "
        "TABLE`, correct the source or the contract, then `watershed quarantine replay TABLE`."
    )


def show(name: str, limit: int, reason: str | None) -> Iterator[str]:
    """Lines that tell the newest rows and values of one table's quarantine."""
    lake, address = layout.from_environment(), _place(name)
    found = quarantine.examples(lake, address, limit, reason)
    for row in found:
        why, since = row.pop("_reason"), row.pop("_loaded_at")
        column, value = row.pop("_column", None), row.pop("_value", None)
        row.pop("_load_id", None)
        yield f"{since:%Y-%m-%d %H:%M:%S}  {why}"
        if column:
            yield f"    {column} = {value!r}, of the row"
        yield "    " + ", ".join(f"{key} = {shown}" for key, shown in row.items())
    if not found:
        yield f"{name}: nothing is in quarantine{' for this reason' if reason else ''}."
        return
    total = sum(held.rows + held.values for held in quarantine.summary(lake, address))
    yield f"{name}: {len(found):,} of {total:,} rows and values in quarantine; they are kept in {address}."


def replay(name: str) -> str:
    """Put a table's quarantine through the gate again and bring processed up to date; answers a sentence."""
    from ingestion import load
    from lake.fold import fold, fold_history
    from lake.gate import Contract
    from lake.replay import replay

    if _place(name).source == METRICS:
        raise SpecError(name, "is not replayed", "load the corrected file again, then `watershed quarantine clear` it")
    source, table = declared(name)
    lake, subject = layout.from_environment(), load.subject(source, table)
    done = replay(lake, subject, Contract(table.contract.columns, table.contract.types))
    fold(lake, subject)
    if table.history:
        fold_history(lake, subject)
    return _sentence(name, done)


def clear(name: str, reason: str | None) -> str:
    """Give up what lies in a table's quarantine (for one reason, or all of it); answers a sentence."""
    count = quarantine.clear(layout.from_environment(), _place(name), reason)
    if not count:
        return f"{name}: nothing is in quarantine{' for this reason' if reason else ''}."
    return (
        f"{name}: {count:,} rows and values are out of quarantine; older versions of the lake's table still hold them."
    )


def declared(name: str) -> tuple[Source, Table]:
    """The declared table `SOURCE.TABLE`; raises SpecError if there is none."""
    return _named(name, {f"{source.name}.{table.name}": (source, table) for source, table in _tables()})


def _place(name: str) -> layout.Address:
    """Where rows of a table `SOURCE.TABLE`, or of a hypertable `metrics.NAME`, lie when they are set aside."""
    return _named(name, _places())


def _places() -> dict[str, layout.Address]:
    from metrics.quarantine import address
    from metrics.spec import read

    places = {f"{source.name}.{table.name}": _address(source, table) for source, table in _tables()}
    return places | {f"{METRICS}.{one.name}": address(one.name) for one in read().hypertables}


def _named(name: str, tables: Mapping[str, Named]) -> Named:
    if name in tables:
        return tables[name]
    close = difflib.get_close_matches(name, tables, n=1, cutoff=0.4)
    mend = f'did you mean "{close[0]}"?' if close else f"declared are: {', '.join(tables) or 'none'}"
    raise SpecError(name, "no such table is declared", mend)


def _tables() -> Iterator[tuple[Source, Table]]:
    from ingestion.spec import sources

    for source in sources():
        for table in source.tables:
            yield source, table


def _address(source: Source, table: Table) -> layout.Address:
    return layout.Address("quarantine", source.name, table.name)


def _sentence(name: str, done: Replayed) -> str:
    if not (done.rows or done.values or done.overtaken or done.stayed):
        return f"{name}: nothing is in quarantine."
    parts = [f"{done.rows:,} rows and {done.values:,} values have entered the lake"]
    if done.overtaken:
        parts.append(f"{done.overtaken:,} were overtaken by newer rows and are removed")
    if done.stayed:
        parts.append(
            f"{done.stayed:,} still break the contract and stay: mend the contract or the column's type in the source "
            "file, load the table once, and replay again"
        )
    return f"{name}: {'; '.join(parts)}."
