"""What lies in the lake's storage, whether a log names it or not: listed, removed, moved aside."""

import datetime
import os
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.fs as fs

from lake import objects, s3
from lake.layout import Address, Lake, Zone


@dataclass(frozen=True)
class Stored:
    """One file: its path below the folder that was listed, its size, and when it got there (UTC, the store's clock)."""

    path: str
    bytes: int
    since: datetime.datetime


def below(lake: Lake, folder: str, *, deep: bool = True) -> Iterator[Stored]:
    """All files below `folder` (a path below the root); nothing if there is no such folder."""
    if lake.on_s3:
        yield from _objects(lake, folder, deep)
    else:
        root = Path(lake.root) / folder
        yield from _files(root, root, deep)


def tables(lake: Lake) -> list[Address]:
    """Every table of every zone that has a log, declared or not."""
    zones: tuple[Zone, ...] = ("raw", "processed", "curated", "quarantine")
    named = [Address(zone, one, table) for zone in zones for one in folders(lake, zone)
             for table in folders(lake, f"{zone}/{one}")]  # fmt: skip
    named += [Address("metrics_cold", "", table) for table in folders(lake, "metrics_cold")]
    return [address for address in named if "_delta_log" in folders(lake, str(address))]


def folders(lake: Lake, folder: str) -> list[str]:
    """The names of the folders right below `folder`, sorted."""
    if not lake.on_s3:
        whole = Path(lake.root) / folder
        return sorted(entry.name for entry in os.scandir(whole) if entry.is_dir()) if whole.is_dir() else []
    selector = fs.FileSelector(objects.key(lake, folder), allow_not_found=True)
    found = objects.filesystem(lake).get_file_info(selector)
    return sorted(entry.base_name for entry in found if entry.type == fs.FileType.Directory)


def remove(lake: Lake, paths: Iterable[str]) -> None:
    """Remove files, given by their paths below the root; one that is gone already is no error."""
    if lake.on_s3:  # not by Arrow, which puts an empty object in the place of the folder
        client = s3.client()
        for path in paths:
            client.delete_object(Bucket=lake.bucket, Key=lake.key(path))
        return
    for path in paths:
        (Path(lake.root) / path).unlink(missing_ok=True)


def move(lake: Lake, old: str, new: str) -> None:
    """Give a file another name (both below the root); its folder is made."""
    if lake.on_s3:
        where = objects.filesystem(lake)
        where.copy_file(objects.key(lake, old), objects.key(lake, new))
        remove(lake, [old])
        return
    target = Path(lake.root) / new
    target.parent.mkdir(parents=True, exist_ok=True)
    (Path(lake.root) / old).rename(target)


def read(lake: Lake, path: str) -> bytes:
    """The whole of a small file; raises FileNotFoundError if it is not there."""
    with objects.filesystem(lake).open_input_stream(objects.key(lake, path)) as stream:
        return bytes(stream.read())


def write(lake: Lake, path: str, content: bytes) -> None:
    """Write a small file in one piece: a reader sees the old one or the new one."""
    if lake.on_s3:
        with objects.sink(lake, path) as stream:
            stream.write(content)
        return
    target = Path(lake.root) / path
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}-{uuid.uuid4().hex}")
    beside.write_bytes(content)
    beside.replace(target)


def clock(lake: Lake) -> datetime.datetime:
    """What time it is for the store, which dates the files: a machine whose clock is wrong must not judge their age."""
    probe = f".probe-{uuid.uuid4().hex}"
    write(lake, probe, b"x")
    try:
        return _utc(objects.filesystem(lake).get_file_info(objects.key(lake, probe)).mtime)
    finally:
        remove(lake, [probe])


def abort_uploads(lake: Lake, folder: str, before: datetime.datetime, *, dry_run: bool = False) -> int:
    """End uploads in parts that were begun before an instant and never completed; answers how many there were."""
    if not lake.on_s3:
        return 0
    from botocore.exceptions import ClientError

    client = s3.client()
    prefix = objects.key(lake, folder).removeprefix(f"{lake.bucket}/").rstrip("/") + "/"
    old = [
        upload
        for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=lake.bucket, Prefix=prefix)
        for upload in page.get("Uploads", [])
        if upload["Initiated"] < before
    ]
    for upload in [] if dry_run else old:
        try:
            client.abort_multipart_upload(Bucket=lake.bucket, Key=upload["Key"], UploadId=upload["UploadId"])
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != "NoSuchUpload":
                raise
    return len(old)


def _files(root: Path, folder: Path, deep: bool) -> Iterator[Stored]:
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            if deep:
                yield from _files(root, Path(entry.path), deep)
            continue
        try:
            held = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        # A second name (a hard link) keeps the time of the file's making, but its inode has changed just now.
        since = datetime.datetime.fromtimestamp(max(held.st_mtime, held.st_ctime), datetime.UTC)
        yield Stored(Path(entry.path).relative_to(root).as_posix(), held.st_size, since)


def _objects(lake: Lake, folder: str, deep: bool) -> Iterator[Stored]:
    root = objects.key(lake, folder).rstrip("/")
    selector = fs.FileSelector(root, recursive=deep, allow_not_found=True)
    for entry in objects.filesystem(lake).get_file_info(selector):
        if entry.type == fs.FileType.File:
            yield Stored(entry.path.removeprefix(f"{root}/"), entry.size, _utc(entry.mtime))


def _utc(instant: datetime.datetime) -> datetime.datetime:
    return instant if instant.tzinfo else instant.replace(tzinfo=datetime.UTC)
