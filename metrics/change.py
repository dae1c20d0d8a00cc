"""One step from the server's state to the declared one, with what it loses, or what only a person can decide."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from lake.errors import PermanentError

ALLOW = "run `watershed metrics apply --allow-data-loss`"


@dataclass(frozen=True)
class Change:
    """A difference between server and declaration; without statements and `mend` it is a note on what cannot be had."""

    hypertable: str
    what: str
    statements: tuple[sql.Composable, ...] = ()
    loses: str = ""
    """What is gone after it, in words; such a step is taken only if data loss is allowed."""
    mend: str = ""
    """What to do about a difference that `apply` leaves as it is."""
    is_structural: bool = False
    """Whether it needs rows that are not compressed and no continuous aggregate over them (community edition)."""
    after: tuple[sql.Composable, ...] = ()
    """Statements to follow the transaction, which the server's own jobs would run later anyhow."""

    @property
    def is_note(self) -> bool:
        """Whether there is nothing to do, only something to know."""
        return not self.statements and not self.mend and not self.loses

    @property
    def is_kept(self) -> bool:
        """Whether `apply` leaves it as it is unless data loss is allowed."""
        return bool(self.mend)

    def __str__(self) -> str:
        """`metrics.sales_hourly: create …`."""
        lost = f" (LOSES DATA: {self.loses})" if self.loses else ""
        return f"{self.hypertable}: {self.what}{lost}{f'; {self.mend}' if self.mend else ''}"


def refuse_loss(changes: Sequence[Change]) -> None:
    """PermanentError if a step that must be taken would lose data; it names the step and what is lost."""
    losing = [change for change in changes if change.loses and not change.is_kept]
    if not losing:
        return
    first, more = losing[0], f" (and {len(losing) - 1} more such steps)" if len(losing) > 1 else ""
    what = f"{first.what} would lose {first.loses}{more}, nothing was changed"
    raise PermanentError(first.hypertable, what, f"correct metrics/hypertables.yml, or {ALLOW}")
