"""What `hypertables.yml` may say: hypertables, their columns, roll-ups and how long rows are kept.

The models hold facts only; what they mean in SQL stands in `metrics.shape`, `metrics.rollup` and `metrics.native`.
"""

import difflib
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from lake.errors import SpecError

DECLARATION = Path(__file__).resolve().parent / "hypertables.yml"
SCHEMA = "metrics"
BUCKETS = {"1m": timedelta(minutes=1), "1h": timedelta(hours=1), "1d": timedelta(days=1)}

Bucket = Literal["1m", "1h", "1d"]
Measure = Literal["avg", "min", "max", "sum", "count", "count_true"]
ADDED: frozenset[str] = frozenset({"avg", "sum"})  # measures that add up, so they need a number

_UNITS = {"minute": 60, "min": 60, "m": 60, "hour": 3600, "h": 3600, "day": 86400, "d": 86400, "week": 604800}
_SPAN = r"^([1-9][0-9]*) ?(minutes?|min|m|hours?|h|days?|d|weeks?)$"
_TYPE = r"^(timestamptz|bigint|integer|double precision|boolean|text|numeric\([0-9]{1,2},[0-9]{1,2}\))$"
_NAME = r"^[a-z][a-z0-9_]{0,55}$"
_RESERVED = {"bucket_at", "sample_count"}


def _span(value: object) -> object:
    """`"7 days"` as a timedelta; anything else is refused in words that name the form."""
    if isinstance(value, timedelta):
        return value
    found = re.match(_SPAN, value) if isinstance(value, str) else None
    if not found:
        raise ValueError("is not a span of time; write it as `7 days` or `1 hour`")
    number, unit = int(found[1]), found[2]
    return timedelta(seconds=number * _UNITS[unit if unit in _UNITS else unit.removesuffix("s")])


Span = Annotated[timedelta, BeforeValidator(_span, json_schema_input_type=Annotated[str, Field(pattern=_SPAN)])]
Name = Annotated[str, Field(pattern=_NAME)]


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Column(_Fact):
    """A column: its SQL type, what it means and in which unit."""

    type: Annotated[str, Field(pattern=_TYPE)]
    description: Annotated[str, Field(min_length=1)]
    unit: str | None = None

    @property
    def comment(self) -> str:
        """Description and unit as the database's comment on the column."""
        return f"{self.description} Unit: {self.unit}." if self.unit else self.description

    @property
    def is_number(self) -> bool:
        """Whether the column can be summed."""
        return self.type in {"bigint", "integer", "double precision"} or self.type.startswith("numeric")


class Kept(_Fact):
    """How long the rows of one roll-up are kept."""

    drop_after: Span


class Rollups(_Fact):
    """Roll-ups of one hypertable: by which columns, which measures, in which buckets (UTC)."""

    by: tuple[Name, ...]
    measures: dict[Name, Annotated[tuple[Measure, ...], Field(min_length=1)]]
    every: Annotated[dict[Bucket, Kept], Field(min_length=1)]


class Hypertable(_Fact):
    """One hypertable of schema `metrics`."""

    name: Name
    description: Annotated[str, Field(min_length=1)]
    time: Name
    key: tuple[Name, ...]
    segment_by: tuple[Name, ...] = ()
    indexes: tuple[tuple[Name, ...], ...] = ()
    chunk_interval: Span
    compress_after: Span
    drop_after: Span
    columns: dict[Name, Column]
    rollups: Rollups | None = None

    @property
    def rollup_names(self) -> dict[Bucket, str]:
        """Bucket → name of its roll-up table."""
        return {bucket: f"{self.name}_{bucket}" for bucket in self.rollups.every} if self.rollups else {}

    @model_validator(mode="after")
    def _consistent(self) -> "Hypertable":
        for problem in _problems(self):
            raise ValueError(problem)
        return self


class Spec(_Fact):
    """The whole declaration."""

    hypertables: Annotated[tuple[Hypertable, ...], Field(min_length=1)]

    def __getitem__(self, name: str) -> Hypertable:
        """The hypertable called `name`; SpecError if it is not declared."""
        for hypertable in self.hypertables:
            if hypertable.name == name:
                return hypertable
        names = [hypertable.name for hypertable in self.hypertables]
        raise SpecError("metrics/hypertables.yml", f"no hypertable `{name}`", _hint(name, names) or f"it has {names}")

    @model_validator(mode="after")
    def _distinct(self) -> "Spec":
        names = [name for table in self.hypertables for name in (table.name, *table.rollup_names.values())]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"the name {twice[0]} is used by two hypertables or roll-ups")
        return self


