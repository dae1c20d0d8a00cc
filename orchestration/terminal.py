"""Lines for people on standard output; without Dagster, so that a command that only talks starts fast."""

import sys


def plain(line: str) -> None:
    """Write a line to standard output at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
