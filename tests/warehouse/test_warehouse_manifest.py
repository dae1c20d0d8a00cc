"""The parsed project is kept for the next process, and only trusted for the project it was made of."""

import pytest

from warehouse import build, runner


@pytest.fixture
def parses(place, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What dbt is asked to do, as in a process that has parsed nothing yet."""
    build.parse()
    asked: list[str] = []
    dbt = runner._dbt
    monkeypatch.setattr(
        runner, "_dbt", lambda place, command, *more: asked.append(command[0]) or dbt(place, command, *more)
    )
    monkeypatch.setattr(runner, "_manifests", {})
    return asked


def test_a_new_process_runs_the_project_as_it_was_parsed_by_another(place, parses: list[str]):
    report = build.run(["stg_shop__stores"])
    assert parses == ["build"]
    assert {"stg_shop__stores", "stg_shop__stores_store_id_is_unique"} <= {result.name for result in report.results}


def test_a_torn_or_foreign_parse_is_made_anew(place, parses: list[str]):
    saved = place.layout.target / "partial_parse.msgpack"
    saved.write_bytes(saved.read_bytes()[:1000])
    build.run(["stg_shop__stores"])
    assert parses == ["parse", "build"]
    parses.clear()
    runner._manifests.clear()
    (place.layout.target / "manifest.key").write_text("of another project")
    build.run(["stg_shop__stores"])
    assert parses == ["parse", "build"]
