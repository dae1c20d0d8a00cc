"""What is proven about the build file: the dbt nodes that passed since they last failed or were interrupted.

A file is fit to be published when all nodes of the project have passed. So a run of a part of the models adds what it
built and tested and vouches for nothing else; and a build that was killed proves nothing.
"""

import json
from collections.abc import Iterable

from warehouse.layout import Layout
from warehouse.report import NodeResult

KINDS = ("model", "seed", "snapshot", "test")  # unit tests judge code, not this file


def proven(place: Layout) -> frozenset[str]:
    """The nodes that have passed; none while a build is under way or after one was killed."""
    if not place.proven.exists():
        return frozenset()
    return frozenset(json.loads(place.proven.read_text()))


def withdraw(place: Layout) -> frozenset[str]:
    """Note that a build is under way; returns what was proven before it."""
    before = proven(place)
    _write(place, frozenset())
    return before


def record(place: Layout, before: frozenset[str], results: Iterable[NodeResult]) -> None:
    """Note what a finished build proved and refuted, beside what was proven `before`."""
    verdicts = {result.unique_id: result.is_ok for result in results}
    passed = {unique_id for unique_id, is_ok in verdicts.items() if is_ok}
    refuted = verdicts.keys() - passed
    _write(place, (before - refuted) | passed)


def _write(place: Layout, nodes: frozenset[str]) -> None:
    temporary = place.proven.with_suffix(".tmp")
    temporary.write_text(json.dumps(sorted(nodes), indent=1))
    temporary.replace(place.proven)
