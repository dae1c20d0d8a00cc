"""A window read into a staging folder: chunk by chunk, several at once, resumed after a kill, of one instant.

A chunk that is staged is never read again. The rest of an interrupted reading is read in a new snapshot, and then what
changed between the two: rows written since the first snapshot, and keys that are gone. So the rows are those of one
instant, whether the reading was interrupted or not. Memory holds a few batches per connection, whatever the size.
"""

import datetime
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from ingestion import staging
from ingestion.connectors import Chunk, Connector, Shape, Window
from ingestion.connectors.pace import Pace
from ingestion.spec import Source, Table
from lake.bulk import Sorted

CHUNK_ROWS = 500_000
LOG = logging.getLogger("watershed.extract")


@dataclass(frozen=True)
class Staged:
    """What lies ready: main files, rows that did not fit, what an interrupted reading caught up with."""

    place: Path
    schema: pa.Schema
    files: tuple[Sorted, ...]
    misfits: tuple[Path, ...]
    caught_up: Sorted | None
    keys: Sorted | None
    rows: int
    rows_read: int
    chunks: int
    chunks_kept: int

    @property
    def is_of_one_instant(self) -> bool:
        """Whether the main files are all there is to know."""
        return self.caught_up is None and not self.misfits


@contextmanager
def extract(
    session: Connector, source: Source, table: Table, shape: Shape, window: Window, base: int
) -> Iterator[Staged]:
    """Stage a window's rows; they are removed when the block ends well, and kept for a next attempt if it does not.

    `base` is the version of raw that the rows will be compared with: chunks staged for another one are not used.
    """
    name = f"{source.name}.{table.name}"
    with staging.folder(name, _signature(session, source, table, shape, window, base)) as place:
        yield _stage(session, source, table, shape, window, place)
        staging.clear(place)


def _stage(session: Connector, source: Source, table: Table, shape: Shape, window: Window, place: Path) -> Staged:
    plan = staging.plan(place)
    kept = _whole(place, plan)
    is_loose = table.snapshot == "loose"
    if plan is not None and kept and not session.can_catch_up(table):
        staging.clear(place)  # nothing tells what changed in the chunks that are there
        plan, kept = None, set()
    mark = session.begin(hold=not is_loose)
    if plan is None:
        plan = staging.Plan(list(session.chunks(table, shape, window, CHUNK_ROWS)), [])
    plan.marks.append(mark)
    staging.keep(place, plan)
    missing = [chunk for chunk in plan.chunks if chunk.number not in kept]
    rows_read = _read_all(session, source, table, shape, window, place, missing, len(kept))
    caught_up, keys = None, None
    if plan.marks[0] and (
        kept or (is_loose and len(plan.chunks) > 1 and session.can_catch_up(table))
    ):  # no mark: nothing can have changed
        caught_up, keys = _catch_up(session, table, shape, plan.marks[0], place)
    files = tuple(staging.told(_path(place, chunk)) for chunk in plan.chunks)
    misfits = tuple(sorted(place.glob("*.misfit")))
    rows = sum(one.rows for one in files)
    if caught_up is not None and keys is not None and caught_up.rows == 0 and keys.rows == rows:
        caught_up, keys = None, None  # nothing has happened in between
    return Staged(place, shape.schema, files, misfits, caught_up, keys, rows, rows_read, len(plan.chunks), len(kept))


def _read_all(
    session: Connector,
    source: Source,
    table: Table,
    shape: Shape,
    window: Window,
    place: Path,
    chunks: list[Chunk],
    kept: int,
) -> int:
    """Read the chunks on as many connections as the source allows; the first failure ends it."""
    pace = Pace(source.max_rows_per_s) if source.max_rows_per_s else None
    progress = _Progress(f"{source.name}.{table.name}", kept, kept + len(chunks))
    order = _order(table, shape, len(chunks) + kept)

    def one(chunk: Chunk) -> int:
        batches = session.read(table, shape, window, chunk)
        rows = staging.write(_path(place, chunk), shape.schema, pace.paced(batches) if pace else batches, order).rows
        progress.done(rows)
        return rows

    if len(chunks) <= 1 or source.max_connections == 1:
        return sum(one(chunk) for chunk in chunks)
    with ThreadPoolExecutor(min(source.max_connections, len(chunks))) as pool:
        tasks = [pool.submit(one, chunk) for chunk in chunks]
        try:
            return sum(task.result() for task in tasks)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _order(table: Table, shape: Shape, chunks: int) -> staging.Order:
    """How rows are staged, so that a part of each run can be held at once."""
    width = sum(_width(entry.type) for entry in shape.schema)
    runs = max(chunks, 2 * shape.rows * width // staging.RUN_BYTES, 1)
    day = table.partition.column if table.partition else None
    needed = tuple(dict.fromkeys([*table.key, *([day] if day else [])]))
    return staging.Order(day, needed, int(min(8192, max(256, staging.HELD_BYTES // (width * runs)))))


def _width(kind: pa.DataType) -> int:
    """Bytes of a value, roughly."""
    try:
        return max(1, int(kind.bit_width) // 8)
    except ValueError:
        return 24


def _catch_up(session: Connector, table: Table, shape: Shape, mark: str, place: Path) -> tuple[Sorted, Sorted]:
    """What was written since `mark`, and all keys there are now; both read anew at each attempt."""
    rows = session.read(table, shape, Window(since=mark), Chunk(0))
    changed = staging.write(place / "since.arrow", shape.schema, rows, staging.Order())
    schema = pa.schema([shape.schema.field(column) for column in table.key])
    keys = staging.write(place / "keys.arrow", schema, session.keys(table, shape), staging.Order())
    return changed, keys


class _Progress:
    """Says how far a reading has come, every few seconds and at its end if it took long."""

    def __init__(self, name: str, kept: int, chunks: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.name, self.finished, self.chunks, self.clock = name, kept, chunks, clock
        self.rows, self.start, self.last = 0, clock(), clock()

    def done(self, rows: int) -> None:
        self.rows += rows
        self.finished += 1
        now = self.clock()
        if now - self.last > 5:
            self.last = now
            speed = self.rows / (now - self.start)
            left = (self.chunks - self.finished) * (now - self.start) / max(self.finished, 1)
            LOG.info(
                "%s: %s of %s chunks, %s rows read, %s rows/s, about %s left",
                self.name,
                self.finished,
                self.chunks,
                f"{self.rows:,}",
                f"{speed:,.0f}",
                datetime.timedelta(seconds=round(left)),
            )


def _signature(session: Connector, source: Source, table: Table, shape: Shape, window: Window, base: int) -> str:
    """Tells readings apart: staged chunks are used again only for the very same one."""
    salt = os.environ.get("WATERSHED_MASK_SALT", "") if table.mask else ""
    parts = [
        source.name,
        source.connection,
        os.environ.get(source.connection, ""),
        table.model_dump_json(),
        str(shape.schema),
        repr(sorted(shape.expressions.items())),
        repr(window),
        str(base),
        session.state(table),
        salt,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def _whole(place: Path, plan: staging.Plan | None) -> set[int]:
    return {chunk.number for chunk in plan.chunks if _path(place, chunk).exists()} if plan else set()


def _path(place: Path, chunk: Chunk) -> Path:
    return place / f"{chunk.number:06}.arrow"
