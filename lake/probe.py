"""What an S3 server can do on which the lake rests, found out by trying: conditional PUT under a race, ranged GET.

One request after the other is not enough: there are servers that refuse the second PUT in sequence and let two at once
both win. What was found is kept in a small object in the lake, so that a server is tried once and not at every start.
"""

import datetime
import json
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from lake import s3
from lake.errors import LakeUnavailable
from lake.layout import Lake

WRITERS = 6  # at once, in each round
ROUNDS = 12
KEPT_DAYS = 7  # `again` tries anew what was found longer ago
KNOWN = "_server.json"


@dataclass(frozen=True)
class Traits:
    """What a lake's store can do: keep `If-None-Match: *` under a race, and answer a ranged GET as one (206)."""

    has_conditional_put: bool = True
    has_ranges: bool = True


_found: dict[tuple[str, str], Traits] = {}
_finding = threading.Lock()


def traits(lake: Lake) -> Traits:
    """What the store of `lake` can do, tried at most once; a folder and AWS itself can do all.

    Raises LakeUnavailable where the server's answers do not tell.
    """
    if not lake.on_s3 or not (endpoint := s3.server().endpoint):
        return Traits()
    with _finding:
        if (endpoint, lake.root) not in _found:
            _found[endpoint, lake.root] = _kept(lake, endpoint) or _tried(lake, endpoint)
        return _found[endpoint, lake.root]


def again(lake: Lake) -> Traits:
    """As `traits`, but what was found more than a week ago is tried anew: servers are replaced."""
    if lake.on_s3 and (endpoint := s3.server().endpoint) and _kept(lake, endpoint, KEPT_DAYS) is None:
        with _finding:
            _found[endpoint, lake.root] = _tried(lake, endpoint)
    return traits(lake)


def forget() -> None:
    """Drop what this process knows of servers, as if it had just started."""
    _found.clear()


def _kept(lake: Lake, endpoint: str, days: int | None = None) -> Traits | None:
    """What the object in the lake says of this very server, if it is not older than `days` by the server's clock."""
    from botocore.exceptions import ClientError

    try:
        answer = s3.client().get_object(Bucket=lake.bucket, Key=lake.key(KNOWN))
    except ClientError:
        return None
    if days is not None and s3.now(answer) - answer["LastModified"] > datetime.timedelta(days=days):
        return None
    try:
        told = json.loads(answer["Body"].read())
        return Traits(**told["traits"]) if told["endpoint"] == endpoint else None
    except (ValueError, KeyError, TypeError):
        return None


def _tried(lake: Lake, endpoint: str) -> Traits:
    client = s3.client(connections=WRITERS, attempts=1)
    found = Traits(_race(client, lake), _range(client, lake))
    body = json.dumps({"endpoint": endpoint, "traits": asdict(found)})
    client.put_object(Bucket=lake.bucket, Key=lake.key(KNOWN), Body=body.encode())
    return found


def _race(client: Any, lake: Lake) -> bool:
    """Whether of several conditional PUTs of one key at once one wins, in all rounds; unclear rounds are repeated."""
    unclear = 0
    with ThreadPoolExecutor(WRITERS) as pool:
        for _ in range(ROUNDS):
            while (is_kept := _round(client, lake, pool.map)) is None:
                if (unclear := unclear + 1) > ROUNDS:
                    what = "the S3 server fails too often to see whether it enforces conditional PUT"
                    raise LakeUnavailable(f"lake {lake.root}", what, "see its log and run again")
            if not is_kept:
                return False
    return True


def _round(client: Any, lake: Lake, side_by_side: Callable[..., Any]) -> bool | None:
    """One race: True if one has won and its body stands, False if not, None if an answer told nothing."""
    from botocore.exceptions import BotoCoreError, ClientError

    key, start = lake.key(f".race-{secrets.token_hex(8)}"), threading.Barrier(WRITERS)

    def put(number: int) -> bool | None:
        start.wait()
        try:
            client.put_object(Bucket=lake.bucket, Key=key, Body=str(number).encode(), IfNoneMatch="*")
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            return False if status in (409, 412) else None
        except BotoCoreError:
            return None
        return True

    try:
        won = list(side_by_side(put, range(WRITERS)))
        if won.count(True) > 1:
            return False
        if None in won or True not in won:
            return None
        return bool(client.get_object(Bucket=lake.bucket, Key=key)["Body"].read() == str(won.index(True)).encode())
    finally:
        client.delete_object(Bucket=lake.bucket, Key=key)


def _range(client: Any, lake: Lake) -> bool:
    """Whether a GET of a part is answered as one."""
    key = lake.key(f".range-{secrets.token_hex(8)}")
    client.put_object(Bucket=lake.bucket, Key=key, Body=b"0123456789")
    try:
        answer = client.get_object(Bucket=lake.bucket, Key=key, Range="bytes=2-4")
        return bool(answer["ResponseMetadata"]["HTTPStatusCode"] == 206 and answer["Body"].read() == b"234")
    finally:
        client.delete_object(Bucket=lake.bucket, Key=key)
