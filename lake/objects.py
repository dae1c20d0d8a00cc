"""The files below a lake's root, written once under a name of their own: on a folder, or on S3 through Arrow.

A file that no commit names is nothing: it is not read, and may lie there after a kill.
"""

import functools
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as fs

from lake import layout, s3
from lake.layout import Lake

COPIES_AT_ONCE = 8


def sink(lake: Lake, path: str) -> pa.NativeFile:
    """A new file at `path` (below the root) to write to; folders are made."""
    if lake.on_s3:
        return _s3(s3.server()).open_output_stream(_key(lake, path))
    whole = Path(lake.root) / path
    try:
        return pa.OSFile(str(whole), "wb")
    except FileNotFoundError:
        whole.parent.mkdir(parents=True, exist_ok=True)
        return pa.OSFile(str(whole), "wb")


def filesystem(lake: Lake) -> fs.FileSystem:
    """The lake's storage as Arrow sees it; `key` gives the paths in it."""
    return _s3(s3.server()) if lake.on_s3 else fs.LocalFileSystem()


def key(lake: Lake, path: str) -> str:
    """The path in `filesystem` of what lies at `path` below the root."""
    return _key(lake, path) if lake.on_s3 else f"{lake.root}/{path}"


def copy(lake: Lake, pairs: Iterable[tuple[str, str]]) -> None:
    """Give files a second name: a hard link on a folder (a copy where there are none), a copy by the server on S3."""
    with ThreadPoolExecutor(COPIES_AT_ONCE if lake.on_s3 else 1) as pool:
        for _ in pool.map(lambda pair: _copy(lake, *pair), pairs):
            pass


def _copy(lake: Lake, old: str, new: str) -> None:
    if lake.on_s3:
        _s3(s3.server()).copy_file(_key(lake, old), _key(lake, new))
        return
    source, target = Path(lake.root) / old, Path(lake.root) / new
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(source)
    except FileExistsError:
        pass  # an earlier attempt made it: names are never used for anything else
    except OSError:
        shutil.copyfile(source, target)


def _key(lake: Lake, path: str) -> str:
    return f"{lake.bucket}/{lake.key(path)}"


@functools.lru_cache(4)
def _s3(at: s3.Server) -> fs.S3FileSystem:
    return fs.S3FileSystem(
        access_key=at.key,
        secret_key=at.secret,
        session_token=at.token or None,
        region=at.region,
        endpoint_override=at.host or None,
        scheme="https" if at.has_tls else "http",
        force_virtual_addressing=at.is_virtual_hosted,
        tls_ca_file_path=at.ca or None,
        connect_timeout=layout.CONNECT_S,
        request_timeout=layout.ANSWER_S,
        allow_bucket_creation=False,
    )
