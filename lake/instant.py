"""Instants as people write them: a day means its end, a time without a zone is UTC."""

import datetime

from lake.errors import SpecError


def parse(text: str) -> datetime.datetime:
    """The instant (UTC) that `text` means: `2026-11-20` (the end of that day) or `2026-11-20T12:00Z`.

    Raises SpecError if it means none.
    """
    try:
        if len(text) == len("2026-11-20"):
            day = datetime.datetime.combine(datetime.date.fromisoformat(text), datetime.time(), datetime.UTC)
            return day + datetime.timedelta(days=1, microseconds=-1)
        found = datetime.datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        mend = "write a day like 2026-11-20 (its end is meant, in UTC) or an instant like 2026-11-20T12:00Z"
        raise SpecError("--as-of", f"{text} is no time", mend) from None
    return found.replace(tzinfo=datetime.UTC) if found.tzinfo is None else found.astimezone(datetime.UTC)


def past(text: str, now: datetime.datetime) -> datetime.datetime:
    """As `parse`, of times that have passed; today means now. Raises SpecError for the others."""
    found = parse(text)
    if found > now and text == now.date().isoformat():
        return now
    if found > now:
        raise SpecError("--as-of", f"{text} is in the future", "choose a time that has passed")
    return found
