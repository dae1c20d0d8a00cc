"""Real servers on this machine: PostgreSQL with TimescaleDB, and for tests an S3 server and MariaDB.

Everything lives in `<home>/.services`; servers listen on loopback only.
`python -m services up|down|status [s3|mariadb]`.
"""

from collections.abc import Callable
from pathlib import Path

from services import mariadb, postgres, s3
from services.postgres import database
from services.record import environment

__all__ = ["database", "down", "environment", "mariadb", "postgres", "s3", "status"]


def down(home: Path, say: Callable[[str], None]) -> None:
    """Stop what `up` started here; data stays."""
    mariadb.down(home, say)
    s3.down(home, say)
    postgres.down(home, say)


def status(home: Path) -> dict[str, str]:
    """One line for each server."""
    return {"postgres": postgres.status(home), "s3": s3.status(home), "mariadb": mariadb.status(home)}
