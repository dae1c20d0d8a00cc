"""What `anomalies.yml` may say: which values are watched, by which season, and what their causes are called.

How a value is judged stands in `metrics.anomaly`, what becomes of an odd one in `metrics.incidents`.
"""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from lake.errors import SpecError
from metrics import declaration, spec
from metrics.declaration import Fact
from metrics.rollup import rollup_columns
from metrics.spec import Bucket, Hypertable, Name, Span, Spec

DECLARATION = Path(__file__).resolve().parent / "anomalies.yml"
NUMBERS = {"bigint", "integer", "double precision"}


class Value(Fact):
    """A column that is judged. `side`: on which side of the expected it may be odd.

    `least`: how far off it must be at the least, in the column's own unit, however regular it was before.
    """

    side: Literal["above", "below", "both"] = "both"
    least: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


class Cause(Fact):
    """What stands behind a series: the part of `column` that `pattern` finds, put in the place of `{}` in `name`."""

    column: Name | None = None
    pattern: str = ".+"
    name: Annotated[str, Field(min_length=1)] = "{}"

    @field_validator("pattern")
    @classmethod
    def _is_pattern(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"is no regular expression ({error}); correct it") from None
        return pattern

    @model_validator(mode="after")
    def _names_something(self) -> "Cause":
        if (self.column is None) == ("{}" in self.name):
            raise ValueError(
                "must either be a fixed `name`, or have a `column` and, if it has a name, {} in it; correct it"
            )
        return self

    def of(self, series: dict[str, str]) -> str:
        """The cause of a series, whose columns and values these are."""
        if self.column is None:
            return self.name
        found = re.search(self.pattern, series[self.column])
        return self.name.replace("{}", found[0] if found else series[self.column])


class Watch(Fact):
    """What is watched of one hypertable.

    `every`: the roll-up whose buckets are judged; without it each row is. `season`: the longest habit that is looked
    for, `none`, `day` or `week`. `absent`: what a bucket without rows counts as; without it it counts as nothing.
    `history`: by how much of the past a value is judged; `least_days`: how many days of it there must be.
    `tolerance`: how many times further off than on the worst day of the history a value must be.
    """

    hypertable: Name
    every: Bucket | None = None
    values: Annotated[dict[Name, Value], Field(min_length=1)]
    season: Literal["none", "day", "week"] = "week"
    absent: float | None = None
    history: Span = Field(default=timedelta(days=28), json_schema_extra={"default": "28 days"})
    least_days: Annotated[int, Field(ge=2)] = 3
    tolerance: Annotated[float, Field(ge=1)] = 1.3
    cause: Cause | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "Watch":
        if self.absent is not None and self.every is None:
            raise ValueError("absent: is for buckets; say `every`, too")
        return self

    def by(self, hypertable: Hypertable) -> tuple[str, ...]:
        """The columns that tell the series of the watch apart."""
        return hypertable.rollups.by if self.every and hypertable.rollups else hypertable.segment_by


class Anomalies(Fact):
    """The whole declaration. `quiet`: an incident is over when nothing of it has been odd for so long."""

    quiet: Span = Field(default=timedelta(hours=12), json_schema_extra={"default": "12 hours"})
    watches: Annotated[tuple[Watch, ...], Field(min_length=1)]


def read(declared: Spec | None = None, path: Path = DECLARATION) -> Anomalies:
    """The declaration in `path`, held against the hypertables; SpecError names the watch and what would be right."""
    try:
        found = Anomalies.model_validate(declaration.said(path))
    except ValidationError as error:
        first = error.errors()[0]
        what, _, mend = first["msg"].removeprefix("Value error, ").partition("; ")
        where = ".".join(str(part) for part in first["loc"])
        raise SpecError(str(path), f"{where}: {what}" if where else what, mend or "correct it") from None
    hypertables = declared or spec.read()
    for watch in found.watches:
        for what, mend in _problems(watch, hypertables[watch.hypertable]):
            raise SpecError(f"{path}, watch of {watch.hypertable}", what, mend)
    return found


def _problems(watch: Watch, hypertable: Hypertable) -> Iterator[tuple[str, str]]:
    if watch.every and watch.every not in hypertable.rollup_names:
        mend = f"choose one of {', '.join(hypertable.rollup_names) or 'its rows, by leaving it out'}"
        yield f"every: {hypertable.name} has no roll-up {watch.every}", mend
        return
    kinds = {name: column.type for name, column in hypertable.columns.items()}
    if watch.every:
        kinds = {column.name: column.type for column in rollup_columns(hypertable)}
    numbers = [name for name, kind in kinds.items() if kind in NUMBERS or kind.startswith("numeric")]
    for name in watch.values:
        if name not in numbers:
            yield f"values: `{name}` is no number of it", f"it has {', '.join(numbers)}"
    by = watch.by(hypertable)
    if watch.cause and watch.cause.column and watch.cause.column not in by:
        yield f"cause: `{watch.cause.column}` does not tell its series apart", f"choose one of {', '.join(by)}"
