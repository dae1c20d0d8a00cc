"""A bucket made ready for a lake: closed to the public, versioned, encrypted, with rules for what may go.

What is right already is left alone, and so are the bucket's other rules. Every step is looked at again after it was
done: there are servers that take a setting and do not keep it.
"""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lake import access, s3
from lake.errors import PermanentError, PlatformError
from lake.layout import Lake

IGNORED = ("IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
CLOSED = ("BlockPublicAcls", *IGNORED)
ABSENT = (
    "NoSuchPublicAccessBlockConfiguration",
    "ServerSideEncryptionConfigurationNotFoundError",
    "NoSuchLifecycleConfiguration",
)
FATAL = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "RequestTimeTooSkewed", "InvalidToken")
UPLOAD_DAYS = 7


@dataclass(frozen=True)
class Wish:
    """How a lake's bucket shall be: days that removed objects stay, and a KMS key in place of the server's own."""

    version_days: int = 30
    quarantine_days: int = 7
    kms_key: str = ""


@dataclass(frozen=True)
class _Step:
    """One property of a bucket: what it is called, whether it holds, how it is made so, and which right that takes."""

    name: str
    holds: Callable[[], bool]
    make: Callable[[], Any]
    right: str
    undo: Callable[[], Any] | None = None  # where a server may take the setting and then refuse what it is for


def set_up(lake: Lake, wish: Wish | None = None, *, dry_run: bool = False) -> Iterator[str]:
    """Make the place of a lake what it should be; a line for each thing says what was done, or that it was so."""
    if not lake.on_s3:
        yield from _folder(Path(lake.root), dry_run)
        return
    try:
        yield from _bucket(lake, wish or Wish(), dry_run)
    except PlatformError:
        raise
    except Exception as error:  # botocore's errors have no common base
        raise access.explained(lake, error) from None


def _folder(root: Path, dry_run: bool) -> Iterator[str]:
    if root.is_dir():
        access.check(Lake(str(root)))
        yield f"folder {root}: was there already, and can be written"
    elif dry_run:
        yield f"folder {root}: would be made, for this user only"
    else:
        access.check(Lake(str(root)))
        root.chmod(0o700)
        yield f"folder {root}: made, for this user only"
    yield "versions, encryption and public access: those of the disk; a folder has none of its own"


def _bucket(lake: Lake, wish: Wish, dry_run: bool) -> Iterator[str]:
    client = s3.client()
    if _is_there(client, lake):
        yield f"bucket {lake.bucket}: was there already"
    elif dry_run:
        yield f"bucket {lake.bucket}: would be made, and set up"
        return
    else:
        _make(client, lake.bucket)
        yield f"bucket {lake.bucket}: made"
    if not dry_run:
        access.check(lake)  # what cannot be written now is not the fault of a setting
    for step in _steps(_Settings(client, lake, wish)):
        yield f"{step.name}: {_done(step, lambda: _can_write(client, lake), dry_run)}"
    if not dry_run:
        yield from access.check(lake)


def _is_there(client: Any, lake: Lake) -> bool:
    from botocore.exceptions import ClientError

    try:
        client.list_objects_v2(Bucket=lake.bucket, MaxKeys=1)  # not HEAD, whose refusals have no reason
    except ClientError as error:
        if _code(error) in ("404", "NoSuchBucket"):
            return False
        raise
    return True


def _make(client: Any, bucket: str) -> None:
    from botocore.exceptions import ClientError

    at = s3.server()
    place = {} if at.region == s3.REGION else {"CreateBucketConfiguration": {"LocationConstraint": at.region}}
    try:
        client.create_bucket(Bucket=bucket, **place)
    except ClientError as error:
        if _code(error) == "InvalidLocationConstraint" and at.endpoint:  # a server that has no regions
            client.create_bucket(Bucket=bucket)
        elif _code(error) in ("BucketAlreadyExists", "InvalidBucketName"):
            what = "is somebody else's" if _code(error) == "BucketAlreadyExists" else "is no name for a bucket"
            raise PermanentError(f"bucket {bucket}", what, "choose another name in LAKE_ROOT") from None
        else:
            raise


