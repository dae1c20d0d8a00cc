"""The two files that `watershed diff` compares, as a person names them."""

import shutil
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from lake.errors import PermanentError, SourceUnavailable
from warehouse.layout import Layout, layout
from warehouse.versions import Version, current, versions

TIMEOUT_S = 60


@dataclass(frozen=True)
class Side:
    """One file to compare, and what it is called."""

    name: str
    path: Path


def chosen(old: str | None, new: str | None, scratch: Path, root: Path | str | None = None) -> tuple[Side, Side]:
    """The sides that `old` and `new` name; by default the version before the one in force, and that one.

    A file at an http(s) address is downloaded into the folder `scratch`. Raises PermanentError if there is no such
    version or file.
    """
    second = _side(new or "current", scratch, root)
    return (_side(old, scratch, root) if old else _before(second, root)), second


def _before(newer: Side, root: Path | str | None) -> Side:
    older = [it for it in versions(root) if it.path.resolve() != newer.path.resolve()]
    number = next((it.number for it in versions(root) if it.path.resolve() == newer.path.resolve()), None)
    older = [it for it in older if number is None or it.number < number]
    if not older:
        raise PermanentError(
            "watershed diff", "there is no version before this one", "publish again, or name two files"
        )
    return _named(older[-1])


def _side(name: str, scratch: Path, root: Path | str | None) -> Side:
    if name.startswith(("http://", "https://")):
        return Side(name, _downloaded(name, scratch / "old.duckdb"))
    if name.isdigit():
        return _numbered(int(name), root)
    if name == "current":
        return _in_force(layout(root), root)
    if name == "build":
        return Side("the build", layout(root).build)
    return Side(Path(name).name, Path(name))


def _numbered(number: int, root: Path | str | None) -> Side:
    kept = versions(root)
    for version in kept:
        if version.number == number:
            return _named(version)
    there = ", ".join(str(it.number) for it in kept) or "none"
    raise PermanentError("watershed diff", f"there is no version {number}", f"kept are: {there}")


def _in_force(place: Layout, root: Path | str | None) -> Side:
    version = current(root)
    if version is None:
        raise PermanentError(str(place.pointer), "no warehouse has been published yet", "run `make run` first")
    return _named(version)


def _named(version: Version) -> Side:
    return Side(f"version {version.number} ({version.published_at:%Y-%m-%d %H:%M} UTC)", version.path)


def _downloaded(address: str, path: Path) -> Path:
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT_S) as answer, path.open("wb") as file:  # noqa: S310  http(s)
            shutil.copyfileobj(answer, file, 8 << 20)
    except (urllib.error.URLError, TimeoutError) as error:
        reason = getattr(error, "reason", error)
        raise SourceUnavailable(address, f"cannot be read ({reason})", "name a file that anybody may read") from None
    return path
