"""Spans of time and sizes as a person says them."""

from datetime import timedelta

_PARTS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def span(length: timedelta | None) -> str:
    """`7 days`, `1 hour`, `90 minutes`: whole units, the largest that fits exactly."""
    if length is None:
        return "no fixed length"
    seconds = round(length.total_seconds())
    for size, unit in _PARTS:
        if seconds and seconds % size == 0:
            return counted(seconds // size, unit)
    return "0 seconds"


def counted(number: int, noun: str) -> str:
    """`1 chunk`, `2,000 chunks`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
