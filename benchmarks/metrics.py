"""The metrics store beside PostgreSQL's own COPY: `python -m benchmarks.metrics --rows 2000000 --rounds 3`.

Append, upsert and replay of the declared `sensor_readings`, the loader's memory at two volumes, the refresh of one late
row, the size of cold rows, and one day's query on either side. Each step is a process of its own, contestants take
turns, medians count; what is printed is a Markdown table for docs/benchmarks.md.
"""

import argparse
import json
import os
import secrets
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from benchmarks import cpu, section
from benchmarks.cpu import Measured
from services import databases, record

HERE = (sys.executable, "-W", "ignore", "-m", "benchmarks.metrics_steps")
HEADING = "## Metrics store"
ABOUT = """\
`make bench-metrics` loads the same rows (6 columns, 28 days, 50 devices a minute or more) into the declared hypertable
`sensor_readings`, with its primary key and its second index, by `metrics.load` and by one `COPY … (FORMAT binary)` of a
file that was encoded before. *CPU* is that of the client, without interpreter and imports, and of all processes of the
server; nothing else may use that server meanwhile. Memory is the loader's peak (VmHWM)."""


@dataclass
class Report:
    """The lines of the table, the server's versions, and what else ran on the machine meanwhile."""

    lines: list[tuple[str, str, str, str, str]] = field(default_factory=list)
    server: str = ""
    cpu_s: float = 0
    others_cpu_s: float = 0

    def line(self, what: str, limit: str, ours: str, ratio: str = "", goal: str = "") -> None:
        """One line of the table, which is said at once, too."""
        self.lines.append((what, limit, ours, ratio, goal))
        print(" | ".join(("", what, limit, ours, ratio, goal)), flush=True)

    def markdown(self, about: str) -> str:
        """The table."""
        head = ["| | limit | metrics store | ratio | goal |", "|---|---|---|---|---|"]
        rows = [f"| {' | '.join(line)} |" for line in self.lines]
        share = self.others_cpu_s / max(self.cpu_s, 0.001)
        note = (
            f"{about} {self.server} Meanwhile the rest of the machine used {share:.2f} CPU-seconds for each of these."
        )
        return "\n".join([*head, *rows, "", note])


@dataclass(frozen=True)
class Bench:
    """Where it runs: a database of its own, the server's port on this machine (None: elsewhere), rows, rounds."""

    report: Report
    dsn: str
    port: int | None
    scratch: Path
    rows: int
    rounds: int

    @property
    def file(self) -> str:
        """The rows' files, without their endings; made when first asked for."""
        file = self.scratch / "rows"
        if not file.with_suffix(".copy").exists():
            self.step("made", file=str(file), rows=self.rows)
            file.with_suffix(".copy").chmod(0o644)
        return str(file)

    def step(self, name: str, **words: Any) -> Measured:
        """One step, in a process of its own."""
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        run = cpu.measured([*HERE, name, json.dumps(words)], environment, self.port)
        if run.failure:
            raise SystemExit(f"{name}: {run.failure}\n{run.said}")
        self.report.cpu_s += run.cpu_s
        self.report.others_cpu_s += run.others_cpu_s
        return run

    def cost(self, name: str, **words: Any) -> tuple[float, Mapping[str, Any]]:
        """CPU-seconds of a step, client and server, and what it answers."""
        run = self.step(name, **words)
        return run.answer["cpu_s"] + (run.server_cpu_s or 0), run.answer

    def fresh(self) -> None:
        """An empty hypertable."""
        said = self.step("fresh", dsn=self.dsn).answer
        self.report.server = f"TimescaleDB {said['timescaledb']} ({said['edition']}), PostgreSQL {said['postgres']}."


def loading(bench: Bench) -> None:
    """Append, replay and upsert beside COPY."""
    costs: dict[str, list[float]] = {"copy": [], "append": [], "replay": [], "upsert": []}
    seconds: dict[str, list[float]] = {"append": [], "replay": [], "upsert": []}
    words = {"dsn": bench.dsn, "file": bench.file}
    by = ""
    for _ in range(bench.rounds):
        bench.fresh()
        cost, said = bench.cost("copied", **words)
        costs["copy"].append(cost)
        by = said["by"]
        bench.fresh()
        for way in ("append", "replay"):
            _load(bench, way, costs, seconds)
        bench.fresh()
        bench.step("generated", dsn=bench.dsn, rows=bench.rows, some=True)
        bench.step("settled", dsn=bench.dsn)
        _load(bench, "upsert", costs, seconds)
    limit = statistics.median(costs["copy"])
    how = "by the server" if by == "server" else "piped: the role may not read the server's files"
    for way, what, goal in (
        ("append", f"append, CPU s (COPY {how})", "≤ 1.3"),
        ("upsert", "upsert, half of the rows there, a tenth of these changed, CPU s", "≤ 1.6"),
        ("replay", "replay of the same rows, CPU s", ""),
    ):
        ours = statistics.median(costs[way])
        bench.report.line(what, f"{limit:.1f}", f"{ours:.1f}", f"{ours / limit:.2f}", goal)
    for way in seconds:
        bench.report.line(f"{way}, rows/s", "", f"{bench.rows / statistics.median(seconds[way]):,.0f}")


