"""A real S3 server (Ceph's gateway) from a Debian tree, in a home of its own."""

import os
import signal
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from listeners import LOOPBACK, listeners

import services
from services import record, s3
from services.process import birth

_DAEMONS = ("mon", "osd", "gateway")


@pytest.fixture
def environment(home: Path, s3_tree: Path) -> dict[str, str]:
    return s3.up(home, lambda _: None, root=s3_tree)


def _client(environment: dict[str, str], **other: str) -> Any:
    keys = {
        "aws_access_key_id": environment["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": environment["AWS_SECRET_ACCESS_KEY"],
    }
    return boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        region_name=environment["AWS_REGION"],
        config=Config(retries={"total_max_attempts": 1}),
        **(keys | other),
    )


def _pid(home: Path, daemon: str) -> int:
    return int((home / ".services" / f"s3-{daemon}.pid").read_text().split()[0])


def test_a_second_up_answers_the_same_and_starts_nothing(home: Path, environment: dict[str, str], s3_tree: Path):
    before, said = [_pid(home, daemon) for daemon in _DAEMONS], []
    assert s3.up(home, said.append, root=s3_tree) == environment
    assert [_pid(home, daemon) for daemon in _DAEMONS] == before
    assert said == []


def test_keys_are_recorded_for_their_owner_only(home: Path, environment: dict[str, str]):
    assert services.environment(home) == environment
    assert stat.S_IMODE((home / ".services" / "env").stat().st_mode) == 0o600


def test_every_daemon_listens_on_loopback_only(home: Path, environment: dict[str, str]):
    for key in ("S3_PORT", "S3_MONITOR_PORT"):
        assert listeners(int(record.state(home)[key])) == LOOPBACK
    sockets = {str(fd.readlink()) for fd in Path(f"/proc/{_pid(home, 'osd')}/fd").iterdir() if fd.is_symlink()}
    inodes = {name[8:-1] for name in sockets if name.startswith("socket:[")}
    lines = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    assert {line[1].split(":")[0] for line in lines if line[9] in inodes and line[3] == "0A"} == LOOPBACK


def test_wrong_keys_are_refused(environment: dict[str, str]):
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        _client(environment, aws_secret_access_key="x" * 40).list_buckets()
    with pytest.raises(ClientError, match="InvalidAccessKeyId"):
        _client(environment, aws_access_key_id="nobody").list_buckets()


def test_of_many_conditional_puts_at_once_exactly_one_wins(environment: dict[str, str]):
    client = _client(environment)
    client.create_bucket(Bucket="race")

    def put(key: str, body: bytes) -> bool:
        try:
            client.put_object(Bucket="race", Key=key, Body=body, IfNoneMatch="*")
        except ClientError:
            return False
        return True

    with ThreadPoolExecutor(4) as writers:
        for round_number in range(15):
            won = list(writers.map(lambda body: put(f"{round_number}", body), [b"a", b"b", b"c", b"d"]))  # noqa: B023
            assert won.count(True) == 1


def test_down_and_up_keep_objects_and_keys(home: Path, environment: dict[str, str], s3_tree: Path):
    _client(environment).create_bucket(Bucket="kept")
    _client(environment).put_object(Bucket="kept", Key="a", Body=b"42")
    services.down(home, lambda _: None)
    assert s3.status(home).startswith("down")
    assert s3.up(home, lambda _: None, root=s3_tree) == environment
    assert _client(environment).get_object(Bucket="kept", Key="a")["Body"].read() == b"42"


@pytest.mark.parametrize("killed", [("mon",), ("osd",), _DAEMONS], ids=" and ".join)
def test_killed_daemons_come_up_again_with_their_objects(
    home: Path, environment: dict[str, str], s3_tree: Path, killed: tuple[str, ...]
):
    bucket = f"killed-{'-'.join(killed)}"
    _client(environment).create_bucket(Bucket=bucket)
    _client(environment).put_object(Bucket=bucket, Key="a", Body=b"7" * 100_000)
    for pid in [_pid(home, daemon) for daemon in killed]:
        os.kill(pid, signal.SIGKILL)
        while birth(pid) is not None:
            pass
    assert s3.up(home, lambda _: None, root=s3_tree) == environment
    assert _client(environment).get_object(Bucket=bucket, Key="a")["ContentLength"] == 100_000
    _client(environment).create_bucket(Bucket=f"{bucket}-new")


def test_a_given_endpoint_is_used_with_its_keys_and_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    given = {
        "AWS_ENDPOINT_URL": "https://s3.elsewhere.test",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_REGION": "eu-central-1",
    }
    for key, value in given.items():
        monkeypatch.setenv(key, value)
    assert s3.up(tmp_path, lambda _: None) == given
    assert list(tmp_path.iterdir()) == []
