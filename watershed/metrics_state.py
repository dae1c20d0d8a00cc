"""What `watershed metrics plan`, `apply` and `status` say: the metrics store beside its declaration."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lake.errors import SpecError
from metrics import readers, state
from metrics.server import connected
from metrics.spec import Spec, read
from orchestration import clock
from watershed.tables import grid, size

if TYPE_CHECKING:
    from rich.console import Console


def store() -> str:
    """The metrics store's connection. Raises SpecError if METRICS_DSN is unset."""
    value = os.environ.get("METRICS_DSN", "")
    if not value:
        raise SpecError("METRICS_DSN", "is not set", "set it to the TimescaleDB database of the metrics store")
    return value


def planned() -> Iterator[str]:
    """What `apply` would do, one sentence a step, and what to do next."""
    with connected(store()) as connection:
        changes = state.plan(connection, read())
    yield from map(str, changes)
    steps = [change for change in changes if not change.is_note]
    yield f"{len(steps)} to do; run `watershed metrics apply`." if steps else "The server is as declared."


def applied(*, allow_data_loss: bool) -> Iterator[str]:
    """Make the server as declared; what was done, one sentence a step. Raises what `metrics.state.apply` raises."""
    with connected(store()) as connection:
        changes = state.apply(connection, read())
        done = [change for change in changes if not change.is_note]
        yield from map(str, changes)
        yield from readers.allow(connection, os.environ.get("METRICS_READER_DSN"))
    yield f"{len(done)} done; the server is as declared." if done else "The server is as declared."


def show(console: Console) -> str:
    """Print the store's tables; answers what to do, in a sentence."""
    spec = read()
    found = state.status(store(), spec, clock.now())
    shown = grid("Metrics", "hypertable", "rows", "newest", "chunks", "size")
    for it in found:
        newest = f"{it.newest:%Y-%m-%d %H:%M}" if it.newest else "-"
        shown.add_row(it.name, f"{it.rows:,}", newest, str(it.chunks), size(it.bytes))
    console.print(shown)
    return _sentence(spec)


def _sentence(spec: Spec) -> str:
    with connected(store(), read_only=True) as connection:
        differences = state.drift(connection, spec)
    return (
        "Run `watershed metrics plan`: the server is not as declared." if differences else "The server is as declared."
    )