def read(path: Path = DECLARATION) -> Spec:
    """The declaration in `path`; SpecError names file, hypertable, key and what would be right."""
    try:
        said = yaml.load(path.read_text("utf-8"), Loader=_Strict)  # noqa: S506 - a SafeLoader that refuses doubles
    except OSError as error:
        raise SpecError(str(path), f"cannot be read ({error.strerror})", "check the path") from None
    except yaml.YAMLError as error:
        raise SpecError(str(path), f"is not YAML ({' '.join(str(error).split())})", "mend the syntax") from None
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


class _Strict(yaml.SafeLoader):
    """YAML in which a key that stands twice is an error instead of a silent overwrite."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for position, key in enumerate(keys):
            if key in keys[:position]:
                raise yaml.YAMLError(
                    f"the key `{key}` stands twice, line {node.value[position][0].start_mark.line + 1}"
                )
        return super().construct_mapping(node, deep)


def _problems(table: Hypertable) -> Iterator[str]:
    if table.time not in table.columns or table.columns[table.time].type != "timestamptz":
        yield f"time: `{table.time}` must be one of the columns, of type timestamptz"
    if table.time not in table.key:
        yield f"key: must contain the time column `{table.time}`"
    named = {"key": table.key, "segment_by": table.segment_by, "indexes": tuple(c for i in table.indexes for c in i)}
    if table.rollups:
        named |= {"rollups.by": table.rollups.by, "rollups.measures": tuple(table.rollups.measures)}
    for where, columns in named.items():
        for column in columns:
            if column not in table.columns:
                yield f"{where}: `{column}` is not a column; {_hint(column, table.columns) or 'declare it in columns'}"
    if reserved := _RESERVED & set(table.columns):
        yield f"columns: `{min(reserved)}` is the name of a roll-up's own column; choose another"
    yield from _rollup_problems(table)


def _rollup_problems(table: Hypertable) -> Iterator[str]:
    if not table.rollups:
        return
    for column, measures in table.rollups.measures.items():
        if not ADDED.isdisjoint(measures) and not table.columns[column].is_number:
            yield f"rollups.measures: `{column}` is {table.columns[column].type}; avg and sum need a number"
        if "count_true" in measures and table.columns[column].type != "boolean":
            yield f"rollups.measures: count_true needs a boolean, `{column}` is {table.columns[column].type}"
    for bucket, kept in table.rollups.every.items():
        if kept.drop_after < table.drop_after:
            yield f"rollups.every.{bucket}: drop_after is shorter than the drop_after of the rows it sums up"
        # A bucket that lies in two chunks would be summed up anew from the half that retention has left.
        if table.chunk_interval % BUCKETS[bucket]:
            yield f"chunk_interval: must be a multiple of the roll-up {bucket}"


def _refuse(path: Path, said: Any, error: ErrorDetails) -> NoReturn:
    where, keys = [str(path)], list(error["loc"])
    if keys[:1] == ["hypertables"] and len(keys) > 1 and isinstance(keys[1], int):
        table = said["hypertables"][keys[1]]
        where.append(f"hypertable {table.get('name', keys[1]) if isinstance(table, dict) else keys[1]}")
        keys = keys[2:]
    key = ".".join(str(part) for part in keys if part != "[key]")
    if error["type"] == "extra_forbidden":
        model = _model_at(keys[:-1] if len(where) > 1 else None)
        hint = _hint(str(keys[-1]), model.model_fields)
        raise SpecError(", ".join(where), f"unknown key `{key}`", hint or f"known are {', '.join(model.model_fields)}")
    what = error["msg"].removeprefix("Value error, ")
    if error["type"] == "missing":
        raise SpecError(", ".join(where), f"the key `{key}` is missing", "add it")
    if error["type"] == "literal_error":
        choices = [*get_args(Bucket), *get_args(Measure)]
        raise SpecError(
            ", ".join(where),
            f"{key}: `{error['input']}`: {what}",
            _hint(str(error["input"]), choices) or "choose one of these",
        )
    what, _, mend = what.partition("; ")
    if error["type"] == "string_pattern_mismatch":
        what = f"`{error['input']}` is not allowed here"
        mend = _pattern_hint(str(keys[-1]), str(error["input"]))
    raise SpecError(", ".join(where), f"{key}: {what}" if key else what, mend or "correct it")


def _pattern_hint(key: str, value: str) -> str:
    if key != "type":
        return "names are lower case letters, digits and `_`"
    types = ["timestamptz", "bigint", "integer", "double precision", "boolean", "text", "numeric(18,2)"]
    return _hint(value, types) or f"types are {', '.join(types)}"


def _model_at(keys: list[int | str] | None) -> type[BaseModel]:
    if keys is None:
        return Spec
    nested: dict[str, type[BaseModel]] = {"columns": Column, "rollups": Rollups}
    if keys[:2] == ["rollups", "every"]:
        return Kept
    return nested.get(str(keys[0]), Hypertable) if keys else Hypertable


def _hint(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, [str(one) for one in known], n=1)
    return f'did you mean "{near[0]}"?' if near else ""
