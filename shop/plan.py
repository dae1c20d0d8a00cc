"""How big a made-up shop is and how fast it grows, from its seed and scale.

Customers and orders grow with the scale, stores, devices and products with its square root: scale 1 is 12 stores,
2,000 customers, 800 products and about 50,000 order lines a year, scale 100 is 120 stores and 5 million lines.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from math import sqrt

from lake.errors import SpecError

LARGEST = 10_000


@dataclass(frozen=True)
class Plan:
    """A made-up shop's fate: whatever happens in it, ever, is a function of these three."""

    seed: int
    scale: float
    started_on: date

    def __post_init__(self) -> None:
        """Refuse a scale that makes no shop.

        Raises:
            SpecError: the scale is not above 0 and at most 10,000, or the seed is no 64-bit integer.
        """
        if not 0 < self.scale <= LARGEST:
            raise SpecError("SCALE", f"{self.scale} is no size of a shop", f"give a number above 0, up to {LARGEST}")
        if not -(2**63) <= self.seed < 2**63:
            raise SpecError("SEED", f"{self.seed} is too large", "give an integer of 64 bits")

    @property
    def sizes(self) -> dict[str, object]:
        """The values the generating SQL is filled with; rates are per day."""
        return {
            "seed": self.seed,
            "started_on": self.started_on,
            "started_at": midnight(self.started_on),
            "store_count": max(3, round(12 * sqrt(self.scale))),
            "customer_count": max(20, round(2000 * self.scale)),
            "product_count": max(40, round(800 * sqrt(self.scale))),
            "tracked_count": 20,  # articles whose stock is kept: those that sell most, a third of the lines at scale 1
            "customer_rate": 0.6 * self.scale,
            "product_rate": 0.12 * sqrt(self.scale),
            "order_rate": 55.0 * self.scale,
        }


def midnight(day: date) -> datetime:
    """The instant `day` begins in UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def months(first: date, after: date) -> list[tuple[date, date]]:
    """The calendar months of `first` (inclusive) to `after` (exclusive), cut to these; each as (first, day after)."""
    bounds = [first]
    while bounds[-1] < after:
        bounds.append(min(after, (bounds[-1].replace(day=1) + timedelta(days=32)).replace(day=1)))
    return list(pairwise(bounds))
