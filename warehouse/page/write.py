"""Write the page of the version in force, by an atomic rename; pages of versions that are gone go, too."""

import datetime
import os
import re
from dataclasses import dataclass
from pathlib import Path

from lake.errors import redact
from warehouse.access import in_force
from warehouse.layout import Layout, layout
from warehouse.page import account, platform, record
from warehouse.page.figures import figures
from warehouse.page.files import replaced
from warehouse.page.headline import Headline
from warehouse.page.record import Record
from warehouse.versions import Version, versions

NAME = re.compile(r"version-(\d+)\.(?:html|json)")
TRIES = 3


@dataclass(frozen=True)
class Page:
    """The page that was written: where it is, of which version, what stands first on it, and a picture of it (SVG)."""

    path: Path
    version: int
    headlines: tuple[Headline, ...]
    verdict: tuple[tuple[str, str], ...]
    picture: str | None


def write(root: Path | str | None = None, *, shop: str | None = None, now: datetime.datetime | None = None) -> Page:
    """Write the page of the version in force and return it.

    What only the publish could know (checks, freshness, changes) is taken from the record written then; without one it
    is gathered as it is at `now`. Raises PermanentError if nothing is published.
    """
    place = layout(root)
    for _ in range(TRIES):
        version = in_force(root)
        page = _write(place, version, shop or os.environ.get("SHOP") or "warehouse", now)
        if in_force(root) == version:  # else a publish or rollback came in between, and its page may be under ours
            break
    return page


def attempt(
    root: Path | str | None = None, *, shop: str | None = None, now: datetime.datetime | None = None
) -> Page | str:
    """As `write`, but a page that cannot be written is a sentence: it must not undo the publish that it follows."""
    try:
        return write(root, shop=shop, now=now)
    except Exception as error:  # of the plotting library, the template, DuckDB, the disk
        lines = str(error).splitlines() or [type(error).__name__]
        return f"the report page was not written: {redact(lines[0].rstrip('.'))}; `watershed report` tries again"


def _write(place: Layout, version: Version, shop: str, now: datetime.datetime | None) -> Page:
    from warehouse.page import render  # brings the plotting library, which only this needs

    folder = place.root / "report"
    folder.mkdir(parents=True, exist_ok=True)
    told = _record(place, folder, version, shop, now)
    # a store far ahead of UTC sells on the day after
    found = figures(version.path, until=version.published_at.date() + datetime.timedelta(days=1))
    kept = [one.number for one in versions(place.root)]
    made = render.rendered(version, max(kept, default=version.number), found, told)
    for name in (f"version-{version.number}.html", "index.html"):
        replaced(folder / name, made.html)
    platform.hold_place(folder, shop=told.shop, now=datetime.datetime.now(datetime.UTC))
    _forget(folder, {*kept, version.number})
    return Page(folder / "index.html", version.number, made.headlines, made.verdict, made.picture)


def _record(place: Layout, folder: Path, version: Version, shop: str, now: datetime.datetime | None) -> Record:
    path = folder / f"version-{version.number}.json"
    known = record.load(path)
    if known is None or known.file != version.path.name:
        known = account.account(place, version, shop=shop, now=now or datetime.datetime.now(datetime.UTC))
        record.save(known, path)
    return known


def _forget(folder: Path, kept: set[int]) -> None:
    for path in folder.iterdir():
        match = NAME.fullmatch(path.name)
        if match and int(match[1]) not in kept:
            path.unlink(missing_ok=True)
