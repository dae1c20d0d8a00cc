"""The lake beside plain Parquet files of the same rows: `python -m benchmarks.lake --rows 10000000 --rounds 3`.

Writing, scanning, reading one day of a year, the memory of a thousand partitions, a thousand small commits, and the
objects that one day takes on S3. Each step is a process of its own, contestants take turns, medians count; what is
printed is a Markdown table for docs/benchmarks.md.
"""

import argparse
import datetime
import json
import os
import shutil
import statistics
import sys
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks import cpu, lake_requests, lake_steps, section
from benchmarks.cpu import Measured
from services import record

HERE = (sys.executable, "-W", "ignore", "-m", "benchmarks.lake_steps")
S3_NAMES = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")
ENCODED = "with the lake's encodings"
HEADING = "## Lake"
ABOUT = """\
`make bench-lake` writes the same rows (12 columns, sorted by day) as a table of the lake and as plain Parquet files by
pyarrow: one `ParquetWriter` a day with zstd and all else as it is by default, the same with the lake's encodings, and
`write_dataset`. Both are read with DuckDB; ratios are of medians. Each step is a process of its own, contestants take
turns. *CPU* is that of the process, but without imports where a scan is measured; memory is its peak (VmHWM)."""


@dataclass
class Report:
    """The lines of the table, and what else ran on the machine meanwhile."""

    lines: list[tuple[str, str, str, str, str]] = field(default_factory=list)
    cpu_s: float = 0
    others_cpu_s: float = 0

    def line(self, what: str, plain: str, lake: str, ratio: str = "", goal: str = "") -> None:
        """One line of the table, which is said at once, too."""
        self.lines.append((what, plain, lake, ratio, goal))
        print(" | ".join(("", what, plain, lake, ratio, goal)), flush=True)

    def markdown(self, about: str) -> str:
        """The table."""
        head = ["| | plain Parquet | lake | ratio | goal |", "|---|---|---|---|---|"]
        rows = [f"| {' | '.join(line)} |" for line in self.lines]
        share = self.others_cpu_s / max(self.cpu_s, 0.001)
        note = f"{about} Meanwhile the rest of the machine used {share:.2f} CPU-seconds for each of these."
        return "\n".join([*head, *rows, "", note])


def writing(report: Report, scratch: Path, rows: int, days: int, rounds: int) -> None:
    """Writing and scanning all rows, and what was written."""
    file = _made(report, scratch, rows, days)
    ways: dict[str, tuple[str, Mapping[str, Any]]] = {
        "lake": ("by_lake", {}),
        "plain": ("by_pyarrow", {}),
        "tuned": ("by_pyarrow", {"tuned": True}),
        "dataset": ("by_dataset", {}),
    }
    written: dict[str, list[Measured]] = {way: [] for way in ways}
    scans: dict[str, list[Mapping[str, Any]]] = {"lake": [], "plain": [], "tuned": []}
    for _ in range(rounds):
        for way, (step, words) in ways.items():
            shutil.rmtree(scratch / way, ignore_errors=True)
            written[way].append(_child(report, step, file=str(file), root=str(scratch / way), **words))
        for way, answers in scans.items():
            answers.append(_child(report, "scanned", root=str(scratch / way), way=way).answer)
    if scans["lake"][0]["sums"] != scans["plain"][0]["sums"]:
        raise SystemExit(f"the lake holds {scans['lake'][0]['sums']}, the files {scans['plain'][0]['sums']}")
    for way, name in (("plain", "ParquetWriter"), ("tuned", ENCODED), ("dataset", "write_dataset")):
        for unit, of in (("CPU s", "client_cpu_s"), ("s", "wall_s")):
            figures = [statistics.median(getattr(run, of) for run in written[one]) for one in (way, "lake")]
            report.line(f"write, {unit} ({name})", *_pair(*figures), "≤ 1.15" if way == "plain" else "")
    for way, name in (("plain", "ParquetWriter"), ("tuned", ENCODED)):
        sizes = [written[one][0].answer["bytes"] / 1e6 for one in (way, "lake")]
        report.line(f"size, MB ({name})", *_pair(*sizes))
    peaks = [statistics.median(run.peak_bytes for run in written[way]) / 1e6 for way in ("plain", "lake")]
    report.line("peak memory of writing, MB (ParquetWriter)", *_pair(*peaks))
    for way, name in (("plain", "ParquetWriter"), ("tuned", ENCODED)):
        for unit in ("cpu_s", "s"):
            figures = [statistics.median(run[unit] for run in scans[one]) for one in (way, "lake")]
            words = f"full scan, {'CPU s' if unit == 'cpu_s' else 's'} ({name})"
            report.line(words, *_pair(*figures), "≤ 1.10" if way == "plain" else "")


