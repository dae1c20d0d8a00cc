"""S3 servers that keep conditional PUT and one that does not: told apart by a race, and written to under a lock."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import partial
from types import SimpleNamespace
from typing import Any

import lone_writer
import pyarrow as pa
import pytest
from botocore.exceptions import ClientError
from fix_servers import bucket_on

from lake import access, commit, lock, objects, probe, read, s3
from lake.errors import Busy, PlatformError
from lake.layout import Address, Lake

SERVERS = {"ceph": True, "moto": True, "rclone": False}
ON_RCLONE = pytest.mark.parametrize("lake_root", ["rclone"], indirect=True)
ON_S3 = pytest.mark.parametrize("lake_root", ["ceph", "moto", "rclone"], indirect=True)
LEASE_S = 6


@pytest.fixture
def lake(lake_root: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    monkeypatch.setenv("WATERSHED_LOCK_LEASE_S", str(LEASE_S))
    probe.forget()
    yield Lake(lake_root)
    probe.forget()


def _keys(lake: Lake) -> list[str]:
    return [entry["Key"] for entry in s3.client().list_objects_v2(Bucket=lake.bucket).get("Contents", [])]


# What a server can do


@ON_S3
def test_a_race_tells_which_server_enforces_conditional_put(lake: Lake, request: pytest.FixtureRequest) -> None:
    enforces = SERVERS[request.node.callspec.params["lake_root"]]
    new = Lake(f"{lake.root}-new")
    assert probe.traits(new) == probe.Traits(enforces, enforces)
    assert [key for key in _keys(new) if key.startswith("lake-new/")] == ["lake-new/_server.json"]


class Leaking:
    """A client of a server that looks and then writes: right in sequence, and wrong when two come at once."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def put_object(self, Key: str, Body: bytes, **_: Any) -> None:
        if Key in self.objects:
            raise ClientError({"Error": {}, "ResponseMetadata": {"HTTPStatusCode": 412}}, "PutObject")
        time.sleep(0.01)
        self.objects[Key] = Body

    def get_object(self, Key: str, **_: Any) -> dict[str, Any]:
        return {"Body": SimpleNamespace(read=lambda: self.objects[Key])}

    def delete_object(self, Key: str, **_: Any) -> None:
        self.objects.pop(Key, None)


def test_a_server_that_is_right_in_sequence_only_does_not_pass() -> None:
    client = Leaking()
    client.put_object("key", b"1")
    with pytest.raises(ClientError):
        client.put_object("key", b"2")
    assert not probe._race(client, Lake("s3://bucket/lake"))


