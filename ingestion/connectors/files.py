"""Files dropped in a folder or bucket: CSV, JSON and Parquet, each file taken once.

Which files were taken, and as what types, is remembered with the rows they brought (`bookmark`), so that a file counts
as taken exactly when its rows are in the lake. Every row carries `_file` and `_row`, its file and number in it.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ingestion.connectors import (
    MISFIT,
    Chunk,
    Shape,
    Window,
    batches_digest,
    file_bookmark,
    file_listing,
    fitting,
    ranges,
    text_types,
    uncatalogued,
)
from ingestion.connectors.file_bookmark import Bookmark, Sorted
from ingestion.connectors.file_formats import Learnt, Opened, wider
from ingestion.connectors.file_listing import Dropped
from ingestion.connectors.file_names import Names
from lake import duck
from lake.digest import Digests
from lake.duck import literal
from lake.errors import SchemaDrift, SpecError

if TYPE_CHECKING:
    from ingestion.spec import FileFormat, Source, Table

OWN = {"_file": text_types.TEXT, "_row": "BIGINT"}
BATCH_ROWS = 50_000


@dataclass(frozen=True)
class _Seen:
    """A table's files as they were listed, and what was found in them."""

    listing: tuple[Dropped, ...]
    kinds: Mapping[str, str]
    names: Names
    plan: fitting.Plan


