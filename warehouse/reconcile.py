"""Marts held against the lake: those whose grain is that of a processed table, by the columns that pass through.

A model declares it under `config: meta: reconcile:` in dbt's YAML: the `table`, the `key`, the `day` by whose UTC day
it is compared (none: as a whole), `where` its rows are those of the table, and `columns` with their names in the table.
"""

import contextlib
import datetime
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from lake import commit, digest, duck, kinds, read
from lake.access import told
from lake.digest import Digest, Digests
from lake.duck import quoted
from lake.errors import BuildFailed, SpecError
from lake.layout import Address, Lake
from warehouse import build, lock, publish
from warehouse.layout import Layout, layout

KNOWN = {"table", "key", "day", "where", "columns"}
WAIT_S = 900.0
Say = Callable[[str], None]


@dataclass(frozen=True)
class Mart:
    """A model with the grain of a table: `columns` are named as in the mart, each with its name in the table."""

    schema: str
    name: str
    source: str
    table: str
    key: tuple[str, ...]
    columns: Mapping[str, str]
    day: str | None = None
    where: str | None = None

    @property
    def full_name(self) -> str:
        """E.g. `marts.fct_sales`."""
        return f"{self.schema}.{self.name}"

    def relation(self, since: datetime.date | None) -> str:
        """The SQL of the mart's rows with the table's names."""
        named = ", ".join(f"{quoted(here)} AS {quoted(there)}" for here, there in self.columns.items())
        conditions = [f"({self.where})"] if self.where else []
        conditions += [f"{quoted(self.day)} >= DATE '{since}'"] if self.day and since else []
        condition = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        return f"(SELECT {named} FROM {quoted(self.schema)}.{quoted(self.name)}{condition})"


