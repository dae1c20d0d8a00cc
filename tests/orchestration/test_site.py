"""Which shop is meant, where it lives, and what the marts are told of it."""

import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from ingestion import spec
from lake.errors import SpecError
from orchestration import site
from watershed import cli, conform, generate

KIOSK = """
connector: {connector}
connection: KIOSK
shop: {shop}
tables:
  - {{name: receipts, key: [receipt], load: replace{files}}}
"""


def declare(folder: Path, shop: str = "true", connector: str = "files") -> None:
    files = ", files: {path: receipts.csv}" if connector == "files" else ""
    (folder / "kiosk.yml").write_text(KIOSK.format(connector=connector, shop=shop, files=files))


@pytest.fixture(autouse=True)
def environment(tmp_path: Path) -> Iterator[None]:
    """An environment of its own, with a folder for sources."""
    ours = {"WATERSHED_HOME": str(tmp_path / "home"), "WATERSHED_SOURCES": str(tmp_path), "PATH": os.environ["PATH"]}
    with mock.patch.dict(os.environ, ours, clear=True):
        yield


def test_a_source_with_shop_is_a_shop_by_its_name(tmp_path):
    declare(tmp_path, '{ids: text, holidays: AT, clock: "2026-03-04T12:00:00Z"}')
    here = site.enter("kiosk")
    told = {"SHOP": "kiosk", "SHOP_SOURCE": "kiosk", "SHOP_ID_TYPE": "varchar", "HOLIDAY_COUNTRY": "AT"}
    assert {name: os.environ[name] for name in told} == told
    assert os.environ["WATERSHED_NOW"] == "2026-03-04T12:00:00+00:00"
    assert os.environ["LAKE_ROOT"] == str(tmp_path / "home" / "kiosk" / "lake")
    assert here.databases == {"METRICS_DSN": "kiosk_metrics"}
    assert [source.name for source in spec.sources()] == ["kiosk"]


def test_a_shop_that_says_nothing_more_has_numbers_and_todays_clock(tmp_path):
    declare(tmp_path)
    site.enter("kiosk")
    assert os.environ["SHOP_ID_TYPE"] == "bigint"
    assert "WATERSHED_NOW" not in os.environ


@pytest.mark.parametrize("shop", ["retail", "completejourney"])
def test_the_examples_are_read_from_the_source_shop_and_from_no_other(shop, tmp_path):
    declare(tmp_path)
    here = site.enter(shop)
    assert os.environ["SHOP_SOURCE"] == "shop"
    assert list(here.databases) == ["SHOP_DSN", "METRICS_DSN"]
    assert spec.sources() == ()


@pytest.mark.parametrize(
    ("shop", "name", "sentence"),
    [
        (
            "true",
            "kisok",
            "SHOP: 'kisok' is no shop; did you mean 'kiosk'? Choose one of: retail, completejourney, kiosk",
        ),
        ("true", "x", "SHOP: 'x' is no shop; choose one of: {}"),
        ("false", "kiosk", "SHOP: source kiosk is no shop; write `shop: true` into ingestion/sources/kiosk.yml"),
    ],
)
def test_a_name_that_is_no_shop(shop, name, sentence, tmp_path):
    declare(tmp_path, shop)
    with pytest.raises(SpecError) as error:
        site.site(name)
    assert str(error.value) == sentence.format("retail, completejourney, kiosk")


@pytest.mark.parametrize(
    ("shop", "words"),
    [
        ('{clock: "2026-03-04 12:00"}', "clock has no time zone; write it as 2018-10-18T12:00:00Z"),
        ("{id: text}", 'unknown key "shop.id"; did you mean "ids"?'),
        ("{ids: uuid}", "shop.ids"),
        ("{holidays: Austria}", "shop.holidays"),
    ],
)
def test_what_a_source_says_wrongly_of_its_shop_is_named(shop, words, tmp_path):
    declare(tmp_path, shop)
    with pytest.raises(SpecError) as error:
        spec.declared()
    assert words in str(error.value)
    assert "kiosk.yml" in str(error.value)


def test_data_are_a_folder_kept_for_later_commands(tmp_path):
    declare(tmp_path)
    here = site.enter("kiosk")
    with pytest.raises(SpecError, match=r"DATA: is not set; give the folder .*: make run SHOP=kiosk DATA="):
        cli.find_files(here, here.source, None)
    with pytest.raises(SpecError, match=r"DATA: there is no folder .*nowhere; name the folder with the files of kiosk"):
        cli.find_files(here, here.source, str(tmp_path / "nowhere"))
    cli.find_files(here, here.source, str(tmp_path))
    assert site.recorded(here) == {"KIOSK": str(tmp_path)}
    cli.find_files(here, here.source, None)
    cli.find_files(here, here.source, "s3://drops/kiosk")
    assert site.recorded(here) == {"KIOSK": "s3://drops/kiosk"}


def test_data_are_not_for_a_shop_in_a_database(tmp_path):
    declare(tmp_path, connector="postgres")
    here = site.enter("kiosk")
    with pytest.raises(SpecError, match="DATA: is for shops of files, and kiosk is one of postgres; leave it out"):
        cli.find_files(here, here.source, str(tmp_path))
    cli.find_files(here, here.source, None)


def test_drafts_are_made_once_and_nothing_that_was_filled_in_is_touched(tmp_path):
    declare(tmp_path)
    (kiosk,) = spec.declared()
    project = tmp_path / "dbt"
    (project / "models" / "intermediate").mkdir(parents=True)
    for name in ("dbt_project.yml", "models/intermediate/_int_shop__models.yml"):
        (project / name).write_text((generate.PROJECT / "dbt_project" / name).read_text())
    wanted = conform.missing(project, kiosk)
    assert (
        "cast(null as {{ id_type() }}) as order_id" in wanted[project / "models/intermediate/kiosk/int_shop_orders.sql"]
    )
    settings = wanted[project / "dbt_project.yml"].splitlines()
    assert sum("== 'kiosk'" in line for line in settings) == sum("== 'shop'" in line for line in settings) >= 4
    for path, text in wanted.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert conform.missing(project, kiosk) == {}


def test_settings_without_the_folders_to_go_by_are_named(tmp_path):
    declare(tmp_path)
    (kiosk,) = spec.declared()
    (tmp_path / "models" / "intermediate").mkdir(parents=True)
    (tmp_path / "models" / "intermediate" / "_int_shop__models.yml").write_text("models: []\n")
    (tmp_path / "dbt_project.yml").write_text("name: other\n")
    with pytest.raises(SpecError, match="has no folders of the built-in shop; enable the folders kiosk of staging"):
        conform.missing(tmp_path, kiosk)
