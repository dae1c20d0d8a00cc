"""A lake that is full, read-only, unreachable, missing or closed: one sentence, and nothing committed is harmed."""

import os
import resource
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from trial_source import Trial

from lake import access
from lake.errors import AccessDenied, LakeUnavailable, PermanentError
from lake.layout import Lake

IS_ROOT = os.geteuid() == 0
CONTENT = "order_id, amount, updated_at"


@pytest.fixture
def mounted(trial: Trial, tmp_path: Path) -> Iterator[Path]:
    """The trial's lake on a small file system of its own."""
    if not IS_ROOT:
        pytest.skip("mounting a small file system takes root")
    folder = tmp_path / "mount"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)], check=True)
    trial.lake = Lake(str(folder / "lake"))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _fill(folder: Path, left: int) -> Path:
    """A file that leaves `left` bytes free."""
    stat = os.statvfs(folder)
    ballast = folder / "ballast"
    ballast.write_bytes(os.urandom(stat.f_bavail * stat.f_frsize - left))
    return ballast


def _grow(trial: Trial) -> None:
    """Twenty thousand orders that do not compress: two megabytes."""
    trial.sql(
        """insert into orders (order_id, customer_email, amount, ordered_at) select 1000 + n,
           md5(random()::text) || md5(random()::text) || md5(random()::text), n, '2026-01-06'
           from generate_series(1, 20000) n"""
    )


def test_a_full_disk_during_a_load_harms_nothing(trial: Trial, mounted: Path) -> None:
    trial.orders(50)
    trial.run()
    before, versions = trial.rows(CONTENT), trial.versions()
    _grow(trial)
    ballast = _fill(mounted, left=300_000)
    with pytest.raises(PermanentError) as raised:
        trial.run()
    assert str(raised.value) == (
        f"lake {trial.lake.root}: the disk is full; free some space and run again; nothing committed is harmed"
    )
    assert trial.rows(CONTENT) == before
    assert trial.versions() == versions
    ballast.unlink()
    trial.run()
    assert len(trial.rows()) == 20_050
    trial.assert_same()


def test_a_full_disk_during_a_fold_harms_nothing(trial: Trial, mounted: Path) -> None:
    trial.orders(50)
    trial.run()
    before = trial.rows(CONTENT)
    _grow(trial)
    trial.load()
    ballast = _fill(mounted, left=300_000)
    with pytest.raises(PermanentError, match="the disk is full; free some space and run again"):
        trial.fold()
    assert trial.rows(CONTENT) == before
    ballast.unlink()
    assert trial.load().taken.inserted == 0
    trial.assert_same()


def test_a_limit_on_the_size_of_files_is_told_as_a_full_disk(trial: Trial) -> None:
    trial.orders(5000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(PermanentError, match="the disk is full"):
            trial.run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    trial.run()
    trial.assert_same()


def test_a_read_only_lake_is_named(trial: Trial, mounted: Path) -> None:
    trial.orders(5)
    trial.run()
    trial.orders(5, first=6)
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
    sentence = f"lake {trial.lake.root}: is read-only; mount it writable, or set LAKE_ROOT elsewhere"
    with pytest.raises(AccessDenied) as raised:
        access.check(trial.lake)
    assert str(raised.value) == sentence
    with pytest.raises(AccessDenied) as raised:
        trial.run()
    assert str(raised.value) == sentence
    assert len(trial.rows()) == 5
    subprocess.run(["mount", "-o", "remount,rw", str(mounted)], check=True)
    trial.run()
    trial.assert_same()


def test_a_lake_below_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "lake").write_text("no folder")
    for root in (tmp_path / "lake", tmp_path / "lake" / "deeper"):
        with pytest.raises(PermanentError, match="is no folder; set LAKE_ROOT to a folder"):
            access.check(Lake(str(root)))


def test_a_lake_without_the_right_to_write_is_named() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o555)
        if IS_ROOT:
            os.seteuid(65534)
        try:
            with pytest.raises(AccessDenied) as raised:
                access.check(Lake(folder))
        finally:
            if IS_ROOT:
                os.seteuid(0)
    sentence = "no right to write; give this user the right, or set LAKE_ROOT elsewhere"
    assert str(raised.value) == f"lake {folder}: {sentence}"


def test_a_sound_lake_passes_the_check_and_keeps_no_trace_of_it(lake_root: str) -> None:
    lake = Lake(lake_root)
    access.check(lake)
    if not lake.on_s3:
        assert list(Path(lake.root).iterdir()) == []


def test_a_bucket_that_does_not_exist_is_named(bucket: str, trial: Trial) -> None:
    lake = trial.lake = Lake(f"s3://{bucket}-of-others/lake")
    sentence = f"lake {lake.root}: bucket {bucket}-of-others does not exist; create it"
    with pytest.raises(PermanentError) as raised:
        access.check(lake)
    assert str(raised.value).startswith(sentence)
    with pytest.raises(PermanentError) as raised:
        trial.run()
    assert str(raised.value).startswith(sentence)


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_keys_are_told_and_not_printed(
    bucket: str, trial: Trial, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    lake = trial.lake = Lake(f"s3://{bucket}/lake")
    for attempt in (lambda: access.check(lake), trial.run):
        with monkeypatch.context() as patch:
            patch.setenv(name, "WRONGWRONGWRONGWRONG")
            with pytest.raises(AccessDenied) as raised:
                attempt()
        assert str(raised.value).startswith(f"lake {lake.root}: the S3 server refuses these credentials; check AWS_")
        assert "WRONGWRONG" not in str(raised.value)
        assert os.environ["AWS_SECRET_ACCESS_KEY"] not in str(raised.value)


def test_without_keys_the_variables_are_named(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.delenv(name)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
        patch.setenv("AWS_CONFIG_FILE", "/nowhere")
        with pytest.raises(AccessDenied, match="no credentials were found; set AWS_ACCESS_KEY_ID and its secret"):
            access.check(Lake(f"s3://{bucket}/lake"))


def test_an_s3_server_that_is_down_is_told(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        with pytest.raises(LakeUnavailable) as raised:
            access.check(Lake(f"s3://{bucket}/lake"))
    assert str(raised.value) == (
        f"lake s3://{bucket}/lake: the S3 server does not answer; start it, or correct AWS_ENDPOINT_URL"
    )
