"""Where rows wait on disk between source and lake: one Arrow file per chunk, complete or not there.

A folder belongs to one table and one reading of it; `plan.json` says which chunks there are and under which snapshots
(marks) they were read. What lies in the folder has been masked already, and only its owner may read it.
"""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingestion.connectors import MISFIT, Chunk
from lake.days import numbers

RUN_BYTES = 24 << 20  # rows are sorted by day in runs of this size: two readers and a merge stay far below 512 MB


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
    part.write_text(json.dumps({"chunks": [asdict(chunk) for chunk in plan.chunks], "marks": plan.marks}))
    part.replace(place / "plan.json")


def clear(place: Path) -> None:
    """Remove all that is staged in a folder."""
    for path in place.iterdir():
        path.unlink()


def write(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch], day: str | None) -> int:
    """Stage batches as one file, in runs sorted by the UTC day of column `day`; answers how many rows.

    Batches with a column `_misfit` go to a file of their own beside it. The file appears under its name when it is
    whole.
    """
    rows = 0
    misfits: list[pa.RecordBatch] = []

    def plain() -> Iterator[pa.RecordBatch]:
        nonlocal rows
        for batch in batches:
            if MISFIT in batch.schema.names:
                batch = _apart(batch, misfits)
            rows += batch.num_rows
            yield batch

    _file(path, schema, _runs(plain(), day))
    if misfits:
        beside = path.with_suffix(".misfit")
        _file(beside, misfits[0].schema, misfits)
    return rows


def _apart(batch: pa.RecordBatch, misfits: list[pa.RecordBatch]) -> pa.RecordBatch:
    """The rows without a misfit; those with one are put aside."""
    fits = pc.is_null(batch.column(MISFIT))
    broken = batch.filter(pc.invert(fits))
    if broken.num_rows:
        misfits.append(broken)
    return batch.filter(fits).drop_columns([MISFIT])


def _file(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    part = path.with_suffix(".part")
    with pa.OSFile(str(part), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    with part.open("rb") as written:
        os.fsync(written.fileno())
    part.replace(path)


def _runs(batches: Iterator[pa.RecordBatch], day: str | None) -> Iterator[pa.RecordBatch]:
    waiting: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        if batch.num_rows == 0:
            continue
        waiting.append(batch)
        size += batch.nbytes
        if size >= RUN_BYTES or day is None:
            yield _sorted(waiting, day)
            waiting, size = [], 0
    if waiting:
        yield _sorted(waiting, day)


def _sorted(batches: Sequence[pa.RecordBatch], day: str | None) -> pa.RecordBatch:
    run = batches[0] if len(batches) == 1 else pa.concat_batches(batches)
    if day is None:
        return run
    days = numbers(run.column(day))
    if np.all(days[:-1] <= days[1:]):
        return run
    return run.take(pa.array(np.argsort(days, kind="stable")))