def _load(bench: Bench, way: str, costs: dict[str, list[float]], seconds: dict[str, list[float]]) -> None:
    cost, said = bench.cost("loaded", dsn=bench.dsn, file=bench.file, rows=bench.rows)
    expected = {"append": bench.rows, "replay": 0}.get(way, said["changed"])
    if (said["rows"], said["changed"]) != (bench.rows, expected):
        raise SystemExit(f"{way}: {said['rows']:,} rows, {said['changed']:,} changed")
    costs[way].append(cost)
    seconds[way].append(said["s"])


def memory(bench: Bench) -> None:
    """The loader's peak at two volumes."""
    for rows in (bench.rows, 5 * bench.rows):
        bench.fresh()
        peak = bench.step("generated", dsn=bench.dsn, rows=rows).peak_bytes / 1e6
        bench.report.line(f"peak memory of loading {rows:,} rows, MB", "", f"{peak:.0f}", "", "< 300 MB")


def refreshing(bench: Bench) -> None:
    """The roll-ups: all buckets, then those of one late row."""
    bench.fresh()
    bench.step("generated", dsn=bench.dsn, rows=bench.rows)
    said = bench.step("refreshed", dsn=bench.dsn, rows=bench.rows).answer
    limit = f"{said['buckets']:,} buckets" if said["buckets"] else "buckets, by the server itself"
    what = f"refresh of one late row, CPU s (limit: of all {limit})"
    ratio = f"{said['late'] / said['full']:.4f}"
    bench.report.line(what, f"{said['full']:.2f}", f"{said['late']:.3f}", ratio, "≤ 0.01")


def cold(bench: Bench) -> None:
    """Rows moved to the lake: their bytes beside compressed chunks, and one day's query on either side."""
    bench.fresh()
    bench.step("generated", dsn=bench.dsn, rows=bench.rows)
    hot_and_cold, all_cold = str(bench.scratch / "lake"), str(bench.scratch / "cold")
    bench.step("tiered", dsn=bench.dsn, root=hot_and_cold, rows=bench.rows, days=3)
    found = bench.step("queried", dsn=bench.dsn, root=hot_and_cold, rows=bench.rows).answer
    for side in ("hot", "cold"):
        what = f"one day on the {side} side, {found[side]['rows']:,} rows, ms"
        bench.report.line(what, "", f"{found[side]['ms']:.0f}")
    bench.fresh()
    bench.step("generated", dsn=bench.dsn, rows=bench.rows)
    size = bench.step("tiered", dsn=bench.dsn, root=all_cold, rows=bench.rows, days=-2).answer["bytes"] / 1e6
    community = os.environ.get("METRICS_COMMUNITY_DSN")
    if not community:
        words = "cold Parquet, MB (compressed chunks: METRICS_COMMUNITY_DSN is not set)"
        bench.report.line(words, "", f"{size:.1f}")
        return
    with database(community) as dsn:
        bench.step("fresh", dsn=dsn)
        bench.step("generated", dsn=dsn, rows=bench.rows)
        chunks = bench.step("compressed", dsn=dsn).answer
    what = f"cold Parquet, MB (limit: compressed chunks, {chunks['before'] / 1e6:.0f} MB before)"
    ratio = size / (chunks["after"] / 1e6)
    bench.report.line(what, f"{chunks['after'] / 1e6:.1f}", f"{size:.1f}", f"{ratio:.2f}", "≤ 1")


PARTS: Mapping[str, Callable[[Bench], None]] = {part.__name__: part for part in (loading, refreshing, cold, memory)}


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000, help="default: 2,000,000")
    options = section.options(parser, list(PARTS))
    report, server = Report(), _server()
    with tempfile.TemporaryDirectory(prefix="watershed-bench-") as scratch, database(server) as dsn:
        Path(scratch).chmod(0o755)  # the server, another user, may read the file
        bench = Bench(
            report, dsn, int(str(conninfo_to_dict(server)["port"])), Path(scratch), options.rows, options.rounds
        )
        for name in options.only.split(",") if options.only else PARTS:
            PARTS[name](bench)
    rounds = f"{options.rounds} round{'s' if options.rounds > 1 else ''}"
    text = report.markdown(f"{options.rows:,} rows; medians of {rounds}.")
    print(f"\n{text}")
    if options.write:
        section.put(cpu.PROJECT / "docs" / "benchmarks.md", HEADING, f"{ABOUT}\n\n{section.stamp()}\n\n{text}")


@contextmanager
def database(server: str) -> Iterator[str]:
    """A new database with TimescaleDB beside that of `server`, dropped at the end; its DSN."""
    name = f"bench_metrics_{secrets.token_hex(4)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
    dsn = databases.on(server, name)
    try:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        yield dsn
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _server() -> str:
    given = os.environ.get("METRICS_DSN") or record.environment(cpu.PROJECT).get("METRICS_DSN")
    if not given:
        raise SystemExit("no metrics server is up; run `watershed up`, or set METRICS_DSN")
    return given


if __name__ == "__main__":
    main()
