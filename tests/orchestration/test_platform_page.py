"""The platform's page from Dagster and from the terminal: it is written, and a store that is down harms nothing."""

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg

from orchestration import page

NOBODY = "postgresql://somebody:hidden-word@127.0.0.1:1/none"
DOWN = "metrics store: does not answer; start the server (`watershed up`), then ask again."


def test_the_asset_leads_to_the_page_and_says_why_it_shows_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("WAREHOUSE_ROOT", str(tmp_path))
    monkeypatch.setenv("METRICS_READER_DSN", NOBODY)
    found = page.platform_written(dg.build_asset_context())
    assert found["platform_page"] == dg.MetadataValue.path(str(tmp_path / "report" / "platform.html"))
    assert found["platform_preview"] == dg.MetadataValue.md(DOWN)
    assert DOWN in (tmp_path / "report" / "platform.html").read_text()


def test_a_page_that_cannot_be_written_is_a_sentence_of_the_asset(tmp_path, monkeypatch):
    (tmp_path / "report").write_text("in the way")
    monkeypatch.setenv("WAREHOUSE_ROOT", str(tmp_path))
    monkeypatch.setenv("METRICS_READER_DSN", NOBODY)
    found = page.platform_written(dg.build_asset_context())
    assert str(found["platform_page"]).startswith("the platform page was not written: ")


def test_the_command_writes_the_page_and_says_where_it_is(tmp_path):
    environment = {**os.environ, "WATERSHED_HOME": str(tmp_path), "METRICS_READER_DSN": NOBODY, "SHOP": "retail"}
    for name in ("WAREHOUSE_ROOT", "LAKE_ROOT"):
        environment.pop(name, None)
    command = [str(Path(sys.executable).parent / "watershed"), "report", "--platform"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    path = tmp_path / "retail" / "warehouse" / "report" / "platform.html"
    assert done.stdout == f"Platform page: {path}\n{DOWN}\n"
    assert path.exists()
