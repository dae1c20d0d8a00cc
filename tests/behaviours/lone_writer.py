"""A process that commits to one table of a lake: `lone_writer.py <root> <first> <count>` appends one row a commit.

What another has committed in between is read and the row tried again. With `--holding` each commit says so when it has
the lock, and waits for a line before it goes on.
"""

import sys
from typing import Any

import pyarrow as pa

from lake import commit
from lake.errors import Busy
from lake.layout import Address, Lake

TABLE = Address("raw", "race", "rows")


def append(lake: Lake, number: int) -> None:
    """Commit one row, however often it takes."""
    while True:
        base = commit.table(lake, TABLE)
        rows = pa.table({"number": pa.array([number], pa.int64())}).to_reader()
        try:
            commit.append(lake, TABLE, rows, {"number": number}, base=base, by_day=False)
        except Busy:
            continue
        return


if __name__ == "__main__":
    lake, first, count = Lake(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    if "--holding" in sys.argv:
        look = commit._version

        def held(*given: Any) -> int:
            print("holding", flush=True)
            sys.stdin.readline()
            return look(*given)

        commit._version = held
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(first, first + count):
        append(lake, number)
        print(number, flush=True)