@ON_RCLONE
def test_a_server_is_tried_once_and_not_by_each_process(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    new, tried = Lake(f"{lake.root}-new"), []
    real = probe._tried
    monkeypatch.setattr(probe, "_tried", lambda *given: tried.append(given) or real(*given))
    for _ in range(2):
        probe.forget()
        assert not probe.traits(new).has_conditional_put
    assert len(tried) == 1


def test_what_was_found_at_another_server_is_not_taken_over(
    moto: dict[str, str], rclone: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with bucket_on(moto, monkeypatch) as bucket:
        lake = Lake(f"s3://{bucket}/copied")
        assert probe.traits(lake).has_conditional_put
        told = s3.client().get_object(Bucket=bucket, Key="copied/_server.json")["Body"].read()
    with bucket_on(rclone, monkeypatch) as bucket:
        lake = Lake(f"s3://{bucket}/copied")
        s3.client().put_object(Bucket=bucket, Key="copied/_server.json", Body=told)
        assert not probe.traits(lake).has_conditional_put


def test_the_check_says_once_what_a_server_cannot_do(lake: Lake, request: pytest.FixtureRequest) -> None:
    said = access.check(lake)
    if request.node.callspec.params["lake_root"] == "rclone":
        sentence = "the S3 server does not enforce conditional PUT: one writer at a time is permitted, by a lock"
        assert said[0] == sentence
        assert said[1].startswith("the S3 server answers no ranged GET: ")
    else:
        assert said == ()


@pytest.mark.parametrize("lake_root", ["folder", "ceph", "moto"], indirect=True)
def test_where_the_store_sees_to_it_nothing_is_locked(lake: Lake) -> None:
    with lock.sole_writer(lake, lone_writer.TABLE) as check:
        assert check is None
        assert not lake.on_s3 or not [key for key in _keys(lake) if "_locks" in key]


@ON_S3
def test_a_file_that_is_written_in_parts_is_read_whole(lake: Lake) -> None:
    parts = 3 * 10_000_000  # Arrow sends a part for each 10 MB
    noise = os.urandom(parts)
    with objects.sink(lake, "raw/large/file") as stream:
        stream.write(noise)
    copies = [("raw/large/file", "processed/large/file")]
    objects.copy(lake, copies)
    for path in copies[0]:
        found = s3.client().get_object(Bucket=lake.bucket, Key=lake.key(path))["Body"].read()
        assert found == noise


# One writer at a time


def _numbers(lake: Lake) -> list[int]:
    with read.connect(lake) as connection:
        query = f"SELECT number FROM {read.relation(lake, lone_writer.TABLE)} ORDER BY 1"
        return [number for (number,) in connection.execute(query).fetchall()]


def _append(lake: Lake, base: Any, number: int) -> None:
    rows = pa.table({"number": pa.array([number], pa.int64())}).to_reader()
    commit.append(lake, lone_writer.TABLE, rows, {"number": number}, base=base, by_day=False)


@contextmanager
def _writer(lake: Lake, first: int, count: int, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A process that is ready to append rows once it gets a line."""
    command = [sys.executable, lone_writer.__file__, lake.root, str(first), str(count), *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert _line(process) == "ready"
            yield process
        finally:
            process.kill()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def _go(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.write("\n")
    process.stdin.flush()


@ON_RCLONE
def test_without_the_lock_commits_are_lost_without_a_word(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "sole_writer", lambda *_: nullcontext(None))
    lone_writer.append(lake, 0)
    made = 1
    with ThreadPoolExecutor(4) as pool:
        for _ in range(200):
            bases = [commit.table(lake, lone_writer.TABLE) for _ in range(4)]
            made += sum(pool.map(partial(_is_made, lake, threading.Barrier(4)), bases))
            if made > len(_numbers(lake)):
                return
    pytest.fail("nothing was lost: the tests of the lock cannot fail")


def _is_made(lake: Lake, start: threading.Barrier, base: Any) -> bool:
    start.wait()
    try:
        _append(lake, base, 1)
    except PlatformError:  # also of a listing that shows one key twice, which rclone gives while it is overwritten
        return False
    return True


@ON_RCLONE
def test_with_the_lock_the_second_of_two_is_told(lake: Lake) -> None:
    lone_writer.append(lake, 0)
    one, other = commit.table(lake, lone_writer.TABLE), commit.table(lake, lone_writer.TABLE)
    _append(lake, one, 1)
    with pytest.raises(Busy, match="another process committed at the same time"):
        _append(lake, other, 2)
    assert _numbers(lake) == [0, 1]
    assert not [key for key in _keys(lake) if "_locks" in key]


@ON_RCLONE
def test_processes_that_write_at_once_lose_no_commit(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATERSHED_LOCK_LEASE_S", "30")
    with _writer(lake, 0, 4) as a, _writer(lake, 10, 4) as b, _writer(lake, 20, 4) as c:
        for process in (a, b, c):
            _go(process)
        for process in (a, b, c):
            assert process.wait(300) == 0
    assert _numbers(lake) == [*range(4), *range(10, 14), *range(20, 24)]
    assert commit.table(lake, lone_writer.TABLE).version() == 11
    assert not [key for key in _keys(lake) if "_locks" in key]


@ON_RCLONE
def test_a_killed_holder_loses_the_lock_after_its_lease_and_not_before(lake: Lake) -> None:
    lone_writer.append(lake, 0)
    with _writer(lake, 1, 1, "--holding") as process:
        _go(process)
        assert _line(process) == "holding"
        process.kill()
        process.wait()
    ticket = lock._Ticket(lake, lone_writer.TABLE, s3.client())
    (left,) = ticket._listed()
    assert left.is_alive
    lone_writer.append(lake, 2)
    assert _numbers(lake) == [0, 2]
    (left,) = ticket._listed()
    assert not left.is_alive


@ON_RCLONE
def test_a_holder_that_stood_still_past_its_lease_does_not_commit(lake: Lake) -> None:
    lone_writer.append(lake, 0)
    with _writer(lake, 1, 1, "--holding") as process:
        _go(process)
        assert _line(process) == "holding"
        os.kill(process.pid, signal.SIGSTOP)
        lone_writer.append(lake, 2)
        os.kill(process.pid, signal.SIGCONT)
        _go(process)
        assert _line(process) == "holding", "it tries again, and has read what was committed meanwhile"
        _go(process)
        assert _line(process) == "1"
    assert _numbers(lake) == [0, 1, 2]


@ON_RCLONE
def test_a_pause_after_the_look_at_the_version_is_seen_too(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lone_writer.append(lake, 0)
    base, real = commit.table(lake, lone_writer.TABLE), commit._version
    stopped = [True]

    def paused(*given: Any) -> int:
        version = real(*given)
        if stopped:
            stopped.clear()
            late = threading.Thread(target=lone_writer.append, args=(lake, 2))
            late.start()
            late.join()
        return version

    monkeypatch.setattr(commit, "_version", paused)
    put, holders = lock._Ticket._put, []

    def unable(ticket: Any) -> None:  # the first holder comes to renew too late, like one that was not running
        holders.append(ticket.holder)
        if ticket.holder != holders[0] or len(holders) == 1:
            put(ticket)

    monkeypatch.setattr(lock._Ticket, "_put", unable)
    with pytest.raises(Busy, match="stood still for so long that it lost its turn to write; run again"):
        _append(lake, base, 1)
    assert _numbers(lake) == [0, 2]


@ON_RCLONE
def test_a_holder_keeps_the_lock_for_longer_than_a_lease_and_is_named(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _writer(lake, 1, 1, "--holding") as process:
        _go(process)
        assert _line(process) == "holding"
        time.sleep(LEASE_S + 2)
        monkeypatch.setattr(lock, "PATIENCE", 0)
        with pytest.raises(Busy) as raised:
            _append(lake, None, 2)
        assert str(raised.value).startswith(
            f"lake table {lone_writer.TABLE}: is being written by process {process.pid} on {os.uname().nodename} since "
        )
        _go(process)
        assert _line(process) == "1"
    assert _numbers(lake) == [1]


@ON_RCLONE
def test_tables_are_locked_one_by_one(lake: Lake) -> None:
    with lock.sole_writer(lake, lone_writer.TABLE), lock.sole_writer(lake, Address("raw", "race", "rows_history")):
        held = [key for key in _keys(lake) if "_locks" in key]
    assert len(held) == 2
