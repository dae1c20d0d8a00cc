"""Loading: rows from Arrow into a hypertable, idempotent, in one transaction per load, with bounded memory.

A thread reads, checks, converts and encodes a few slices ahead (`metrics.queue`); this one sends them to the server, as
`metrics.inflow` decides. A slow server therefore makes the source wait, and nothing piles up.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain

import pyarrow as pa

from lake.errors import PermanentError
from lake.layout import Lake
from metrics import quarantine
from metrics.batches import Tally, conformed, require
from metrics.encoded import encoded
from metrics.inflow import Inflow
from metrics.queue import ahead
from metrics.server import Connection, connected, edition, lock, one
from metrics.spec import BUCKETS, SCHEMA, Hypertable

FUTURE = timedelta(days=366)  # further ahead of the clock than this is taken for a broken clock at the source
AHEAD = 2  # slices read ahead: each may take 16 MB, twice, as Arrow and as bytes
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Loaded:
    """What a load did. `touched_from`/`touched_to`: first and last instant of a row that changed, None if none did."""

    rows: int
    """Rows taken in, also those that were there already."""
    changed: int
    """Rows inserted or made different; a key that comes twice in one load may count twice."""
    removed: int
    """Rows removed because of `replace_from`."""
    expired: int
    """Rows left out: older than the retention."""
    blanked: int
    """Values that were NaN and are NULL now."""
    seconds: float
    touched_from: datetime | None
    touched_to: datetime | None
    reasons: Mapping[str, int] = field(default_factory=dict)
    """Rows put in quarantine, by reason."""

    @property
    def set_aside(self) -> int:
        """Rows put in quarantine."""
        return sum(self.reasons.values())


def load(
    dsn: str,
    hypertable: Hypertable,
    batches: pa.RecordBatchReader,
    *,
    now: datetime,
    watermark: str | None = None,
    replace_from: datetime | None = None,
    lake: Lake | None = None,
    text: bool = False,
) -> Loaded:
    """Load `batches` into the hypertable: all of it or nothing; loading twice is as loading once.

    Args:
        dsn: The server, as a libpq URI.
        hypertable: A hypertable of the declaration, applied before.
        batches: Rows with exactly the declared columns; timestamps with a time zone; numeric as decimal or integer.
            Of rows with the same key the last one counts.
        now: The platform's clock: rows older than `drop_after` before it are left out and counted, so that a load
            does not bring back what retention has dropped.
        watermark: Kept on the server in the same transaction, for the next load to start from.
        replace_from: The batches hold everything from this instant on: other rows from there on are removed.
        lake: Where rows that break the declaration (see `metrics.gate`) are set aside, in its quarantine.
        text: Columns may come as text, as from a CSV file; values that do not convert break the declaration.

    Raises:
        ContractBroken: A column is missing, unknown, in another unit or of another type; or, without a lake, a row
            breaks the declaration.
        PermanentError: The hypertable is not there.
        TransientError: The server does not answer or the connection was cut; nothing was loaded.
    """
    started = time.monotonic()
    require(hypertable, batches.schema, text=text)
    tally = Tally()
    # A source that takes long to begin, as a query does, keeps nobody waiting for the lock.
    rows = chain([first] if (first := next(batches, None)) is not None else [], batches)
    with quarantine.aside(lake, hypertable.name) as aside, connected(dsn) as connection, connection.transaction():
        marks = edition(connection) == "apache"
        lock(connection, hypertable.name)
        horizon = _horizon(connection, hypertable, now)
        put = aside.put if aside else None
        parts = encoded(hypertable, conformed(hypertable, rows, tally, horizon, now + FUTURE, put))
        inflow = Inflow(connection, hypertable, marks=marks, direct=replace_from is None)
        with ahead(parts, AHEAD) as ready:
            for part in ready:
                inflow.take(part)
        since = None if replace_from is None else max(replace_from, horizon)
        changed, removed = inflow.finish(since)
        connection.execute(_NOTE, (hypertable.name, watermark))
        if aside:
            aside.keep(now)
    touched = changed + removed
    return Loaded(
        rows=tally.rows,
        changed=changed.rows,
        removed=removed.rows,
        expired=tally.expired,
        blanked=tally.blanked,
        seconds=time.monotonic() - started,
        touched_from=touched.first_at,
        touched_to=touched.last_at,
        reasons=dict(tally.set_aside),
    )


def oldest_kept(hypertable: Hypertable, now: datetime) -> datetime:
    """Rows before this instant are left out: `drop_after` before `now`, back to the start of its bucket (UTC).

    Without that step back, a first load would leave the oldest day of the roll-ups with half its rows.
    """
    horizon = now - hypertable.drop_after
    widest = max((BUCKETS[bucket] for bucket in hypertable.rollup_names), default=timedelta(microseconds=1))
    return horizon - (horizon - _EPOCH) % widest


def watermark(dsn: str, name: str) -> str | None:
    """The watermark that the last load of hypertable `name` left, None before the first."""
    with connected(dsn, read_only=True) as connection:
        if one(connection, "SELECT to_regclass('metrics._state')") is None:
            return None
        found = one(connection, "SELECT watermark FROM metrics._state WHERE hypertable = %s", (name,))
        return None if found is None else str(found)


def _horizon(connection: Connection, hypertable: Hypertable, now: datetime) -> datetime:
    """The oldest instant that is taken in: retention's, and never what it has dropped already (by another clock)."""
    if one(connection, "SELECT to_regclass(%s)", (f"{SCHEMA}.{hypertable.name}",)) is None:
        raise PermanentError(
            f"{SCHEMA}.{hypertable.name}", "is not on the server", "apply metrics/hypertables.yml to it first"
        )
    dropped = one(connection, "SELECT dropped_before FROM metrics._state WHERE hypertable = %s", (hypertable.name,))
    kept = oldest_kept(hypertable, now)
    return max(kept, dropped) if isinstance(dropped, datetime) else kept


_NOTE = """
    INSERT INTO metrics._state AS held (hypertable, watermark, loaded_at) VALUES (%s, %s, now())
    ON CONFLICT (hypertable) DO UPDATE
    SET watermark = coalesce(excluded.watermark, held.watermark), loaded_at = excluded.loaded_at
"""
