"""The published versions on disk: which there are, and which one is in force."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from warehouse.layout import layout

NAME = re.compile(r"^warehouse-(\d{8}T\d{6}Z)-(\d+)\.duckdb$")
INSTANT = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, order=True)
class Version:
    """One published, immutable file; `number` counts up over the life of the root, `published_at` is UTC."""

    number: int
    published_at: datetime
    path: Path
    bytes: int


def versions(root: Path | str | None = None) -> list[Version]:
    """All published versions that are still kept, oldest first."""
    folder = layout(root).published
    found = (_version(path) for path in (folder.iterdir() if folder.is_dir() else ()))
    return sorted(version for version in found if version)


def current(root: Path | str | None = None) -> Version | None:
    """The version in force; None if nothing is published."""
    pointer = layout(root).pointer
    target = None
    while pointer.is_symlink():
        before, target = target, pointer.readlink()
        version = _version(pointer.parent / target)
        if version is not None or target == before:
            return version
        # a publish moved the pointer and deleted the old version between our two looks: look again
    return None


def file_name(number: int, published_at: datetime) -> str:
    """The name of a version's file."""
    return f"warehouse-{published_at.astimezone(UTC).strftime(INSTANT)}-{number}.duckdb"


def _version(path: Path) -> Version | None:
    match = NAME.match(path.name)
    if not match:
        return None
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return None
    instant = datetime.strptime(match[1], INSTANT).replace(tzinfo=UTC)
    return Version(int(match[2]), instant, path, size)
