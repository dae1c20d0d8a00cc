"""What each test said when it last ran on the build file: its status, the rows it found, and when.

`proof` keeps only whether a node passed, which is all that a publish asks; people also want to see the warnings.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from warehouse.layout import Layout
from warehouse.report import REUSED, NodeResult

KINDS = ("test", "unit_test")


@dataclass(frozen=True)
class Verdict:
    """The last word of one test; `status` is dbt's (pass, warn, fail, error), `at` an ISO 8601 instant in UTC."""

    status: str
    failures: int
    message: str
    seconds: float
    at: str


def verdicts(place: Layout) -> dict[str, Verdict]:
    """The last verdict of every test that ran on the build file, by dbt's unique id."""
    path = _path(place)
    if not path.exists():
        return {}
    return {unique_id: Verdict(**known) for unique_id, known in json.loads(path.read_text()).items()}


def record(place: Layout, results: Iterable[NodeResult]) -> None:
    """Keep what the tests of one build said; tests that did not run keep their last verdict."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    ran = {
        result.unique_id: Verdict(result.status, result.failures or 0, result.message, round(result.seconds, 3), now)
        for result in results
        if result.kind in KINDS and result.status not in ("skipped", REUSED)
    }
    if not ran:
        return
    path = _path(place)
    draft = path.with_suffix(".tmp")
    known = {unique_id: asdict(verdict) for unique_id, verdict in {**verdicts(place), **ran}.items()}
    draft.write_text(json.dumps(known, indent=1, sort_keys=True))
    draft.replace(path)


def _path(place: Layout) -> Path:
    return place.build.with_name("verdicts.json")
