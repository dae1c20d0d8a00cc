"""What one analyst's session may use: memory, threads, disk to spill to, seconds per statement, and which files.

The variables SQL_MEMORY_LIMIT, SQL_THREADS, SQL_SPILL_LIMIT and SQL_TIMEOUT_S set the defaults of a machine.
"""

import os
import re
import tempfile
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import duckdb

from lake.duck import literal
from lake.errors import SpecError

SIZE = re.compile(r"\d+(\.\d+)?\s*([KMGT]i?B)", re.I)


@dataclass(frozen=True)
class Limits:
    """Sizes as DuckDB writes them (`2GB`); a statement that takes longer than `timeout_s` is stopped."""

    memory: str = "2GB"
    threads: int = 2
    spill: str = "10GB"
    timeout_s: float | None = None

    def set_on(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Make them hold on a connection. What does not fit in memory goes to a folder of its own."""
        folder = (
            Path(tempfile.gettempdir()) / f"watershed-sql-{uuid.uuid4().hex}"
        )  # made when needed, removed by DuckDB
        connection.execute(
            f"SET memory_limit = {literal(self.memory)}; SET threads = {self.threads};"
            f"SET temp_directory = {literal(str(folder))}; SET max_temp_directory_size = {literal(self.spill)}"
        )


def limits(memory: str | None = None, threads: int | None = None, timeout_s: float | None = None) -> Limits:
    """What is given, else what the environment says, else the defaults. Raises SpecError for a wrong value."""
    plain = Limits()
    return Limits(
        _size("SQL_MEMORY_LIMIT", memory or plain.memory, is_given=memory is not None),
        int(_number("SQL_THREADS", threads, plain.threads, least=1) or plain.threads),
        _size("SQL_SPILL_LIMIT", plain.spill),
        _number("SQL_TIMEOUT_S", timeout_s, plain.timeout_s, least=0.001),
    )


def lock(connection: duckdb.DuckDBPyConnection, folders: Iterable[str]) -> None:
    """Close a connection's doors for good: no file but those below `folders`, no server, no extension, no setting.

    Whoever may read a folder may also write to it, as far as DuckDB goes; which statements may is in `guard`.
    """
    below = ", ".join(literal(folder.rstrip("/") + "/") for folder in folders)
    connection.execute(
        f"SET allowed_directories = [{below}]; SET enable_external_access = false;"
        "SET python_enable_replacements = false; SET lock_configuration = true"
    )


def _size(name: str, value: str, *, is_given: bool = False) -> str:
    text = value if is_given else os.environ.get(name) or value
    if not SIZE.fullmatch(text.strip()):
        raise SpecError(name, f"{text!r} is no size", "write it as 2GB or 500MB")
    return text.strip()


def _number(name: str, given: float | None, default: float | None, *, least: float) -> float | None:
    text = os.environ.get(name, "")
    try:
        found = given if given is not None else float(text) if text else default
    except ValueError:
        found = -1
    if found is not None and found < least:
        raise SpecError(name, f"{text or given!r} is not allowed", "write a number above 0")
    return found
