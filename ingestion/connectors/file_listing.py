"""The places where files are dropped, a folder or an S3 bucket: what lies there, and its bytes."""

from __future__ import annotations

import hashlib
import io
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from lake import s3
from lake.errors import AccessDenied, PermanentError, PlatformError, SourceUnavailable, SpecError

if TYPE_CHECKING:
    from ingestion.spec import FileFormat, Source

# Names that copying programs give to what they have not finished yet.
UNFINISHED = re.compile(
    r"(?:^|/)[.~][^/]*$|\.(?:tmp|temp|part|partial|filepart|crdownload|download|swp|inprogress)$", re.I
)
BLOCK = 4 << 20
CLOCK_SKEW_S = 60  # a file from further in the future has a wrong clock behind it, and would never settle


@dataclass(frozen=True)
class Dropped:
    """One file: path below the place, bytes, `stamp` (changes with each writing), digest of the content (or none)."""

    path: str
    size: int
    stamp: str
    content: str = ""


class Place(Protocol):
    """A folder or a bucket."""

    def listing(self, files: FileFormat) -> list[Dropped]:
        """The whole files that match the pattern, by path; digests are left out."""

    def digested(self, file: Dropped) -> Dropped:
        """`file` with the digest of its content."""

    def open(self, file: Dropped) -> BinaryIO:
        """The file's bytes, seekable. Raises SourceUnavailable if it is not the listed one any more."""

    def unchanged(self, file: Dropped) -> bool:
        """Whether what lies there is still the file that was listed."""


def place(source: Source) -> Place:
    """Where the files of `source` lie. Raises SpecError if its variable is not set."""
    root = os.environ.get(source.connection, "")
    if not root:
        mend = f"set {source.connection} to a folder or to s3://bucket/prefix"
        raise SpecError(f"source {source.name}", f"{source.connection} is not set", mend)
    if root.startswith("s3://"):
        bucket, _, prefix = root.removeprefix("s3://").partition("/")
        return Bucket(source, bucket, f"{prefix.strip('/')}/" if prefix.strip("/") else "")
    return Folder(source, Path(root).expanduser())


