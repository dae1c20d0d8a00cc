"""Where a session's answers go, and how they look: a box, CSV, JSON, or a Parquet file, each with bounded memory."""

import contextlib
import csv
import io
import os
import shutil
import time
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self, TextIO, get_args

import duckdb

from lake.duck import quoted
from lake.errors import PermanentError, SpecError

Format = Literal["box", "csv", "json", "jsonl", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)
ENDINGS: dict[str, Format] = {".csv": "csv", ".json": "json", ".jsonl": "jsonl", ".parquet": "parquet"}
MAX_ROWS = 1000  # of a box; the other formats give all
BATCH = 10_000
FLOATS = ("float", "double")
NESTED = ("list", "array", "struct", "map", "union", "variant")


class Target:
    """Standard output, or a file that appears under its name when all is written, in place of nothing else."""

    def __init__(self, out: TextIO, path: Path | None = None, form: Format = "box") -> None:
        """Raises PermanentError if `path` is there already, or Parquet would go to a terminal."""
        self.path, self.answers = path, 0
        if path is None and form == "parquet" and out.isatty():
            raise SpecError("--format parquet", "is nothing for a terminal", "add --output FILE, or a pipe")
        if path is not None and path.exists():
            raise PermanentError(str(path), "is there already", "move it away, or choose another name")
        self._draft = path.with_name(f".{path.name}.{os.getpid()}") if path else None
        try:
            self.text = self._draft.open("w", encoding="utf-8", newline="") if self._draft else out
        except OSError as error:
            raise PermanentError(str(path), error.strerror or "cannot be written", "choose another place") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(keep=error is None)

    def close(self, *, keep: bool = True) -> None:
        """Put the file in its place, or take away what was begun; of no effect on standard output."""
        if self._draft is None or self.path is None:
            return
        self.text.close()
        if keep:
            self._draft.replace(self.path)
        else:
            self._draft.unlink(missing_ok=True)
        self._draft = None

    @property
    def bytes(self) -> BinaryIO:
        """For Parquet."""
        self.text.flush()
        binary: BinaryIO = getattr(self.text, "buffer", None) or io.BytesIO()
        return binary

    @property
    def width(self) -> int:
        """How wide a box may be."""
        return shutil.get_terminal_size().columns if self.text.isatty() else 10_000


def write(relation: duckdb.DuckDBPyRelation, target: Target, form: Format) -> None:
    """Write one answer. Raises duckdb.Error, and SpecError for what a format cannot hold."""
    target.answers += 1
    {"csv": _csv, "json": _json, "jsonl": _jsonl, "parquet": _parquet, "box": _box}[form](relation, target)


def expanded(relation: duckdb.DuckDBPyRelation, target: Target) -> None:
    """Write an answer as one line per value, for rows that are too wide for a box."""
    began, names = time.monotonic(), relation.columns
    wide = max(map(len, names))
    rows = relation.limit(MAX_ROWS + 1).project("(columns(*))::varchar").fetchall()
    for number, row in enumerate(rows[:MAX_ROWS], 1):
        target.text.write(f"─[ row {number} ]─\n")
        target.text.writelines(
            f"{name.rjust(wide)} │ {'NULL' if value is None else value}\n"
            for name, value in zip(names, row, strict=True)
        )
    target.text.write(_footer(len(rows), began))


def _box(relation: duckdb.DuckDBPyRelation, target: Target) -> None:
    began = time.monotonic()
    shown = relation.limit(MAX_ROWS + 1)
    shown.execute()
    count, took = len(shown), time.monotonic()
    drawn = io.StringIO()
    with contextlib.redirect_stdout(drawn):  # DuckDB draws to the process's standard output only
        shown.show(max_width=target.width, max_rows=MAX_ROWS)
    target.text.write(drawn.getvalue().rstrip("\n") + "\n" + _footer(count, began, took))


def _footer(count: int, began: float, ended: float | None = None) -> str:
    seconds = (ended or time.monotonic()) - began
    if count > MAX_ROWS:
        return rf"(the first {MAX_ROWS:,} rows of more, {seconds:.2f} s; \o FILE or --format csv gives all)" + "\n"
    return f"({count:,} {'row' if count == 1 else 'rows'}, {seconds:.2f} s)\n"


def _csv(relation: duckdb.DuckDBPyRelation, target: Target) -> None:
    names = relation.columns
    kinds = zip(names, relation.types, strict=True)
    told = [f"to_json({quoted(name)})" if kind.id in NESTED else quoted(name) for name, kind in kinds]
    if any(word.startswith("to_json") for word in told):
        relation = relation.project(", ".join(told))
    writer, rows = csv.writer(target.text, lineterminator="\n"), relation.fetchmany(BATCH)
    writer.writerow(names)  # not before the first rows: a statement that fails writes nothing
    while rows:
        writer.writerows(rows)
        rows = relation.fetchmany(BATCH)


def _json(relation: duckdb.DuckDBPyRelation, target: Target) -> None:
    rows, before = _objects(relation), "["
    while batch := rows.fetchmany(BATCH):
        target.text.write(before + "\n" + ",\n".join(row for (row,) in batch))
        before = ","
    target.text.write("\n]\n" if before == "," else "[]\n")


def _jsonl(relation: duckdb.DuckDBPyRelation, target: Target) -> None:
    rows = _objects(relation)
    while batch := rows.fetchmany(BATCH):
        target.text.write("".join(f"{row}\n" for (row,) in batch))


def _objects(relation: duckdb.DuckDBPyRelation) -> Any:
    """Each row as a JSON object. Decimals keep their digits; JSON has no NaN and no infinity: they become null."""
    told = []
    for name, kind in zip(map(quoted, relation.columns), relation.types, strict=True):
        told.append(f"{name} := if(isfinite({name}), {name}, null)" if kind.id in FLOATS else f"{name} := {name}")
    return relation.project(f"to_json(struct_pack({', '.join(told)}))")


def _parquet(relation: duckdb.DuckDBPyRelation, target: Target) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if target.answers > 1:
        raise SpecError("--format parquet", "a file holds one answer", "ask one question per file")
    reader = relation.to_arrow_reader(BATCH * 10)
    try:
        with pq.ParquetWriter(target.bytes, reader.schema, compression="zstd") as writer:
            for batch in reader:
                writer.write_batch(batch)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        what = f"Parquet cannot hold a column ({str(error).splitlines()[0]})"
        raise SpecError("--format parquet", what, "cast it, to varchar for example") from None
