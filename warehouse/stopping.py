"""Stopping a statement that is under way: by Ctrl-C, or because it takes too long. The connection stays usable."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import duckdb

from lake.errors import PermanentError


@contextmanager
def stoppable(connection: duckdb.DuckDBPyConnection, timeout_s: float | None = None) -> Iterator[None]:
    """Let Ctrl-C, or the end of `timeout_s` seconds, stop what runs on `connection` in the block.

    Raises KeyboardInterrupt or PermanentError. Left to itself DuckDB gives up waiting at a Ctrl-C, but not the query,
    and the connection's next statement hangs.
    """
    pressed, late = threading.Event(), threading.Event()

    def press(number: int, frame: FrameType | None) -> None:
        if pressed.is_set():
            raise KeyboardInterrupt
        pressed.set()
        connection.interrupt()

    def end() -> None:
        late.set()
        connection.interrupt()

    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, press) if is_main else None
    clock = threading.Timer(timeout_s, end) if timeout_s else None
    if clock:
        clock.start()
    try:
        yield
    except duckdb.InterruptException:
        if pressed.is_set():
            raise KeyboardInterrupt from None
        if late.is_set():
            what = f"the statement took longer than {timeout_s:g} s and was stopped"
            raise PermanentError("watershed sql", what, "narrow it, or give it more with --timeout") from None
        raise
    finally:
        if clock:
            clock.cancel()
        if is_main:
            signal.signal(signal.SIGINT, before)
