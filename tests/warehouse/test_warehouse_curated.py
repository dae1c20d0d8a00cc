"""The marts in the lake: one set per published version, written as far as they differ, back with a rollback."""

import datetime
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from fix_servers import PROJECT
from tiny_warehouse import Tiny

from lake import commit, damage, duck, inventory, read, restore, upkeep
from lake.errors import LakeUnavailable
from lake.layout import Address, Lake
from warehouse import curated, publish, releases
from warehouse.versions import current, versions

SALES, SHOPS = Address("curated", "marts", "fct_sale"), Address("curated", "marts", "dim_shop")


@pytest.fixture(params=["folder", "s3"])
def tiny(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    if request.param == "s3":
        lake = Lake(f"s3://{request.getfixturevalue('bucket')}/lake")
    else:
        lake = Lake(str(tmp_path / "lake"))
    monkeypatch.setenv("LAKE_ROOT", lake.root)
    monkeypatch.setenv("WAREHOUSE_ROOT", str(tmp_path / "root"))
    it = Tiny(tmp_path / "root", lake)
    it.declare()
    return it


in_a_folder = pytest.mark.parametrize("tiny", ["folder"], indirect=True)


def rows(lake: Lake, address: Address, delta: int | None = None, select: str = "*") -> list[tuple[Any, ...]]:
    table = commit.table(lake, address)
    assert table is not None
    if delta is not None:
        table.load_as_version(delta)
    with read.connect(lake) as connection:
        return connection.execute(f"select {select} from {read.relation(lake, address, table)} order by all").fetchall()


def test_a_publish_puts_its_marts_into_the_lake_under_its_number(tiny):
    tiny.build(1)
    version = publish.publish()
    names = [(one.source, one.table) for one in inventory.tables(tiny.lake)]
    assert names == [("marts", "dim_shop"), ("marts", "fct_sale"), ("warehouse", "versions")]
    assert commit.state(commit.table(tiny.lake, SALES))["warehouse_version"] == version.number == 1
    assert rows(tiny.lake, SHOPS) == [(0, "größe 0", 1), (1, "größe 1", 1), (2, "größe 2", 1)]
    first = rows(tiny.lake, SALES, select="sale_id, sold_at, amount, stamp, year, month, day")[3]
    noon = datetime.datetime(2026, 1, 8, 12, tzinfo=datetime.UTC)
    assert first == (3, noon, Decimal("3.75"), 1, "2026", "01", "08")
    listed = rows(tiny.lake, curated.VERSIONS, select="version_number, is_in_force, mart_name, path, row_count")
    assert listed == [(1, True, "dim_shop", str(SHOPS), 3), (1, True, "fct_sale", str(SALES), 40)]


def test_only_what_differs_is_written_and_an_unchanged_mart_still_belongs_to_the_version(tiny):
    tiny.build(1, shop=7)
    publish.publish()
    before = {one.path for one in commit.files(commit.table(tiny.lake, SALES))}
    tiny.build(2, shop=7)
    publish.publish()
    after = {one.path for one in commit.files(commit.table(tiny.lake, SALES))}
    assert len(before & after) == 3
    assert len(after - before) == 1  # the day that carries the stamp
    assert commit.table(tiny.lake, SHOPS).version() == 0
    listed = rows(tiny.lake, curated.VERSIONS, select="mart_name, version_number, is_in_force, delta_version")
    assert listed == [
        ("dim_shop", 1, False, 0),
        ("dim_shop", 2, True, 0),
        ("fct_sale", 1, False, 0),
        ("fct_sale", 2, True, 1),
    ]
    publish.publish()  # nothing at all has changed
    assert commit.table(tiny.lake, SALES).version() == 1
    assert {row[0] for row in rows(tiny.lake, curated.VERSIONS, select="version_number, is_in_force") if row[1]} == {3}


def test_a_rollback_takes_the_lake_back_too(tiny):
    for stamp in (1, 2):
        tiny.build(stamp, rows=40 * stamp)
        publish.publish()
    assert publish.rollback().number == 1
    assert {row[0] for row in rows(tiny.lake, SALES, select="stamp")} == {0, 1}
    assert len(rows(tiny.lake, SALES)) == 40
    placed = rows(tiny.lake, curated.VERSIONS, select="version_number, is_in_force, mart_name, delta_version")
    assert [row for row in placed if row[1]] == [(1, True, "dim_shop", 2), (1, True, "fct_sale", 2)]
    assert len(rows(tiny.lake, SALES, curated.in_force(tiny.lake)["fct_sale"])) == 40
    assert len(rows(tiny.lake, SALES, 1)) == 80  # as version 2 is still listed


@in_a_folder
def test_versions_that_are_no_longer_kept_are_no_longer_listed(tiny):
    for stamp in range(1, 6):
        tiny.build(stamp)
        publish.publish(keep=2)
    listed = {row[0] for row in rows(tiny.lake, curated.VERSIONS, select="version_number")}
    assert listed == {4, 5} == {version.number for version in versions()}


@in_a_folder
def test_days_that_are_gone_and_changed_columns_are_taken_over(tiny):
    tiny.build(1)
    publish.publish()
    tiny.build(2, "delete from marts.fct_sale where day(sold_at) = 5", "alter table marts.dim_shop add column note int")
    publish.publish()
    assert {row[0] for row in rows(tiny.lake, SALES, select="day")} == {"06", "07", "08"}
    assert rows(tiny.lake, SHOPS)[0] == (0, "größe 0", 2, None)
    tiny.build(3, "alter table marts.fct_sale alter amount type decimal(38, 4)", "delete from marts.dim_shop")
    publish.publish()
    assert rows(tiny.lake, SALES, select="amount")[1] == (Decimal("1.2500"),)
    assert rows(tiny.lake, SHOPS) == []
    tiny.build(4, "alter table marts.fct_sale drop column amount")
    publish.publish()
    assert [entry.name for entry in commit.table(tiny.lake, SALES).schema().fields][:3] == [
        "sale_id",
        "sold_at",
        "stamp",
    ]
    publish.rollback(3)
    assert rows(tiny.lake, SALES, select="amount")[1] == (Decimal("1.2500"),)


@in_a_folder
def test_types_that_delta_does_not_have_keep_their_values(tiny):
    odd = """create or replace table marts.dim_shop as select 18446744073709551615::ubigint as huge,
        time '12:30' as at_time, uuid '00000000-0000-0000-0000-000000000001' as id,
        'b'::enum('a', 'b') as grade, 170::hugeint as sum_of, interval 1 day as span,
        timestamp '2026-01-01 01:02:03' as local_at, [1, null] as several, date '1931-05-06' as born,
        timestamptz '1931-05-06 01:02:03.123456+00' as seen_at, {'a': 1.5::decimal(9, 2)} as nested,
        null::int as nothing"""
    tiny.build(1, odd)
    publish.publish()
    [row] = rows(tiny.lake, SHOPS)
    assert row[:6] == (2**64 - 1, "12:30:00", "00000000-0000-0000-0000-000000000001", "b", 170, "1 day")
    assert row[6:9] == (datetime.datetime(2026, 1, 1, 1, 2, 3), [1, None], datetime.date(1931, 5, 6))  # noqa: DTZ001
    assert row[9] == datetime.datetime(1931, 5, 6, 1, 2, 3, 123456, datetime.UTC)
    assert row[10:] == ({"a": Decimal("1.50")}, None)


@in_a_folder
def test_a_mart_that_is_gone_is_emptied(tiny):
    tiny.build(1, "create table marts.old as select 1 as it")
    publish.publish()
    assert len(rows(tiny.lake, Address("curated", "marts", "old"))) == 1
    tiny.build(2, "drop table marts.old")
    publish.publish()
    assert rows(tiny.lake, Address("curated", "marts", "old")) == []
    assert "old" not in curated.in_force(tiny.lake)


@in_a_folder
def test_upkeep_and_a_check_know_the_marts_and_the_next_publish_finds_them_as_they_were(tiny):
    tiny.build(1)
    publish.publish()
    tiny.build(2)
    publish.publish()
    now = upkeep.clock(tiny.lake) + datetime.timedelta(days=60)
    for address in inventory.tables(tiny.lake):
        upkeep.keep(tiny.lake, address, now=now)
        assert not damage.survey(tiny.lake, address).faults
    files = {one.path for one in commit.files(commit.table(tiny.lake, SALES))}
    publish.publish()
    assert {one.path for one in commit.files(commit.table(tiny.lake, SALES))} == files
    placed = curated.in_force(tiny.lake)
    assert len(rows(tiny.lake, SALES, placed["fct_sale"])) == 40


@in_a_folder
def test_a_mart_that_was_damaged_and_brought_back_is_mended_by_the_next_publish(tiny):
    for stamp in (1, 2):
        tiny.build(stamp)
        publish.publish()
    [newest] = [one for one in commit.files(commit.table(tiny.lake, SALES)) if one.day == datetime.date(2026, 1, 8)]
    (Path(tiny.lake.uri(SALES)) / newest.path).unlink()
    assert restore.restore(tiny.lake, SALES).to == 0
    assert {row[0] for row in rows(tiny.lake, SALES, select="stamp")} == {0, 1}
    publish.publish()
    assert {row[0] for row in rows(tiny.lake, SALES, select="stamp")} == {0, 2}
    assert len(rows(tiny.lake, SALES, curated.in_force(tiny.lake)["fct_sale"])) == 40


@in_a_folder
def test_a_lake_that_fails_keeps_the_version_from_coming_into_force_and_the_next_publish_goes_on(tiny, monkeypatch):
    tiny.build(1)
    before = publish.publish()
    tiny.build(2)

    def refuse(*_: object, **__: object) -> None:
        raise LakeUnavailable("lake s3://bucket", "the S3 server does not answer", "start it")

    with monkeypatch.context() as patch:
        patch.setattr(curated.commit, "add", refuse)
        with pytest.raises(
            LakeUnavailable, match=r"does not answer; start it; then `watershed warehouse publish` goes"
        ):
            publish.publish()
    assert current() == before
    assert releases.unfinished(tiny.layout).number == 2
    assert {row[0] for row in rows(tiny.lake, SALES, select="stamp")} == {0, 1}
    made = publish.publish()
    assert made.number == 3
    assert [version.number for version in versions()] == [1, 2, 3]
    assert [one.number for one in releases.releases(tiny.layout)] == [1, 2, 3]


@in_a_folder
def test_a_new_folder_for_the_warehouse_goes_on_counting_where_the_lake_is(tiny, tmp_path, monkeypatch):
    for stamp in (1, 2, 3):
        tiny.build(stamp)
        publish.publish()
    monkeypatch.setenv("WAREHOUSE_ROOT", str(tmp_path / "other"))
    other = Tiny(tmp_path / "other", tiny.lake)
    other.declare()
    other.build(4)
    assert publish.publish().number == 4


@in_a_folder
def test_the_examples_of_the_page_read_one_version_while_the_next_is_half_exported(tiny, monkeypatch):
    for stamp in (1, 2):
        tiny.build(stamp, "create or replace table marts.dim_product as from marts.dim_shop", rows=40 * stamp)
        if stamp == 2:
            monkeypatch.setattr(curated, "_note", broken_off)
            with pytest.raises(LakeUnavailable):
                publish.publish()
        else:
            publish.publish()
    assert len(rows(tiny.lake, SALES)) == 80  # the newest commit is ahead of what is in force
    page = (PROJECT / "docs" / "how-to" / "read-the-lake-elsewhere.md").read_text()
    examples = [text for text in re.findall(r"^```python\n(.*?)^```", page, re.M | re.S) if "curated/" in text]
    prepared = duck.connect()  # finds the extensions without a network
    monkeypatch.setattr(duckdb, "connect", lambda: prepared)
    for text in examples:
        names: dict[str, Any] = {}
        exec(text.replace("/data/lake", tiny.lake.root).replace("fct_sales", "fct_sale"), names)
        assert len(names["sales"]) == 40
        assert "products" not in names or set(names["products"]["stamp"]) == {1}
    assert len(examples) == 2


def broken_off(*_: object) -> None:
    raise LakeUnavailable("lake s3://bucket", "the S3 server does not answer", "start it")
