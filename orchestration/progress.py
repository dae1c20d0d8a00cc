"""What a person sees on the terminal while a run goes on: one line for each step as it ends."""

import io
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from pathlib import Path

import dagster as dg
from sqlalchemy.exc import SQLAlchemyError

from lake.errors import PermanentError

Say = Callable[[str], None]
ROOM_OF_SQLITE = 64 << 10  # bytes
_listener: list[Say] = []


def listen(say: Say) -> None:
    """Send the lines of runs in this process to `say`, and what a long reading says of its progress."""
    _listener[:] = [say]
    reading = logging.getLogger("watershed")
    reading.handlers[:] = [_Reading()]
    reading.setLevel(logging.INFO)
    reading.propagate = False


class _Reading(logging.Handler):
    """Passes on what ingestion says while it works."""

    def emit(self, record: logging.LogRecord) -> None:
        for say in _listener:
            say(f"           {record.getMessage()}")


@contextmanager
def only_voice(home: Path) -> Iterator[None]:
    """Keep what Dagster itself writes to standard error off the terminal; it is in `<home>/run.err` afterwards.

    Raises PermanentError if Dagster's records do not fit on the disk.
    """
    heard = io.StringIO()
    try:
        with redirect_stderr(heard):
            yield
    except (SQLAlchemyError, OSError) as error:
        # SQLite says "disk I/O error" where it finds no room for its shared memory.
        if "disk is full" not in str(error) and shutil.disk_usage(home).free > ROOM_OF_SQLITE:
            raise
        mend = "free some space and run again; nothing committed is harmed"
        raise PermanentError(f"run records {home}", "the disk is full", mend) from None
    finally:
        if heard.getvalue():
            with suppress(OSError):
                (home / "run.err").write_text(heard.getvalue())


class _Terminal(logging.Handler):
    """Turns Dagster's records into lines: what a step said of itself, its seconds, and warnings."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.said: dict[str, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        meta = getattr(record, "dagster_meta", {})
        step = meta.get("step_key") or ""
        event = meta.get("dagster_event")
        if event is None:
            if record.levelno >= logging.ERROR:
                return  # the report tells each error once
            if record.levelno >= logging.WARNING and "Not executing" not in record.getMessage():
                self._tell(f"        !  {meta.get('orig_message', record.getMessage())}")
            elif step:
                self.said[step] = str(meta.get("orig_message", ""))
            return
        if event.is_step_success:
            seconds = event.step_success_data.duration_ms / 1000
            self._tell(f"{seconds:>7.1f} s  {step.replace('__', '/'):<26} {self.said.pop(step, 'done')}")
        elif event.is_step_start and step == "dbt":
            self._tell("           dbt                        building and testing the star schema")

    @staticmethod
    def _tell(line: str) -> None:
        for say in _listener:
            say(line.rstrip())


@dg.logger(config_schema={})
def terminal_logger(_: dg.InitLoggerContext) -> logging.Logger:
    """A logger for runs started from the command line."""
    logger = logging.Logger("watershed.terminal", logging.DEBUG)
    logger.addHandler(_Terminal())
    return logger
