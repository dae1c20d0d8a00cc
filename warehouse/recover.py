"""A build file that an interrupted build left behind: opened, or replaced by something that can be built upon."""

import shutil
from pathlib import Path

import duckdb

from lake import duck
from lake.errors import Busy
from warehouse.layout import Layout
from warehouse.versions import current


def sound_build_file(place: Layout) -> str | None:
    """Make sure that the build file can be opened, and say in one sentence what had to be done, if anything.

    A build that was killed leaves a write-ahead log; opening the file replays what was committed. A file that does
    not open (torn, or of another DuckDB version) is set aside as `*.broken` and the build starts from the last
    published version, or from nothing. Raises Busy if another process has the file open.
    """
    place.build.parent.mkdir(parents=True, exist_ok=True)
    if not place.build.exists():
        _forget(place)
        return None
    try:
        duck.connect(place.build).close()
    except duckdb.Error as error:
        if "Could not set lock" in str(error):
            raise Busy(str(place.build), "another process has the build file open", "close it") from None
        return _start_over(place, str(error).splitlines()[0])
    return None


def _start_over(place: Layout, reason: str) -> str:
    place.build.replace(place.build.with_suffix(".broken"))
    _forget(place)
    version = current(place.root)
    if version is not None and _opens(version.path):
        shutil.copyfile(version.path, place.build)
        return f"The build file did not open ({reason}); building upon {version.path.name}."
    return f"The build file did not open ({reason}); building from scratch."


def _opens(path: Path) -> bool:
    try:
        duck.connect(path, read_only=True).close()
    except duckdb.Error:
        return False
    return True


def _forget(place: Layout) -> None:
    """Remove what belonged to a build file that is gone: its write-ahead log and what was proven about it."""
    place.build.with_name(place.build.name + ".wal").unlink(missing_ok=True)
    place.proven.unlink(missing_ok=True)
