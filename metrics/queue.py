"""Reading ahead: a thread that produces while its consumer is at work, at most so many items ahead."""

import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")

_LOOKS_EVERY_S = 0.1  # how soon a producer that waits for room notices that nobody consumes any more


@dataclass(frozen=True)
class _Failed:
    error: BaseException


class _End:
    pass


@contextmanager
def ahead(items: Iterable[Item], limit: int) -> Iterator[Iterator[Item]]:
    """`items` in their order, produced in a thread of its own that waits once `limit` of them lie ready.

    An error of `items` is raised where the consumer takes them. At the end of the block the thread has ended, too:
    it stops at the next item, so a source that hangs is waited for.
    """
    ready: queue.Queue[Item | _Failed | _End] = queue.Queue(limit)
    stopped = threading.Event()

    def offered(item: Item | _Failed | _End) -> bool:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=_LOOKS_EVERY_S)
            except queue.Full:
                continue
            return True
        return False

    def produce() -> None:
        last: _Failed | _End = _End()
        try:
            for item in items:
                if not offered(item):
                    return
        except BaseException as error:
            last = _Failed(error)
        offered(last)

    thread = threading.Thread(target=produce, name="metrics-reader", daemon=True)
    thread.start()
    try:
        yield _taken(ready)
    finally:
        stopped.set()
        thread.join()


def _taken(ready: "queue.Queue[Item | _Failed | _End]") -> Iterator[Item]:
    while True:
        item = ready.get()
        if isinstance(item, _End):
            return
        if isinstance(item, _Failed):
            raise item.error
        yield item