class Files:
    """The folder or bucket of one source."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.place = file_listing.place(source)
        self.engine = duck.connect()
        self.engine.execute("SET memory_limit = '192MB'; SET threads = 2")
        self.known: dict[str, Bookmark] = {}
        self.seen: dict[str, _Seen] = {}
        self.sorted: dict[str, Sorted] = {}

    def recall(self, table: Table, bookmark: str | None) -> None:
        """Say what the last load's `bookmark` was; to be called before `shape`, so that types stay what they were."""
        self.known[table.name] = file_bookmark.read(bookmark)

    def shape(self, table: Table) -> Shape:
        """The table's columns: those of its files, `_file` and `_row`.

        Their types are the declared ones, else those of the first load; else they are found by reading all values of
        the new files. A column that never had a value is left out until it has one. Raises SchemaDrift if there is
        no file yet or a declared column is in none.
        """
        listing = tuple(self.place.listing(_files(table)))
        known = self._known(table)
        where = f"source {self.source.name}, table {table.name}"
        if not listing and not known.types:
            mend = f"drop one, or correct `files: path` or {self.source.connection}"
            raise SchemaDrift(where, f"no file matches {_files(table).path} yet", mend)
        names = Names([*uncatalogued.named(table, OWN), *known.types], table.renamed)
        learnt = self._learnt(table, names, known, listing)
        if not known.types:
            uncatalogued.require(where, table, [*learnt, *table.drop], OWN)
        kinds = uncatalogued.arriving(table, learnt, OWN)
        plan = uncatalogued.plan(self.engine, self.source, table, kinds, _files(table).null, OWN)
        self.seen[table.name] = _Seen(listing, {n: k for n, k in learnt.items() if k is not None}, names, plan)
        self.sorted.pop(table.name, None)
        uncatalogued.require_days(where, table, kinds)
        key_is_file = set(table.key) == {"_file", "_row"}
        return Shape(plan.schema, {name: kind.lower() for name, kind in kinds.items()}, key_is_enforced=key_is_file)

    def horizon(self, table: Table) -> datetime.datetime:
        """Now: what is in a file does not change any more."""
        return datetime.datetime.now(datetime.UTC)

    def extent(self, table: Table) -> tuple[datetime.date, datetime.date] | None:
        """The first and last UTC day of a partitioned table; reads its column in all files."""
        if table.partition is None:
            return None
        return uncatalogued.extent(self._columns(table, self.shape(table), (table.partition.column,)))

    def begin(self, *, hold: bool = True) -> str:
        """Nothing to hold: what is read is fixed by the listing, and checked when each file is opened."""
        return ""

    def state(self, table: Table) -> str:
        """The files as they were listed: chunks of another listing are worthless."""
        seen = [[file.path, file.size, file.stamp] for file in self.seen[table.name].listing]
        return hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:16]

    def bookmark(self, table: Table) -> str | None:
        """The files taken once the load is committed, and the types of their columns."""
        found = self._sorted(table)
        return file_bookmark.written(Bookmark(found.files, self.seen[table.name].kinds))

    def chunks(self, table: Table, shape: Shape, window: Window, rows: int) -> Sequence[Chunk]:
        """A chunk a file, or for a large Parquet file one for each few row groups."""
        if window.since is not None:
            return []
        if window.after is not None:
            self.recall(table, window.after)
        found = self._sorted(table)
        fresh = found.fresh if window.after is not None else self._all(table)
        bounds = [bound for file in fresh for bound in self._cut(table, file, found, rows)]
        return [Chunk(number, bound) for number, bound in enumerate(bounds)]

    def read(self, table: Table, shape: Shape, window: Window, chunk: Chunk) -> Iterator[pa.RecordBatch]:
        """The rows of one file or some of its row groups. Raises SourceUnavailable if the file changes meanwhile."""
        if window.since is not None or not chunk.bounds:
            return  # between two listings that are the same nothing happens
        bounds = chunk.bounds
        file = Dropped(bounds["path"], bounds["size"], bounds["stamp"])
        plan = self.seen[table.name].plan
        for rows in self._rows(table, file, bounds["name"], plan, bounds.get("groups")):
            yield from uncatalogued.of_days(rows, table, window).to_batches(max_chunksize=BATCH_ROWS)
        if not self.place.unchanged(file):
            raise file_listing.changed(self.source, file)

    def keys(self, table: Table, shape: Shape) -> Iterator[pa.RecordBatch]:
        """The keys of all rows of all files that are there."""
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
        """There is nothing to catch up with: `state` has told that the files are the same."""
        return True

    def close(self) -> None:
        """Close the engine."""
        self.engine.close()

    def _known(self, table: Table) -> Bookmark:
        return self.known.get(table.name, Bookmark())

    def _sorted(self, table: Table) -> Sorted:
        if table.name not in self.sorted:
            # Where rows of vanished files are deleted, a file that comes back must be read again.
            forget = table.deletes == "sweep" or table.load == "replace"
            listing = self.seen[table.name].listing
            found = file_bookmark.compared(self._known(table), listing, self.place.digested, forget=forget)
            self.sorted[table.name] = found
        return self.sorted[table.name]

    def _all(self, table: Table) -> tuple[Dropped, ...]:
        return self.seen[table.name].listing

    def _cut(self, table: Table, file: Dropped, found: Sorted, rows: int) -> list[dict[str, Any]]:
        whole = {"path": file.path, "size": file.size, "stamp": file.stamp, "name": found.files[file.path].name}
        groups = self._opened(table, file, self.engine.cursor()).row_groups()
        if sum(groups) <= 2 * rows:
            return [whole]
        cuts, start, filled = [], 0, 0
        for number, size in enumerate(groups, 1):
            filled += size
            if filled >= rows or number == len(groups):
                cuts.append(whole | {"groups": [start, number]})
                start, filled = number, 0
        return cuts

    def _opened(self, table: Table, file: Dropped, connection: Any, names: Names | None = None) -> Opened:
        where = f"source {self.source.name}, table {table.name}, file {file.path}"
        names = names or self.seen[table.name].names
        return Opened(where, self.place, file, _files(table), names, frozenset(table.drop), connection)

    def _learnt(self, table: Table, names: Names, known: Bookmark, listing: Sequence[Dropped]) -> dict[str, str | None]:
        """The types of all columns: declared, known from before, or found in the files that are new."""
        declared = uncatalogued.declared(table)
        evolves = table.contract.types == "evolve"
        fixed = frozenset([*declared, *table.mask, *(() if evolves else known.types)])
        learnt = Learnt(dict(known.types))
        for file in listing:
            before = known.files.get(file.path)
            if not known.types or before is None or (before.size, before.stamp) != (file.size, file.stamp):
                self._opened(table, file, self.engine.cursor(), names).learn(learnt, fixed)
        found = dict(learnt.kinds)
        for name, kind in known.types.items():  # what the lake has may become wider, not another
            now = found[name]
            found[name] = kind if now is None or not evolves else wider(self.engine, kind, now)
        return found | {name: kind for name, kind in declared.items() if name in found}

    def _rows(
        self, table: Table, file: Dropped, name: str, plan: fitting.Plan, groups: Sequence[int] | None = None
    ) -> Iterator[pa.Table]:
        cursor = self.engine.cursor()
        chosen = (groups[0], groups[1]) if groups else None
        partial = plan is not self.seen[table.name].plan
        for part in self._opened(table, file, cursor).parts(chosen):
            if part.num_rows:
                part = part.select([n for n in part.column_names if n in plan.kinds]) if partial else part
                yield fitting.fitted(cursor, part, plan, {"_file": literal(name)})

    def _columns(self, table: Table, shape: Shape, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Some columns of all rows of all files."""
        schema = pa.schema([shape.schema.field(column) for column in columns])
        whole = self.seen[table.name].plan
        plan = replace(whole, kinds={column: whole.kinds[column] for column in columns}, schema=schema)
        files = self._sorted(table).files
        for file in self.seen[table.name].listing:
            for rows in self._rows(table, file, files[file.path].name, plan):
                yield from rows.drop_columns([MISFIT]).to_batches(max_chunksize=BATCH_ROWS)


def _files(table: Table) -> FileFormat:
    if table.files is None:
        raise SpecError(f"table {table.name}", "does not say which files", "add `files: {path: ...}`")
    return table.files
