"""Quarantine of the metrics store: rows that break a hypertable's declaration, kept in the lake with the reason.

They lie in `quarantine/metrics/<hypertable>`, in the form of `lake.quarantine`. Rows wait in a temporary file until the
load is sure of the others; they are put into the lake before it commits, and only those that are not there yet: a load
that is cut and run again sets nothing aside twice.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pyarrow as pa

from lake import commit, layout, read
from lake.duck import literal, quoted
from lake.layout import Address, Lake

BATCH = 100_000


class Aside:
    """The rows that one load sets aside; holds none of them in memory."""

    def __init__(self, lake: Lake, hypertable: str, folder: Path) -> None:
        self._lake, self._address, self._file = lake, address(hypertable), folder / "aside.arrow"
        self._writer: pa.ipc.RecordBatchStreamWriter | None = None

    def put(self, rows: pa.RecordBatch) -> None:
        """Set rows aside: the hypertable's columns, `_reason` and `_misfit`."""
        if self._writer is None:
            self._writer = pa.ipc.new_stream(str(self._file), rows.schema)
        self._writer.write_batch(rows)

    def keep(self, now: datetime) -> None:
        """Put them into the lake in one commit, but for those that lie there already; `now` is when they came."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            commit.persistently(lambda: self._keep(now))

    def _keep(self, now: datetime) -> None:
        base = commit.table(self._lake, self._address)
        known = read.columns(base)
        with pa.ipc.open_stream(str(self._file)) as rows, read.connect(self._lake) as connection:
            names = rows.schema.names
            connection.register("aside", rows)
            shown = [quoted(name) for name in names] + ["NULL::VARCHAR AS _column", "NULL::VARCHAR AS _value"]
            same = " AND ".join(
                f"s.{quoted(name)} IS NOT DISTINCT FROM q.{quoted(name)}" for name in names if name in known
            )
            there = f"SELECT 1 FROM {read.relation(self._lake, self._address)} AS q WHERE {same}"
            condition = f"WHERE NOT EXISTS ({there})" if base is not None else ""
            query = f"""SELECT {", ".join(shown)}, TIMESTAMPTZ {literal(now.isoformat())} AS _loaded_at,
                {literal(f"{now:%Y%m%dT%H%M%S.%fZ}")} AS _load_id, DATE '{now:%Y-%m-%d}' AS _day
                FROM aside AS s {condition}"""
            found = connection.execute(query).to_arrow_reader(BATCH)
            first = next((batch for batch in found if batch.num_rows), None)
            if first is not None:
                rest = pa.RecordBatchReader.from_batches(found.schema, _chained(first, found))
                commit.append(self._lake, self._address, rest, {}, base=base)


@contextmanager
def aside(lake: Lake | None, hypertable: str) -> Iterator[Aside | None]:
    """What a load sets its faulty rows aside with; None where there is no lake to keep them."""
    if lake is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="watershed-aside-") as folder:
        yield Aside(lake, hypertable, Path(folder))


def address(hypertable: str) -> Address:
    """Where in the lake the rows of `hypertable` lie that were set aside."""
    return Address("quarantine", "metrics", hypertable)


def lake_if_any() -> Lake | None:
    """The lake of LAKE_ROOT, None if it is not set."""
    return layout.from_environment() if os.environ.get("LAKE_ROOT") else None


def _chained(first: pa.RecordBatch, rest: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    yield first
    yield from rest
