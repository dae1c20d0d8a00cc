"""What keeping the metrics store in order has done, in sentences."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Done:
    """One action on one relation, as a sentence, with the number of things it changed; none: it was refused."""

    relation: str
    what: str
    count: int

    def __str__(self) -> str:
        """`metrics.sales_hourly_1h: 3 buckets summed up anew …`."""
        return f"{self.relation}: {self.what}"
