"""What is proven about the build file: the dbt nodes that passed since they last failed or were interrupted.

A file is fit to be published when all nodes of the project have passed, each as the project has it now. So a run of a
part of the models adds what it built and tested and vouches for nothing else; a model that was built without its tests
takes their proof away; and a build that was killed proves nothing.

It also keeps which incremental models are *doubtful*: what a test has refuted, or a kill has interrupted, must not be
built upon. See `recover`. And what each node rested on when the whole project was last built, see `news`.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from warehouse.clone import sync, written
from warehouse.layout import Layout
from warehouse.report import NodeResult

KINDS = ("model", "seed", "snapshot", "test")  # unit tests judge code, not this file
KEEPING = ("incremental", "snapshot")  # materialized so, a table keeps rows of the builds before
OF_TEST = ("severity", "where", "limit", "warn_if", "error_if", "fail_calc")
ALL = "*"
Nodes = Mapping[str, Any]


@dataclass(frozen=True)
class Proof:
    """Nodes that passed, each with the signature it had then; and models not to be built upon (or ALL of them).

    `basis` tells of nodes what they rested on when they passed in a build of the whole project, and nothing since has
    been built without them (see `news`); `stamp` is that of the build file.
    """

    passed: Mapping[str, str]
    doubtful: frozenset[str] = frozenset()
    basis: Mapping[str, str] = field(default_factory=dict)
    stamp: str = ""


def proof(place: Layout) -> Proof:
    """What is proven; nothing while a build is under way or after one was killed."""
    try:
        told = json.loads(place.proven.read_text())
    except (FileNotFoundError, ValueError):
        return Proof({})
    if not isinstance(told, dict):  # as it was written before signatures were kept
        return Proof({})
    return Proof(told["passed"], frozenset(told["doubtful"]), told.get("basis", {}), told.get("stamp", ""))


def missing(place: Layout, nodes: Nodes) -> set[str]:
    """The nodes of the project (those of dbt's manifest) that have not passed as they are now."""
    passed = proof(place).passed
    wanted = {unique_id: node for unique_id, node in nodes.items() if is_wanted(node)}
    return {unique_id for unique_id, node in wanted.items() if passed.get(unique_id) != signature(node)}


def withdraw(place: Layout) -> Proof:
    """Note that a build is under way; returns what was proven before it, and what is doubtful since a kill."""
    before = proof(place)
    touched = place.touched.read_text().split() if place.touched.exists() else []
    before = replace(before, doubtful=before.doubtful | set(touched))
    _write(place, Proof({}, before.doubtful))
    return before


def trust(place: Layout) -> None:
    """Note that nothing in the build file is doubtful any more."""
    _write(place, Proof({}))
    place.touched.unlink(missing_ok=True)


def touch(place: Layout, unique_id: str) -> None:
    """Note that a model which keeps rows is about to be built: if the build is killed, it is doubtful."""
    with place.touched.open("a") as file:
        file.write(f"{unique_id}\n")
    sync(place.touched)


def record(
    place: Layout,
    before: Proof,
    results: Iterable[NodeResult],
    manifest: Nodes,
    basis: Mapping[str, str] | None = None,
    stamp: str = "",
) -> None:
    """Note what a finished build proved and refuted, beside what was proven `before`.

    `basis` is what the nodes rested on in a build of the whole project, and `stamp` the build file's since. A build of
    a part has none: what it built, and what rests on that, has news for the next build of the whole.
    """
    verdicts = {result.unique_id: result.is_ok for result in results}
    nodes = manifest["nodes"]
    untested = _tests_of(manifest, {unique_id for unique_id, is_ok in verdicts.items() if is_ok}) - verdicts.keys()
    passed = {unique_id: mark for unique_id, mark in before.passed.items() if unique_id not in {*verdicts, *untested}}
    passed |= {
        unique_id: signature(nodes[unique_id]) for unique_id, is_ok in verdicts.items() if is_ok and unique_id in nodes
    }
    touched = place.touched.read_text().split() if place.touched.exists() else []
    refuted = _with(manifest.get("parent_map", {}), {unique_id for unique_id, is_ok in verdicts.items() if not is_ok})
    stale = refuted | (_with(manifest.get("child_map", {}), set(verdicts)) if basis is None else set())
    rested = {**before.basis, **(basis or {})}
    rested = {unique_id: rested[unique_id] for unique_id in passed if unique_id in rested and unique_id not in stale}
    _write(place, Proof(passed, frozenset(touched) & refuted, rested, stamp or before.stamp))
    place.touched.unlink(missing_ok=True)


def doubt_all(place: Layout) -> None:
    """Note that the build file as a whole is not to be built upon, nor to be published."""
    if place.build.exists():
        _write(place, Proof({}, frozenset({ALL})))


def is_wanted(node: Mapping[str, Any]) -> bool:
    """Whether a node of the manifest is to pass before the build is published."""
    # dbt lists the tests of models that are switched off (another shop's) as switched off themselves
    return node["resource_type"] in KINDS and (node.get("config") or {}).get("enabled", True)


def signature(node: Mapping[str, Any]) -> str:
    """A hash of what a node of the manifest does: another one, and what it has proven is no longer known."""
    config = node.get("config") or {}
    facts = [
        (node.get("checksum") or {}).get("checksum"),
        node.get("raw_code"),
        node.get("test_metadata"),
        config.get("materialized"),
        *((config.get(name) for name in OF_TEST) if node["resource_type"] == "test" else ()),
    ]
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _tests_of(manifest: Nodes, built: set[str]) -> set[str]:
    """The tests that look at one of these nodes, also through views."""
    nodes, seen, waiting, tests = manifest["nodes"], set[str](), list(built), set[str]()
    while waiting:
        for child in manifest.get("child_map", {}).get(waiting.pop(), ()):
            kind = nodes.get(child, {}).get("resource_type")
            is_view = (nodes.get(child, {}).get("config") or {}).get("materialized") in ("view", "ephemeral")
            if kind == "test":
                tests.add(child)
            elif kind == "model" and is_view and child not in seen:
                seen.add(child)
                waiting.append(child)
    return tests


def _with(relatives: Mapping[str, Iterable[str]], wanted: set[str]) -> set[str]:
    """These nodes and all that they are made from, or that is made from them, by a map to parents or to children."""
    seen, waiting = set(wanted), list(wanted)
    while waiting:
        fresh = set(relatives.get(waiting.pop(), ())) - seen
        seen |= fresh
        waiting.extend(fresh)
    return seen


def _write(place: Layout, it: Proof) -> None:
    place.proven.parent.mkdir(parents=True, exist_ok=True)
    told = {"passed": dict(it.passed), "doubtful": sorted(it.doubtful), "basis": dict(it.basis), "stamp": it.stamp}
    written(place.proven, json.dumps(told, indent=1))
