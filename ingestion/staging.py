"""Where rows wait on disk between source and lake: one Arrow file per chunk, complete or not there.

A folder belongs to one table and one reading of it; `plan.json` says which chunks there are and under which snapshots
(marks) they were read. What lies in the folder has been masked already, and only its owner may read it.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingestion.connectors import MISFIT, SUM, Chunk
from lake import days
from lake.bulk import Sorted
from lake.errors import PermanentError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
RUN_BYTES = 24 << 20  # rows are sorted by day in runs of this size: two readers and a merge stay far below 512 MB
HELD_BYTES = 48 << 20  # the merge holds one part of each run


@dataclass(frozen=True)
class Order:
    """How rows are staged: sorted by the UTC day of column `day` (None: as they come), in parts of `part_rows` rows.

    `needed` are columns without which a row may not enter the lake.
    """

    day: str | None = None
    needed: tuple[str, ...] = ()
    part_rows: int = 8192


@dataclass
class Plan:
    """What is to be read, and the mark of each attempt at it."""

    chunks: list[Chunk]
    marks: list[str]


def root() -> Path:
    """The folder for staged rows: WATERSHED_STAGING, or one of the user's own below the system's temporary folder."""
    given = os.environ.get("WATERSHED_STAGING")
    folder = Path(given) if given else Path(tempfile.gettempdir()) / f"watershed-{os.getuid()}" / "staging"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


@contextmanager
def folder(table: str, signature: str) -> Iterator[Path]:
    """The folder of one reading, kept if the work in it is interrupted; other readings of the table are removed.

    Two processes that read the same table do not share a folder: the second one gets one that is not kept.
    """
    home = root() / hashlib.sha256(table.encode()).hexdigest()[:24]
    home.mkdir(mode=0o700, exist_ok=True)
    with (home / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with tempfile.TemporaryDirectory(dir=home, prefix="beside-") as private:
                yield Path(private)
            return
        mine = home / signature
        for other in home.iterdir():
            if other.is_dir() and other != mine and not other.name.startswith("beside-"):
                shutil.rmtree(other)
        mine.mkdir(mode=0o700, exist_ok=True)
        yield mine


def plan(place: Path) -> Plan | None:
    """The plan of an earlier attempt; None if there was none."""
    try:
        text = json.loads((place / "plan.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return Plan([Chunk(**chunk) for chunk in text["chunks"]], text["marks"])


def keep(place: Path, plan: Plan) -> None:
    """Write the plan down, as a whole."""
    part = place / "plan.part"
    with _told(place):
        part.write_text(json.dumps({"chunks": [asdict(chunk) for chunk in plan.chunks], "marks": plan.marks}))
        part.replace(place / "plan.json")


def clear(place: Path) -> None:
    """Remove all that is staged in a folder."""
    for path in place.iterdir():
        path.unlink()


def write(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch], order: Order) -> Sorted:
    """Stage batches as one file, in runs sorted by day, and tell what is in it.

    Batches with a column `_misfit` go to a file of their own beside it, those with `_sum` leave it here. The file
    appears under its name when it is whole, and what is told of it lies beside it.
    """
    account = _Account(order)
    misfits: list[pa.RecordBatch] = []
    _file(path, schema, account.runs(_apart(batches, misfits)))
    if misfits:
        _file(path.with_suffix(".misfit"), misfits[0].schema, misfits)
    told = account.told(path)
    with _told(path.parent):
        path.with_suffix(".told").write_text(json.dumps({**vars(told), "path": None}))
        path.with_suffix(".whole").replace(path)
    return told


def told(path: Path) -> Sorted:
    """What was told of a staged file."""
    text = json.loads(path.with_suffix(".told").read_text())
    days = {int(day): count for day, count in text["days"].items()}
    return Sorted(**{**text, "path": path, "days": days, "runs": tuple(text["runs"])})


def _apart(batches: Iterable[pa.RecordBatch], misfits: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The rows without a misfit; those with one are put aside."""
    for batch in batches:
        if MISFIT not in batch.schema.names:
            yield batch
            continue
        fits = pc.is_null(batch.column(MISFIT))
        broken = batch.filter(pc.invert(fits))
        if broken.num_rows:
            misfits.append(broken.drop_columns([SUM]) if SUM in broken.schema.names else broken)
        yield batch.filter(fits).drop_columns([MISFIT])


def _file(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    part = path.with_suffix(".part" if path.suffix == ".arrow" else ".misfit-part")
    with _told(path.parent):
        with pa.OSFile(str(part), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(path.with_suffix(".whole") if path.suffix == ".arrow" else path)


@contextmanager
def _told(place: Path) -> Iterator[None]:
    """Say in one sentence what keeps rows from being staged."""
    try:
        yield
    except OSError as error:
        what = "the disk is full" if error.errno in FULL else f"cannot be written ({error.strerror or error})"
        mend = "free some space or set WATERSHED_STAGING elsewhere, and run again: whole chunks are kept"
        raise PermanentError(f"staging {place}", what, mend) from None


class _Account:
    """Sorts runs and counts what goes by."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.rows, self.bytes, self.sum = 0, 0, 0
        self.is_clean, self.is_summed = True, True
        self.counts: dict[int, int] = {}
        self.parts: list[int] = []

    def told(self, path: Path) -> Sorted:
        return Sorted(
            path,
            self.rows,
            self.bytes,
            self.counts,
            tuple(self.parts),
            self.is_clean,
            self.sum if self.is_summed else None,
        )

    def runs(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The parts of each run, one run after the other."""
        waiting: list[pa.RecordBatch] = []
        size = 0
        for batch in map(self._summed, batches):
            if batch.num_rows:
                waiting.append(batch)
                size += batch.nbytes
            if size >= RUN_BYTES:
                yield from self._run(waiting)
                waiting, size = [], 0
        if waiting:
            yield from self._run(waiting)

    def _summed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        if SUM not in batch.schema.names:
            self.is_summed = False
            return batch
        total = int(batch.column(SUM).to_numpy(zero_copy_only=False).sum(dtype=np.uint64))
        self.sum = (self.sum + total) % 2**64
        return batch.drop_columns([SUM])

    def _run(self, waiting: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        run = waiting[0] if len(waiting) == 1 else pa.concat_batches(waiting)
        waiting.clear()
        self.rows += run.num_rows
        self.bytes += run.nbytes
        self.is_clean = self.is_clean and not any(run.column(name).null_count for name in self.order.needed)
        if self.order.day is not None:
            run = self._sorted(run, self.order.day)
        cuts = range(0, run.num_rows, max(1, self.order.part_rows))
        self.parts.append(len(cuts))
        for start in cuts:
            yield run.slice(start, self.order.part_rows)

    def _sorted(self, run: pa.RecordBatch, column: str) -> pa.RecordBatch:
        found = days.numbers(run.column(column))
        if np.any(found[:-1] > found[1:]):
            order = days.order(found)
            run, found = run.take(pa.array(order)), found[order]
        if found[0] < days.FIRST or found[-1] > days.LAST:
            self.is_clean = False
        for day, start, end in days.stretches(found):
            self.counts[day] = self.counts.get(day, 0) + end - start
        return run
