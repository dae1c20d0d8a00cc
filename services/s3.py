"""An S3 server for tests on loopback: given, by Docker Compose, or Ceph's gateway from a Debian tree.

Buckets are made by callers. AWS_REGION is `us-east-1`, where a bucket needs no location constraint.
"""

import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from lake.errors import PermanentError
from services import ceph, compose, record, tree

Say = Callable[[str], None]

_KEYS = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")


def up(home: Path, say: Say, root: Path | None = None) -> dict[str, str]:
    """Bring the server up and answer {AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION}.

    An AWS_ENDPOINT_URL of somebody else in the environment is used with the keys that stand beside it, and nothing is
    started. `root` is a Debian tree to use (or to build) in place of `<home>/.services/s3.root`.

    Raises:
        PermanentError: no way to run a server works here, or it does not come up.
    """
    given = _given(home)
    if given:
        return given
    with record.locked(record.folder(home) / "s3.lock"):
        if not _is_up(home):
            _start(home, say, root)
    return {key: record.environment(home)[key] for key in _KEYS}


def down(home: Path, say: Say) -> None:
    """Stop the server `up` started; data stays."""
    with record.locked(record.folder(home) / "s3.lock"):
        kind, _, place = record.state(home).get("S3_WAY", "").partition(":")
        if not kind:
            return
        if compose.down(home, "s3") if kind == "compose" else _ceph(home, place).stop():
            say("the S3 server stopped")


def status(home: Path) -> str:
    """One line: how the server is run and whether it answers."""
    if _given(home):
        return "given by AWS_ENDPOINT_URL"
    known = record.state(home)
    if "S3_WAY" not in known:
        return "not set up"
    where = f"{known['S3_WAY'].partition(':')[0]}, 127.0.0.1:{known.get('S3_PORT', '?')}"
    return f"{'up' if _is_up(home) else 'down'} ({where})"


def _given(home: Path) -> dict[str, str]:
    """What comes from outside: an endpoint in the environment that is not the one we recorded ourselves."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    if not endpoint or endpoint == record.environment(home).get("AWS_ENDPOINT_URL"):
        return {}
    return {"AWS_REGION": "us-east-1"} | {key: os.environ[key] for key in _KEYS if key in os.environ}


def _is_up(home: Path) -> bool:
    known = record.state(home)
    kind, _, place = known.get("S3_WAY", "").partition(":")
    is_whole = kind != "tree" or _ceph(home, place).alive() == set(ceph.DAEMONS)
    return "S3_READY" in known and is_whole and ceph.answers(int(known["S3_PORT"]))


def _start(home: Path, say: Say, root: Path | None) -> None:
    known = record.state(home)
    if "S3_WAY" not in known:
        record.record_state(home, {"S3_WAY": _first_way(home, root)})
    kind, _, place = record.state(home)["S3_WAY"].partition(":")
    keys = _start_container(home, say) if kind == "compose" else _start_ceph(home, Path(place), say)
    port = record.state(home)["S3_PORT"]
    values = (f"http://127.0.0.1:{port}", keys.access, keys.secret, "us-east-1")
    record.record_environment(home, dict(zip(_KEYS, values, strict=True)))
    record.record_state(home, {"S3_READY": "yes"})


def _first_way(home: Path, root: Path | None) -> str:
    if root is None and compose.is_available():
        return "compose:"
    if tree.is_possible():
        return f"tree:{(root or record.folder(home) / 's3.root').resolve()}"
    raise PermanentError(
        "services, S3",
        "there is no Docker engine and the kernel forbids namespaces",
        "start Docker, or give AWS_ENDPOINT_URL with its keys",
    )


def _start_ceph(home: Path, root: Path, say: Say) -> ceph.Keys:
    tree.build(root, ceph.PACKAGES, say)
    cluster, is_first = _ceph(home, str(root)), "S3_READY" not in record.state(home)
    if is_first:
        cluster.stop()  # what a killed first start left
    if not cluster.alive():
        cluster.configure(record.recorded_port(home, "S3_PORT"), _monitor_port(home, cluster))
    port = int(record.state(home)["S3_PORT"])
    say(f"starting an S3 server (Ceph) on 127.0.0.1:{port}")
    if is_first:
        keys = cluster.first_start()
    else:
        cluster.start()  # beside living daemons a dead one is started alone: they find each other again
        keys = ceph.Keys(*(record.environment(home)[key] for key in _KEYS[1:3]))
    cluster.answer(port)
    return keys


def _monitor_port(home: Path, cluster: ceph.Ceph) -> int:
    """The monitor's port, which its database knows too: once made it cannot change."""
    known = record.state(home).get("S3_MONITOR_PORT")
    if known and cluster.tree.folder.exists():
        if not record.comes_free(int(known)):
            raise PermanentError("services, S3", f"port {known} is taken by another program", "stop that program")
        return int(known)
    return record.recorded_port(home, "S3_MONITOR_PORT")


def _start_container(home: Path, say: Say) -> ceph.Keys:
    known = record.state(home)
    if "S3_SECRET_ACCESS_KEY" not in known:
        access = "W" + secrets.token_hex(9).upper()
        record.record_state(home, {"S3_ACCESS_KEY_ID": access, "S3_SECRET_ACCESS_KEY": secrets.token_hex(20)})
    port = record.recorded_port(home, "S3_PORT")
    say(f"starting an S3 server in Docker on 127.0.0.1:{port}")
    compose.up(home, "s3")
    deadline = time.monotonic() + 120
    while not ceph.answers(port):
        if time.monotonic() > deadline:
            raise PermanentError("services, S3", "the container does not answer", "run `docker compose ls` and see")
        time.sleep(0.2)
    known = record.state(home)
    return ceph.Keys(known["S3_ACCESS_KEY_ID"], known["S3_SECRET_ACCESS_KEY"])


def _ceph(home: Path, root: str) -> ceph.Ceph:
    return ceph.Ceph(tree.Tree(Path(root), record.folder(home) / "s3"))