def pattern(glob: str) -> re.Pattern[str]:
    """`*` and `?` within one folder, `**/` for any folders, `[abc]`; everything else is itself."""
    parts = re.split(r"(\*\*/|\*|\?|\[[^/\]]+\])", glob)
    known = {"**/": "(?:[^/]+/)*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(known.get(part) or (part if _is_set(part) else re.escape(part)) for part in parts))


def _is_set(part: str) -> bool:
    return part.startswith("[") and part.endswith("]")


def _fixed(glob: str) -> str:
    """The folder above the first wildcard, with a slash at its end."""
    plain = re.split(r"[*?\[]", glob, maxsplit=1)[0]
    return plain[: plain.rfind("/") + 1]


class Folder:
    """A folder of this machine, network mounts included."""

    def __init__(self, source: Source, root: Path) -> None:
        self.source, self.root = source, root

    def listing(self, files: FileFormat) -> list[Dropped]:
        """As in Place."""
        if not self.root.is_dir():
            mend = f"mount or make it, or correct {self.source.connection}"
            raise SourceUnavailable(f"source {self.source.name}", f"there is no folder {self.root}", mend)
        matches, now = pattern(files.path), time.time()
        found = []
        for path, name in self._walk(self.root / _fixed(files.path)):
            if not matches.fullmatch(name) or UNFINISHED.search(name):
                continue
            try:
                status = path.stat()
            except FileNotFoundError:  # taken away since the folder was listed, or a link to nothing
                continue
            age = now - status.st_mtime
            if not -CLOCK_SKEW_S < age < files.settle_s:
                found.append(Dropped(self._told(name), status.st_size, str(status.st_mtime_ns)))
        return sorted(found, key=lambda file: file.path)

    def digested(self, file: Dropped) -> Dropped:
        """As in Place; BLAKE2b of the bytes as they lie there."""
        digest = hashlib.blake2b(digest_size=8)
        with self.open(file) as stream:
            while block := stream.read(BLOCK):
                digest.update(block)
        return replace(file, content=digest.hexdigest())

    def open(self, file: Dropped) -> BinaryIO:
        """As in Place."""
        try:
            stream = (self.root / file.path).open("rb")
        except OSError as error:
            raise self._refused(file, error) from None
        if not self.unchanged(file):
            stream.close()
            raise changed(self.source, file)
        return stream

    def unchanged(self, file: Dropped) -> bool:
        """As in Place."""
        try:
            status = (self.root / file.path).stat()
        except OSError:
            return False
        return (status.st_size, str(status.st_mtime_ns)) == (file.size, file.stamp)

    def _walk(self, start: Path) -> Iterator[tuple[Path, str]]:
        def refused(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError):
                raise AccessDenied(
                    f"source {self.source.name}",
                    f"folder {error.filename} cannot be listed",
                    "give the right to read it",
                )

        for folder, _, names in os.walk(start, onerror=refused):
            for name in names:
                path = Path(folder, name)
                yield path, path.relative_to(self.root).as_posix()

    def _told(self, name: str) -> str:
        try:
            name.encode()
        except UnicodeEncodeError:
            shown = os.fsencode(name).decode("ascii", "backslashreplace")
            raise PermanentError(
                f"source {self.source.name}", f"the name of {shown} is not UTF-8", "rename it"
            ) from None
        return name

    def _refused(self, file: Dropped, error: OSError) -> PlatformError:
        where = f"source {self.source.name}, file {file.path}"
        if isinstance(error, FileNotFoundError):
            return changed(self.source, file)
        if isinstance(error, PermissionError):
            return AccessDenied(where, "no right to read it", "give this user the right, or take the file away")
        return SourceUnavailable(where, f"cannot be read ({error.strerror})", "see to the disk or mount, and run again")


class Bucket:
    """A prefix in an S3 bucket, reached by the usual AWS variables; a digest is the server's ETag."""

    def __init__(self, source: Source, bucket: str, prefix: str) -> None:
        self.source, self.bucket, self.prefix = source, bucket, prefix
        self.client: Any = s3.client(connections=source.max_connections + 2, attempts=4)

    def listing(self, files: FileFormat) -> list[Dropped]:
        """As in Place."""
        matches = pattern(files.path)
        found = []
        try:
            pages = self.client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.bucket, Prefix=self.prefix + _fixed(files.path)):
                for entry in page.get("Contents", ()):
                    name = entry["Key"].removeprefix(self.prefix)
                    if matches.fullmatch(name) and not UNFINISHED.search(name):
                        tag = entry["ETag"].strip('"')
                        found.append(Dropped(name, int(entry["Size"]), tag, tag))
        except Exception as error:
            raise self.explained(error) from None
        return sorted(found, key=lambda file: file.path)

    def digested(self, file: Dropped) -> Dropped:
        """As in Place: it has one already."""
        return file

    def open(self, file: Dropped) -> BinaryIO:
        """As in Place; read by ranges, so that memory is bounded and a broken line costs one range."""
        return io.BufferedReader(_Ranges(self, file), BLOCK)

    def unchanged(self, file: Dropped) -> bool:
        """As in Place: each range was asked for by ETag."""
        return True

    def explained(self, error: Exception, file: Dropped | None = None) -> PlatformError:
        """What an error of the S3 client means for a person."""
        if isinstance(error, PlatformError):
            return error
        where = f"source {self.source.name}" + (f", file {file.path}" if file else "")
        code = str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))
        if file and code in ("412", "PreconditionFailed", "404", "NoSuchKey", "416", "InvalidRange"):
            return changed(self.source, file)
        if code in ("404", "NoSuchBucket"):
            return PermanentError(
                where, f"there is no bucket {self.bucket}", f"make it, or correct {self.source.connection}"
            )
        if code in ("403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"):
            mend = "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the bucket's policy"
            return AccessDenied(where, "the S3 server refuses these credentials", mend)
        what = f"the S3 server answers {code}" if code else "the S3 server does not answer"
        return SourceUnavailable(where, what, "start it, or correct AWS_ENDPOINT_URL")


class _Ranges(io.RawIOBase):
    """One object of a bucket as a seekable stream, always of the version that was listed."""

    def __init__(self, bucket: Bucket, file: Dropped) -> None:
        super().__init__()
        self.bucket, self.file, self.at = bucket, file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.file.size}[whence]
        return self.at

    def readinto(self, target: Any) -> int:
        wanted = min(len(target), self.file.size - self.at)
        if wanted <= 0:
            return 0
        key, last = self.bucket.prefix + self.file.path, self.at + wanted - 1
        try:
            answer = self.bucket.client.get_object(
                Bucket=self.bucket.bucket, Key=key, Range=f"bytes={self.at}-{last}", IfMatch=f'"{self.file.stamp}"'
            )
            block = answer["Body"].read()
        except Exception as error:
            raise self.bucket.explained(error, self.file) from None
        target[: len(block)] = block
        self.at += len(block)
        return len(block)


def changed(source: Source, file: Dropped) -> SourceUnavailable:
    """The error for a file that is being written while it is read."""
    where = f"source {source.name}, file {file.path}"
    return SourceUnavailable(where, "has changed while it was read", "run again when it is complete")
