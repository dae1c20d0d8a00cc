"""What a build did: one fact per dbt node, and the sentence that says what failed."""

from collections.abc import Iterable
from dataclasses import dataclass

from lake.errors import BuildFailed, says_full
from warehouse.layout import Layout

REUSED = "reused"
PASSED = frozenset({"success", "pass", "warn", "no-op", REUSED})


@dataclass(frozen=True)
class Progress:
    """A step of a running build began or ended; `status` is `started` or dbt's status of the finished node."""

    unique_id: str
    name: str
    kind: str
    status: str
    seconds: float


@dataclass(frozen=True)
class NodeResult:
    """What one dbt node did.

    `kind` is model, seed, test or unit_test; `status` is dbt's (success, pass, warn, fail, error, skipped), or `reused`
    if there was no news of it: then `verdict` is the status that a test had when it last ran. `failures` counts rows
    that a test found; `rows` and `bytes` are those of the model or seed (None for tests, for views beyond staging, and
    for all views over a lake on S3; a view has 0 bytes).
    """

    unique_id: str
    name: str
    kind: str
    status: str
    seconds: float
    message: str
    failures: int | None
    rows: int | None
    bytes: int | None
    was: str | None = None

    @property
    def verdict(self) -> str:
        """The status of the node when it last ran, now or before."""
        return self.was or self.status

    @property
    def is_ok(self) -> bool:
        """Whether the node did what it should."""
        return self.status in PASSED


@dataclass(frozen=True)
class BuildReport:
    """All nodes of one build: those reused, then the others as they ended; `note` says what was mended before it."""

    results: tuple[NodeResult, ...]
    seconds: float
    note: str | None = None

    @property
    def is_ok(self) -> bool:
        """Whether every node did what it should."""
        return all(result.is_ok for result in self.results)

    def of_kind(self, *kinds: str) -> list[NodeResult]:
        """The results of these kinds of node."""
        return [result for result in self.results if result.kind in kinds]

    def failure(self, place: Layout) -> BuildFailed:
        """The error that names what failed, and where to look."""
        failed = [result for result in self.results if not result.is_ok and result.status != "skipped"]
        if full := [result for result in failed if says_full(result.message)]:
            what = f"the disk is full: {_named(full[:1])}"
            return BuildFailed(
                "dbt build", what, "free some space and run again; the published warehouse stays as it was"
            )
        skipped = sum(result.status == "skipped" for result in self.results)
        more = f" and {len(failed) - 5} more" if len(failed) > 5 else ""
        also = f" ({skipped} steps after them were skipped)" if skipped else ""
        return BuildFailed(
            "dbt build",
            f"{len(failed)} of {len(self.results)} steps failed: {_named(failed[:5])}{more}{also}",
            f"look into {place.logs / 'dbt.log'} and the compiled SQL in {place.target / 'compiled'}; "
            "the published warehouse stays as it was",
        )


def _named(failed: Iterable[NodeResult]) -> str:
    return ", ".join(f"{result.kind.replace('_', ' ')} {result.name} ({result.message})" for result in failed)
