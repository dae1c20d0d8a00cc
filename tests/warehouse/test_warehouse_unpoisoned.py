"""What a failed or killed build has left is not built upon: mended and run again, all is as after one full refresh."""

import shutil
from decimal import Decimal
from pathlib import Path

import pytest
import warehouse_lakes
from warehouse_lakes import at, line, small_shop

from lake import duck
from lake.errors import BuildFailed
from warehouse import build, proof, publish
from warehouse.versions import current

QUERY = "select * from marts.fct_sales order by all"
KEYS = "select order_id, line_number, sale_key from marts.fct_sales order by all"
FACTS = ["fct_sales", "fct_sales_monthly"]


@pytest.fixture(scope="module")
def kept(folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a build of the small shop that passed its tests."""
    shutil.rmtree(folders.layout.build.parent, ignore_errors=True)
    warehouse_lakes.write_all(folders.lake, small_shop())
    build.run(unit_tests=False)
    snapshot = tmp_path_factory.mktemp("kept") / "build"
    shutil.copytree(folders.layout.build.parent, snapshot)
    return snapshot


@pytest.fixture
def rebuilt(place, kept: Path):
    """The small shop, built and tested, for one test that changes it."""
    shutil.copytree(kept, place.layout.build.parent, dirs_exist_ok=True)
    return place


def rows(place, sql: str = QUERY) -> list[tuple[object, ...]]:
    with duck.connect(place.layout.build, read_only=True) as connection:
        return connection.execute(sql).fetchall()


def poison(place) -> None:
    """Leave in the fact what an incremental run does not look at again: a key, which is derived from other columns."""
    with duck.connect(place.layout.build) as connection:
        connection.execute("update marts.fct_sales set sale_key = 'poison' where order_id = 1")


def test_a_bad_row_that_a_test_has_refuted_does_not_stay_after_its_source_is_mended(rebuilt):
    place = rebuilt
    before = publish.publish()
    shown = place.published(KEYS)
    place.write(order_items=[*small_shop()["order_items"], line(1, 1, 1, "2.50", at(5))])  # a key twice
    with pytest.raises(BuildFailed, match="fct_sales_sale_key_is_unique"):
        build.run(select=["int_sale_lines", "fct_sales"], unit_tests=False)
    poison(place)
    with pytest.raises(BuildFailed, match="not all models and tests have passed"):
        publish.publish()
    assert current() == before
    assert place.published(KEYS) == shown
    assert "model.watershed.fct_sales" in proof.proof(place.layout).doubtful
    mended = small_shop()["order_items"]
    mended[2] |= {"sales_amount": Decimal("9.89")}
    place.write(order_items=mended)
    report = build.run(unit_tests=False)
    assert f"fct_sales begins again from version {before.number}" in report.note
    assert not proof.proof(place.layout).doubtful
    assert publish.publish().number == before.number + 1
    incremental = place.published(QUERY)
    build.run(select=FACTS, full_refresh=True, unit_tests=False)
    assert incremental == rows(place)
    assert place.published(KEYS) == shown


def test_what_a_killed_build_had_begun_begins_again_and_without_a_version_from_nothing(rebuilt):
    place = rebuilt
    wanted = rows(place)
    before = proof.withdraw(place.layout)  # as a build does when it begins
    assert before.passed
    proof.touch(place.layout, "model.watershed.fct_sales")
    poison(place)
    report = build.run(select=["fct_sales"], unit_tests=False)
    assert "fct_sales is built from nothing" in report.note
    assert rows(place) == wanted


def test_after_a_rollback_the_next_build_begins_from_the_version_in_force(rebuilt):
    place = rebuilt
    first = publish.publish()
    wanted = rows(place)
    poison(place)
    publish.publish()
    assert publish.rollback() == first
    report = build.run(select=["fct_sales"], unit_tests=False)
    assert f"begins again from version {first.number}" in report.note
    assert rows(place) == wanted


def test_a_model_built_without_its_tests_vouches_for_nothing(rebuilt):
    publish.publish()
    build.run(select=["dim_store"], exclude=["test_type:data", "test_type:unit"])
    with pytest.raises(BuildFailed, match=r"not all models and tests have passed: .*dim_store"):
        publish.publish()
    build.run(select=["dim_store"], unit_tests=False)
    publish.publish()


def test_what_has_passed_in_another_wording_has_not_passed(rebuilt, monkeypatch):
    known = build.manifest()
    nodes = {**known["nodes"]}
    changed = "model.watershed.dim_store"
    nodes[changed] = {**nodes[changed], "checksum": {"checksum": "another"}}
    monkeypatch.setattr(build, "manifest", lambda root=None: {**known, "nodes": nodes})
    with pytest.raises(BuildFailed, match="not all models and tests have passed: dim_store; build again first"):
        publish.publish()
