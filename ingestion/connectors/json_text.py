"""JSON as columns of text: one object a line, or objects in an array or over many lines; and what types they nest.

A column's text is the string itself, or the JSON of any other value.
"""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.types as is_

from lake.duck import literal, quoted
from lake.errors import PermanentError

BLOCK = 4 << 20
OBJECT_BYTES = 16 << 20  # DuckDB takes a few times as much per thread
MANY_KEYS = 100  # an object with more keys is a dictionary, not a record: its JSON is kept as text
# An empty object has no structure of its own.
STRUCTURE = r"json_structure(regexp_replace({0}, '\{{\s*\}}', 'null', 'g'))::VARCHAR"
# Of a value within a record; a number of 19 and more digits may fit no type, so it counts as one that does not.
LONG_NUMBER = r"(^|[:\[,\s])-?[0-9.]{19,}".replace("{", "{{").replace("}", "}}")
VALUE = (
    "CASE WHEN {0} IS NULL THEN '\"NULL\"' WHEN NOT json_valid({0}) THEN '\"VARCHAR\"' "
    f"WHEN regexp_matches({{0}}, '{LONG_NUMBER}') THEN '\"JSON\"' ELSE {STRUCTURE} END"
)


def lines(where: str, stream: io.BufferedReader, connection: duckdb.DuckDBPyConnection) -> Iterator[pa.Table]:
    """The values of a stream of UTF-8: `line` (the JSON of one value) and `_row` (from 1)."""
    start = stream.peek(1 << 16).lstrip()[:4].split(b"\n")[0].strip()
    source = _objects(where, stream, connection) if start[:1] == b"[" or start == b"{" else _lines(where, stream)
    number = 0
    for values in source:
        numbers = pa.array(range(number + 1, number + 1 + len(values)), pa.int64())
        number += len(values)
        yield pa.table({"line": values, "_row": numbers})


def _lines(where: str, stream: io.BufferedReader) -> Iterator[pa.Array]:
    rest = b""
    while block := stream.read(BLOCK):
        rest, *_ = (parts := (rest + block).rpartition(b"\n"))[2:]
        whole = [line for line in parts[0].split(b"\n") if line and not line.isspace()]
        if whole:
            yield pa.array(whole, pa.binary()).cast(pa.string())
        if len(rest) > OBJECT_BYTES:
            raise PermanentError(where, "has a line of more than 64 MB", "mend the file and drop it again")
    if rest.strip():
        yield pa.array([rest], pa.binary()).cast(pa.string())


def _objects(where: str, stream: io.BufferedReader, connection: duckdb.DuckDBPyConnection) -> Iterator[pa.Array]:
    """What is no line-by-line JSON is put down as a plain file, which DuckDB reads in bounded memory."""
    with tempfile.NamedTemporaryFile(suffix=".json") as plain:
        shutil.copyfileobj(stream, plain, BLOCK)
        plain.flush()
        query = (
            f"SELECT json::VARCHAR FROM read_json_objects({literal(plain.name)}, maximum_object_size={OBJECT_BYTES})"
        )
        try:
            for batch in connection.cursor().execute(query).to_arrow_reader(20_000):
                yield batch.column(0)
        except duckdb.OutOfMemoryException:
            what = f"has an object of more than {OBJECT_BYTES >> 20} MB"
            raise PermanentError(where, what, "write one object a line (NDJSON)") from None
        except duckdb.Error:
            raise PermanentError(where, "is no JSON", "mend the file and drop it again, or take it away") from None