def one_day(report: Report, scratch: Path, rows: int, days: int, rounds: int) -> None:
    """One day of a year: milliseconds by the wall."""
    file = _made(report, scratch, rows, 365, "year")
    for way, step in (("lake", "by_lake"), ("plain", "by_pyarrow")):
        _child(report, step, file=str(file), root=str(scratch / f"year-{way}"))
    found: dict[str, list[Mapping[str, Any]]] = {"plain": [], "lake": []}
    for _ in range(rounds):
        for way, answers in found.items():
            answers.append(_child(report, "a_day", root=str(scratch / f"year-{way}"), way=way, days=365).answer)
    for how, words in (("partition", "by its partition"), ("instants", "by its instants")):
        figures = [statistics.median(run[how] for run in found[way]) for way in ("plain", "lake")]
        report.line(f"one day of 365, {words}, ms", *_pair(*figures), "≤ 50 ms")


def many_days(report: Report, scratch: Path, rows: int, days: int, rounds: int) -> None:
    """The memory that a thousand partitions take."""
    file = _made(report, scratch, rows, 1000, "many")
    runs = [
        _child(report, step, file=str(file), root=str(scratch / f"many-{step}")) for step in ("by_dataset", "by_lake")
    ]
    report.line(
        "peak memory, 1,000 partitions, MB (write_dataset)",
        *_pair(*(run.peak_bytes / 1e6 for run in runs)),
        "< 1,074 MB",
    )
    report.line("CPU s, 1,000 partitions (write_dataset)", *_pair(*(run.client_cpu_s for run in runs)))


def small_commits(report: Report, scratch: Path, rows: int, days: int, rounds: int) -> None:
    """A thousand commits of ten rows, and reading them before and after upkeep."""
    words = {"batches": 1000, "rows": 10}
    plain = _child(report, "small_files", root=str(scratch / "small-files"), **words).answer
    lake = _child(report, "small_commits", root=str(scratch / "small"), **words).answer
    report.line("1,000 batches of 10 rows, s", *_pair(plain["s"], lake["s"]))
    report.line("1,000 batches of 10 rows, CPU s", *_pair(plain["cpu_s"], lake["cpu_s"]))
    report.line("read them, ms", *_pair(plain["before_ms"], lake["before_ms"]))
    files = f"{lake['files_before']:,} files to {lake['files_after']:,}"
    report.line(f"read them after upkeep ({files}), ms", *_pair(plain["before_ms"], lake["after_ms"]))
    report.line("that upkeep, s", "", f"{lake['keep_s']:.1f} ({lake['keep_cpu_s']:.1f} CPU)")


def on_s3(report: Report, scratch: Path, rows: int, days: int, rounds: int) -> None:
    """The requests of one day's query on the S3 server."""
    known = record.environment(cpu.PROJECT)
    given = {name: os.environ.get(name) or known.get(name, "") for name in S3_NAMES}
    if not given["AWS_ENDPOINT_URL"]:
        report.line("one day on S3", "", "not measured: no server is up; run `watershed up s3`")
        return
    os.environ.update(given)
    found = _requests_of_a_day(given["AWS_ENDPOINT_URL"], 365)
    report.line("one day of 365 on S3, objects read beyond the log", "", f"{found['objects']}", "", "≤ 3")
    requests = f"{found['data']} for data, {found['log']} for the log"
    report.line("one day of 365 on S3, requests", "", f"{requests}")


