"""The diary of upkeep in `metrics._state`: when it last ended well, how long it took, and its last failure.

The watchdog reads it. It lies on the server, so that it is the same for everybody who keeps the store.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg

from lake.errors import PlatformError, redact
from metrics.server import Connection

_LENGTH = 500  # characters of a failure that are kept


@contextmanager
def noted(connection: Connection, hypertable: str) -> Iterator[None]:
    """Note how the work in the block on a hypertable ends; its error goes on."""
    started = time.monotonic()
    try:
        yield
    except (PlatformError, psycopg.Error) as error:
        with suppress(psycopg.Error):  # the error that ended the work is the one to tell
            failed(connection, hypertable, str(error))
        raise
    with connection.transaction():
        connection.execute(_ENDED, (hypertable, time.monotonic() - started))


def failed(connection: Connection, hypertable: str, failure: str) -> None:
    """Note that the work failed, and why, without secrets."""
    if connection.info.transaction_status == psycopg.pq.TransactionStatus.INERROR:
        connection.rollback()
    with connection.transaction():
        connection.execute(_FAILED, (hypertable, redact(" ".join(failure.split()))[:_LENGTH]))


_ENDED = """
    INSERT INTO metrics._state AS held (hypertable, refreshed_at, upkeep_s) VALUES (%s, clock_timestamp(), %s)
    ON CONFLICT (hypertable) DO UPDATE SET refreshed_at = excluded.refreshed_at, upkeep_s = excluded.upkeep_s
"""
_FAILED = """
    INSERT INTO metrics._state AS held (hypertable, failed_at, failure) VALUES (%s, clock_timestamp(), %s)
    ON CONFLICT (hypertable) DO UPDATE SET failed_at = excluded.failed_at, failure = excluded.failure
"""
