"""Rows in the form in which PostgreSQL takes them: COPY's binary format, encoded in one go from Arrow."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

import pgpq
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from metrics.server import Connection, listed
from metrics.spec import Hypertable


@dataclass(frozen=True)
class Encoded:
    """Rows of one slice, at least one, as Arrow and as a whole COPY stream; their first and last instant."""

    rows: pa.RecordBatch
    stream: tuple[bytes, ...]
    first_at: datetime
    last_at: datetime


def encoded(hypertable: Hypertable, parts: Iterable[pa.RecordBatch]) -> Iterator[Encoded]:
    """Each of `parts`, rows in the hypertable's columns and types, as a COPY stream of its own."""
    for part in parts:
        yield encode(hypertable, part)


def encode(hypertable: Hypertable, rows: pa.RecordBatch) -> Encoded:
    """`rows` as a COPY stream."""
    encoder = pgpq.ArrowToPostgresBinaryEncoder(rows.schema)
    stream = (encoder.write_header(), encoder.write_batch(rows), encoder.finish())
    span = pc.min_max(rows.column(hypertable.time))
    return Encoded(rows, stream, span["min"].as_py(), span["max"].as_py())


def sent(connection: Connection, target: sql.Composable, hypertable: Hypertable, part: Encoded) -> None:
    """COPY the rows into `target`, which has the hypertable's columns."""
    copy_in = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(target, listed(hypertable.columns))
    with connection.cursor().copy(copy_in) as copy:
        for piece in part.stream:
            copy.write(piece)
