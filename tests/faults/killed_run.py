"""A program: load and fold the trial's table, and kill itself at a given point of a given commit.

Arguments: the lake's root, the declaration as JSON, `before`, `in` or `after`, and the number of the commit.
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pyarrow as pa
from trial_source import VARIABLE, Trial

from lake import commit
from lake.layout import Lake


def kill_at(point: str, number: int) -> None:
    """Let the `number`-th commit of this process end it by SIGKILL before, in or after its work."""
    count = [0]

    def patched(real: Callable[..., Any]) -> Callable[..., Any]:
        def commit_of(*given: Any, **named: Any) -> Any:
            count[0] += 1
            if count[0] != number:
                return real(*given, **named)
            if point == "before":
                die()
            arguments = list(given)
            if point == "in" and isinstance(arguments[2], pa.RecordBatchReader):
                arguments[2] = pa.RecordBatchReader.from_batches(arguments[2].schema, _cut(arguments[2]))
            elif point == "in":  # the files are there, the commit is not
                die()
            done = real(*arguments, **named)
            die()
            return done

        return commit_of

    commit._write, commit.add = patched(commit._write), patched(commit.add)


def _cut(rows: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    yield from rows
    die()


def die() -> None:
    """End as by `kill -9`: nothing is flushed, nothing is tidied up."""
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    root, declared, point, number = sys.argv[1:]
    if point != "never":
        kill_at(point, int(number))
    with psycopg.connect(os.environ[VARIABLE], autocommit=True) as connection:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        Trial(connection, Lake(root), json.loads(declared)).run()
