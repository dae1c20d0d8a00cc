"""A dropped file as columns of text or of Arrow types, by its format; and the types that its columns have."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import duckdb
import pyarrow as pa

from ingestion.connectors import csv_text, file_text, fitting, json_text, text_types
from ingestion.connectors.file_listing import Dropped, Place
from ingestion.connectors.file_names import Names
from lake import kinds
from lake.errors import PermanentError, SpecError

if TYPE_CHECKING:
    from ingestion.spec import FileFormat

Format = Literal["csv", "json", "parquet"]
ENDINGS: dict[str, Format] = {
    "csv": "csv", "tsv": "csv", "txt": "csv", "psv": "csv",
    "json": "json", "ndjson": "json", "jsonl": "json", "parquet": "parquet", "pq": "parquet",
}  # fmt: skip
TIMES = ("DATE", "TIMESTAMP", text_types.TIMESTAMPTZ)
LINE = "line"
BATCH_ROWS = 50_000


@dataclass
class Learnt:
    """What is known of a table's columns so far: DuckDB types, None while no value was seen."""

    kinds: dict[str, str | None] = field(default_factory=dict)
    structures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Opened:
    """One file in its format; `names` are shared by all files of a table, `dropped` columns never leave it."""

    where: str
    place: Place
    file: Dropped
    files: FileFormat
    names: Names
    dropped: frozenset[str]
    connection: duckdb.DuckDBPyConnection

    @property
    def format(self) -> Format:
        """As declared, else by the name's ending."""
        if self.files.format:
            return self.files.format
        plain = re.sub(r"\.(?:gz|gzip|zst|zstd|bz2|lz4)$", "", self.file.path.lower())
        found = ENDINGS.get(plain.rpartition(".")[2])
        if found is None:
            raise SpecError(self.where, "the name does not tell the format", "declare `files: {format: csv}`")
        return found

    def parts(self, groups: tuple[int, int] | None = None) -> Iterator[pa.Table]:
        """The rows in tables of some thousand: columns by their names, `_row`, and for text `_ragged`.

        `groups` are the first and the last but one of the row groups of a Parquet file, all without.
        """
        if self.format == "parquet":
            yield from self._parquet(groups)
        elif self.format == "json":
            yield from self._json()
        else:
            yield from self._csv()

    def row_groups(self) -> list[int]:
        """The rows in each row group of a Parquet file; empty for other formats."""
        if self.format != "parquet":
            return []
        with self._parquet_file() as parquet:
            return [parquet.metadata.row_group(number).num_rows for number in range(parquet.num_row_groups)]

    def learn(self, learnt: Learnt, fixed: frozenset[str]) -> None:
        """Add what this file says of its columns' types; `fixed` ones are known and not looked at."""
        if self.format == "parquet":
            self._learn_schema(learnt, fixed)
        elif self.format == "json":
            self._learn_structure(learnt, fixed)
        else:
            self._learn_texts(learnt, fixed)

    def _csv(self) -> Iterator[pa.Table]:
        header = self._header()
        names = self.names.of(header.names)
        for part in csv_text.batches(self.where, self._text(csv_text.END), header, self.files.null):
            yield part.rename_columns([*names, "_row", "_ragged"]).drop_columns([n for n in names if n in self.dropped])

    def _header(self) -> csv_text.Header:
        with self._text(csv_text.END) as stream:
            return csv_text.header(stream, self.files.delimiter)

    def _text(self, ending: bytes = b"\n") -> io.BufferedReader:
        return file_text.opened(self.where, self.place.open(self.file), self.files.encoding, ending)

    def _learn_texts(self, learnt: Learnt, fixed: frozenset[str]) -> None:
        columns = [name for name in self.names.of(self._header().names) if name not in self.dropped]
        for name in columns:
            learnt.kinds.setdefault(name, None)
        open_ones = [name for name in columns if name not in fixed]
        if open_ones:
            for part in self._csv():
                self._learn_part(part, learnt, open_ones)

    def _learn_part(self, part: pa.Table, learnt: Learnt, columns: list[str]) -> None:
        self.connection.register(LINE, part)
        before = {name: learnt.kinds.get(name) for name in columns}
        learnt.kinds |= text_types.found(self.connection, LINE, before, self.files.null)

    def _json(self) -> Iterator[pa.Table]:
        for part, keys, _ in self._lines():
            self.connection.register(LINE, part)
            yield json_text.columns(self.connection, LINE, keys)

    def _lines(self) -> Iterator[tuple[pa.Table, dict[str, str], dict[str, Any]]]:
        """Lines, the columns of all keys up to there, and what the objects of these lines are made of."""
        keys: dict[str, str] = {}
        for part in json_text.lines(self.where, self._text(), self.connection):
            self.connection.register(LINE, part)
            of = json_text.structure(self.connection, LINE)
            keys |= dict.fromkeys(of, "")
            named = zip(keys, self.names.of(list(keys)), strict=True)
            yield part, {key: name for key, name in named if name not in self.dropped}, of

    def _learn_structure(self, learnt: Learnt, fixed: frozenset[str]) -> None:
        seen: dict[str, Any] = {}
        for part, keys, of in self._lines():
            self.connection.register(LINE, part)
            for key, name in keys.items():
                learnt.kinds.setdefault(name, None)
                seen[name] = json_text.joined(seen.get(name, "NULL"), of.get(key, "NULL"))
            texts = json_text.columns(self.connection, LINE, keys)
            self._learn_part(texts, learnt, [name for name in keys.values() if name not in fixed])
        for name, of in seen.items():
            if name not in fixed:
                learnt.structures[name] = json_text.joined(learnt.structures.get(name, "NULL"), of)
                learnt.kinds[name] = _of_structure(learnt.structures[name], learnt.kinds[name])

    def _parquet(self, groups: tuple[int, int] | None) -> Iterator[pa.Table]:
        with self._parquet_file() as parquet:
            rows = [parquet.metadata.row_group(number).num_rows for number in range(parquet.num_row_groups)]
            first, last = groups or (0, len(rows))
            number = sum(rows[:first]) + 1
            names = self.names.of(parquet.schema_arrow.names)
            for batch in parquet.iter_batches(BATCH_ROWS, row_groups=list(range(first, last))):
                part = pa.Table.from_batches([batch]).rename_columns(names)
                part = fitting.typed(part.drop_columns([name for name in names if name in self.dropped]))
                numbers = pa.array(range(number, number + batch.num_rows), pa.int64())
                number += batch.num_rows
                yield part.append_column("_row", numbers)

    def _parquet_file(self) -> Any:
        import pyarrow.parquet

        try:
            return pyarrow.parquet.ParquetFile(self.place.open(self.file))
        except (pa.ArrowInvalid, OSError) as error:
            what = f"is no whole Parquet file ({str(error).splitlines()[0][:80]})"
            raise PermanentError(self.where, what, "drop it again, whole, or take it away") from None

    def _learn_schema(self, learnt: Learnt, fixed: frozenset[str]) -> None:
        with self._parquet_file() as parquet:
            empty = parquet.schema_arrow.empty_table()
        names = self.names.of(empty.column_names)
        self.connection.register(LINE, fitting.typed(empty.rename_columns(names)))
        unknown = {name for name, entry in zip(names, empty.schema, strict=True) if pa.types.is_null(entry.type)}
        for name, kind, *_ in self.connection.execute(f"DESCRIBE {LINE}").fetchall():
            if name in self.dropped:
                continue
            before = learnt.kinds.setdefault(name, None)
            if name not in fixed and name not in unknown:
                kind = fitting.lasting(str(kind))
                learnt.kinds[name] = kind if before is None else wider(self.connection, before, kind)


def wider(connection: duckdb.DuckDBPyConnection, one: str, other: str) -> str:
    """A DuckDB type that holds the values of both without loss; text if there is no other."""
    if one == other:
        return one
    schema = fitting.schema(connection, {"one": one, "other": other})
    both = kinds.widest(*(kinds.stored(entry.type) for entry in schema))
    names = {"TIMESTAMPTZ": text_types.TIMESTAMPTZ}
    return text_types.TEXT if both is None else names.get(kinds.sql(both), kinds.sql(both))


def _of_structure(of: Any, text: str | None) -> str | None:
    """The type of a JSON value at the top of its object; `text` is what its texts look like."""
    if of == "NULL":
        return None
    if of in ("UBIGINT", "BIGINT", "DOUBLE"):
        return text if text in ("BIGINT", "DOUBLE") else text_types.TEXT
    if of == "VARCHAR":  # a number or truth in quotes is a text
        return text if text in TIMES else text_types.TEXT
    return json_text.nested(of)
