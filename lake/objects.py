"""The files below a lake's root, written once under a name of their own: on a folder, or on S3 through Arrow.

A file that no commit names is nothing: it is not read, and may lie there after a kill.
"""

import functools
import os
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as fs

from lake.layout import Lake

COPIES_AT_ONCE = 8


def sink(lake: Lake, path: str) -> pa.NativeFile:
    """A new file at `path` (below the root) to write to; folders are made."""
    if lake.on_s3:
        return _s3(tuple(sorted(lake.storage_options().items()))).open_output_stream(_key(lake, path))
    whole = Path(lake.root) / path
    try:
        return pa.OSFile(str(whole), "wb")
    except FileNotFoundError:
        whole.parent.mkdir(parents=True, exist_ok=True)
        return pa.OSFile(str(whole), "wb")


def copy(lake: Lake, pairs: Iterable[tuple[str, str]]) -> None:
    """Give files a second name: a hard link on a folder (a copy where there are none), a copy by the server on S3."""
    with ThreadPoolExecutor(COPIES_AT_ONCE if lake.on_s3 else 1) as pool:
        for _ in pool.map(lambda pair: _copy(lake, *pair), pairs):
            pass


def _copy(lake: Lake, old: str, new: str) -> None:
    if lake.on_s3:
        _s3(tuple(sorted(lake.storage_options().items()))).copy_file(_key(lake, old), _key(lake, new))
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
    return f"{lake.bucket}/{lake.prefix}/{path}" if lake.prefix else f"{lake.bucket}/{path}"


@functools.cache
def _s3(options: tuple[tuple[str, str], ...]) -> fs.S3FileSystem:
    # Checksums that only AWS asks for are refused by other servers (411 Length Required).
    os.environ.setdefault("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    given = dict(options)
    endpoint = given.get("AWS_ENDPOINT_URL", "")
    scheme, _, host = endpoint.partition("://")
    return fs.S3FileSystem(
        access_key=given.get("AWS_ACCESS_KEY_ID"),
        secret_key=given.get("AWS_SECRET_ACCESS_KEY"),
        session_token=given.get("AWS_SESSION_TOKEN"),
        region=given["AWS_REGION"],
        endpoint_override=host.rstrip("/") or None,
        scheme=scheme or "https",
        allow_bucket_creation=False,
    )