def _requests_of_a_day(endpoint: str, days: int) -> Mapping[str, int]:
    from lake import commit, parquet, read, s3
    from lake.layout import Lake

    client, bucket = s3.client(), f"bench-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=bucket)
    lake, address = Lake(f"s3://{bucket}/lake"), lake_steps.TABLE
    try:
        writer = parquet.Writer(lake, address, "0bea", ("sale_id",))
        rows = pa.table({"sale_id": pa.array(range(100), pa.int64()), "status": ["new"] * 100})
        for number in range(days):
            writer.rows_of(lake_steps.FIRST + datetime.timedelta(days=number), [rows])
        commit.add(lake, address, rows.schema, writer.written, {}, base=None, by_day=True)
        with lake_requests.counted(endpoint) as seen:
            os.environ["AWS_ENDPOINT_URL"] = seen.url
            condition = "year = '2025' AND month = '03' AND day = '08'"
            with read.connect(lake) as connection:
                query = f"SELECT count(*), sum(sale_id) FROM {read.relation(lake, address)} WHERE {condition}"
                row = connection.execute(query).fetchone()
        if row != (100, 4950):
            raise SystemExit(f"one day on S3: {row}")
        return {"objects": len(seen.objects), "data": len(seen.data), "log": len(seen.requests) - len(seen.data)}
    finally:
        os.environ["AWS_ENDPOINT_URL"] = endpoint
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for one in page.get("Contents", ()):
                client.delete_object(Bucket=bucket, Key=one["Key"])
        client.delete_bucket(Bucket=bucket)


PARTS: Mapping[str, Callable[[Report, Path, int, int, int], None]] = {
    part.__name__: part for part in (writing, one_day, many_days, small_commits, on_s3)
}


def main() -> None:
    """Measure, print."""
    options = _options()
    report = Report()
    chosen = options.only.split(",") if options.only else list(PARTS)
    with tempfile.TemporaryDirectory(prefix="watershed-bench-") as scratch:
        for name in chosen:
            rows = options.rows if name == "writing" else max(options.rows // 10, 100_000)
            PARTS[name](report, Path(scratch), rows, options.days, options.rounds)
    about = (
        f"{options.rows:,} rows of {options.days} days (one day of 365 and 1,000 partitions: a tenth of them);"
        f" medians of {options.rounds} round{'s' if options.rounds > 1 else ''}."
    )
    text = report.markdown(about)
    print(f"\n{text}")
    if options.write:
        section.put(cpu.PROJECT / "docs" / "benchmarks.md", HEADING, f"{ABOUT}\n\n{section.stamp()}\n\n{text}")


def _made(report: Report, scratch: Path, rows: int, days: int, name: str = "rows") -> Path:
    file = scratch / f"{name}.arrow"
    _child(report, "made", file=str(file), rows=rows, days=days)
    return file


def _child(report: Report, step: str, **words: Any) -> Measured:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    run = cpu.measured([*HERE, step, json.dumps(words)], environment)
    if run.failure:
        raise SystemExit(f"{step}: {run.failure}\n{run.said}")
    report.cpu_s += run.client_cpu_s
    report.others_cpu_s += run.others_cpu_s
    return run


def _pair(plain: float, lake: float) -> Sequence[str]:
    shown = [
        f"{value:,.0f}" if value >= 100 else f"{value:.2f}" if value < 10 else f"{value:.1f}" for value in (plain, lake)
    ]
    return [*shown, f"{lake / plain:.2f}"]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000, help="default: 10,000,000")
    parser.add_argument("--days", type=int, default=90, help="default: 90")
    return section.options(parser, PARTS)


if __name__ == "__main__":
    main()
