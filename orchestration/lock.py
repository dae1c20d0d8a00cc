"""One run of a shop at a time, guarded by a lock that the kernel frees when its holder dies."""

import datetime
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lake.errors import Busy


@contextmanager
def alone(home: Path) -> Iterator[None]:
    """Hold the shop's run lock. Raises Busy, naming the holder, if another run has it; a dead one's lock is gone."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "run.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise Busy("run", f"{holder} is running already", "wait until it has ended and run again") from None
        file.truncate(0)
        file.write(f"process {os.getpid()} (since {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M:%S} UTC)")
        file.flush()
        yield
        file.truncate(0)
