"""The warehouse beside one plain DuckDB process: `python -m benchmarks.warehouse --sf 1 --rounds 3`.

The star schema built from TPC-H's rows by the platform and by the same SQL, one more day of thirty, TPC-H's 22 queries
on the lake and on the published file, publishing a large file, and the first row of `watershed sql`. Each step is a
process of its own, contestants take turns, medians count; what is printed is Markdown for docs/benchmarks.md.
"""

import argparse
import fcntl
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import cpu, section, warehouse_lake
from benchmarks.cpu import Measured

HEADING = "## Warehouse"
FICLONE = 0x40049409
SMALL_SF = 0.01
QUESTION = "select count(*) from dim_store"
ABOUT = """\
`make bench-warehouse` puts TPC-H's orders, lines, customers, parts and suppliers into the lake as a shop of thirty
days, lets the platform build the star schema (`warehouse.build.run`, all models and tests), and lets one plain DuckDB
process run the SQL that dbt compiled of the same models, with the same memory and threads, over the same Delta tables.
Then the rows of the thirtieth day arrive. Ratios are of medians; each step is a process of its own, contestants take
turns, and start-up (Python, imports, dbt) is in the platform's figures. *CPU* is that of the process."""


@dataclass
class Report:
    """The lines of the table, what is said below it, and what else ran on the machine meanwhile."""

    lines: list[tuple[str, str, str, str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cpu_s: float = 0
    others_cpu_s: float = 0

    def line(self, what: str, plain: float | str, ours: float | str, goal: str = "") -> None:
        """One line of the table; the ratio stands in it if both are numbers."""
        is_ratio = isinstance(plain, float) and isinstance(ours, float) and plain > 0
        ratio = f"{float(ours) / float(plain):.2f}" if is_ratio else ""
        self.lines.append((what, _shown(plain), _shown(ours), ratio, goal))
        print(" | ".join(("", *self.lines[-1])), flush=True)

    def note(self, text: str) -> None:
        """A paragraph below the table."""
        self.notes.append(text)
        print(text, flush=True)

    def markdown(self, about: str) -> str:
        """The table and its notes."""
        head = ["| | plain DuckDB | Watershed | ratio | goal |", "|---|---|---|---|---|"]
        rows = [f"| {' | '.join(line)} |" for line in self.lines]
        share = self.others_cpu_s / max(self.cpu_s, 0.001)
        note = f"{about} Meanwhile the rest of the machine used {share:.2f} CPU-seconds for each of these."
        return "\n\n".join(["\n".join([*head, *rows]), note, *self.notes])


@dataclass(frozen=True)
class Bench:
    """Where a section works, and how large."""

    report: Report
    scratch: Path
    scale: float
    rounds: int
    gigabytes: float

    def child(self, module: str, step: str, place: str, **words: Any) -> Measured:
        """One step in a process of its own, with the site `place` as its lake and warehouse."""
        given = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        command = [sys.executable, "-W", "ignore", "-m", f"benchmarks.{module}", step, json.dumps(words)]
        run = cpu.measured(command, given | self.environment(place))
        if run.failure:
            raise SystemExit(f"{step}: {run.failure}\n{run.said}")
        self.report.cpu_s += run.client_cpu_s
        self.report.others_cpu_s += run.others_cpu_s
        return run

    def environment(self, place: str) -> dict[str, str]:
        """The variables by which the platform finds the site `place`."""
        home = self.scratch / place
        return {
            "LAKE_ROOT": str(home / "lake"),
            "WAREHOUSE_ROOT": str(home / "warehouse"),
            "WATERSHED_HOME": str(home),
            "DAGSTER_HOME": str(home / "dagster"),
            "SHOP": "retail",
            "SHOP_SOURCE": "shop",
        }

    def tpch(self, scale: float) -> Path:
        """TPC-H at a scale in a DuckDB file, made once."""
        file = self.scratch / f"tpch-{scale:g}.duckdb"
        if not file.exists():
            self.child("warehouse_steps", "made", "none", file=str(file), scale=scale)
        return file

    def site(self, place: str, scale: float, days: int = warehouse_lake.DAYS) -> Path:
        """A site whose lake holds the shop's first `days` days, built and tested; its folder. Made once."""
        home = self.scratch / place
        if not home.exists():
            file = str(self.tpch(scale))
            self.child("warehouse_steps", "shop", place, file=file, root=str(home / "lake"), days=days)
            self.child("warehouse_steps", "parsed", place)
            self.child("warehouse_steps", "built", place, full_refresh=True)
        return home


def star(bench: Bench) -> None:
    """Full refresh against the same SQL, and the thirtieth day."""
    home, last = bench.site("star", bench.scale, warehouse_lake.DAYS - 1), warehouse_lake.DAYS - 1
    yesterday = home / "yesterday"
    shutil.copytree(home / "warehouse" / "build", yesterday)
    file = str(bench.tpch(bench.scale))
    bench.child("warehouse_steps", "next_day", "star", file=file, root=str(home / "lake"), day=last)
    steps = home / "steps.json"
    steps.write_text(json.dumps(bench.child("warehouse_steps", "compiled", "star").answer["steps"]))
    found: dict[str, list[Measured]] = {"models": [], "full": [], "all": [], "day": []}
    for _ in range(bench.rounds):
        found["models"].append(_plainly(bench, home, tests=False))
        found["full"].append(bench.child("warehouse_steps", "built", "star", full_refresh=True))
        found["all"].append(_plainly(bench, home, tests=True))
        shutil.rmtree(home / "warehouse" / "build")
        shutil.copytree(yesterday, home / "warehouse" / "build")
        found["day"].append(bench.child("warehouse_steps", "built", "star", full_refresh=False))
    _agree(found)
    rows = found["full"][0].answer["rows"]["fct_sales"]
    for words, kind in (("models and tests", "all"), ("models only, where ours tests, too", "models")):
        goal = "≤ 1.5" if kind == "all" else ""
        bench.report.line(f"full refresh, CPU s ({words})", _median(found[kind]), _median(found["full"]), goal)
        bench.report.line(
            f"full refresh, s ({words})", _median(found[kind], "wall_s"), _median(found["full"], "wall_s"), goal
        )
    speed, peak = ({kind: of(found[kind]) for kind in ("all", "full")} for of in (_speed(rows), _peak))
    bench.report.line("full refresh, order lines a second", speed["all"], speed["full"])
    bench.report.line("full refresh, peak memory, MB", peak["all"], peak["full"])
    for unit, of in (("CPU s", "client_cpu_s"), ("s", "wall_s")):
        day, full = _median(found["day"], of), _median(found["full"], of)
        share = f"{day / full:.2f} of a full refresh"
        bench.report.line(f"one day of 30, {unit}", "", f"{day:.1f} ({share})", "≤ 0.1 of a full refresh")
    for kind, name in (("full", "A full refresh"), ("day", "One day of 30")):
        bench.report.note(f"{name}, CPU-seconds by part: {_parts(found[kind])}.")
    bench.report.note(f"fct_sales holds {rows:,} order lines.")


def profile(bench: Bench) -> None:
    """Where an incremental run spends its CPU: node by node, on one thread of dbt."""
    home = bench.site("star", bench.scale, warehouse_lake.DAYS - 1)
    file, last = str(bench.tpch(bench.scale)), warehouse_lake.DAYS - 1
    if not (home / "yesterday").exists():
        shutil.copytree(home / "warehouse" / "build", home / "yesterday")
        bench.child("warehouse_steps", "next_day", "star", file=file, root=str(home / "lake"), day=last)
    shutil.rmtree(home / "warehouse" / "build")
    shutil.copytree(home / "yesterday", home / "warehouse" / "build")
    said = bench.child("warehouse_steps", "profiled", "star", full_refresh=False).answer
    nodes = sorted(said["nodes"].items(), key=lambda node: -node[1][1])
    in_sql = sum(taken for _, (_, taken, _) in nodes)
    lines = ["| node | CPU s in SQL | s | statements |", "|---|---|---|---|"]
    lines += [
        f"| {name.split('.', 2)[-1]} | {taken:.2f} | {seconds:.2f} | {count:.0f} |"
        for name, (seconds, taken, count) in nodes[:15]
    ]
    whole = f"One day of 30, on one thread of dbt: {said['cpu_s']:.1f} CPU-seconds, {in_sql:.1f} of them in SQL"
    bench.report.note(f"{whole} ({sum(count for _, (*_, count) in nodes):,.0f} statements of {len(nodes)} nodes).")
    bench.report.note("\n".join(lines))


def tpch(bench: Bench) -> None:
    """The 22 queries on plain tables, on the lake and on a published version."""
    bench.site("small", SMALL_SF)
    file = bench.tpch(bench.scale)
    lake = bench.scratch / f"lake-{bench.scale:g}"
    bench.child("warehouse_queries", "tables", "small", file=str(file), root=str(lake))
    bench.child("warehouse_queries", "put_in", "small", file=str(file))
    version = bench.child("warehouse_queries", "published", "small").answer
    found: dict[str, list[Mapping[str, Any]]] = {"plain": [], "published": [], "lake": []}
    for _ in range(bench.rounds):
        for way, answers in found.items():
            asked = {"way": way, "file": str(file), "root": str(lake), "scale": bench.scale, "times": 3}
            answers.append(bench.child("warehouse_queries", "answered", "small", **asked).answer)
    for way, answers in found.items():
        wrong = sorted({number for one in answers for number in one["wrong"]})
        compared = answers[0]["compared"]
        said = f"{compared - len(wrong)} of {compared}" + (f", not {wrong}" if wrong else "")
        bench.report.line(f"TPC-H, published answers given ({way})", "", said if compared else "not known", "22 of 22")
    for way, goal in (("published", "≤ 1.1"), ("lake", "")):
        for unit, of in (("CPU s", "cpu"), ("s", "seconds")):
            plain, ours = _sum(found["plain"], of), _sum(found[way], of)
            bench.report.line(f"TPC-H, 22 queries, {unit} ({way})", plain, ours, goal)
    what = "size of the file, MB (the published one holds a small star schema, too)"
    bench.report.line(what, file.stat().st_size / 1e6, version["bytes"] / 1e6)


def publish(bench: Bench) -> None:
    """Publishing a large file beside a plain copy of it on the same file system."""
    home = bench.site("small", SMALL_SF)
    build = home / "warehouse" / "build" / "warehouse.duckdb"
    size = bench.child("warehouse_queries", "filled", "small", gigabytes=bench.gigabytes).answer["bytes"]
    found: dict[str, list[Mapping[str, Any]]] = {"copy": [], "publish": []}
    target = home / "copy.duckdb"
    for _ in range(bench.rounds):
        paths = {"source": str(build), "target": str(target)}
        found["copy"].append(bench.child("warehouse_queries", "copied", "small", **paths).answer)
        target.unlink()
        found["publish"].append(bench.child("warehouse_queries", "published", "small").answer)
    shares = _shares_blocks(home)
    words = f"{size / 1e9:.1f} GB, blocks are {'shared' if shares else 'not shared'} here"
    for unit, of in (("s", "s"), ("CPU s", "cpu_s")):
        copied, published = (float(statistics.median(run[of] for run in found[kind])) for kind in ("copy", "publish"))
        goal = ("≤ 2 s" if shares else "speed of the copy") if of == "s" else ""
        bench.report.line(f"publish a build file, {unit} ({words})", copied, published, goal)


def first_row(bench: Bench) -> None:
    """The first row of `watershed sql` in a new process, beside DuckDB alone on the same file."""
    home = bench.site("small", SMALL_SF)
    if not (home / "warehouse" / "warehouse.duckdb").exists():
        bench.child("warehouse_queries", "published", "small")
    file = str((home / "warehouse" / "warehouse.duckdb").resolve())
    ask = "import duckdb, sys; print(duckdb.connect(sys.argv[1], read_only=True).execute(sys.argv[2]).fetchall())"
    commands = {
        "Python": [sys.executable, "-c", "pass"],
        "DuckDB": [sys.executable, "-c", ask, file, QUESTION.replace("dim_store", "marts.dim_store")],
        "sql": [str(Path(sys.executable).with_name("watershed")), "sql", "-c", QUESTION],
    }
    environment = os.environ | bench.environment("small")
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    environment = {name: value for name, value in environment.items() if name not in ("LAKE_ROOT", "WAREHOUSE_ROOT")}
    environment["WATERSHED_HOME"] = str(_as_home(home))
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(max(bench.rounds, 3) * 3 + 1):
        for name, command in commands.items():
            found[name].append(_taken(command, environment))
    for unit, at in (("s", 0), ("CPU s", 1)):
        figures = {name: statistics.median(one[at] for one in runs[1:]) for name, runs in found.items()}
        bench.report.line(f"first row of `watershed sql`, {unit}", figures["DuckDB"], figures["sql"], "≤ 0.5 s")
        least = {name: min(one[at] for one in runs[1:]) for name, runs in found.items()}
        bench.report.line(f"the same, least of all, {unit}", least["DuckDB"], least["sql"])
    bare = statistics.median(used for _, used in found["Python"][1:])
    imports = _imports(commands["sql"], environment)
    bench.report.note(f"First row, CPU-seconds: bare Python {bare:.2f}; imports {imports}.")


def _plainly(bench: Bench, home: Path, *, tests: bool) -> Measured:
    folder = home / "plain"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    words = {"file": str(folder / "warehouse.duckdb"), "steps": str(home / "steps.json"), "tests": tests}
    return bench.child("warehouse_steps", "plainly", "star", **words)


def _agree(found: Mapping[str, Sequence[Measured]]) -> None:
    """All ways of building hold the same rows, or nothing was measured."""
    for table, rows in found["all"][0].answer["rows"].items():
        for kind in ("models", "full", "day"):
            held = {run.answer["rows"].get(table, rows) for run in found[kind]}
            if held != {rows}:
                raise SystemExit(f"{table}: {rows:,} rows by plain SQL, {held} by {kind}")


def _parts(runs: Sequence[Measured]) -> str:
    parts = {part: statistics.median(run.answer["parts"][part] for run in runs) for part in runs[0].answer["parts"]}
    costly = sorted(parts.items(), key=lambda part: -part[1])
    return ", ".join(f"{part} {used:.1f}" for part, used in costly if used >= 0.05)


def _median(runs: Sequence[Measured], of: str = "client_cpu_s") -> float:
    return float(statistics.median(getattr(run, of) for run in runs))


def _speed(rows: int) -> Callable[[Sequence[Measured]], float]:
    return lambda runs: rows / _median(runs, "wall_s")


def _peak(runs: Sequence[Measured]) -> float:
    return _median(runs, "peak_bytes") / 1e6


def _sum(answers: Sequence[Mapping[str, Any]], of: str) -> float:
    """Sum over the queries of the median over the rounds."""
    return sum(float(statistics.median(one[of][number] for one in answers)) for number in answers[0][of])


def _as_home(place: Path) -> Path:
    """The folder that WATERSHED_HOME names, where the site of the shop is `place`."""
    home = place.parent / "home"
    home.mkdir(exist_ok=True)
    if not (home / "retail").exists():
        (home / "retail").symlink_to(place)
    return home


def _taken(command: Sequence[str], environment: Mapping[str, str]) -> tuple[float, float]:
    """(seconds, CPU-seconds) of a command that must succeed."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command, env=dict(environment), cwd=cpu.PROJECT, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    said = process.stdout.read() if process.stdout else b""
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: {said.decode(errors='replace')}")
    return seconds, usage.ru_utime + usage.ru_stime


def _imports(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """Seconds of the imports of a console script, and the packages that cost most."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *command], env=dict(environment), cwd=cpu.PROJECT, check=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    packages: dict[str, float] = {}
    for line in done.stderr.splitlines():
        fields = line.removeprefix("import time:").split("|")
        if line.startswith("import time:") and fields[0].strip().isdigit():
            package = fields[2].strip().split(".")[0]
            packages[package] = packages.get(package, 0) + int(fields[0]) / 1e6
    costly = sorted(packages.items(), key=lambda one: -one[1])[:5]
    named = ", ".join(f"{package} {seconds:.2f}" for package, seconds in costly)
    return f"{sum(packages.values()):.2f} (slowed by being timed; the dearest: {named})"


def _shares_blocks(folder: Path) -> bool:
    one, other = folder / "one", folder / "other"
    one.write_bytes(b"x" * 4096)
    try:
        with one.open("rb") as reader, other.open("wb") as writer:
            fcntl.ioctl(writer.fileno(), FICLONE, reader.fileno())
        return True
    except OSError:
        return False
    finally:
        one.unlink()
        other.unlink(missing_ok=True)


def _shown(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}" if value < 10 else f"{value:.1f}"


PARTS: Mapping[str, Callable[[Bench], None]] = {
    part.__name__: part for part in (star, profile, tpch, publish, first_row)
}


def main() -> None:
    """Measure, print."""
    options = _options()
    report = Report()
    with tempfile.TemporaryDirectory(prefix="watershed-bench-", dir=options.scratch) as scratch:
        bench = Bench(report, Path(scratch), options.sf, options.rounds, options.gb)
        for name in options.only.split(",") if options.only else PARTS:
            PARTS[name](bench)
    about = f"TPC-H at SF {options.sf:g}; medians of {options.rounds} round{'s' if options.rounds > 1 else ''}."
    text = report.markdown(about)
    print(f"\n{text}")
    if options.write:
        section.put(cpu.PROJECT / "docs" / "benchmarks.md", HEADING, f"{ABOUT}\n\n{section.stamp()}\n\n{text}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sf", type=float, default=1.0, help="scale of TPC-H (default: 1)")
    parser.add_argument("--gb", type=float, default=5.0, help="size of the file that is published (default: 5)")
    parser.add_argument("--scratch", help="a folder on the file system to measure (default: the temporary folder)")
    return section.options(parser, PARTS)


if __name__ == "__main__":
    main()
