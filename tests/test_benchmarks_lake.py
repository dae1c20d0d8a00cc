"""The lake's benchmark compares like with like: all ways of writing leave the same rows, and the table is a table."""

from pathlib import Path

import pytest

from benchmarks import lake, lake_parquet, lake_steps


def test_all_ways_of_writing_leave_the_same_rows(tmp_path: Path):
    file = str(tmp_path / "rows.arrow")
    lake_steps.made(file, 3000, 5)
    ways = {"lake": lake_steps.by_lake, "plain": lake_steps.by_pyarrow, "dataset": lake_steps.by_dataset}
    sums = set()
    for way, write in ways.items():
        written = write(file, str(tmp_path / way))
        assert written["files"] == 5
        found = lake_steps.scanned(str(tmp_path / way), way, times=1)
        sums.add(tuple(found["sums"]))
    assert len(sums) == 1
    assert sums.pop()[0] == "3000"
    assert lake_steps.a_day(str(tmp_path / "lake"), "lake", 5, times=2).keys() == {"partition", "instants"}


def test_small_commits_are_read_alike_before_and_after_upkeep(tmp_path: Path):
    found = lake_steps.small_commits(str(tmp_path / "lake"), 12, 10)
    assert (found["files_before"], found["files_after"]) == (12, 1)


def test_the_report_is_a_table(capsys: pytest.CaptureFixture[str]):
    report = lake.Report(cpu_s=2, others_cpu_s=1)
    report.line("write, s", *lake._pair(10, 11.5), "≤ 1.15")
    lines = report.markdown("On 10 rows.").splitlines()
    assert lines[2] == "| write, s | 10.0 | 11.5 | 1.15 | ≤ 1.15 |"
    assert {line.count("|") for line in lines[:3]} == {6}
    assert lines[-1].startswith("On 10 rows.")


def test_the_details_of_parquet_are_measured_on_a_real_set(tmp_path: Path, data: Path):
    real = next(one for one in lake_parquet.SETS if one.name == "payments")
    rows = lake_parquet.table(data, real).slice(0, 2000)
    variants = [one for one in lake_parquet.VARIANTS if "now" in one.name or one is lake_parquet.VARIANTS[0]]
    found = {real.name: lake_parquet.measured(rows, real, variants, tmp_path, 1)}
    assert found[real.name]["as the lake writes now"]["MB"] < 1
    text = lake_parquet.markdown(found, {real.name: rows.num_rows})
    assert "| as the lake writes now |" in text