def _done(step: _Step, can_write: Callable[[], bool], dry_run: bool) -> str:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        if step.holds():
            return "was so already"
        if dry_run:
            return "would be set"
        step.make()
        if not step.holds():
            return "not had: the server takes the setting and does not keep it"
        if step.undo and not can_write():
            step.undo()
            return "not had: with the setting the server refuses every write; taken back"
        return "set"
    except ClientError as error:
        if _code(error) in FATAL:
            raise
        if _code(error) in ("AccessDenied", "403", "Forbidden"):
            return f"not allowed: give these credentials the right {step.right}, or let the bucket's owner set it"
        return f"not had: the server has no such feature ({_code(error)})"
    except (BotoCoreError, KeyError, TypeError) as error:  # an answer to another question than the one put
        return f"not had: the server has no such feature ({type(error).__name__})"


def _can_write(client: Any, lake: Lake) -> bool:
    from botocore.exceptions import ClientError

    key = lake.key(f".probe-{uuid.uuid4().hex}")
    try:
        client.put_object(Bucket=lake.bucket, Key=key, Body=b"x")
        client.delete_object(Bucket=lake.bucket, Key=key)
    except ClientError:
        return False
    return True


@dataclass
class _Settings:
    """The settings of one bucket: as they are, as they were found, and as they shall be."""

    client: Any
    lake: Lake
    wish: Wish
    encryption_found: Any = None

    @property
    def bucket(self) -> dict[str, str]:
        return {"Bucket": self.lake.bucket}

    def is_closed(self, names: tuple[str, ...]) -> bool:
        """Whether these of the settings against public access are on."""
        found = _asked(lambda: self.client.get_public_access_block(**self.bucket)["PublicAccessBlockConfiguration"])
        return bool(found) and all(found.get(name) for name in names)

    def close(self, names: tuple[str, ...]) -> None:
        """Switch these of the settings against public access on, and the others off."""
        settings = dict.fromkeys(names, True)
        self.client.put_public_access_block(**self.bucket, PublicAccessBlockConfiguration=settings)

    def is_versioned(self) -> bool:
        """Whether removed objects stay as versions."""
        return bool(self.client.get_bucket_versioning(**self.bucket).get("Status") == "Enabled")

    def keep_versions(self) -> None:
        """Let removed objects stay as versions."""
        self.client.put_bucket_versioning(**self.bucket, VersioningConfiguration={"Status": "Enabled"})

    def is_encrypted(self) -> bool:
        """Whether objects are encrypted as wished; by a KMS key is more than by default."""
        found = self._encryption()
        defaults = [rule["ApplyServerSideEncryptionByDefault"] for rule in (found or {"Rules": []})["Rules"]]
        if self.wish.kms_key:
            return any(default.get("KMSMasterKeyID") == self.wish.kms_key for default in defaults)
        return bool(defaults)

    def _encryption(self) -> Any:
        return _asked(lambda: self.client.get_bucket_encryption(**self.bucket)["ServerSideEncryptionConfiguration"])

    def encrypt(self) -> None:
        """Let objects be encrypted by default, or by the KMS key."""
        key = self.wish.kms_key
        self.encryption_found = self._encryption()
        default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key} if key else {"SSEAlgorithm": "AES256"}
        rules = [{"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": bool(key)}]
        self.client.put_bucket_encryption(**self.bucket, ServerSideEncryptionConfiguration={"Rules": rules})

    def encrypt_as_before(self) -> None:
        """Set the encryption that was found, or none."""
        if self.encryption_found:
            how = self.encryption_found
            self.client.put_bucket_encryption(**self.bucket, ServerSideEncryptionConfiguration=how)
        else:
            self.client.delete_bucket_encryption(**self.bucket)

    def rules(self) -> list[dict[str, Any]]:
        """The bucket's lifecycle rules, whoever set them."""
        return _asked(lambda: self.client.get_bucket_lifecycle_configuration(**self.bucket)["Rules"]) or []

    def has_rules(self) -> bool:
        """Whether the lake's own rules are among them."""
        there = {_told(rule) for rule in self.rules()}
        return all(_told(rule) in there for rule in _rules(self.lake, self.wish))

    def put_rules(self) -> None:
        """Put the lake's own rules beside the others."""
        own = _rules(self.lake, self.wish)
        names = {rule["ID"] for rule in own}
        rules = [*(rule for rule in self.rules() if rule.get("ID") not in names), *own]
        self.client.put_bucket_lifecycle_configuration(**self.bucket, LifecycleConfiguration={"Rules": rules})


