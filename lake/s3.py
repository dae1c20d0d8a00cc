"""How an S3 server is reached: endpoint, region and keys by the usual AWS chain, said the same to all who speak to it.

Keys in the environment are taken as they are. Everything else (profile, web identity, role of a container or of an
instance) is found by botocore, which also renews temporary keys before they expire: ask for them anew for each piece
of work.
"""

import atexit
import datetime
import functools
import os
import shutil
import ssl
import tempfile
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from lake.errors import AccessDenied, LakeUnavailable

REGION = "us-east-1"
# Checksums that only AWS asks for are refused by other servers (411), or are of the whole object on a part of it.
CHECKSUMS = ("AWS_REQUEST_CHECKSUM_CALCULATION", "AWS_RESPONSE_CHECKSUM_VALIDATION")


@dataclass(frozen=True)
class Server:
    """One S3 server and the keys to it; `endpoint` is empty for AWS itself, `ca` for the system's authorities."""

    endpoint: str
    region: str
    key: str
    secret: str
    token: str
    is_virtual_hosted: bool
    ca: str

    def __repr__(self) -> str:
        """Without the keys: this may stand in a log."""
        return f"Server(endpoint={self.endpoint!r}, region={self.region!r})"

    @property
    def host(self) -> str:
        """Host and port of the endpoint; empty for AWS itself."""
        return self.endpoint.partition("://")[2].rstrip("/")

    @property
    def has_tls(self) -> bool:
        """Whether the server is spoken to over TLS."""
        return not self.endpoint.startswith("http://")


def server() -> Server:
    """The S3 server as the environment and the AWS files name it now; raises AccessDenied if there are no keys."""
    for name in CHECKSUMS:
        os.environ.setdefault(name, "when_required")
    if all(os.environ.get(name) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")) and not _files():
        found = _of_environment()
    else:
        found = _of_chain()
    if found.ca:
        _trust(found.ca)
    return found


def client(connections: int = 10, attempts: int = 3) -> Any:
    """A boto3 client of the S3 server as it is named now, with time limits; it may be used by several threads."""
    return _client(server(), connections, attempts)


@functools.lru_cache(8)
def _client(at: Server, connections: int, attempts: int) -> Any:
    # Kept: making one takes as long as twenty requests.
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=5,
        read_timeout=15,
        retries={"total_max_attempts": attempts},
        max_pool_connections=connections,
        signature_version="s3v4",
        s3={"addressing_style": "virtual" if at.is_virtual_hosted else "path"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    # A session of its own: the default one keeps the credentials that it found first.
    session = boto3.session.Session(at.key, at.secret, at.token or None, at.region)
    return session.client("s3", endpoint_url=at.endpoint or None, verify=at.ca or None, config=config)


def now(answer: dict[str, Any]) -> datetime.datetime:
    """What the server's own clock said when it gave `answer`: the only clock that all of a lake's writers share."""
    told: str = answer["ResponseMetadata"]["HTTPHeaders"]["date"]
    return parsedate_to_datetime(told)


def _of_environment() -> Server:
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    return Server(
        endpoint.rstrip("/"),
        os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or REGION,
        os.environ["AWS_ACCESS_KEY_ID"],
        os.environ["AWS_SECRET_ACCESS_KEY"],
        os.environ.get("AWS_SESSION_TOKEN") or "",
        not endpoint,
        os.environ.get("AWS_CA_BUNDLE") or "",
    )


def _of_chain() -> Server:
    from botocore.configprovider import ConfiguredEndpointProvider
    from botocore.exceptions import BotoCoreError

    try:
        session, keys = _session(tuple(sorted(_names())))
        if keys is None:
            mend = "set AWS_ACCESS_KEY_ID and its secret, AWS_PROFILE, or give the machine a role"
            raise AccessDenied("S3", "no credentials were found", mend)
        frozen = keys.get_frozen_credentials()
        profile = session.get_scoped_config()
        endpoint = ConfiguredEndpointProvider(session.full_config, profile, "s3").provide()
    except BotoCoreError as error:
        raise _told(error) from None
    if _is_ignored(profile):
        endpoint = ""
    told = os.environ.get("AWS_REGION") or session.get_config_variable("region")
    style = (profile.get("s3") or {}).get("addressing_style", "auto")
    return Server(
        (endpoint or "").rstrip("/"),
        told or REGION,
        frozen.access_key,
        frozen.secret_key,
        frozen.token or "",
        style == "virtual" or (style == "auto" and not endpoint),
        str(session.get_config_variable("ca_bundle") or ""),
    )


@functools.lru_cache(4)
def _session(_names: tuple[tuple[str, str], ...]) -> tuple[Any, Any]:
    """A session of botocore for these variables and files, and its credentials, which renew themselves."""
    import botocore.session

    session = botocore.session.get_session()
    return session, session.get_credentials()


def _names() -> list[tuple[str, str]]:
    """What the chain's answer depends on: the variables, and when the files were changed."""
    values = [(name, value) for name, value in os.environ.items() if name.startswith("AWS_") or name == "HOME"]
    return values + [(str(file), str(file.stat().st_mtime_ns)) for file in _files()]


def _files() -> list[Path]:
    """The AWS files that are there."""
    named = {"AWS_CONFIG_FILE": "~/.aws/config", "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials"}
    places = (Path(os.environ.get(name) or usual) for name, usual in named.items())
    try:
        return [whole for whole in (place.expanduser() for place in places) if whole.is_file()]
    except (OSError, RuntimeError):  # no home, or one that may not be looked into
        return []


def _is_ignored(profile: dict[str, Any]) -> bool:
    told = os.environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") or profile.get("ignore_configured_endpoint_urls") or ""
    return str(told).lower() == "true"


def _told(error: Exception) -> AccessDenied | LakeUnavailable:
    """What keeps botocore from the credentials, in one sentence that holds none of them."""
    from botocore import exceptions

    if isinstance(error, exceptions.ProfileNotFound):
        return AccessDenied("S3", f"{error}", "correct AWS_PROFILE, or add the profile to the AWS files")
    if isinstance(error, exceptions.PartialCredentialsError):
        return AccessDenied("S3", "the credentials are incomplete", "set the key and its secret")
    if isinstance(error, exceptions.ConfigParseError | exceptions.InvalidConfigError):
        return AccessDenied("S3", "the AWS files cannot be read", "correct what AWS_CONFIG_FILE names")
    if isinstance(error, exceptions.HTTPClientError | exceptions.MetadataRetrievalError):
        return LakeUnavailable("S3", "the service that gives out credentials does not answer", "run again")
    kind = type(error).__name__
    return AccessDenied("S3", f"the credentials cannot be had ({kind})", "log in again, or correct the AWS profile")


@functools.cache
def _trust(bundle: str) -> None:
    """Let the Delta libraries trust the authorities in `bundle`, beside the system's: they know no other way."""
    own = Path(bundle)
    if not own.is_file():
        raise AccessDenied("AWS_CA_BUNDLE", f"{bundle} is no file", "name a file of certificates in PEM form")
    usual = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    parts = [Path(usual).read_bytes()] if usual and Path(usual).is_file() else []
    folder = tempfile.mkdtemp(prefix="watershed-ca-")  # nobody else may write there
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    whole = Path(folder) / "trusted.pem"
    whole.write_bytes(b"\n".join([*parts, own.read_bytes()]))
    os.environ["SSL_CERT_FILE"] = str(whole)
