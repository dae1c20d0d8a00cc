"""Versions: how many stay, which one a rollback takes, how they are counted, and what is said of broken ones."""

import datetime
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner
from tiny_warehouse import Tiny

from lake import duck
from lake.errors import BuildFailed, PermanentError
from lake.layout import Lake
from warehouse import access, proof, publish, releases, soundness
from warehouse.versions import current, versions
from watershed.cli import main

HEADERS, BLOCK = 12_288, 262_144  # of a DuckDB file, in bytes
LARGE = "create or replace table marts.large as select hash(n) as it from range(200000) as numbers(n)"


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    monkeypatch.setenv("LAKE_ROOT", str(tmp_path / "lake"))
    monkeypatch.setenv("WAREHOUSE_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("SHOP_SOURCE", "shop")
    it = Tiny(tmp_path / "root", Lake(str(tmp_path / "lake")))
    it.declare()
    return it


def published(tiny: Tiny, *stamps: int, more: Sequence[str] = ()) -> None:
    for stamp in stamps:
        tiny.build(stamp, *more)
        publish.publish(curated=False)


def numbers() -> list[int]:
    return [version.number for version in versions()]


def stamp() -> int:
    with access.connect() as connection:
        [(found,)] = connection.execute("select distinct stamp from dim_shop").fetchall()
    return int(found)


def spoil(path: Path) -> None:
    """Turn a bit of a block with rows: the file opens, and its rows cannot be read."""
    path.chmod(0o644)
    content = path.read_bytes()
    for place in range(HEADERS + 1000, len(content), BLOCK):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        if soundness.fault(path, deep=False) is None and soundness.fault(path) is not None:
            return
    raise AssertionError("no block holds rows")


def test_the_newest_versions_stay_as_many_as_one_says(tiny, monkeypatch):
    published(tiny, 1, 2, 3, 4)
    assert numbers() == [2, 3, 4]
    monkeypatch.setenv("WAREHOUSE_KEEP", "5")
    published(tiny, 5, 6)
    assert numbers() == [2, 3, 4, 5, 6]
    monkeypatch.setenv("WAREHOUSE_KEEP", "1")
    published(tiny, 7)
    assert numbers() == [6, 7]  # who has just looked up version 6 still opens it
    monkeypatch.setenv("WAREHOUSE_KEEP", "many")
    with pytest.raises(PermanentError, match="WAREHOUSE_KEEP: 'many' is no number of versions; set it to 2 or more"):
        publish.publish()


def test_a_rollback_goes_to_the_version_before_and_numbers_go_on(tiny):
    published(tiny, 1, 2, 3)
    assert publish.rollback().number == 2 == current().number
    assert stamp() == 2
    published(tiny, 4)
    assert current().number == 4
    assert publish.rollback().number == 2  # not to 3, which was rolled back itself
    assert publish.rollback(4).number == 4
    assert stamp() == 4
    assert publish.rollback(3).number == 3
    published(tiny, 5)
    assert numbers() == [3, 4, 5]
    assert releases.withdrawn(tiny.layout) == {4}


def test_without_an_older_version_a_rollback_says_so(tiny):
    with pytest.raises(PermanentError, match="there is no older version to go back to; build and publish a new one"):
        publish.rollback()
    published(tiny, 1)
    with pytest.raises(PermanentError, match="there is no older version to go back to"):
        publish.rollback()
    with pytest.raises(PermanentError, match="there is no version 7; kept are 1; see `watershed warehouse versions`"):
        publish.rollback(7)


def test_what_was_rolled_back_is_not_published_again_before_it_is_built_again(tiny):
    published(tiny, 1, 2)
    publish.rollback()
    with pytest.raises(BuildFailed, match="the build was rolled back; build again first"):
        publish.publish()
    assert current().number == 1
    assert proof.proof(tiny.layout).doubtful == {proof.ALL}


def test_what_was_in_force_at_an_instant_counts_rollbacks(tiny):
    published(tiny, 1, 2)
    before = datetime.datetime.now(datetime.UTC)
    publish.rollback()
    after = datetime.datetime.now(datetime.UTC)
    assert releases.in_force_at(tiny.layout, before).number == 2
    assert releases.in_force_at(tiny.layout, after).number == 1
    assert releases.in_force_at(tiny.layout, before - datetime.timedelta(days=1)) is None


def test_a_version_that_cannot_be_read_is_not_put_in_force(tiny):
    published(tiny, 1, 2, 3, more=[LARGE])
    spoil(versions()[1].path)
    with pytest.raises(PermanentError, match=r"version 2 cannot be read \(.*\); choose another: --to 1"):
        publish.rollback()
    assert current().number == 3
    assert publish.rollback(1).number == 1


def test_a_broken_version_in_force_is_said_with_the_way_out_and_nothing_is_made_of_it(tiny):
    published(tiny, 1, 2, more=[LARGE])
    spoil(current().path)
    with duckdb.connect(str(tiny.layout.pointer), read_only=True) as connection, pytest.raises(duckdb.Error):
        connection.execute("select * from marts.large").fetchall()
    run = CliRunner().invoke(main, ["warehouse", "versions", "--check"], env={"LAKE_ROOT": str(tiny.lake.root)})
    assert run.exit_code == 1
    assert "cannot be read" in run.output
    assert (
        "The version in force is broken; `watershed warehouse rollback --to 1` puts another in its place" in run.output
    )
    published(tiny, 3)  # made of the build
    assert stamp() == 3


def test_a_version_in_force_whose_file_is_lost_can_be_rolled_back(tiny):
    published(tiny, 1, 2)
    current().path.unlink()
    assert current() is None
    assert publish.rollback().number == 1
    assert stamp() == 1


def test_the_commands_publish_list_and_roll_back(tiny):
    runner = CliRunner()
    tiny.build(1)
    said = runner.invoke(main, ["warehouse", "publish"]).output
    assert said.startswith(f"Version 1 is published: {current().path}\n")
    published(tiny, 2)
    said = runner.invoke(main, ["warehouse", "rollback"]).output
    assert said.startswith("Version 1 is in force again; the next run builds upon it and publishes a new one.\n")
    listed = runner.invoke(main, ["warehouse", "versions"]).output.splitlines()
    assert listed[0].startswith("*    1 ")
    assert "rolled back" in listed[1]
    assert listed[2] == "Version 1 is in force."
    again = runner.invoke(main, ["warehouse", "publish"])
    assert again.exit_code == 1
    assert "build again first" in again.output


def test_a_build_mostly_of_dead_blocks_is_published_without_them(tiny, monkeypatch):
    monkeypatch.setattr("warehouse.compact.LEAST_BYTES", 1)
    many = "create or replace table marts.dim_shop as select n as shop_id, hash(n) as stamp from range(500000) t(n)"
    few = "create or replace table marts.dim_shop (shop_id bigint not null, stamp bigint)"
    tiny.build(1, many, "checkpoint", few, "insert into marts.dim_shop values (1, 7)")
    with duck.connect(tiny.layout.build) as connection:
        connection.execute(
            "comment on table marts.dim_shop is 'Shops.'; comment on column marts.dim_shop.stamp is 'It''s.'"
        )
    publish.publish(curated=False)
    assert stamp() == 7
    assert current().bytes < tiny.layout.build.stat().st_size / 2
    with access.connect() as connection:
        told = "select comment, (select comment from duckdb_columns() where column_name = 'stamp' and comment <> '')"
        assert connection.execute(f"{told} from duckdb_tables() where comment <> ''").fetchall() == [
            ("Shops.", "It's.")
        ]
        nullable = "select is_nullable from duckdb_columns() where table_name = 'dim_shop' and column_name = 'shop_id'"
        assert connection.execute(nullable).fetchall() == [(False,)]
