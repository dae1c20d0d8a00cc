"""The community edition's continuous aggregates and columnstore around a change of the table they stand on.

A table's columns cannot change under a continuous aggregate nor under compressed chunks: both are taken away first and
put back after, in the same transaction. Buckets whose rows are no longer there are carried over.
"""

from collections.abc import Iterator, Sequence

from metrics import native
from metrics.change import Change
from metrics.server import Connection
from metrics.spec import SCHEMA, Hypertable


def around(connection: Connection, hypertable: Hypertable, steps: Sequence[Change]) -> Iterator[Change]:
    """`steps`, and what native policies and continuous aggregates need before and after them."""
    yield from steps
    for name, what, statements in native.steps(connection, hypertable):
        yield Change(f"{SCHEMA}.{name}", what, statements)
