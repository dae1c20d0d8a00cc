"""Whether the lake can be reached and written, said before any work is done."""

import errno
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from lake.errors import AccessDenied, LakeUnavailable, PermanentError, PlatformError, redact
from lake.layout import Lake

NO_BUCKET = re.compile(r"NoSuchBucket|bucket does not exist", re.I)
REFUSED = re.compile(r"InvalidAccessKeyId|SignatureDoesNotMatch|AccessDenied|Permission denied|\b40[13]\b|Forbidden")
PASSING = re.compile(r"error sending request|connect|timed? ?out|reset|broken pipe|dns|\b5\d\d\b|SlowDown", re.I)


def check(lake: Lake) -> None:
    """Write and remove one small object. Raises a PlatformError that says what is wrong with the lake."""
    if lake.on_s3:
        _check_bucket(lake)
    else:
        _check_folder(Path(lake.root))


def explained(lake: Lake, error: Exception) -> PlatformError:
    """What a storage error means for a person."""
    if isinstance(error, PlatformError):
        return error
    text, where = str(error), f"lake {lake.root}"
    if _is_full(error):
        return PermanentError(where, "the disk is full", "free some space and run again; nothing committed is harmed")
    if lake.on_s3 and NO_BUCKET.search(text):
        return _no_bucket(lake)
    if "Read-only file system" in text or getattr(error, "errno", None) == errno.EROFS:
        return AccessDenied(where, "is read-only", "mount it writable, or set LAKE_ROOT elsewhere")
    if lake.on_s3 and REFUSED.search(text):
        return _refused(lake)
    if isinstance(error, PermissionError) or REFUSED.search(text):
        return AccessDenied(where, "no right to write", "give this user the right, or set LAKE_ROOT elsewhere")
    if lake.on_s3 and PASSING.search(text):
        return LakeUnavailable(where, "the S3 server does not answer", "start it, or correct AWS_ENDPOINT_URL")
    first = redact(text).strip().splitlines()[0] if text.strip() else type(error).__name__
    mend = "mend the cause and run again; nothing committed is harmed"
    return PermanentError(where, f"cannot be used ({first})", mend)


@contextmanager
def told(lake: Lake) -> Iterator[None]:
    """Turn what DuckDB and Arrow raise while they read `lake`, write to it or spill beside it into a PlatformError."""
    try:
        yield
    except (duckdb.Error, OSError) as error:
        raise explained(lake, error) from None


def _is_full(error: Exception) -> bool:
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return getattr(error, "errno", None) in full or bool(
        re.search(r"No space left|quota exceeded|File too large", str(error))
    )


def _no_bucket(lake: Lake) -> PermanentError:
    mend = f"create it (aws s3 mb s3://{lake.bucket}), or correct LAKE_ROOT"
    return PermanentError(f"lake {lake.root}", f"bucket {lake.bucket} does not exist", mend)


def _refused(lake: Lake) -> AccessDenied:
    mend = "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the bucket's policy"
    return AccessDenied(f"lake {lake.root}", "the S3 server refuses these credentials", mend)


def _check_folder(root: Path) -> None:
    probe = root / f".probe-{uuid.uuid4().hex}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"x" * 4096)
        probe.unlink()
    except (NotADirectoryError, FileExistsError):
        raise PermanentError(f"lake {root}", "is no folder", "set LAKE_ROOT to a folder") from None
    except OSError as error:
        raise explained(Lake(str(root)), error) from None


def _check_bucket(lake: Lake) -> None:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    where = f"lake {lake.root}"
    # A session of its own: the default one keeps the credentials that it found first.
    client = boto3.session.Session().client(
        "s3", config=Config(connect_timeout=5, read_timeout=15, retries={"max_attempts": 2})
    )
    key = "/".join(part for part in (lake.prefix, f".probe-{uuid.uuid4().hex}") if part)
    try:
        client.head_bucket(Bucket=lake.bucket)
        client.put_object(Bucket=lake.bucket, Key=key, Body=b"x")
        client.delete_object(Bucket=lake.bucket, Key=key)
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in ("404", "NoSuchBucket"):
            raise _no_bucket(lake) from None
        if code in ("403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"):
            raise _refused(lake) from None
        raise LakeUnavailable(where, f"the S3 server answers {code}", "see its log and run again") from None
    except NoCredentialsError:
        raise AccessDenied(where, "no credentials were found", "set AWS_ACCESS_KEY_ID and its secret") from None
    except BotoCoreError:
        raise LakeUnavailable(where, "the S3 server does not answer", "start it, or correct AWS_ENDPOINT_URL") from None
