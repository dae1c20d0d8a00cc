"""Whether the lake can be reached and written, said before any work is done."""

import errno
import uuid
from pathlib import Path

from lake.errors import AccessDenied, LakeUnavailable, PermanentError, PlatformError, redact
from lake.layout import Lake


def check(lake: Lake) -> None:
    """Write and remove one small object. Raises a PlatformError that says what is wrong with the lake."""
    if lake.on_s3:
        _check_bucket(lake)
    else:
        _check_folder(Path(lake.root))


def explained(lake: Lake, error: Exception) -> PlatformError:
    """What a storage error means for a person."""
    text = redact(str(error)).splitlines()[0] if str(error) else type(error).__name__
    where = f"lake {lake.root}"
    if (isinstance(error, OSError) and error.errno == errno.ENOSPC) or "No space left" in str(error):
        return PermanentError(where, "the disk is full", "free some space and run again; nothing committed is harmed")
    if isinstance(error, PermissionError) or "Permission denied" in str(error) or "AccessDenied" in str(error):
        return AccessDenied(where, "no right to write", "give this user the right, or set LAKE_ROOT elsewhere")
    return LakeUnavailable(where, f"cannot be used ({text})", "see that it is reachable and run again")


def _check_folder(root: Path) -> None:
    probe = root / f".probe-{uuid.uuid4().hex}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"x" * 4096)
        probe.unlink()
    except NotADirectoryError:
        raise PermanentError(f"lake {root}", "is no folder", "set LAKE_ROOT to a folder") from None
    except OSError as error:
        if error.errno == errno.EROFS:
            raise AccessDenied(
                f"lake {root}", "is read-only", "mount it writable, or set LAKE_ROOT elsewhere"
            ) from None
        raise explained(Lake(str(root)), error) from None


def _check_bucket(lake: Lake) -> None:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    where = f"lake {lake.root}"
    client = boto3.client("s3", config=Config(connect_timeout=5, read_timeout=15, retries={"max_attempts": 2}))
    key = "/".join(part for part in (lake.prefix, f".probe-{uuid.uuid4().hex}") if part)
    try:
        client.head_bucket(Bucket=lake.bucket)
        client.put_object(Bucket=lake.bucket, Key=key, Body=b"x")
        client.delete_object(Bucket=lake.bucket, Key=key)
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in ("404", "NoSuchBucket"):
            mend = f"create it (`watershed lake init` or aws s3 mb s3://{lake.bucket}), or correct LAKE_ROOT"
            raise PermanentError(where, f"bucket {lake.bucket} does not exist", mend) from None
        if code in ("403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"):
            mend = "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the bucket's policy"
            raise AccessDenied(where, "the S3 server refuses these credentials", mend) from None
        raise LakeUnavailable(where, f"the S3 server answers {code}", "see its log and run again") from None
    except NoCredentialsError:
        raise AccessDenied(where, "no credentials were found", "set AWS_ACCESS_KEY_ID and its secret") from None
    except BotoCoreError:
        raise LakeUnavailable(where, "the S3 server does not answer", "start it, or correct AWS_ENDPOINT_URL") from None