@dataclass(frozen=True)
class MartReconciled:
    """What came of comparing a mart with its table: days, rows on both sides, and what differs in sentences."""

    mart: Mart
    rows: int = 0
    rows_of_table: int = 0
    days: int = 0
    differences: tuple[str, ...] = ()
    note: str = ""
    seconds: float = 0.0

    @property
    def is_ok(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    @property
    def state(self) -> str:
        """E.g. `1,204`, or `1,201 (1 day)` where one day differs."""
        if self.note:
            return "-"
        count = len(self.differences)
        words = f" ({count} day{'s' if count > 1 else ''})" if self.mart.day else " (!)"
        return f"{self.rows:,}{words if count else ''}"


def marts(root: Path | str | None = None) -> tuple[Mart, ...]:
    """The marts that declare a grain, by name. Raises SpecError if a declaration is not understood."""
    return of_manifest(build.manifest(root))


def of_manifest(manifest: Mapping[str, Any]) -> tuple[Mart, ...]:
    """The marts that dbt's manifest declares, but for those held against a shop not in use; raises as `marts`."""
    in_use = {source["source_name"] for source in manifest.get("sources", {}).values()}
    found = []
    for node in manifest["nodes"].values():
        declared = (node.get("config") or {}).get("meta", {}).get("reconcile")
        if node["resource_type"] == "model" and declared is not None:
            found.append(_mart(node, declared))
    return tuple(sorted((mart for mart in found if not in_use or mart.source in in_use), key=lambda mart: mart.name))


def compare(
    lake: Lake,
    wanted: Iterable[Mart],
    *,
    since: datetime.date | None = None,
    root: Path | str | None = None,
    say: Say = lambda _: None,
) -> list[MartReconciled]:
    """Compare marts of the build file with their processed tables, from the UTC day `since` on; waits for a build."""
    place = layout(root)
    with lock.held(place.lock, WAIT_S):
        return [_compared(place, lake, mart, since, say) for mart in wanted]


def repair(stubborn: Sequence[str] = (), *, root: Path | str | None = None, say: Say) -> bool:
    """Build the warehouse from the lake and publish it; answers whether all was built, tested and published.

    Facts rebuild the days that differ: all days are compared, whether the lake has news of them or not. Models that are
    `stubborn` (a build has not mended them) are built from nothing.
    """
    _forget(layout(root))
    if stubborn:
        say(f"warehouse: building {', '.join(stubborn)} from nothing")
        chosen = [f"{name}+" for name in stubborn]
        build.run(chosen, full_refresh=True, unit_tests=False, must_pass=False, wait_s=WAIT_S, root=root)
    say("warehouse: building")
    report = build.run(unit_tests=False, must_pass=False, reuse=False, wait_s=WAIT_S, root=root)
    if not report.is_ok:
        say(str(report.failure(layout(root))))
        return False
    try:
        version = publish.publish(wait_s=WAIT_S, root=root)
    except BuildFailed as error:
        say(str(error))
        return False
    say(f"warehouse: built and tested; version {version.number} is published")
    return True


def _mart(node: Mapping[str, Any], declared: Any) -> Mart:
    where = f"dbt model {node['name']}, meta.reconcile"
    if not isinstance(declared, dict) or not {"table", "key", "columns"} <= set(declared) <= KNOWN:
        mend = f"give table, key and columns, perhaps day and where; known are {', '.join(sorted(KNOWN))}"
        raise SpecError(where, "is not understood", mend)
    source, _, table = str(declared["table"]).partition(".")
    columns = {str(here): str(there) for here, there in declared["columns"].items()}
    day = declared.get("day")
    if missing := [name for name in [*declared["key"], *([day] if day else [])] if name not in columns]:
        raise SpecError(where, f"{missing[0]} is not among the columns", "add it there, with its name in the table")
    return Mart(
        node["schema"], node["name"], source, table, tuple(declared["key"]), columns, day, declared.get("where")
    )


def _compared(place: Layout, lake: Lake, mart: Mart, since: datetime.date | None, say: Say) -> MartReconciled:
    started = time.monotonic()
    say(f"{mart.full_name}: comparing with {mart.source}.{mart.table}")
    address = Address("processed", mart.source, mart.table)
    types = {name: kinds.stored(kind) for name, kind in read.columns(commit.table(lake, address)).items()}
    if not types:
        return MartReconciled(mart, note=f"{mart.name}: {address} is not loaded yet")
    if missing := [name for name in mart.columns.values() if name not in types]:
        mend = "correct the declaration in dbt's YAML"
        raise SpecError(f"dbt model {mart.name}, meta.reconcile", f"{address} has no column {missing[0]}", mend)
    if not _is_built(place, mart):
        return MartReconciled(mart, note=f"{mart.name}: not built yet")
    wanted = digest.comparable({name: types[name] for name in mart.columns.values()})
    there = {key: mart.columns[key] for key in mart.key}
    day = mart.columns[mart.day] if mart.day else None
    since = since if mart.day else None
    with duck.connect(place.build, read_only=True) as connection:
        built = digest.of(connection, mart.relation(since), key=tuple(there.values()), columns=wanted, day=day)
    with read.connect(lake) as connection, told(lake):
        condition = f" WHERE {quoted(day)} >= DATE '{since}'" if day and since else ""
        relation = f"(SELECT * FROM {read.relation(lake, address)}{condition})"
        held = digest.of(connection, relation, key=tuple(there.values()), columns=wanted, day=day)
    differing = digest.differing(held, built)
    return MartReconciled(
        mart,
        _rows(built),
        _rows(held),
        len({*built, *held}),
        tuple(_sentence(mart, one, held.get(one), built.get(one)) for one in differing),
        seconds=time.monotonic() - started,
    )


def _forget(place: Layout) -> None:
    """Forget what the facts were built from (macros/changed_days.sql): here it is they that are in doubt."""
    if not place.build.exists():
        return
    with lock.held(place.lock, WAIT_S), contextlib.suppress(duckdb.Error):  # a file that does not open is the build's
        connection = duck.connect(place.build)
        with contextlib.closing(connection):
            connection.execute("DROP SCHEMA IF EXISTS seen CASCADE")


def _is_built(place: Layout, mart: Mart) -> bool:
    if not place.build.exists():
        return False
    with duck.connect(place.build, read_only=True) as connection:
        query = "select 1 from duckdb_tables() where schema_name = ? and table_name = ?"
        return connection.execute(query, [mart.schema, mart.name]).fetchone() is not None


def _rows(digests: Digests) -> int:
    return sum(one.rows for one in digests.values())


def _sentence(mart: Mart, day: datetime.date | None, held: Digest | None, built: Digest | None) -> str:
    """E.g. `marts.fct_sales, 2026-01-05: 3 rows missing (of 120 in shop.order_items)`."""
    wanted, there = held.rows if held else 0, built.rows if built else 0
    table = f"{mart.source}.{mart.table}"
    if there == wanted:
        what = f"as many rows as in {table} ({wanted:,}), but not the same"
    else:
        count = abs(there - wanted)
        what = f"{count:,} row{'s' if count > 1 else ''} {'missing' if there < wanted else 'too many'}"
        what += f" (of {wanted:,} in {table})"
    return f"{mart.full_name}, {day or 'the whole table'}: {what}"
