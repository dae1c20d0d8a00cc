"""One lake and one warehouse root for all of these tests, so that dbt parses its project once; emptied in between."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import warehouse_lakes

from warehouse import access, build
from warehouse.layout import Layout, layout


@dataclass(frozen=True)
class Place:
    """A lake and the warehouse built from it."""

    lake: Path
    root: Path

    @property
    def layout(self) -> Layout:
        return layout(self.root)

    def write(self, **tables: warehouse_lakes.Rows) -> None:
        """Replace the named tables of the lake."""
        for table, rows in tables.items():
            warehouse_lakes.write(self.lake, table, rows)

    def published(self, sql: str) -> list[tuple[object, ...]]:
        """Ask the published warehouse."""
        with access.connect() as connection:
            return connection.execute(sql).fetchall()


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    base = tmp_path_factory.mktemp("warehouse")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAKE_ROOT", str(base / "lake"))
        patch.setenv("WAREHOUSE_ROOT", str(base / "root"))
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
            patch.delenv(name, raising=False)
        yield Place(base / "lake", base / "root")


@pytest.fixture
def place(folders: Place) -> Place:
    """The small shop in the lake, and no build yet."""
    empty(folders)
    return folders


@pytest.fixture(scope="session")
def snapshot(folders: Place, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a build of the small shop that passed all its tests, unit tests too."""
    empty(folders)
    build.run()
    kept = tmp_path_factory.mktemp("snapshot") / "build"
    shutil.copytree(folders.layout.build.parent, kept)
    return kept


@pytest.fixture(scope="module")
def built(folders: Place, snapshot: Path) -> Place:
    """The small shop, built and tested, for a module that only looks at it."""
    return restore(folders, snapshot)


@pytest.fixture
def rebuilt(folders: Place, snapshot: Path) -> Place:
    """The small shop, built and tested, for one test that changes it."""
    return restore(folders, snapshot)


def restore(place: Place, snapshot: Path) -> Place:
    empty(place)
    shutil.copytree(snapshot, place.layout.build.parent)
    return place


def empty(place: Place) -> None:
    """Forget every build and publish; dbt's parsed project stays."""
    for folder in (place.layout.build.parent, place.layout.published, place.lake):
        shutil.rmtree(folder, ignore_errors=True)
    place.layout.pointer.unlink(missing_ok=True)
    warehouse_lakes.write_all(place.lake, warehouse_lakes.small_shop())
