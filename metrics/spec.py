"""What `hypertables.yml` may say: hypertables, their columns, roll-ups and how long rows are kept.

The models hold facts only; what they mean in SQL stands in `metrics.shape`, `metrics.rollup` and `metrics.native`.
"""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, NoReturn, get_args

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from lake.errors import SpecError
from metrics import declaration, vocabulary
from metrics.consistent import hint, problems
from metrics.declaration import Fact
from metrics.vocabulary import BUCKETS as BUCKETS
from metrics.vocabulary import Bucket as Bucket
from metrics.vocabulary import Edition as Edition
from metrics.vocabulary import Measure as Measure

DECLARATION = Path(__file__).resolve().parent / "hypertables.yml"
SCHEMA = "metrics"

_SPAN_TEXT = Annotated[str, Field(pattern=vocabulary.SPAN)]
Span = Annotated[timedelta, BeforeValidator(vocabulary.span_of, json_schema_input_type=_SPAN_TEXT)]
Name = Annotated[str, Field(pattern=vocabulary.NAME)]
Order = Annotated[str, Field(pattern=vocabulary.ORDER)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class Column(Fact):
    """A column: its SQL type, what it means, in which unit and within which limits."""

    type: Annotated[str, Field(pattern=vocabulary.TYPE)]
    description: Annotated[str, Field(min_length=1)]
    unit: str | None = None
    range: tuple[Number | None, Number | None] | None = None
    """Smallest and largest value, both inclusive, None for an open end: a load puts rows outside in quarantine."""

    @property
    def comment(self) -> str:
        """Description and unit as the database's comment on the column."""
        return f"{self.description} Unit: {self.unit}." if self.unit else self.description

    @property
    def is_number(self) -> bool:
        """Whether the column can be summed."""
        return self.type in {"bigint", "integer", "double precision"} or self.type.startswith("numeric")


class Space(Fact):
    """A second dimension of the chunks: the rows of an interval of time divided by a hash of a column."""

    by: Name
    partitions: Annotated[int, Field(ge=2, le=1024, strict=True)]


class Kept(Fact):
    """How long the rows of one roll-up are kept, and how long after a change it may be behind."""

    drop_after: Span
    refresh_lag: Span = Field(default=timedelta(hours=1), json_schema_extra={"default": "1 hour"})


class Rollups(Fact):
    """Roll-ups of one hypertable: by which columns, which measures, in which buckets (UTC)."""

    by: tuple[Name, ...]
    measures: dict[Name, Annotated[tuple[Measure, ...], Field(min_length=1)]]
    every: Annotated[dict[Bucket, Kept], Field(min_length=1)]


class Hypertable(Fact):
    """One hypertable of schema `metrics`."""

    name: Name
    description: Annotated[str, Field(min_length=1)]
    time: Name
    key: tuple[Name, ...]
    space: Space | None = None
    segment_by: tuple[Name, ...] = ()
    order_by: tuple[Order, ...] = ()
    indexes: tuple[Annotated[tuple[Name, ...], Field(min_length=1)], ...] = ()
    chunk_interval: Span
    compress_after: Span
    drop_after: Span
    tier: bool = False
    """Whether a chunk goes to the lake before it is dropped."""
    columns: dict[Name, Column]
    rollups: Rollups | None = None

    @property
    def ordering(self) -> tuple[tuple[str, str], ...]:
        """Columns and directions (`asc`, `desc`) by which compressed and cold rows lie within a segment."""
        if not self.order_by:
            return ((self.time, "desc"),)
        return tuple((one.split()[0], "desc" if one.endswith(" desc") else "asc") for one in self.order_by)

    @property
    def rollup_names(self) -> dict[Bucket, str]:
        """Bucket → name of its roll-up table, finest first: each is summed up from the one before it."""
        every = sorted(self.rollups.every, key=lambda bucket: vocabulary.BUCKETS[bucket]) if self.rollups else []
        return {bucket: f"{self.name}_{bucket}" for bucket in every}

    @model_validator(mode="after")
    def _consistent(self) -> "Hypertable":
        for problem in problems(self):
            raise ValueError(problem)
        return self


class Spec(Fact):
    """The whole declaration. `edition`: the one that the server must be of, None if either will do."""

    edition: Edition | None = None
    hypertables: Annotated[tuple[Hypertable, ...], Field(min_length=1)]

    def __getitem__(self, name: str) -> Hypertable:
        """The hypertable called `name`; SpecError if it is not declared."""
        for hypertable in self.hypertables:
            if hypertable.name == name:
                return hypertable
        names = [hypertable.name for hypertable in self.hypertables]
        raise SpecError("metrics/hypertables.yml", f"no hypertable `{name}`", hint(name, names) or f"it has {names}")

    @model_validator(mode="after")
    def _distinct(self) -> "Spec":
        names = [name for table in self.hypertables for name in (table.name, *table.rollup_names.values())]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"the name {twice[0]} is used by two hypertables or roll-ups")
        return self


