"""What a source file may say: `ingestion/sources/*.yml` as frozen models, with errors that name file, table and key."""

import datetime
import difflib
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from ingestion.expectations import registry
from lake.errors import SpecError

SOURCES = Path(__file__).parent / "sources"
NAME = re.compile(r"[a-z][a-z0-9_]*")
PLATFORM_COLUMNS = {"year", "month", "day"}


def _name(value: str) -> str:
    if not NAME.fullmatch(value):
        raise ValueError(f"{value!r} is no name; use lower-case letters, digits and _, starting with a letter")
    return value


Name = Annotated[str, AfterValidator(_name)]
ContractWord = Literal["evolve", "freeze", "discard_value", "discard_row"]


class Declared(BaseModel):
    """Frozen; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Column(Declared):
    """One column: `type` only where inference would get it wrong, `description` for people."""

    type: str | None = None
    description: str = ""


class Partition(Declared):
    """`day(column)`: the lake partition of processed/ and the Dagster partition, in UTC days."""

    column: str
    grain: Literal["day"] = "day"


class Contract(Declared):
    """What happens to new columns and to changed types."""

    columns: Literal["evolve", "freeze"] = "evolve"
    types: Literal["freeze"] = "freeze"


def _partition(value: Any) -> Any:
    if isinstance(value, str):
        match = re.fullmatch(r"(\w+)\((\w+)\)", value)
        if not match:
            raise ValueError(f"{value!r} is no partition; write day(column)")
        return {"grain": match[1], "column": match[2]}
    return value


def _columns(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: {"type": column} if isinstance(column, str) else column for name, column in value.items()}
    return value


class Table(Declared):
    """One table of a source: how it is read, keyed, partitioned, checked and protected."""

    name: Name
    description: str = ""
    key: tuple[str, ...] = Field(min_length=1)
    load: Literal["replace", "append", "merge"] = "merge"
    cursor: str | None = None
    lookback: datetime.timedelta = datetime.timedelta()
    partition: Annotated[Partition | None, BeforeValidator(_partition)] = None
    deletes: Literal["ignore", "sweep"] = "ignore"
    history: bool = False
    contract: Contract = Contract()
    drop: tuple[str, ...] = ()
    mask: dict[str, Literal["sha256"]] = {}
    columns: Annotated[dict[str, Column], BeforeValidator(_columns)] = {}
    expect: tuple[dict[str, dict[str, Any]], ...] = ()
    owner: str | None = None

    @model_validator(mode="after")
    def _coherent(self) -> "Table":
        if self.load != "replace" and not self.cursor:
            raise ValueError(f"load: {self.load} needs a cursor; name the column that grows with each change")
        if self.history and not self.cursor:
            raise ValueError("history: true needs a cursor; name the column that dates a version")
        if kept := set(self.drop) & ({*self.key, self.cursor} | ({self.partition.column} if self.partition else set())):
            raise ValueError(f"drop names {sorted(kept)[0]!r}, which is the key, cursor or partition; keep it")
        if taken := PLATFORM_COLUMNS & set(self.columns):
            raise ValueError(f"columns names {sorted(taken)[0]!r}, a partition column of the lake; rename it in a view")
        return self


class Source(Declared):
    """One operational system: its connector, the name of the variable with its connection, and its tables."""

    name: Name
    connector: Literal["postgres"]
    connection: Annotated[str, Field(pattern="^[A-Z][A-Z0-9_]*$")]
    schema_: str = Field("public", alias="schema")
    owner: str = "team:data"
    description: str = ""
    first_day: datetime.date = datetime.date(2025, 1, 1)
    freshness_hours: int = 36
    statement_timeout_s: int = 600
    tables: tuple[Table, ...] = Field(min_length=1)

    def table(self, name: str) -> Table:
        """The table called `name`; raises SpecError if it is not declared."""
        for table in self.tables:
            if table.name == name:
                return table
        raise SpecError(self.name, f"no table {name!r} is declared", _did_you_mean(name, [t.name for t in self.tables]))


def sources(folder: Path = SOURCES) -> tuple[Source, ...]:
    """All sources declared in `folder`, by name. Raises SpecError naming file, table and key."""
    return tuple(source(path) for path in sorted(folder.glob("*.yml")))


def source(path: Path) -> Source:
    """The source declared in one file; its name is the file's."""
    where = str(path.relative_to(path.parent.parent.parent)) if len(path.parts) > 3 else str(path)
    try:
        text = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise SpecError(where, f"no YAML: {str(error).splitlines()[0]}", "mend the file") from None
    except OSError as error:
        raise SpecError(where, f"cannot be read ({error.strerror})", "mend the path") from None
    if not isinstance(text, dict):
        raise SpecError(where, "is empty", "declare connector, connection and tables")
    try:
        declared = Source.model_validate({"name": path.stem, **text})
    except ValidationError as error:
        raise _explained(where, text, error) from None
    _reject_twins(where, declared)
    for table in declared.tables:
        for item in table.expect:
            registry.check(f"{where}, table {table.name}", item)
    return declared


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a source file, for editors."""
    schema = Source.model_json_schema()
    schema["required"] = [name for name in schema["required"] if name != "name"]
    return schema


def _reject_twins(where: str, declared: Source) -> None:
    seen: set[str] = set()
    for name in (table.name for table in declared.tables):
        if name in seen:
            raise SpecError(f"{where}, table {name}", "is declared twice", "keep one")
        seen.add(name)


def _explained(where: str, text: dict[str, Any], error: ValidationError) -> SpecError:
    first = error.errors()[0]
    place, model = [where], Source
    location = list(first["loc"])
    if len(location) > 1 and location[0] == "tables" and isinstance(location[1], int):
        stanza = text["tables"][location[1]]
        place.append(f"table {stanza.get('name', location[1]) if isinstance(stanza, dict) else location[1]}")
        location, model = location[2:], Table  # type: ignore[assignment]
    key = ".".join(str(part) for part in location)
    if first["type"] == "extra_forbidden":
        known = [field.alias or name for name, field in model.model_fields.items()]
        parent = len(location) == 1
        mend = _did_you_mean(str(location[-1]), known if parent else [])
        return SpecError(", ".join(place), f'unknown key "{location[-1]}"', mend)
    if first["type"] == "missing":
        return SpecError(", ".join(place), f'"{key}" is missing', f"add {key}:")
    message = first["msg"].removeprefix("Value error, ")
    if "; " in message:
        what, mend = message.split("; ", 1)
        return SpecError(", ".join(place), f"{key}: {what}" if key else what, mend)
    return SpecError(", ".join(place), f'"{key}" is {first["input"]!r}', message[0].lower() + message[1:])


def _did_you_mean(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f'did you mean "{close[0]}"?' if close else f"known are: {', '.join(known)}" if known else "remove it"
