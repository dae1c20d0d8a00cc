"""Of which nodes of the project there is news: what a build must do, and what may stay as it is in the build file.

A node rests on the project itself, on the tables of the lake that it reads, on the clock if it asks it, and on other
nodes. Of the first three a *basis* is kept with the proof that the node passed (`proof`); there is news of a node if
its basis is another one, if it is not proven, or if something that it rests on is built. In doubt there is news.
"""

import hashlib
import importlib.metadata
import json
import os
import re
import sys
import uuid
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from graphlib import TopologicalSorter
from typing import Any

import pyarrow as pa

from lake import commit, duck
from lake.errors import PlatformError
from lake.layout import Address, Lake
from warehouse import proof, runner
from warehouse.layout import Layout
from warehouse.proof import Proof

COMPUTING = ("duckdb", "holidays", "pyarrow")  # another release of these may compute something else
VARIABLE = re.compile(r"""["']([A-Z][A-Z0-9_]{2,})["']""")  # as the project's files name one
PROFILE = "profiles.yml"  # says how to connect; keys that expire every hour are no news
LAKE_TABLE = re.compile(r"delta_scan\('(.+)/(processed|curated|raw|quarantine)/([^/']+)/([^/']+)'\)")
# What gives another answer each time, or reads what dbt does not know of. In a comment it costs a build, no more.
UNTOLD = re.compile(
    r"\b(current_(date|time|timestamp)|localtime(stamp)?|run_started_at|invocation_id"
    r"|(now|today|utcnow|time|random|gen_random_uuid|uuid\w*|nextval|glob|read_\w+|\w+_scan)\s*\()",
    re.IGNORECASE,
)
AT_ONCE = 8  # tables of a lake on S3 are asked side by side
STAMP = ("build_file", "stamp")


@dataclass(frozen=True)
class Plan:
    """What one build does: ids of nodes to `build` and to `reuse`, none before what it rests on.

    `basis` holds what each node rests on, as it was before the build: what changes meanwhile is news for the next.
    """

    build: tuple[str, ...]
    reuse: tuple[str, ...]
    basis: Mapping[str, str]

    def kept(self, before: Proof) -> Proof:
        """What is still proven when this build begins."""
        return Proof(
            {unique_id: before.passed[unique_id] for unique_id in self.reuse},
            before.doubtful,
            {unique_id: before.basis[unique_id] for unique_id in self.reuse},
            before.stamp,
        )


def plan(place: Layout, before: Proof, manifest: Mapping[str, Any], *, everything: bool = False) -> Plan:
    """What a build of the whole project has to do, given what was proven before it; all if `everything` is asked for.

    The lake's tables are asked now for what they hold, by their logs.
    """
    nodes = {unique_id: node for unique_id, node in manifest["nodes"].items() if proof.is_wanted(node)}
    parents = {unique_id: manifest["parent_map"].get(unique_id, ()) for unique_id in nodes}
    order = list(TopologicalSorter({it: [one for one in parents[it] if one in nodes] for it in parents}).static_order())
    basis = _basis(place, manifest, nodes, parents)
    if everything or proof.ALL in before.doubtful or (there := _relations(place, before.stamp)) is None:
        return Plan(tuple(order), (), basis)
    news = set[str]()
    for unique_id in order:
        if not (
            news.isdisjoint(parents[unique_id])
            and _is_proven(unique_id, nodes[unique_id], before)
            and before.basis.get(unique_id) == basis.get(unique_id, "")
            and _is_there(nodes[unique_id], there)
        ):
            news.add(unique_id)
    return Plan(tuple(it for it in order if it in news), tuple(it for it in order if it not in news), basis)


def project(place: Layout) -> str:
    """A hash of what all nodes rest on: the project's files, the environment they name, and what computes."""
    files = [path for path in runner.project_files(place) if path.name != PROFILE]
    named = {name for path in files for name in VARIABLE.findall(path.read_text())}
    named |= {name for name in os.environ if name.startswith("DBT_")}
    return _hashed(
        runner.project_key(place),
        sys.version,
        *(f"{name} {importlib.metadata.version(name)}" for name in COMPUTING),
        *(f"{name}={os.environ.get(name)}" for name in sorted(named)),
    )


def today() -> str:
    """The UTC day."""
    return datetime.now(UTC).date().isoformat()


