"""SIGKILL at every step of a publish and of a rollback: one whole version is in force, the next finishes the rest."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import duckdb
import pytest
from kills import COUNTED, Zygote, chance, noted
from tiny_warehouse import Tiny
from trial_source import Trial

from lake import commit, read
from lake.layout import Address, Lake
from warehouse import curated, lock, publish, release, releases, soundness
from warehouse.layout import layout
from warehouse.versions import current, versions

SHARE = 0.3  # of the kills after which nothing is published: what was begun is finished only
NOBODY = cast("Any", None)


@dataclass(frozen=True)
class Act:
    """What is prepared, which work is killed, which stamps may be in force after a kill, and the fewest steps."""

    prepare: Callable[[Tiny], None]
    work: str
    allowed: tuple[int | None, ...]
    least: int
    sampled: int | None = None


def _first(tiny: Tiny) -> None:
    tiny.build(1)


def _later(tiny: Tiny) -> None:
    tiny.build(1)
    publish.publish()
    tiny.build(2)


def _back(tiny: Tiny) -> None:
    _later(tiny)
    publish.publish()


ACTS = {
    "a first publish": Act(_first, "publish", (None, 1), 20, sampled=10),
    "a later publish": Act(_later, "publish", (1, 2), 25),
    "a rollback": Act(_back, "rollback", (2, 1), 12, sampled=12),
}


@dataclass
class Scene:
    """A warehouse and its lake as they are before the work, and copies put back in their place for each kill."""

    zygote: Zygote
    tiny: Tiny
    work: str
    base: Path

    def restore(self) -> None:
        """Put all back as it was before."""
        for name in ("root", "lake"):
            shutil.rmtree(self.base / name, ignore_errors=True)
            if (self.base / "before" / name).exists():
                shutil.copytree(self.base / "before" / name, self.base / name, symlinks=True)

    def do(self, moment: dict[str, Any]) -> dict[str, Any]:
        """Do the work until its moment comes."""
        names = ("LAKE_ROOT", "WAREHOUSE_ROOT", "SHOP_SOURCE")
        environment = {name: os.environ[name] for name in names}
        return self.zygote.run(Trial(NOBODY, self.tiny.lake, {}), self.work, moment, environment)


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory, if there is such a place: SIGKILL takes nothing that a disk would keep, and fsync is free."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture(params=ACTS)
def scene(request: pytest.FixtureRequest, zygote: Zygote, memory: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setenv("LAKE_ROOT", str(memory / "lake"))
    monkeypatch.setenv("WAREHOUSE_ROOT", str(memory / "root"))
    monkeypatch.setenv("SHOP_SOURCE", "shop")
    act = ACTS[request.param]
    tiny = Tiny(memory / "root", Lake(str(memory / "lake")))
    tiny.declare()
    act.prepare(tiny)
    (memory / "before").mkdir()
    for name in ("root", "lake"):
        if (memory / name).exists():
            shutil.copytree(memory / name, memory / "before" / name, symlinks=True)
    return Scene(zygote, tiny, act.work, memory)


def in_force(tiny: Tiny) -> int | None:
    """The stamp of the version that the pointer names; all of its tables carry the same one."""
    if not tiny.layout.pointer.is_symlink():
        return None
    assert soundness.fault(tiny.layout.pointer) is None
    with duckdb.connect(str(tiny.layout.pointer.resolve()), read_only=True) as connection:
        query = "select stamp from marts.fct_sale where stamp <> 0 union select stamp from marts.dim_shop"
        [(stamp,)] = connection.execute(f"{query} union select stamp from metrics.metric_hourly").fetchall()
    return int(stamp)


def in_the_lake(tiny: Tiny) -> tuple[int, int] | None:
    """The stamp of the one set of marts that the lake says is in force, and its version; None if there is none."""
    placed = curated.in_force(tiny.lake)
    if not placed:
        return None
    with read.connect(tiny.lake) as connection:
        queries = []
        for name, delta in placed.items():
            table = commit.table(tiny.lake, Address("curated", "marts", name))
            assert table is not None
            table.load_as_version(delta)
            where = f"{read.relation(tiny.lake, Address('curated', 'marts', name), table)} where stamp <> 0"
            queries.append(f"select stamp from {where}")
        [(stamp,)] = connection.execute(" union ".join(queries)).fetchall()
        listed = f"select distinct version_number from {read.relation(tiny.lake, curated.VERSIONS)} where is_in_force"
        [(number,)] = connection.execute(listed).fetchall()
    return int(stamp), int(number)


def assert_agreed(tiny: Tiny) -> None:
    """File and lake are of one version, nothing is left to be finished, and no litter lies about."""
    version = current()
    assert version is not None
    assert in_the_lake(tiny) == (in_force(tiny), version.number)
    assert releases.unfinished(tiny.layout) is None
    names = {path.name for path in tiny.layout.published.iterdir()}
    assert names == {"releases.json", *(one.path.name for one in versions())}
    left = {path.name for path in tiny.root.iterdir()} - {"build", "published", "target", "logs", "warehouse.duckdb"}
    assert left == set()
    assert {path.name for path in tiny.layout.build.parent.iterdir()} <= {"lock", "proven.json", "warehouse.duckdb"}


def test_a_kill_at_any_step_leaves_one_whole_version_and_the_next_publish_finishes(
    scene: Scene, request: pytest.FixtureRequest
) -> None:
    act, dice = ACTS[request.node.callspec.id], chance(request.node.callspec.id)
    ended = scene.do({"record": [str(scene.base / "root"), str(scene.base / "lake")]})
    assert "error" not in ended["said"], ended["said"]
    steps = ended["said"]["steps"]
    assert len(steps) >= act.least
    assert_agreed(scene.tiny)
    seen = set()
    for step in dice.sample(steps, act.sampled) if act.sampled else steps:
        with noted(step):
            scene.restore()
            ended = scene.do({"step": step})
            assert ended["signal"] == 9, ended["said"]
            COUNTED["kills"] += 1
            stamp, placed = in_force(scene.tiny), in_the_lake(scene.tiny)
            assert stamp in act.allowed
            assert placed is None or placed[0] in act.allowed
            seen.add(stamp)
            if stamp is not None:  # the lake has been given all that analysts see
                assert placed is not None
            _finished(scene, dice.random() < SHARE)
    assert seen <= set(act.allowed)
    assert act.sampled or seen == set(act.allowed)


def _finished(scene: Scene, only: bool) -> None:
    """Finish what was begun; unless `only`, publish another build on top."""
    place = layout()
    with lock.held(place.lock):
        release.finish(place)
    if only:
        if in_force(scene.tiny) is not None:
            assert_agreed(scene.tiny)
        return
    before = max((version.number for version in versions()), default=0)
    scene.tiny.build(3)
    assert publish.publish().number > before
    assert in_force(scene.tiny) == 3
    assert_agreed(scene.tiny)
