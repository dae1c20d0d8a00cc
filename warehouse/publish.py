"""Publish the build: audit a copy of it, and let that take the place of the version before by one atomic rename.

A published version holds the schemas marts and metrics, as tables only: a reader needs neither the lake nor an
extension. It never changes; readers of an older version keep reading it, even after it was deleted. Its marts are in
the lake, too (`curated`), before it is in force. How a kill is made good is in `release`.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from lake import duck
from lake.errors import BuildFailed, Busy, PermanentError, PlatformError, is_full
from warehouse import build, clone, compact, lock, proof, release, releases, soundness
from warehouse.layout import Layout, layout
from warehouse.versions import Version, current, file_name, versions

PUBLISHED_SCHEMAS = ("marts", "metrics")


def publish(
    *, keep: int | None = None, wait_s: float = 0.0, root: Path | str | None = None, curated: bool = True
) -> Version:
    """Publish the build file and return the new version; the `keep` newest (WAREHOUSE_KEEP) stay on disk.

    Without `curated`, or without LAKE_ROOT, its marts are not exported to the lake. Raises BuildFailed if a model or
    test has not passed since it was last built, or if the audit fails; Busy if a build is still running after `wait_s`
    seconds, or another program has the build file open. In every such case the version in force stays in force.
    """
    place = layout(root)
    with _told(place), lock.held(place.lock, wait_s):
        release.kept(keep)
        release.finish(place)
        _refuse_unproven(place)
        version, draft = _draft(place, curated=curated)
        try:
            days = _day_columns(place) if curated else {}
            releases.note(place, releases.Release(version.number, version.published_at, days=days))
            _seal(draft, version.path)
        finally:
            draft.unlink(missing_ok=True)
        release.complete(place, version, keep=keep, curated=curated)
    return version


def rollback(to: int | None = None, *, wait_s: float = 0.0, root: Path | str | None = None) -> Version:
    """Put version `to` back in force, or the last good one before the present one: none that was rolled back itself.

    The next build starts from its tables, and nothing is published before that. Raises PermanentError if there is no
    such version, or if it cannot be read.
    """
    place = layout(root)
    with _told(place), lock.held(place.lock, wait_s):
        release.finish(place)
        in_force = current(root)
        target = _target(place, in_force, to)
        if (fault := soundness.fault(target.path)) is not None:
            others = [one.number for one in versions(root) if one not in (target, in_force)]
            mend = f"choose another: --to {others[-1]}" if others else "build and publish a new one"
            raise PermanentError(str(target.path), f"version {target.number} cannot be read ({fault})", mend)
        undone = in_force.number if in_force and in_force.number > target.number else None
        days = releases.of_version(place, target.number)
        proof.doubt_all(place)
        now = datetime.now(UTC)
        releases.note(place, releases.Release(target.number, now, undone, days.days if days else {}))
        release.complete(place, target)
    return target


def _target(place: Layout, in_force: Version | None, to: int | None) -> Version:
    kept = {version.number: version for version in versions(place.root)}
    if to is not None:
        if to not in kept:
            which = f"kept are {', '.join(map(str, kept))}" if kept else "none is kept"
            raise PermanentError(
                "warehouse", f"there is no version {to}", f"{which}; see `watershed warehouse versions`"
            )
        return kept[to]
    # without one in force (its file is lost) the newest that is left
    bad = releases.withdrawn(place)
    older = [one for one in kept.values() if one.number not in bad and (in_force is None or one < in_force)]
    if not older:
        raise PermanentError("warehouse", "there is no older version to go back to", "build and publish a new one")
    return older[-1]


def _refuse_unproven(place: Layout) -> None:
    if proof.ALL in proof.proof(place).doubtful:
        raise BuildFailed("warehouse publish", "the build was rolled back", "build again first")
    nodes = build.manifest(place.root)["nodes"]
    missing = sorted(nodes[unique_id]["name"] for unique_id in proof.missing(place, nodes))
    if missing or not place.build.exists():
        named = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise BuildFailed("warehouse publish", f"not all models and tests have passed: {named}", "build again first")


def _draft(place: Layout, *, curated: bool) -> tuple[Version, Path]:
    """A copy of the build, reduced to what is published and audited; and the version that it is to be."""
    place.published.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC).replace(microsecond=0)
    number = releases.next_number(place, _known_to_lake(place) if curated else 0)
    final = place.published / file_name(number, now)
    draft = final.with_suffix(".draft")
    try:
        counts = _copied(place, draft)
        _audit(draft, place, counts)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return Version(number, now, final, draft.stat().st_size), draft


def _known_to_lake(place: Layout) -> int:
    """The highest number that the lake has seen, if nothing is known here: the folder may be a new one."""
    where = release.lake()
    if where is None or releases.releases(place):
        return 0
    from warehouse import curated

    return curated.newest_number(where)


def _day_columns(place: Layout) -> dict[str, str]:
    if release.lake() is None:
        return {}
    from warehouse import curated

    return curated.day_columns(build.manifest(place.root)["nodes"].values())


def _copied(place: Layout, draft: Path) -> dict[str, int]:
    """Copy what is published of the build; the rows of its tables. Nobody else can write to the build meanwhile."""
    try:
        with duck.connect(place.build) as connection:
            connection.execute("checkpoint")
            counts = build.counted(connection, PUBLISHED_SCHEMAS)
            if compact.is_worth_it(connection):
                compact.copy(connection, draft, PUBLISHED_SCHEMAS)
                return counts
            clone.copy(place.build, draft)  # last: to close the file again frees the lock on it, in all of this process
        _keep_only_published_schemas(draft)
        return counts
    except duckdb.IOException as error:
        if "Could not set lock" in str(error):
            raise Busy(str(place.build), "another process has the build file open", "close it") from None
        if is_full(error):
            raise
        what = f"the build file cannot be read ({str(error).splitlines()[0]})"
        raise BuildFailed(str(place.build), what, "build again; the version in force stays") from None


def _keep_only_published_schemas(path: Path) -> None:
    with duck.connect(path) as connection:
        schemas = connection.execute(
            "select schema_name from duckdb_schemas() where database_name = current_database() and not internal"
        ).fetchall()
        for (schema,) in schemas:
            if schema not in (*PUBLISHED_SCHEMAS, "main"):
                connection.execute(f"drop schema {duck.quoted(schema)} cascade")
        connection.execute("checkpoint")


def _audit(path: Path, place: Layout, counts: dict[str, int]) -> None:
    """Every model is there, with as many rows as it was tested with."""
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
    differing = sorted(name for name in counts if found.get(name) != counts[name])
    if differing:
        raise BuildFailed("warehouse publish", f"the copy of {', '.join(differing)} has lost rows", "publish again")


def _seal(draft: Path, final: Path) -> None:
    clone.sync(draft)
    draft.chmod(0o444)
    draft.replace(final)
    clone.sync(final.parent)


@contextmanager
def _told(place: Layout) -> Iterator[None]:
    """Say in a sentence what the disk or DuckDB has refused."""
    try:
        yield
    except PlatformError:
        raise
    except (OSError, duckdb.Error) as error:
        text, number = str(error), getattr(error, "errno", None)
        what, mend = text.splitlines()[0], "mend it"
        if is_full(error):
            what, mend = "the disk is full", "free some space"
        elif number == errno.EROFS or "Read-only file system" in text:
            what, mend = "the folder is on a read-only file system", "mount it writable"
        elif number in (errno.EACCES, errno.EPERM):
            what, mend = "no right to write", "give this user the right"
        raise PermanentError(
            str(place.published), what, f"{mend} and publish again; the version in force stays"
        ) from error