def columns(connection: duckdb.DuckDBPyConnection, part: str, keys: Mapping[str, str]) -> pa.Table:
    """The lines of `part` as text columns (`keys`: key → column), `_row`, and `_ragged`: a line that is no object."""
    spec = literal(json.dumps(dict.fromkeys(keys, "VARCHAR")))
    is_object = "CASE WHEN json_valid(line) THEN json_type(line) = 'OBJECT' ELSE FALSE END"
    values = f"json_transform(line, {spec})" if keys else "NULL"
    chosen = "".join(f"s.{quoted(key)} AS {quoted(column)}, " for key, column in keys.items())
    return connection.execute(
        f"""SELECT {chosen}_row, CASE WHEN NOT o THEN line END AS _ragged FROM (
            SELECT _row, line, o, CASE WHEN o THEN {values} END AS s FROM (SELECT *, {is_object} AS o FROM {part}))"""
    ).to_arrow_table()


def structure(connection: duckdb.DuckDBPyConnection, part: str) -> dict[str, Any]:
    """What the objects of `part` are made of, in DuckDB's words: key → type name, object or list of one."""
    rows = connection.execute(
        f"""SELECT {STRUCTURE.format("line")}, min(_row) FROM {part}
            WHERE CASE WHEN json_valid(line) THEN json_type(line) = 'OBJECT' ELSE FALSE END
            GROUP BY 1 ORDER BY 2"""  # keys in the order in which they first appear, whatever the threads do
    ).fetchall()
    merged: Any = "NULL"
    for text, _ in rows:
        merged = joined(merged, json.loads(text))
    return merged if isinstance(merged, dict) else {}


def joined(one: Any, other: Any) -> Any:
    """The structure of values of both structures; `JSON` if they have nothing in common."""
    if one == other or other == "NULL":
        return one
    if one == "NULL":
        return other
    if isinstance(one, dict) and isinstance(other, dict):
        return {key: joined(one.get(key, "NULL"), other.get(key, "NULL")) for key in {**one, **other}}
    if isinstance(one, list) and isinstance(other, list):
        return [joined(one[0], other[0])]
    numbers = {"UBIGINT": 0, "BIGINT": 1, "DOUBLE": 2}
    if isinstance(one, str) and isinstance(other, str) and {one, other} <= set(numbers):
        return max(one, other, key=numbers.__getitem__)
    return "JSON"


def nested(of: Any) -> str:
    """The DuckDB type of a structure within another."""
    if isinstance(of, list):
        return f"{nested(of[0])}[]"
    if isinstance(of, dict):
        distinct = {key.casefold() for key in of}
        if not of or len(of) > MANY_KEYS or len(distinct) < len(of) or "" in of:
            return "VARCHAR"
        return "STRUCT(" + ", ".join(f"{quoted(key)} {nested(kind)}" for key, kind in of.items()) + ")"
    return {"UBIGINT": "BIGINT", "BIGINT": "BIGINT", "DOUBLE": "DOUBLE", "BOOLEAN": "BOOLEAN"}.get(of, "VARCHAR")


def unfit(connection: duckdb.DuckDBPyConnection, part: str, column: str, kind: pa.DataType) -> Sequence[str]:
    """Those structures in the text column `column` that a value of type `kind` does not hold whole."""
    query = f"SELECT DISTINCT {VALUE.format(quoted(column))} FROM {part}"
    return [text for (text,) in connection.execute(query).fetchall() if not holds(kind, json.loads(text))]


def holds(kind: pa.DataType, of: Any) -> bool:
    """Whether every value of a structure is kept whole by an Arrow type."""
    if of == "NULL" or is_.is_string(kind):
        return True
    if isinstance(of, dict):
        fields = {entry.name: entry.type for entry in kind} if is_.is_struct(kind) else {}
        return all(key in fields and holds(fields[key], inner) for key, inner in of.items())
    if isinstance(of, list):
        return bool(is_.is_list(kind) and holds(kind.value_type, of[0]))
    if of in ("UBIGINT", "BIGINT"):
        return bool(is_.is_int64(kind) or is_.is_float64(kind))
    return bool((of == "DOUBLE" and is_.is_float64(kind)) or (of == "BOOLEAN" and is_.is_boolean(kind)))
