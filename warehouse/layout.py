"""Where the warehouse's files lie: one root folder, names for everything below it."""

import os
from dataclasses import dataclass
from pathlib import Path

from lake.errors import SpecError

PROJECT = Path(__file__).resolve().parent.parent / "dbt_project"


@dataclass(frozen=True)
class Layout:
    """The files below one warehouse root.

    build/      the private build: warehouse.duckdb, its lock and what is proven about it
    published/  the versions, read-only, and which was in force when; `pointer` is a symbolic link to the one in force
    target/     dbt's manifest, compiled SQL and results; logs/ dbt's log
    """

    root: Path
    project: Path = PROJECT

    @property
    def build(self) -> Path:
        """The file into which dbt builds; nobody else opens it while a build runs."""
        return self.root / "build" / "warehouse.duckdb"

    @property
    def lock(self) -> Path:
        """The lock of builds and publishes; holds the pid of its owner."""
        return self.root / "build" / "lock"

    @property
    def proven(self) -> Path:
        """The list of dbt nodes that have passed on the build file, see `proof`."""
        return self.root / "build" / "proven.json"

    @property
    def published(self) -> Path:
        """The folder of the published versions."""
        return self.root / "published"

    @property
    def releases(self) -> Path:
        """Which version was put in force when, see `releases`."""
        return self.root / "published" / "releases.json"

    @property
    def touched(self) -> Path:
        """The incremental models that the build under way has begun, one a line."""
        return self.root / "build" / "touched"

    @property
    def spill(self) -> Path:
        """Where DuckDB puts what does not fit into memory while a version is exported; removed afterwards."""
        return self.root / "build" / "spill"

    @property
    def pointer(self) -> Path:
        """The published warehouse, as analysts know it: a symbolic link to the version in force."""
        return self.root / "warehouse.duckdb"

    @property
    def target(self) -> Path:
        """The target folder of dbt."""
        return self.root / "target"

    @property
    def logs(self) -> Path:
        """The folder of dbt's log."""
        return self.root / "logs"


def layout(root: Layout | Path | str | None = None) -> Layout:
    """The layout below `root`, itself if it is one, by default below the folder that WAREHOUSE_ROOT names.

    Raises SpecError if neither is given.
    """
    if isinstance(root, Layout):
        return root
    named = root or os.environ.get("WAREHOUSE_ROOT")
    if not named:
        raise SpecError("WAREHOUSE_ROOT", "is not set", "set it to the folder that holds the warehouse")
    return Layout(Path(named).absolute())
