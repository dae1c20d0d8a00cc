"""What a source file may say: `ingestion/sources/*.yml` as frozen models, with errors that name file, table and key."""

import codecs
import datetime
import difflib
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from ingestion.expectations import registry
from lake.errors import SpecError

SOURCES = Path(__file__).parent / "sources"
TYPE = r"^(?:text|decimal\((\d{1,2}), ?(\d{1,2})\)|bigint|double|boolean|date|timestamp|timestamptz)$"
NAME = re.compile(r"[a-z][a-z0-9_]*")
PLATFORM_COLUMNS = {"year", "month", "day"}
FILE_KEY = ("_file", "_row")
MENDS = {"connection": "name an environment variable (capitals, digits, _), never the connection itself"}


def _name(value: str) -> str:
    if not NAME.fullmatch(value):
        raise ValueError(f"{value!r} is no name; use lower-case letters, digits and _, starting with a letter")
    return value


PartitionText = Annotated[str, Field(pattern=r"^day\(\w+\)$")]
Name = Annotated[str, AfterValidator(_name)]
VARIABLE = "^[A-Z][A-Z0-9_]*$"
ContractWord = Literal["evolve", "freeze", "discard_value", "discard_row"]


class Declared(BaseModel):
    """Frozen; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _type(value: str) -> str:
    match = re.fullmatch(TYPE, value)
    if not match or (match[1] and not int(match[2]) <= int(match[1]) <= 38):
        known = "write text or decimal(precision, scale) with up to 38 digits"
        raise ValueError(
            f"type {value!r} is unknown; {known}; for files and python also bigint, double, boolean, date, timestamp "
            "or timestamptz"
        )
    return value


ColumnType = Annotated[str, AfterValidator(_type), Field(json_schema_extra={"pattern": TYPE})]


class Column(Declared):
    """One column: `type` only where inference would get it wrong, `description` for people.

    `from` is the column's name at the source where that is another one than the lake's; everything else in the source
    file names the lake's.

    Types: text, decimal(p, s); where the source has no types (files, python) also bigint, double, boolean, date,
    timestamp (no zone), timestamptz.
    """

    type: ColumnType | None = None
    from_: str | None = Field(default=None, alias="from", min_length=1)
    description: str = ""


class Partition(Declared):
    """`day(column)`: the lake partition of processed/ and the Dagster partition, in UTC days."""

    column: str
    grain: Literal["day"] = "day"


class Contract(Declared):
    """What happens to new columns and to changed types."""

    columns: ContractWord = "evolve"
    types: ContractWord = "freeze"


class Replica(Declared):
    """A copy of the source to read from: the variable with its connection, and how far it may lie behind."""

    dsn: Annotated[str, Field(pattern=VARIABLE)]
    max_lag_s: float = Field(60, gt=0)
    when_behind: Literal["primary", "wait"] = "primary"


class Shop(Declared):
    """What the marts must know of a source that they can be built from.

    `ids` is the type of its numbers of orders, customers and articles; `holidays` the country whose holidays its
    calendar marks (ISO 3166-1 alpha-2); `clock` the instant at which a shop whose data have an end stands still.
    """

    ids: Literal["bigint", "text"] = "bigint"
    holidays: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] = "US"
    clock: datetime.datetime | None = None

    @model_validator(mode="after")
    def _zoned(self) -> "Shop":
        if self.clock and self.clock.tzinfo is None:
            raise ValueError("clock has no time zone; write it as 2018-10-18T12:00:00Z")
        return self


def _shop(value: Any) -> Any:
    return {} if value is True else value or None


def _pattern(value: str) -> str:
    if not value or value.startswith("/") or ".." in value.split("/"):
        raise ValueError(f"{value!r} leads out of the source's folder; write a path below it, e.g. trips/*.csv.gz")
    return value


def _encoding(value: str) -> str:
    try:
        return codecs.lookup(value).name
    except LookupError:
        raise ValueError(f"encoding {value!r} is unknown; write utf-8, utf-16, cp1252, ...") from None


class FileFormat(Declared):
    """How dropped files are read: `path` is a pattern below the source's folder; what is not said is found out.

    `null` lists the texts that mean NULL when they stand without quotes. A file in a folder that was written less than
    `settle_s` seconds ago is left for the next load; objects of a bucket are whole from the start.
    """

    path: Annotated[str, AfterValidator(_pattern)]
    format: Literal["csv", "json", "parquet"] | None = None
    encoding: Annotated[str, AfterValidator(_encoding)] | None = None
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    null: tuple[str, ...] = ("",)
    settle_s: float = Field(5, ge=0)


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
    partition: Annotated[
        Partition | None, BeforeValidator(_partition, json_schema_input_type=Partition | PartitionText | None)
    ] = None
    deletes: Literal["ignore", "sweep"] = "ignore"
    snapshot: Literal["consistent", "loose"] = "consistent"
    history: bool = False
    files: FileFormat | None = None
    function: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")] | None = None
    contract: Contract = Contract()
    drop: tuple[str, ...] = ()
    mask: dict[str, Literal["sha256"]] = {}
    columns: Annotated[
        dict[str, Column], BeforeValidator(_columns, json_schema_input_type=dict[str, Column | ColumnType])
    ] = {}
    expect: tuple[dict[str, dict[str, Any]], ...] = ()
    owner: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _keyed(cls, data: Any) -> Any:
        """Rows of files have a key by nature: the file and their number in it."""
        if isinstance(data, dict) and data.get("files") and "key" not in data:
            return {**data, "key": FILE_KEY}
        return data

    @model_validator(mode="after")
    def _coherent(self) -> "Table":
        # Of files it is known which were taken: they need no cursor.
        if self.load != "replace" and not self.cursor and not self.files:
            raise ValueError(f"load: {self.load} needs a cursor; name the column that grows with each change")
        if self.history and not self.cursor:
            raise ValueError("history: true needs a cursor; name the column that dates a version")
        if kept := set(self.drop) & ({*self.key, self.cursor} | ({self.partition.column} if self.partition else set())):
            raise ValueError(f"drop names {sorted(kept)[0]!r}, which is the key, cursor or partition; keep it")
        if masked := set(self.mask) & ({self.cursor} | ({self.partition.column} if self.partition else set())):
            raise ValueError(f"mask names {sorted(masked)[0]!r}, which is the cursor or partition; take it out")
        if taken := PLATFORM_COLUMNS & set(self.columns):
            raise ValueError(
                f"columns names {sorted(taken)[0]!r}, a partition column of the lake; give it another name, with "
                f"`from: {sorted(taken)[0]}`"
            )
        self._taken_once()
        return self

    def _taken_once(self) -> None:
        """Refuse a column of the source that becomes two of the lake, or that is still called by its old name."""
        lake: dict[str, str] = {}
        for name, old in self.renamed.items():
            if (other := lake.setdefault(old, name)) != name:
                raise ValueError(f"columns takes both {other!r} and {name!r} from {old!r}; keep one")
        timed = [self.cursor, self.partition.column if self.partition else None]
        for named in (*self.key, *timed, *self.drop, *self.mask, *self.columns):
            if (new := lake.get(named or "")) and named not in self.renamed:
                raise ValueError(f"{named!r} is called {new!r} in the lake; write {new} in its place")

    @property
    def renamed(self) -> dict[str, str]:
        """Columns whose name at the source is another one: name in the lake → name at the source."""
        return {name: it.from_ for name, it in self.columns.items() if it.from_ and it.from_ != name}


class Source(Declared):
    """One operational system: its connector, the name of the variable with its connection, and its tables."""

    name: Name
    connector: Literal["postgres", "mysql", "files", "python"]
    connection: Annotated[str, Field(pattern=VARIABLE)]
    shards: tuple[Annotated[str, Field(pattern=VARIABLE)], ...] = ()
    replica: Replica | None = None
    schema_: str = Field("public", alias="schema")
    owner: str = "team:data"
    description: str = ""
    shop: Annotated[Shop | None, BeforeValidator(_shop, json_schema_input_type=Shop | bool | None)] = None
    first_day: datetime.date = datetime.date(2025, 1, 1)
    freshness_hours: int = 36
    statement_timeout_s: int = Field(600, gt=0)
    max_connections: int = Field(2, gt=0, le=32)
    max_rows_per_s: int | None = Field(None, gt=0)
    tables: tuple[Table, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _fitting(self) -> "Source":
        """Each table says what its connector must know, and nothing that it does not understand."""
        needed = {"files": "files", "python": "function"}.get(self.connector)
        for table in self.tables:
            for key, mend in (("files", "files: {path: ...}"), ("function", "function: package.module:name")):
                if (getattr(table, key) is None) == (key == needed):
                    what = f"needs `{mend}`" if key == needed else f"understands no `{key}:`"
                    raise ValueError(
                        f"table {table.name}: connector {self.connector} {what}; "
                        + ("add it" if key == needed else "take it out")
                    )
            for name, column in table.columns.items():
                if not needed and column.type and not column.type.startswith(("text", "decimal")):
                    raise ValueError(
                        f"table {table.name}: column {name} is {column.type} by declaration, which a database says "
                        "itself; declare text or decimal(p, s), or leave it out"
                    )
        return self

    def table(self, name: str) -> Table:
        """The table called `name`; raises SpecError if it is not declared."""
        for table in self.tables:
            if table.name == name:
                return table
        raise SpecError(self.name, f'no table "{name}" is declared', _did_you_mean(name, [t.name for t in self.tables]))


def sources(folder: Path | None = None) -> tuple[Source, ...]:
    """The sources in use: of those declared, all but the shops that SHOP_SOURCE (`shop` by default) does not name.

    Raises SpecError naming file, table and key.
    """
    shop = os.environ.get("SHOP_SOURCE") or "shop"
    return tuple(one for one in declared(folder) if not one.shop or one.name == shop)


def declared(folder: Path | None = None) -> tuple[Source, ...]:
    """All sources declared in `folder` (or WATERSHED_SOURCES, or this package's own), by name.

    Raises SpecError naming file, table and key.
    """
    folder = folder or Path(os.environ.get("WATERSHED_SOURCES") or SOURCES)
    found: dict[str, Path] = {}
    declared = []
    for path in sorted([*folder.glob("*.yml"), *folder.glob("*.yaml")]):
        one = source(path)
        if one.name in found:
            mend = f"give it another `name:`, or put its tables into {found[one.name].name}"
            raise SpecError(_where(path), f"source {one.name} is declared in {found[one.name].name} already", mend)
        found[one.name] = path
        declared.append(one)
    return tuple(declared)


def source(path: Path) -> Source:
    """The source declared in one file; its name is the file's."""
    where = _where(path)
    try:
        text = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise _no_yaml(where, error) from None
    except UnicodeDecodeError:
        raise SpecError(where, "is no text in UTF-8", "save it as UTF-8") from None
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


def _where(path: Path) -> str:
    return str(path.relative_to(path.parent.parent.parent)) if len(path.parts) > 3 else str(path)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a source file, for editors."""
    schema = Source.model_json_schema()
    schema["required"] = [name for name in schema["required"] if name != "name"]
    table = schema["$defs"]["Table"]
    table["required"].remove("key")
    table["anyOf"] = [{"required": ["key"]}, {"required": ["files"]}]
    return schema


def _no_yaml(where: str, error: yaml.YAMLError) -> SpecError:
    mark = getattr(error, "problem_mark", None)
    place = f"{where}, line {mark.line + 1}" if mark else where
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return SpecError(place, f"no YAML: {problem}", "mend the line")


def _reject_twins(where: str, declared: Source) -> None:
    seen: set[str] = set()
    for name in (table.name for table in declared.tables):
        if name in seen:
            raise SpecError(f"{where}, table {name}", "is declared twice", "keep one")
        seen.add(name)
    for table in declared.tables:
        if table.history and f"{table.name}_history" in seen:
            what = f"its history would be called {table.name}_history, which is declared as a table of its own"
            raise SpecError(f"{where}, table {table.name}", what, "take out `history: true`, or the other table")


def _explained(where: str, text: dict[str, Any], error: ValidationError) -> SpecError:
    first = error.errors()[0]
    location = [part for part in first["loc"] if part != "[key]"]
    place, keys = _place(where, text, location)
    key = ".".join(str(part) for part in keys)
    if first["type"] == "extra_forbidden":
        return SpecError(place, f'unknown key "{key}"', _did_you_mean(str(keys[-1]), _known(location)))
    if first["type"] == "missing":
        return SpecError(place, f'"{key}" is missing', f"add {keys[-1]}:")
    message = first["msg"].removeprefix("Value error, ")
    if "; " in message:
        what, mend = message.split("; ", 1)
        return SpecError(place, f"{key}: {what}" if key else what, mend)
    return SpecError(place, f'"{key}" is {_shown(first["input"])}', MENDS.get(key) or message[0].lower() + message[1:])


def _place(where: str, text: dict[str, Any], location: list[Any]) -> tuple[str, list[Any]]:
    """The file and, if the error lies in one, the table; and what remains of `location`."""
    if len(location) > 1 and location[0] == "tables" and isinstance(location[1], int):
        stanza = text["tables"][location[1]]
        name = stanza.get("name") if isinstance(stanza, dict) else None
        return f"{where}, table {name or f'number {location[1] + 1}'}", location[2:]
    return where, location


def _known(location: list[Any]) -> list[str]:
    """The keys that are allowed beside the last one of `location`."""
    inside: dict[Any, type[Declared]] = {"contract": Contract, "partition": Partition, "columns": Column, "shop": Shop}
    nested = [inside[part] for part in location[:-1] if part in inside]
    model = nested[-1] if nested else Table if location[0] == "tables" else Source
    return [field.alias or name for name, field in model.model_fields.items()]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _did_you_mean(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f'did you mean "{close[0]}"?' if close else f"known are: {', '.join(known)}" if known else "remove it"
