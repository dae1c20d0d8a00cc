"""Publish the build: audit a copy of it, and let that take the place of the version before by one atomic rename.

A published version holds the schemas marts and metrics, as tables only: a reader needs neither the lake nor an
extension. It never changes; readers of an older version keep reading it, even after it was deleted.
"""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from lake import duck
from lake.errors import BuildFailed, PermanentError, PlatformError
from warehouse import build, lock, proof
from warehouse.layout import Layout, layout
from warehouse.versions import Version, current, next_path, versions

PUBLISHED_SCHEMAS = ("marts", "metrics")
FICLONE = 0x40049409  # ioctl: share the blocks of another file (Btrfs, XFS); other file systems refuse


def publish(*, keep: int = 3, wait_s: float = 0.0, root: Path | str | None = None) -> Version:
    """Publish the build file and return the new version; the `keep` newest versions stay on disk.

    Raises BuildFailed if a model or test has not passed since it was last built, or if the audit fails; Busy if a
    build is still running after `wait_s` seconds. In every such case the version in force stays in force.
    """
    place = layout(root)
    with lock.held(place.lock, wait_s), _full_disk_said(place):
        _refuse_unproven(place)
        place.published.mkdir(parents=True, exist_ok=True)
        _checkpoint(place.build)
        final = next_path(place, datetime.now(UTC))
        draft = final.with_suffix(".draft")
        try:
            copy(place.build, draft)
            _keep_only_published_schemas(draft)
            _audit(draft, place)
            _seal(draft, final)
        finally:
            draft.unlink(missing_ok=True)
        _point_to(place, final)
        _delete_old(place, keep)
    version = current(root)
    assert version is not None  # noqa: S101  the pointer was just set, under the lock
    return version


def rollback(*, wait_s: float = 0.0, root: Path | str | None = None) -> Version:
    """Put the version before the one in force back in force. Raises PermanentError if there is none."""
    place = layout(root)
    with lock.held(place.lock, wait_s):
        in_force = current(root)
        older = [version for version in versions(root) if in_force and version.number < in_force.number]
        if not older:
            raise PermanentError("warehouse", "there is no older version to go back to", "build and publish a new one")
        _point_to(place, older[-1].path)
    return older[-1]


def copy(source: Path, target: Path) -> None:
    """Copy a file, sharing its blocks where the file system can."""
    with source.open("rb") as reader, target.open("wb") as writer:
        try:
            fcntl.ioctl(writer.fileno(), FICLONE, reader.fileno())
            return
        except OSError:
            pass
        shutil.copyfileobj(reader, writer, 8 << 20)


def _refuse_unproven(place: Layout) -> None:
    nodes = build.manifest(place.root)["nodes"].values()
    wanted = {node["unique_id"]: node["name"] for node in nodes if node["resource_type"] in proof.KINDS}
    missing = sorted(wanted[unique_id] for unique_id in wanted.keys() - proof.proven(place))
    if missing or not place.build.exists():
        named = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise BuildFailed("warehouse publish", f"not all models and tests have passed: {named}", "build again first")


def _checkpoint(path: Path) -> None:
    with duck.connect(path) as connection:
        connection.execute("checkpoint")


def _keep_only_published_schemas(path: Path) -> None:
    with duck.connect(path) as connection:
        schemas = connection.execute(
            """
            select schema_name from duckdb_schemas()
            where database_name = current_database() and not internal and schema_name not in (select unnest(?))
            """,
            [[*PUBLISHED_SCHEMAS, "main"]],
        ).fetchall()
        for (schema,) in schemas:
            connection.execute(f"drop schema {duck.quoted(schema)} cascade")
        connection.execute("checkpoint")


def _audit(path: Path, place: Layout) -> None:
    nodes = build.manifest(place.root)["nodes"].values()
    wanted = {f"{node['schema']}.{node['name']}" for node in nodes if node["schema"] in PUBLISHED_SCHEMAS}
    models = {f"{node['schema']}.{node['name']}" for node in nodes if node["resource_type"] == "model"}
    try:
        found = build.table_rows(path)
    except duckdb.Error as error:
        raise BuildFailed("warehouse publish", f"the copy does not open ({error})", "build again") from None
    missing = sorted((wanted & models) - found.keys())
    if missing:
        raise BuildFailed("warehouse publish", f"{', '.join(missing)} is not in the build", "build again, all models")


def _seal(draft: Path, final: Path) -> None:
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    draft.chmod(0o444)
    draft.replace(final)
    _sync_folder(final.parent)


def _point_to(place: Layout, version: Path) -> None:
    fresh = place.pointer.with_name(f".{place.pointer.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(version.relative_to(place.root))
    fresh.replace(place.pointer)
    _sync_folder(place.root)


def _delete_old(place: Layout, keep: int) -> None:
    in_force = current(place.root)
    for version in versions(place.root)[: -max(keep, 1)]:
        if version != in_force:
            version.path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _full_disk_said(place: Layout) -> Iterator[None]:
    try:
        yield
    except PlatformError:
        raise
    except (OSError, duckdb.Error) as error:
        is_full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
        what = "the disk is full" if is_full else str(error).splitlines()[0]
        mend = "free some space" if is_full else "mend it"
        raise PermanentError(
            str(place.published), what, f"{mend} and publish again; the version in force stays"
        ) from error
