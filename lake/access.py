"""Whether the lake can be reached and written, said before any work is done."""

import errno
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from lake import probe, s3
from lake.errors import AccessDenied, LakeUnavailable, PermanentError, PlatformError, is_full, redact
from lake.layout import Lake

# What S3 servers, botocore, Arrow, the Delta library and DuckDB say, and what it means. The first that is found holds.
REFUSED = "the S3 server refuses these credentials"
RIGHTS = "s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject"
NO_SERVER = ("what answers is no S3 server", "correct AWS_ENDPOINT_URL")
S3_SENTENCES: tuple[tuple[str, type[PlatformError], str, str], ...] = (
    (
        "No_?Such_?Bucket|bucket does not exist",
        PermanentError,
        "bucket {bucket} does not exist",
        "create it (watershed lake init), or correct LAKE_ROOT",
    ),
    (
        "Invalid_?Access_?Key_?Id",
        AccessDenied,
        REFUSED,
        "check AWS_ACCESS_KEY_ID, or the profile: the server does not know this key",
    ),
    (
        "Signature_?Does_?Not_?Match",
        AccessDenied,
        REFUSED,
        "check AWS_SECRET_ACCESS_KEY, or the profile: it does not belong to the key",
    ),
    (
        "Expired_?Token|Invalid_?Token|Token_?Refresh_?Required",
        AccessDenied,
        "the S3 server no longer takes these temporary credentials",
        "log in again, or set AWS_SESSION_TOKEN and its keys anew",
    ),
    (
        "Request_?Time_?Too_?Skewed|Request_?Expired|difference between the request time",
        AccessDenied,
        "this machine's clock differs from the S3 server's by too much",
        "set the clock",
    ),
    (
        "Authorization_?Header_?Malformed|Permanent_?Redirect|Illegal_?Location_?Constraint|301 Moved",
        AccessDenied,
        "bucket {bucket} is not in the region {region}",
        "set AWS_REGION to the bucket's region",
    ),
    (
        "certificate verify failed|CERTIFICATE_VERIFY_FAILED|invalid peer certificate|UnknownIssuer|peer certificate"
        "|SSL CA cert|self.signed certificate|SSLCACertBadFile|unable to get local issuer",
        AccessDenied,
        "the S3 server's certificate is not trusted",
        "let AWS_CA_BUNDLE name the file with its authority's certificate, or correct AWS_ENDPOINT_URL",
    ),
    (
        "WRONG_VERSION_NUMBER|wrong version number|InvalidContentType|record layer failure",
        AccessDenied,
        "the S3 server does not speak TLS",
        "write http:// in AWS_ENDPOINT_URL, if its network is to be trusted",
    ),
    (
        "Access_?Denied|Permission denied",
        AccessDenied,
        "the S3 server allows these credentials no access here",
        "let the policy of bucket {bucket} allow " + RIGHTS,
    ),
    (
        r"\b40[13]\b|Forbidden",
        AccessDenied,
        REFUSED,
        "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the bucket's policy",
    ),
    (
        r"Unable to parse response|error occurred \((404)?\)|MethodNotAllowed|405 Method",
        LakeUnavailable,
        *NO_SERVER,
    ),
    (
        r"error sending request|connect|timed? ?out|reset|broken pipe|dns|resolve|\b5\d\d\b|SlowDown|InternalError"
        r"|\b429\b|TooManyRequests|(receiv|send)ing data|partial file|returned nothing|response body|curlCode",
        LakeUnavailable,
        "the S3 server does not answer",
        "start it, or correct AWS_ENDPOINT_URL",
    ),
)
ONE_WRITER = "the S3 server does not enforce conditional PUT: one writer at a time is permitted, by a lock"
NO_RANGES = "the S3 server answers no ranged GET: the lake's logs have no checkpoints, and Polars cannot read it"


def check(lake: Lake) -> tuple[str, ...]:
    """Write, list, read and remove one small object, and see what the store can do.

    Answers a sentence for each thing that the store cannot do and the lake gets by without. Raises a PlatformError that
    says what is wrong with the lake.
    """
    if not lake.on_s3:
        _check_folder(Path(lake.root))
        return ()
    try:
        _check_bucket(lake)
        traits = probe.again(lake)
    except Exception as error:  # botocore's errors have no common base of their own
        raise explained(lake, error) from None
    unable = ((traits.has_conditional_put, ONE_WRITER), (traits.has_ranges, NO_RANGES))
    return tuple(sentence for is_able, sentence in unable if not is_able)


def explained(lake: Lake, error: Exception) -> PlatformError:
    """What a storage error means for a person."""
    if isinstance(error, PlatformError):
        return error
    text, where = str(error), f"lake {lake.root}"
    if is_full(error):
        return PermanentError(where, "the disk is full", "free some space and run again; nothing committed is harmed")
    if "Read-only file system" in text or getattr(error, "errno", None) == errno.EROFS:
        return AccessDenied(where, "is read-only", "mount it writable, or set LAKE_ROOT elsewhere")
    if lake.on_s3 and (found := _of_s3(lake, text)):
        return found
    if not lake.on_s3 and (isinstance(error, PermissionError) or "Permission denied" in text):
        return AccessDenied(where, "no right to write", "give this user the right, or set LAKE_ROOT elsewhere")
    if broken := broken_file(lake, text):
        return broken
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


def broken_file(lake: Lake, text: str) -> PermanentError | None:
    """The sentence for a data file that a reader could not read, if `text` names one of this lake."""
    match = re.search(re.escape(lake.root) + r"/(metrics_cold/[^/]+|\w+/[^/]+/[^/]+)/([^\"'\s]+\.parquet)", text)
    if not match:
        return None
    what = "is missing" if re.search(r"No such file|NoSuchKey|\b404\b|not found", text, re.I) else "cannot be read"
    mend = f"run `watershed lake check {match[1]}`, then `watershed lake restore {match[1]}`"
    return PermanentError(f"lake table {match[1]}", f"file {match[2]} {what}", mend)


def _of_s3(lake: Lake, text: str) -> PlatformError | None:
    for pattern, kind, what, mend in S3_SENTENCES:
        if re.search(pattern, text, re.I):
            region = s3.server().region if "{region}" in what else ""
            fill = {"bucket": lake.bucket, "region": region}
            return kind(f"lake {lake.root}", what.format(**fill), mend.format(**fill))
    return None


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
    client, key = s3.client(attempts=2), lake.key(f".probe-{uuid.uuid4().hex}")
    client.put_object(Bucket=lake.bucket, Key=key, Body=b"x")
    try:
        listed = client.list_objects_v2(Bucket=lake.bucket, Prefix=key, MaxKeys=1)
        if not listed.get("KeyCount") or client.get_object(Bucket=lake.bucket, Key=key)["Body"].read() != b"x":
            raise LakeUnavailable(f"lake {lake.root}", *NO_SERVER)
    finally:
        client.delete_object(Bucket=lake.bucket, Key=key)
