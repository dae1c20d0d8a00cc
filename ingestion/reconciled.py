"""What comes of comparing a table: rows at each place, what differs day by day, and what differs rightly."""

import datetime
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from lake.intake import Subject
from lake.verify import Verified

Place = Literal["raw", "processed"]
Day = datetime.date | None


@dataclass(frozen=True)
class Difference:
    """How one day (None: a table without days) of one place differs from the source, in rows."""

    place: Place
    day: Day
    missing: int = 0
    changed: int = 0
    surplus: int = 0
    doubled: int = 0

    @property
    def sentence(self) -> str:
        """E.g. `2026-01-05: 3 rows missing in processed`."""
        return f"{self.day or 'the whole table'}: {self.words(self.place)}"

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Rows missing, changed, surplus and doubled."""
        return self.missing, self.changed, self.surplus, self.doubled

    def words(self, places: str) -> str:
        """What differs at these places."""
        shown = (
            (self.missing, f"missing in {places}"),
            (self.changed, f"with other values in {places}"),
            (self.surplus, f"in {places} that the source has not"),
            (self.doubled, f"in {places} twice"),
        )
        return ", ".join(f"{count:,} row{'s' if count != 1 else ''} {words}" for count, words in shown if count)


@dataclass(frozen=True)
class Reconciled:
    """What came of comparing one table: rows at each place, what differs, and what differs rightly.

    `behind` rows are newer than the last load; `kept` were deleted at the source, which the declaration ignores;
    `set_aside` are in quarantine. `heals` says that the next load would find all that differs by itself.
    """

    subject: Subject
    rows: Mapping[str, int] = field(default_factory=dict)
    days: int = 0
    differences: tuple[Difference, ...] = ()
    damage: tuple[Verified, ...] = ()
    is_folded: bool = True
    behind: int = 0
    kept: int = 0
    set_aside: int = 0
    notes: tuple[str, ...] = ()
    heals: bool = False
    seconds: float = 0.0

    @property
    def is_ok(self) -> bool:
        """Whether nothing differs that should not."""
        return not (self.differences or self.damage) and self.is_folded

    @property
    def days_differing(self) -> int:
        """How many days differ anywhere in the lake."""
        return len({one.day for one in self.differences})

    def state_of(self, place: str) -> str:
        """E.g. `1,204`, or `1,201 (1 day)` where one day differs."""
        shown = f"{self.rows[place]:,}" if place in self.rows else "-"
        days = sum(one.place == place and one.day is not None for one in self.differences)
        if days:
            return f"{shown} ({days} day{'s' if days > 1 else ''})"
        is_wrong = any(one.place == place for one in self.differences) or (place == "raw" and self.damage)
        return f"{shown} (!)" if is_wrong else shown

    @property
    def sentences(self) -> list[str]:
        """All that differs, one sentence each."""
        said = [str(one.difference) for one in self.damage]
        said += [] if self.is_folded else [f"{self.subject}: raw holds loads that are not in processed yet"]
        alike: dict[tuple[Day, tuple[int, ...]], list[Difference]] = defaultdict(list)
        for one in self.differences:
            alike[one.day, one.counts].append(one)
        for (day, _), those in sorted(alike.items(), key=lambda pair: pair[0][0] or datetime.date.max):
            words = those[0].words(" and ".join(one.place for one in those))
            said.append(f"{self.subject}, {day or 'the whole table'}: {words}")
        return said

    @property
    def remarks(self) -> list[str]:
        """What differs rightly, and what could not be compared."""
        counts = (
            (self.behind, "newer than the last load, which the next one brings"),
            (self.kept, "kept that the source has deleted (deletes: ignore)"),
            (self.set_aside, "in quarantine"),
        )
        said = [f"{count:,} row{'s' if count != 1 else ''} {words}" for count, words in counts if count]
        return [*said, *self.notes]