def stamp(place: Layout) -> str:
    """Give the build file a stamp of its own, by which another file in its place is found out; the stamp."""
    given = uuid.uuid4().hex
    with duck.connect(place.build) as connection:
        connection.execute(f"create schema if not exists {STAMP[0]}")
        connection.execute(f"create or replace table {'.'.join(STAMP)} as select {duck.literal(given)} as given")
    return given


def contents(source: Mapping[str, Any]) -> str | None:
    """A hash of what a source's table holds now: its schema and the names of its files, which are never changed.

    By these, and not by the version alone, a table that was put back is told from one that has moved on. None if it
    cannot be told: there is no such table, or it is none of the lake.
    """
    found = LAKE_TABLE.fullmatch(source.get("relation_name") or "")
    if found is None:
        return None
    root, zone, name, table = found.groups()
    try:
        delta = commit.table(Lake(root), Address(zone, name, table))  # type: ignore[arg-type]  # one of the zones
    except PlatformError:
        return None  # the build will say what is wrong
    if delta is None:
        return None
    # rows of a file that are deleted without writing it anew, as other programs may do
    is_plain = not delta.protocol().reader_features
    version = "" if is_plain else f"{delta.metadata().id} {delta.version()}"
    return _hashed(delta.schema().to_json(), version, *sorted(pa.table(delta.get_add_actions())["path"].to_pylist()))


def _basis(
    place: Layout, manifest: Mapping[str, Any], nodes: Mapping[str, Any], parents: Mapping[str, Iterable[str]]
) -> dict[str, str]:
    """The basis of each node; a node of which nothing can be told has none."""
    of_project, day = project(place), today()
    sources = {one for unique_id in nodes for one in parents[unique_id] if one in manifest["sources"]}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        held = dict(zip(sources, pool.map(lambda one: contents(manifest["sources"][one]), sources), strict=True))
    found = {}
    for unique_id, node in nodes.items():
        read = {one: held[one] for one in parents[unique_id] if one in held}
        comes = _news_comes(node, manifest["macros"])
        if comes != "always" and None not in read.values():
            found[unique_id] = _hashed(of_project, json.dumps(read, sort_keys=True), day if comes == "daily" else "")
    return found


def _news_comes(node: Mapping[str, Any], macros: Mapping[str, Any]) -> str:
    """`daily`, `always`, or nothing if only lake and project bring news: as `meta.news` says, else by the code."""
    said = (node.get("config") or {}).get("meta", {}).get("news")
    return str(said) if said else "always" if UNTOLD.search(_code(node, macros)) else ""


def _code(node: Mapping[str, Any], macros: Mapping[str, Any]) -> str:
    """The code of a node and of the macros of its own package that it uses."""
    code, seen = [node.get("raw_code") or ""], set[str]()
    waiting = list((node.get("depends_on") or {}).get("macros", ()))
    while waiting:
        unique_id = waiting.pop()
        macro = macros.get(unique_id)
        if unique_id not in seen and macro and macro.get("package_name") == node.get("package_name"):
            seen.add(unique_id)
            code.append(macro["macro_sql"])
            waiting += macro["depends_on"]["macros"]
    return "\n".join(code)


def _is_proven(unique_id: str, node: Mapping[str, Any], before: Proof) -> bool:
    return before.passed.get(unique_id) == proof.signature(node) and unique_id not in before.doubtful


def _is_there(node: Mapping[str, Any], there: set[tuple[str, str]]) -> bool:
    kept = (node.get("config") or {}).get("materialized") != "ephemeral" and node["resource_type"] != "test"
    return not kept or (str(node["schema"]), str(node.get("alias") or node["name"])) in there


def _relations(place: Layout, stamp: str) -> set[tuple[str, str]] | None:
    """The tables and views of the build file; None if it is not the one that bears the stamp."""
    if not stamp or not place.build.exists():
        return None
    with duck.connect(place.build, read_only=True) as connection:
        query = "select schema_name, table_name from duckdb_tables() union all select schema_name, view_name"
        there = set(connection.execute(f"{query} from duckdb_views()").fetchall())
        is_same = STAMP in there and connection.execute(f"from {'.'.join(STAMP)}").fetchall() == [(stamp,)]
    return there if is_same else None


def _hashed(*facts: str) -> str:
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()[:32]
