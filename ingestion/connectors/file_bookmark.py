"""Which files of a table have been taken, and as what types: the state that is committed together with their rows.

A bookmark is one line of text: JSON, compressed and in base64. 20,000 files take 37 bytes each.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from ingestion.connectors.file_listing import Dropped

VERSION = 1


@dataclass(frozen=True)
class Taken:
    """A file that was taken; `name` is what its rows have in `_file`: the path it had when it was read first."""

    size: int
    stamp: str
    content: str
    name: str


@dataclass(frozen=True)
class Bookmark:
    """The files taken, by their path now, and the type (as DuckDB writes it) of each column that had a value."""

    files: Mapping[str, Taken] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)

    def names(self) -> dict[str, str]:
        """What `_file` is for the rows of each known path."""
        return {path: taken.name for path, taken in self.files.items()}


@dataclass(frozen=True)
class Sorted:
    """A listing compared with a bookmark: what is to be read, and the files as they are to be remembered."""

    fresh: tuple[Dropped, ...]
    files: Mapping[str, Taken]


def compared(
    known: Bookmark, listing: Iterable[Dropped], digested: Callable[[Dropped], Dropped], *, forget: bool = False
) -> Sorted:
    """Which of the files in `listing` are new or have another content.

    A file with the content that another path has lost is that one renamed, and not new; so rotated logs are read once.
    With `forget`, what has vanished is not remembered, so that it is read again should it come back.
    """
    here = {file.path: file for file in listing}
    kept = {path: known.files[path] for path, file in here.items() if _same(known.files.get(path), file)}
    seen = {path: digested(file) for path, file in here.items() if path not in kept}
    for path, file in list(seen.items()):
        before = known.files.get(path)
        if before and before.content == file.content:  # written again as it was
            kept[path] = Taken(file.size, file.stamp, file.content, before.name)
            del seen[path]
    lost = {taken.content: path for path, taken in known.files.items() if path not in kept and taken.size}
    moved = {path: lost.pop(file.content) for path, file in seen.items() if file.content in lost}
    files = {path: taken for path, taken in known.files.items() if not forget or path in here} | kept
    for path in moved.values():
        files.pop(path, None)
    for path, old in moved.items():
        file = seen.pop(path)
        files[path] = Taken(file.size, file.stamp, file.content, known.files[old].name)
    names = {taken.name for path, taken in files.items() if path not in seen}
    for path, file in seen.items():
        name = files[path].name if path in files else path
        files[path] = Taken(file.size, file.stamp, file.content, f"{path}#{file.content}" if name in names else name)
    return Sorted(tuple(seen.values()), files)


def _same(taken: Taken | None, file: Dropped) -> bool:
    return taken is not None and (taken.size, taken.stamp) == (file.size, file.stamp)


def written(bookmark: Bookmark) -> str:
    """The bookmark as one line of text."""
    files = [
        [path, taken.size, taken.stamp, taken.content, *([taken.name] if taken.name != path else [])]
        for path, taken in sorted(bookmark.files.items())
    ]
    content = {"version": VERSION, "files": files, "types": dict(bookmark.types)}
    packed = zlib.compress(json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode(), 9)
    return base64.b64encode(packed).decode()


def read(text: str | None) -> Bookmark:
    """The bookmark that `written` wrote; an empty one for None."""
    if not text:
        return Bookmark()
    content = json.loads(zlib.decompress(base64.b64decode(text)))
    files = {
        path: Taken(size, stamp, digest, more[0] if more else path)
        for path, size, stamp, digest, *more in content["files"]
    }
    return Bookmark(files, content["types"])


def everything(known: Bookmark, listing: Iterable[Dropped], digested: Callable[[Dropped], Dropped]) -> Sorted:
    """The whole listing as to be read; renamed files keep the name of their rows."""
    seen = compared(known, listing, digested, forget=True)
    fresh = {file.path: file for file in seen.fresh}
    every = [
        fresh.get(path) or replace(Dropped(path, taken.size, taken.stamp), content=taken.content)
        for path, taken in sorted(seen.files.items())
    ]
    return Sorted(tuple(every), seen.files)
