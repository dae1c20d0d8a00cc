"""Rows from a Python function: the way in for every source that has no connector of its own.

`function: package.module:name` is called with those of `after`, `first`, `last` and `connection` that it accepts, and
answers tables, record batches or data frames (anything with an Arrow stream), dictionaries, or lists of these; a dlt
resource is such a function.
"""

from __future__ import annotations

import datetime
import importlib
import inspect
import os
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ingestion.connectors import MISFIT, Chunk, Shape, Window, batches_digest, fitting, ranges, records, uncatalogued
from ingestion.connectors.file_names import Names
from lake import duck
from lake.digest import Digests
from lake.errors import PermanentError, PlatformError, SchemaDrift, SourceUnavailable, SpecError, redact

if TYPE_CHECKING:
    from ingestion.spec import Source, Table

BATCH_ROWS = 50_000


class Function:
    """The functions of one source; each table names its own."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.engine = duck.connect()
        self.engine.execute("SET memory_limit = '192MB'; SET threads = 2")
        self.after: dict[str, str | None] = {}
        self.begun: dict[str, tuple[Window, Iterator[pa.Table]]] = {}
        self.plans: dict[str, fitting.Plan] = {}

    def recall(self, table: Table, bookmark: str | None) -> None:
        """Say where the last load ended; then looking for the columns begins the reading itself."""
        self.after[table.name] = bookmark

    def shape(self, table: Table) -> Shape:
        """The columns of the first rows that the function yields, or of its attribute `schema`.

        The rows are not thrown away: a reading of the same window goes on with them. Raises SchemaDrift if there is
        no row to learn from or a declared column is missing.
        """
        first = self._first(table)
        self.engine.register("first_rows", first)
        described = self.engine.execute("DESCRIBE first_rows").fetchall()
        empty = {entry.name for entry in first.schema if pa.types.is_null(entry.type)}
        dropped = set(table.drop)
        found: dict[str, str | None] = {
            name: None if name in empty else fitting.lasting(str(kind))
            for name, kind, *_ in described
            if name not in dropped
        }
        self.engine.unregister("first_rows")
        found |= uncatalogued.declared(table)
        uncatalogued.require(self._where(table), table, [*found, *dropped])
        kinds = uncatalogued.arriving(table, found, {})
        uncatalogued.require_days(self._where(table), table, kinds)
        plan = uncatalogued.plan(self.engine, self.source, table, kinds)
        self.plans[table.name] = plan
        return Shape(plan.schema, {name: kind.lower() for name, kind in kinds.items()}, key_is_enforced=False)

    def horizon(self, table: Table) -> datetime.datetime:
        """Now: the function is trusted to yield every row up to its newest."""
        return datetime.datetime.now(datetime.UTC)

    def extent(self, table: Table) -> tuple[datetime.date, datetime.date] | None:
        """The first and last UTC day of a partitioned table; calls the function for all rows."""
        if table.partition is None:
            return None
        return uncatalogued.extent(self._columns(table, self.shape(table), (table.partition.column,)))

    def begin(self, *, hold: bool = True) -> str:
        """Nothing can be held: one call is one reading."""
        return ""

    def state(self, table: Table) -> str:
        """Nothing is known of it."""
        return ""

    def bookmark(self, table: Table) -> str | None:
        """None: a cursor is a column here."""
        return None

    def chunks(self, table: Table, shape: Shape, window: Window, rows: int) -> Sequence[Chunk]:
        """One call."""
        return [Chunk(0)]

    def read(self, table: Table, shape: Shape, window: Window, chunk: Chunk) -> Iterator[pa.RecordBatch]:
        """What one call yields; of a window of days only their rows, whatever the function yields."""
        cursor = self.engine.cursor()
        for part in self._parts(table, window):
            rows = fitting.fitted(cursor, part, self.plans[table.name])
            yield from uncatalogued.of_days(rows, table, window).to_batches(max_chunksize=BATCH_ROWS)

    def keys(self, table: Table, shape: Shape) -> Iterator[pa.RecordBatch]:
        """The keys of all rows; calls the function once more."""
        yield from self._columns(table, shape, table.key)

    def digests(
        self, table: Table, shape: Shape, window: Window, columns: Mapping[str, pa.DataType], *, pause: float = 0.0
    ) -> Digests:
        """The digests of the rows that are read, computed here: see `batches_digest`."""
        return batches_digest.digests(self, table, shape, window, columns, table.key)

    def incomparable(self, table: Table, shape: Shape, columns: Mapping[str, pa.DataType]) -> Mapping[str, str]:
        """Columns of another type than the lake's, or of one without a canonical form."""
        return ranges.incomparable(shape, columns)

    def can_catch_up(self, table: Table) -> bool:
        """No: an interrupted call begins anew."""
        return False

    def close(self) -> None:
        """End readings that were begun, and the engine."""
        for _, rows in self.begun.values():
            with suppress(Exception):  # of a generator's own cleaning up
                rows.close()  # type: ignore[attr-defined]
        self.engine.close()

    def _first(self, table: Table) -> pa.Table:
        """The first rows of the window that will most likely be read; of all rows if that one is empty."""
        function = self._function(table)
        if isinstance(schema := getattr(function, "schema", None), pa.Schema):
            return fitting.typed(schema.empty_table())
        after = self.after.get(table.name) if table.load != "replace" else None
        for window in dict.fromkeys((Window(after=after), Window())):
            rows = self._call(table, window)
            first = next((part for part in rows if part.num_rows), None)
            if first is not None:
                self.begun[table.name] = (window, chain([first], rows))
                return first
        declared = uncatalogued.declared(table)
        if set(uncatalogued.named(table)) - set(table.drop) <= set(declared):
            return fitting.schema(self.engine, declared).empty_table()
        mend = "correct it, or declare the types of its columns"
        raise SchemaDrift(self._where(table), f"function {table.function} has yielded no row yet", mend)

    def _parts(self, table: Table, window: Window) -> Iterator[pa.Table]:
        begun = self.begun.pop(table.name, None)
        return begun[1] if begun and begun[0] == window else self._call(table, window)

    def _columns(self, table: Table, shape: Shape, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        schema = pa.schema([shape.schema.field(column) for column in columns])
        whole = self.plans[table.name]
        plan = replace(whole, kinds={column: whole.kinds[column] for column in columns}, schema=schema)
        cursor = self.engine.cursor()
        for part in self._parts(table, Window()):
            part = part.select([name for name in part.column_names if name in plan.kinds])
            rows = fitting.fitted(cursor, part, plan).drop_columns([MISFIT])
            yield from rows.to_batches(max_chunksize=BATCH_ROWS)

    def _call(self, table: Table, window: Window) -> Iterator[pa.Table]:
        """What the function yields for a window, as tables; its errors as one sentence."""
        function = self._function(table)
        names = Names(uncatalogued.named(table), table.renamed)
        try:
            answer = function if _is_ready(function) else function(**self._arguments(function, window))
            for part in records.tables(answer):
                part = fitting.typed(part.rename_columns(names.of(part.column_names)))
                yield part.drop_columns([name for name in part.column_names if name in table.drop])
        except PlatformError:
            raise
        except Exception as error:
            raise self._explained(table, function, error) from None

    def _arguments(self, function: Callable[..., Any], window: Window) -> dict[str, Any]:
        offered: Mapping[str, Any] = {"after": window.after, "first": window.first, "last": window.last}
        accepted = _accepted(function)
        arguments = {name: value for name, value in offered.items() if name in accepted}
        if "connection" in accepted:
            arguments["connection"] = self._connection()
        return arguments

    def _connection(self) -> str:
        value = os.environ.get(self.source.connection, "")
        if not value:
            mend = f"set {self.source.connection}, or let the function do without `connection`"
            raise SpecError(f"source {self.source.name}", f"{self.source.connection} is not set", mend)
        return value

    def _function(self, table: Table) -> Any:
        module, _, name = (table.function or "").partition(":")
        try:
            return getattr(importlib.import_module(module), name)
        except ModuleNotFoundError as error:
            if error.name != module and not module.startswith(f"{error.name}."):
                raise self._explained(table, None, error) from None
            mend = "correct `function:`, or put the module where Python finds it (PYTHONPATH)"
            raise SpecError(self._where(table), f"there is no module {module}", mend) from None
        except AttributeError:
            what = f"module {module} has no {name}"
            raise SpecError(self._where(table), what, "correct `function:`") from None
        except Exception as error:
            raise self._explained(table, None, error) from None

    def _explained(self, table: Table, function: Any, error: Exception) -> PlatformError:
        """The error of someone else's code: function, kind of error, line and the first line of what it says."""
        said = str(error).strip().splitlines()
        what = f"function {table.function} failed with {type(error).__name__}{_line(function, error)}"
        what += f": {redact(said[0])}" if said else ""
        if isinstance(error, (ConnectionError, TimeoutError)):
            return SourceUnavailable(self._where(table), what, "see that its source answers, and run again")
        return PermanentError(self._where(table), what, "correct the function; nothing committed is harmed")

    def _where(self, table: Table) -> str:
        return f"source {self.source.name}, table {table.name}"


def _accepted(function: Any) -> set[str]:
    """The names of the arguments that a function accepts; a dlt resource is asked for the function it wraps."""
    inner = getattr(function, "__wrapped__", function)
    try:
        parameters = inspect.signature(inner).parameters.values()
    except (TypeError, ValueError):
        return set()
    if inner is function and any(one.kind is one.VAR_KEYWORD for one in parameters) and not _is_resource(function):
        return {"after", "first", "last", "connection"}
    return {one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}


def _is_ready(function: Any) -> bool:
    """Whether it is no function but the rows themselves, or a dlt resource that has its arguments."""
    if not callable(function):
        return True
    return _is_resource(function) and bool(getattr(function, "args_bound", getattr(function, "_args_bound", False)))


def _is_resource(function: Any) -> bool:
    return type(function).__module__.partition(".")[0] == "dlt"


def _line(function: Any, error: Exception) -> str:
    """Where in the function's own file it failed, else where at all."""
    frames = traceback.extract_tb(error.__traceback__)
    with suppress(TypeError):
        own = inspect.getsourcefile(inspect.unwrap(function)) if function is not None else None
        frames = traceback.StackSummary([frame for frame in frames if frame.filename == own] or list(frames))
    if not frames or frames[-1].lineno is None:
        return ""
    return f" in {os.path.basename(frames[-1].filename)} line {frames[-1].lineno}"  # noqa: PTH119