def read(path: Path = DECLARATION) -> Spec:
    """The declaration in `path`; SpecError names file, hypertable, key and what would be right."""
    said = declaration.said(path)
    try:
        return Spec.model_validate(said)
    except ValidationError as error:
        # A misspelt key is also a missing one: the misspelling is what to say first.
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        _refuse(path, said, first)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the file, for editors."""
    schema = Spec.model_json_schema(mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "metrics/hypertables.yml"} | schema


def _refuse(path: Path, said: Any, error: ErrorDetails) -> NoReturn:
    where, keys = [str(path)], list(error["loc"])
    if keys[:1] == ["hypertables"] and len(keys) > 1 and isinstance(keys[1], int):
        table = said["hypertables"][keys[1]]
        where.append(f"hypertable {table.get('name', keys[1]) if isinstance(table, dict) else keys[1]}")
        keys = keys[2:]
    key = ".".join(str(part) for part in keys if part != "[key]")
    if error["type"] == "extra_forbidden":
        model = _model_at(keys[:-1] if len(where) > 1 else None)
        mend = hint(str(keys[-1]), model.model_fields) or f"known are {', '.join(model.model_fields)}"
        raise SpecError(", ".join(where), f"unknown key `{key}`", mend)
    what = error["msg"].removeprefix("Value error, ")
    if error["type"] == "missing":
        if isinstance(keys[-1], int):
            raise SpecError(", ".join(where), f"{key.rpartition('.')[0]}: is too short", "write [smallest, largest]")
        raise SpecError(", ".join(where), f"the key `{key}` is missing", "add it")
    if error["type"] == "literal_error":
        choices = [*get_args(Bucket), *get_args(Measure), *get_args(Edition)]
        raise SpecError(
            ", ".join(where),
            f"{key}: `{error['input']}`: {what}",
            hint(str(error["input"]), choices) or "choose one of these",
        )
    what, _, mend = what.partition("; ")
    if error["type"] == "string_pattern_mismatch":
        what = f"`{error['input']}` is not allowed here"
        mend = _pattern_hint(keys, str(error["input"]))
    raise SpecError(", ".join(where), f"{key}: {what}" if key else what, mend or "correct it")


def _pattern_hint(keys: list[int | str], value: str) -> str:
    if keys[-1:] == ["type"]:
        return hint(value, vocabulary.TYPES) or f"types are {', '.join(vocabulary.TYPES)}"
    if "order_by" in keys:
        return "write a column, or a column and `desc`"
    return "names are lower case letters, digits and `_`"


def _model_at(keys: list[int | str] | None) -> type[BaseModel]:
    if keys is None:
        return Spec
    nested: dict[str, type[BaseModel]] = {"columns": Column, "rollups": Rollups, "space": Space}
    if keys[:2] == ["rollups", "every"]:
        return Kept
    return nested.get(str(keys[0]), Hypertable) if keys else Hypertable
