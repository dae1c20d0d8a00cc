"""A limit on rows per second, shared by all threads that read a source, so that an operational database is not hurt."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

# A batch is handed on in pieces of at most this share of a second: in any second no more than the limit and one piece.
PIECE_S = 0.25


class Pace:
    """Lets at most `max_rows_per_s` rows a second pass, over all threads together; None lets all pass at once.

    A reader that waits does not ask its server for more, so the server waits too. Time in which nothing was read is
    not saved up: after a pause there is no burst.
    """

    def __init__(
        self,
        max_rows_per_s: int | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Raise ValueError for a limit that lets nothing pass."""
        if max_rows_per_s is not None and max_rows_per_s <= 0:
            raise ValueError(f"max_rows_per_s is {max_rows_per_s}; it must be above 0")
        self.max_rows_per_s = max_rows_per_s
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._next = clock()

    def paced(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The same rows in the same order, in batches that are small enough for the limit, each when its turn comes."""
        if self.max_rows_per_s is None:
            yield from batches
            return
        piece = max(1, int(self.max_rows_per_s * PIECE_S))
        for batch in batches:
            for start in range(0, max(1, batch.num_rows), piece):
                part = batch.slice(start, piece)  # no copy
                self.wait(part.num_rows)
                yield part

    def wait(self, rows: int) -> None:
        """Return when `rows` more rows may pass."""
        if self.max_rows_per_s is None:
            return
        with self._lock:
            now = self._clock()
            turn = max(now, self._next)
            self._next = turn + rows / self.max_rows_per_s
        if turn > now:
            self._sleep(turn - now)
