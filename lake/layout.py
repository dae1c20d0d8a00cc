"""Names to paths: `<root>/<zone>/<source>/<table>/year=YYYY/month=MM/day=DD/*.parquet`, on a folder or on S3.

Zone `metrics_cold` has no sources, and its tables are divided by year: `metrics_cold/<hypertable>/year=YYYY`.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lake import s3
from lake.errors import SpecError

Zone = Literal["raw", "processed", "curated", "quarantine", "metrics_cold"]
DAY_COLUMNS = ("year", "month", "day")
# An S3 server that is silent for so long is given up on; it is asked again until RETRY_S have passed. A large copy or
# upload takes a server a while to complete, without a byte in between: Arrow's own 3 s are too short for that.
CONNECT_S, ANSWER_S, RETRY_S = 5, 30, 120


@dataclass(frozen=True)
class Address:
    """One table of the lake: its zone, source (empty in a zone without sources) and name."""

    zone: Zone
    source: str
    table: str

    def __str__(self) -> str:
        return "/".join(part for part in (self.zone, self.source, self.table) if part)


@dataclass(frozen=True)
class Lake:
    """Where the lake is: `root` is an absolute folder or `s3://bucket/prefix`."""

    root: str

    @property
    def on_s3(self) -> bool:
        """Whether the lake is on an S3 server."""
        return self.root.startswith("s3://")

    @property
    def bucket(self) -> str:
        """The bucket of a lake on S3."""
        return self.root.removeprefix("s3://").split("/", 1)[0]

    @property
    def prefix(self) -> str:
        """The path below the bucket, without slashes at its ends."""
        return self.root.removeprefix("s3://").partition("/")[2].strip("/")

    def uri(self, address: Address) -> str:
        """The absolute path or S3 URI of one table."""
        return f"{self.root}/{address}"

    def key(self, path: str) -> str:
        """The key of an object at `path` below the root of a lake on S3."""
        return f"{self.prefix}/{path}" if self.prefix else path

    def storage_options(self) -> dict[str, str]:
        """What the Delta library needs to reach the lake now (temporary keys change); empty for a folder."""
        if not self.on_s3:
            return {}
        at = s3.server()
        options = {
            "conditional_put": "etag",
            "AWS_REGION": at.region,
            "AWS_ACCESS_KEY_ID": at.key,
            "AWS_SECRET_ACCESS_KEY": at.secret,
            "connect_timeout": f"{CONNECT_S}s",
            "timeout": f"{ANSWER_S}s",
            "retry_timeout": f"{RETRY_S}s",
        }
        if at.token:
            options["AWS_SESSION_TOKEN"] = at.token
        if at.endpoint:
            options["AWS_ALLOW_HTTP"] = str(not at.has_tls).lower()
            options["AWS_ENDPOINT_URL"] = at.endpoint
            if at.is_virtual_hosted:
                options["AWS_ENDPOINT_URL"] = at.endpoint.replace("://", f"://{self.bucket}.", 1)
                options["AWS_VIRTUAL_HOSTED_STYLE_REQUEST"] = "true"
        return options


def from_environment() -> Lake:
    """The lake named by LAKE_ROOT; raises SpecError if it is unset or relative."""
    root = os.environ.get("LAKE_ROOT", "").rstrip("/")
    if not root:
        raise SpecError("LAKE_ROOT", "is not set", "set it to an absolute folder or s3://bucket/prefix")
    if root.startswith("s3://"):
        if len(root) <= len("s3://"):
            raise SpecError("LAKE_ROOT", "names no bucket", "write s3://bucket/prefix")
    elif not Path(root).is_absolute():
        raise SpecError("LAKE_ROOT", f"{root} is relative", "set it to an absolute folder or s3://bucket/prefix")
    return Lake(root)
