"""The warehouse's benchmark compares like with like; TPC-H's published answers come from lake and published file."""

import json
from pathlib import Path

import pytest

from benchmarks import warehouse, warehouse_lake, warehouse_queries, warehouse_steps
from lake.layout import Lake
from warehouse import build
from warehouse.publish import publish

SCALE = 0.01


@pytest.fixture(scope="module")
def tpch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return warehouse_lake.generated(tmp_path_factory.mktemp("tpch") / "tpch.duckdb", SCALE)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> warehouse.Bench:
    return warehouse.Bench(warehouse.Report(), tmp_path_factory.mktemp("bench"), SCALE, rounds=1, gigabytes=0.03)


@pytest.fixture(scope="module")
def shop(bench: warehouse.Bench, tpch: Path) -> Path:
    """A site of the benchmark whose lake holds 29 of the 30 days, built."""
    home = bench.scratch / "star"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in bench.environment("star").items():
            patch.setenv(name, value)
        warehouse_lake.shop(tpch, Lake(str(home / "lake")), days=warehouse_lake.DAYS - 1)
        build.run(full_refresh=True, unit_tests=False)
    return home


@pytest.fixture
def site(shop: Path, bench: warehouse.Bench, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in bench.environment("star").items():
        monkeypatch.setenv(name, value)
    return shop


def test_the_published_answers_of_all_22_queries_come_from_the_lake_and_from_the_published_file(
    site: Path, tpch: Path, tmp_path: Path
):
    warehouse_queries.tables(str(tpch), str(tmp_path))
    warehouse_queries.put_in(str(tpch))
    publish(keep=1, curated=False)
    for way in ("plain", "published", "lake"):
        said = warehouse_queries.answered(way, str(tpch), str(tmp_path), SCALE, times=1)
        assert (way, said["wrong"], said["compared"]) == (way, [], 22)


def test_an_answer_that_differs_in_one_value_is_no_answer():
    answer = "name|total|rate\nA|10.50|0.25\n"
    assert warehouse_queries.is_answer([("A", 10.5, 0.25000000000001)], answer)
    assert not warehouse_queries.is_answer([("A", 10.51, 0.25)], answer)
    assert not warehouse_queries.is_answer([("B", 10.5, 0.25)], answer)
    assert not warehouse_queries.is_answer([], answer)


def test_the_platform_and_the_same_sql_build_the_same_rows_and_a_day_that_arrives_is_one_of_them(
    site: Path, tpch: Path, tmp_path: Path
):
    warehouse_lake.next_day(tpch, Lake(str(site / "lake")), warehouse_lake.DAYS - 1)
    steps = tmp_path / "steps.json"
    steps.write_text(json.dumps(warehouse_steps.compiled()["steps"]))
    plain = warehouse_steps.plainly(str(tmp_path / "warehouse.duckdb"), str(steps), tests=True)["rows"]
    report = build.run(unit_tests=False)
    built = {result.name: result.rows for result in report.results if result.name in plain}
    assert built == plain
    assert plain["fct_sales"] == 60175


def test_the_report_is_a_table_with_ratios(capsys: pytest.CaptureFixture[str]):
    report = warehouse.Report(cpu_s=2, others_cpu_s=1)
    report.line("full refresh, s", 10.0, 14.0, "≤ 1.5")
    report.line("one day of 30, s", "", "1.3 (0.09 of a full refresh)", "≤ 0.1 of a full refresh")
    report.note("A paragraph.")
    lines = report.markdown("On 10 rows.").splitlines()
    assert lines[2] == "| full refresh, s | 10.0 | 14.0 | 1.40 | ≤ 1.5 |"
    assert {line.count("|") for line in lines[:4]} == {6}
    assert lines[-1] == "A paragraph."


def test_publishing_and_the_first_row_are_measured(site: Path, bench: warehouse.Bench):
    (bench.scratch / "small").symlink_to(site)
    warehouse.publish(bench)
    warehouse.first_row(bench)
    said = [line[0] for line in bench.report.lines]
    assert any(line.startswith("publish a build file, s (0.0 GB") for line in said)
    assert "first row of `watershed sql`, s" in said
