"""Build the warehouse as another state of the repository would, then as this one does, from the same lake.

Only what differs is built twice: dbt compares the two projects, and builds the models that changed and those that
follow from them into a copy of the other state's file. No credentials are needed, only the lake.
"""

import io
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lake import duck
from lake.errors import PermanentError
from warehouse import build, diff
from warehouse.layout import PROJECT, Layout
from warehouse.report import BuildReport, Progress


@dataclass(frozen=True)
class Change:
    """What a change to the project does to the warehouse: the models it built again, and what differs in the marts."""

    built: BuildReport
    marts: tuple[diff.MartDiff, ...]

    @property
    def models(self) -> tuple[str, ...]:
        """The models that were built again."""
        return tuple(it.name for it in self.built.results if it.kind == "model")


def against(
    reference: str,
    scratch: Path,
    *,
    project: Path = PROJECT,
    examples: int = 5,
    on_progress: Callable[[Progress], None] | None = None,
) -> Change:
    """What differs between the marts of `reference` (a branch, tag or commit) and those of the `project` as it is.

    Both are built and tested from LAKE_ROOT below the folder `scratch`. Raises PermanentError if git does not know
    `reference`, BuildFailed if a model or test of either state fails.
    """
    base = Layout(scratch / "base", _exported(reference, project, scratch / "source"))
    build.run(unit_tests=False, on_progress=on_progress, root=base)
    change = Layout(scratch / "change", project)
    shutil.copytree(base.build.parent, change.build.parent)
    built = build.run(["state:modified+"], state=base.target, on_progress=on_progress, root=change)
    _drop_gone(change)
    return Change(built, diff.compare(base.build, change.build, examples=examples))


def _exported(reference: str, project: Path, folder: Path) -> Path:
    """The dbt project of `reference`, without touching the work tree."""
    command = ["git", "-C", str(project.parent), "archive", "--format=tar", reference, "--", project.name]
    try:
        done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603
    except FileNotFoundError:
        raise PermanentError("git", "is not installed", "install it, or compare two files") from None
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines() or ["it says nothing"]
        where = f"git, {reference}"
        raise PermanentError(where, reason[-1].removeprefix("fatal: "), "name a branch, tag or commit that was fetched")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder / project.name


def _drop_gone(place: Layout) -> None:
    """Drop the marts that the project no longer has; the copy has them still."""
    nodes = build.manifest(place)["nodes"].values()
    kept = {(node["schema"], node["name"]) for node in nodes}
    with duck.connect(place.build) as connection:
        found = connection.execute("select schema_name, table_name from duckdb_tables()").fetchall()
        for schema, table in (it for it in found if it[0] in diff.SCHEMAS and it not in kept):
            connection.execute(f"drop table {duck.quoted(schema)}.{duck.quoted(table)}")
