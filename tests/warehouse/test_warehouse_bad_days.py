"""Disks that are full, read-only or share blocks, and build files that are locked or torn: what a publish says."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_warehouse import Tiny

from lake.errors import BuildFailed, Busy, PermanentError
from lake.layout import Lake
from services import apt
from warehouse import access, clone, publish, releases
from warehouse.versions import current, versions

HOLD = "import sys, duckdb; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
MANY = "create or replace table marts.large as select hash(n) as it from range({}) as numbers(n)"
BIG = 2_000_000


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    return placed(tmp_path, monkeypatch)


def placed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    monkeypatch.setenv("LAKE_ROOT", str(folder / "lake"))
    monkeypatch.setenv("WAREHOUSE_ROOT", str(folder / "root"))
    it = Tiny(folder / "root", Lake(str(folder / "lake")))
    it.declare()
    return it


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Path]:
    """A folder on which a small file system can be mounted; unmounted at the end."""
    if os.geteuid() != 0:
        pytest.skip("mounting a file system takes root")
    folder = tmp_path / "mount"
    folder.mkdir()
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)


def stamp() -> int:
    with access.connect() as connection:
        [(found,)] = connection.execute("select distinct stamp from dim_shop").fetchall()
    return int(found)


def test_a_build_file_that_is_open_elsewhere_is_said(tiny):
    tiny.build(1)
    before = publish.publish()
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tiny.layout.build)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    with pytest.raises(Busy, match="another process has the build file open; close it"):
        publish.publish()
    process.communicate("")
    assert current() == before
    assert publish.publish().number == 2


def test_a_torn_build_file_is_not_published(tiny):
    tiny.build(1)
    before = publish.publish()
    tiny.layout.build.write_bytes(b"torn" * 5000)
    with pytest.raises(
        BuildFailed, match=r"the build file cannot be read \(.*\); build again; the version in force stays"
    ):
        publish.publish()
    assert current() == before
    assert [one.number for one in releases.releases(tiny.layout)] == [1]
    assert stamp() == 1


def test_a_build_file_that_lacks_a_model_is_not_published(tiny):
    tiny.build(1)
    before = publish.publish()
    tiny.build(2, "drop table marts.dim_shop")
    with pytest.raises(BuildFailed, match=r"marts\.dim_shop is not in the build; build again, all models"):
        publish.publish()
    assert current() == before
    assert {path.name for path in tiny.layout.published.iterdir()} == {before.path.name, "releases.json"}


def test_a_full_disk_is_said_and_the_version_in_force_stays(mount, monkeypatch):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(mount)], check=True)
    tiny = placed(mount, monkeypatch)
    tiny.build(1, MANY.format(400_000))
    before = publish.publish(curated=False)
    ballast = mount / "ballast"
    free = os.statvfs(mount)
    ballast.write_bytes(bytes(free.f_bavail * free.f_frsize - 1_000_000))
    with pytest.raises(
        PermanentError, match="the disk is full; free some space and publish again; the version in force"
    ):
        publish.publish(curated=False)
    assert current() == before
    assert {path.name for path in tiny.layout.published.iterdir()} == {before.path.name, "releases.json"}
    ballast.unlink()
    assert publish.publish(curated=False).number == 2


def test_a_read_only_folder_is_said(mount, monkeypatch):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(mount)], check=True)
    tiny = placed(mount, monkeypatch)
    tiny.build(1)
    before = publish.publish()
    subprocess.run(["mount", "-o", "remount,ro", str(mount)], check=True)
    for act in (publish.publish, publish.rollback):
        with pytest.raises(PermanentError, match="the folder is on a read-only file system; mount it writable and"):
            act()
    assert current() == before
    assert stamp() == 1


def test_where_the_file_system_can_a_version_shares_its_blocks_with_the_build(mount, tmp_path, monkeypatch):
    image = tmp_path / "image"
    image.touch()
    os.truncate(image, 400 << 20)
    if shutil.which("mkfs.xfs") is None:
        apt.install("xfsprogs")
    subprocess.run(["mkfs.xfs", "-q", "-m", "reflink=1", str(image)], check=True, capture_output=True)
    try:
        subprocess.run(["mount", "-o", "loop", str(image), str(mount)], check=True, capture_output=True)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this kernel has no file system that shares blocks: {error.stderr.decode()}")
    tiny = placed(mount, monkeypatch)
    tiny.build(1, MANY.format(BIG))
    before = used(mount)
    made = [publish.publish(keep=5, curated=False) for _ in range(5)]
    assert len(versions()) == 5
    assert made[0].bytes > 15 << 20
    assert used(mount) - before < made[0].bytes / 2  # five copies
    assert stamp() == 1


def used(folder: Path) -> int:
    subprocess.run(["sync", "-f", str(folder)], check=True)
    free = os.statvfs(folder)
    return (free.f_blocks - free.f_bfree) * free.f_frsize


@pytest.mark.parametrize("refused", ["ioctl", "copy_file_range", "both"])
def test_a_copy_is_whole_whatever_the_file_system_can(tmp_path, monkeypatch, refused):
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    if refused in ("ioctl", "both"):
        monkeypatch.setattr(clone.fcntl, "ioctl", refuse)
    if refused in ("copy_file_range", "both"):
        monkeypatch.setattr(clone.os, "copy_file_range", refuse)
    source = tmp_path / "source"
    source.write_bytes(os.urandom(3_000_001))
    clone.copy(source, tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == source.read_bytes()
