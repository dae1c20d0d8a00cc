"""`watershed warehouse versions`: what is kept, what is in force, and what is wrong with it."""

from collections.abc import Iterator

from warehouse import releases, soundness
from warehouse import versions as published
from warehouse.layout import layout
from watershed.tables import ago, size


def listed(*, check: bool = False) -> Iterator[tuple[str, bool]]:
    """A line for each version and a sentence at the end, each with whether it is good news; `check` reads all rows."""
    place = layout()
    current, bad, unfinished = published.current(), releases.withdrawn(place), releases.unfinished(place)
    kept = published.versions()
    for version in kept:
        fault = soundness.fault(version.path, deep=check)
        words = "rolled back" if version.number in bad else ""
        mark = "*" if version == current else " "
        when = ago(version.published_at)
        line = f"{mark} {version.number:>4}  {when:<14} {size(version.bytes):>9}  {words:<11}  {version.path}"
        yield (line if fault is None else f"{line}: cannot be read ({fault})"), fault is None
        if fault is not None and version == current:
            others = [one.number for one in kept if one != version and one.number not in bad]
            to = f"`watershed warehouse rollback --to {others[-1]}`" if others else "`watershed run`"
            yield f"The version in force is broken; {to} puts another in its place.", False
    if unfinished and any(version.number == unfinished.number for version in kept):
        what = f"Version {unfinished.number} was about to come into force; `watershed warehouse publish` finishes that."
        yield what, True
    if current:
        yield f"Version {current.number} is in force.", True
    elif kept:
        yield "None is in force; `watershed warehouse rollback` takes the newest.", False
    else:
        yield "Nothing is published yet; run `make run`.", True