def _steps(of: _Settings) -> list[_Step]:
    public, wish = "s3:PutBucketPublicAccessBlock", of.wish
    days = (
        f"removed objects gone after {wish.version_days} days, of the quarantine after {wish.quarantine_days}, "
        f"uploads never completed after {UPLOAD_DAYS}"
    )
    return [
        _Step("public access blocked", lambda: of.is_closed(IGNORED), lambda: of.close(IGNORED), public),
        # Ceph 16 then refuses every write, whatever its ACL; with encryption too, if it has no store of keys.
        _Step(
            "public ACLs refused",
            lambda: of.is_closed(CLOSED),
            lambda: of.close(CLOSED),
            public,
            lambda: of.close(IGNORED),
        ),
        _Step("versions kept", of.is_versioned, of.keep_versions, "s3:PutBucketVersioning"),
        _Step(
            f"encryption at rest by {'the KMS key' if wish.kms_key else 'default'}",
            of.is_encrypted,
            of.encrypt,
            "s3:PutEncryptionConfiguration",
            of.encrypt_as_before,
        ),
        _Step(days, of.has_rules, of.put_rules, "s3:PutLifecycleConfiguration"),
    ]


def _rules(lake: Lake, wish: Wish) -> list[dict[str, Any]]:
    """The rules of a lake. None takes an object that is live: the tables' logs alone say what may go."""
    scope = lake.prefix.replace("/", "-") or "all"
    below = {"Prefix": lake.key("")}
    return [
        {
            "ID": f"watershed-versions-{scope}",
            "Status": "Enabled",
            "Filter": below,
            "NoncurrentVersionExpiration": {"NoncurrentDays": wish.version_days},
            "Expiration": {"ExpiredObjectDeleteMarker": True},
        },
        {
            "ID": f"watershed-quarantine-{scope}",
            "Status": "Enabled",
            "Filter": {"Prefix": lake.key("quarantine/")},
            "NoncurrentVersionExpiration": {"NoncurrentDays": wish.quarantine_days},
        },
        {
            "ID": f"watershed-uploads-{scope}",
            "Status": "Enabled",
            "Filter": below,
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": UPLOAD_DAYS},
        },
    ]


def _told(rule: dict[str, Any]) -> tuple[Any, ...]:
    """What a rule does, whichever way a server writes it."""
    return (
        rule.get("ID"),
        rule.get("Status"),
        (rule.get("Filter") or {}).get("Prefix") or rule.get("Prefix") or "",
        (rule.get("NoncurrentVersionExpiration") or {}).get("NoncurrentDays"),
        bool((rule.get("Expiration") or {}).get("ExpiredObjectDeleteMarker")),
        (rule.get("AbortIncompleteMultipartUpload") or {}).get("DaysAfterInitiation"),
    )


def _asked(question: Callable[[], Any]) -> Any:
    """The answer, or None where the bucket has nothing of the kind yet."""
    from botocore.exceptions import ClientError

    try:
        return question()
    except ClientError as error:
        if _code(error) in ABSENT:
            return None
        raise


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
