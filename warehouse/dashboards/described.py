"""What a dashboard's file may say: rows of panels, each with one query in the PostgreSQL of the metrics store.

A query of lines, bars and bands answers `time` first, then `metric` (the name of a series) and `value`, or one column
for each series; one of a gauge answers a name and a value; those of stats and tables answer what is shown. Queries may
use Grafana's macros (`$__timeFilter(column)`, `$__timeGroupAlias(column, $__interval)`) and the dashboard's variables
(`column IN ($store)`).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lake.errors import SpecError

FOLDER = Path(__file__).parent
TIMED = frozenset({"lines", "bars", "band"})

Kind = Literal["lines", "bars", "band", "stat", "gauge", "table"]
# Grafana's names of units, as far as they are used.
Unit = Literal["short", "s", "bytes", "percent", "percentunit", "celsius", "humidity", "pressurehpa", "ops", "none"]
Mark = Literal["good", "warn"]
Span = Annotated[str, Field(pattern=r"^[1-9][0-9]*[mhd]$")]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
Text = Annotated[str, Field(min_length=3)]


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Variable(_Fact):
    """What a reader may choose, several at once: the values are the one column of a query."""

    name: Name
    label: Text
    sql: Text


class Panel(_Fact):
    """One plot or table. `every` is the finest width of its buckets; `units` are those of a table's columns.

    `marks` say which words of a table are good and which are a warning; `repeat` draws it once for each value of a
    variable; `page` puts it on the page, too, which says `empty` where there are no rows.
    """

    title: Text
    say: Text
    kind: Kind
    unit: Unit = "short"
    units: dict[str, Unit] = {}
    marks: dict[str, Mark] = {}
    every: Span = "1h"
    width: Annotated[int, Field(ge=3, le=24)] = 12
    height: Annotated[int, Field(ge=3, le=16)] = 8
    repeat: Name | None = None
    page: bool = False
    empty: Text = "Nothing in this time."
    sql: Text

    @model_validator(mode="after")
    def _timed(self) -> "Panel":
        if self.kind in TIMED and "$__time" not in self.sql:
            raise ValueError("a plot over time needs $__timeFilter(column)")
        if self.kind in {"lines", "bars"} and "order by 1" not in self.sql.lower():
            raise ValueError("Grafana wants rows by time: end the query with ORDER BY 1")
        return self


class Row(_Fact):
    """Panels that belong together, under one heading."""

    title: Text
    panels: Annotated[tuple[Panel, ...], Field(min_length=1)]


class Dashboard(_Fact):
    """One dashboard. `clock` says by which time its newest rows are: the platform's day, or that of the data."""

    uid: Annotated[str, Field(pattern=r"^watershed-[a-z-]{2,30}$")]
    title: Text
    description: Text
    clock: Literal["platform", "data"]
    days: Annotated[int, Field(ge=1, le=400)] = 30
    variables: tuple[Variable, ...] = ()
    rows: Annotated[tuple[Row, ...], Field(min_length=1)]

    @property
    def panels(self) -> Iterator[Panel]:
        """All panels, from top to bottom."""
        return (panel for row in self.rows for panel in row.panels)

    @model_validator(mode="after")
    def _consistent(self) -> "Dashboard":
        titles = [panel.title for panel in self.panels]
        if twice := sorted({title for title in titles if titles.count(title) > 1}):
            raise ValueError(f"two panels are called `{twice[0]}`")
        known = {it.name for it in self.variables}
        if unknown := {panel.repeat for panel in self.panels} - known - {None}:
            raise ValueError(f"repeat: there is no variable `{unknown.pop()}`")
        return self


def dashboards(folder: Path = FOLDER) -> tuple[Dashboard, ...]:
    """All dashboards of the project, by their files' names. Raises SpecError for one that says what it may not."""
    return tuple(_read(path) for path in sorted(folder.glob("*.yml")))


def _read(path: Path) -> Dashboard:
    try:
        return Dashboard.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except yaml.YAMLError as error:
        raise SpecError(str(path), f"is not YAML ({' '.join(str(error).split())})", "mend the syntax") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise SpecError(f"{path}, {where}", first["msg"].removeprefix("Value error, "), "correct it") from None
