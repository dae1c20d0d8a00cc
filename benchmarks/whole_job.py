"""Seconds, CPU and memory of the whole job, and the share that is not real work: `python -m benchmarks.whole_job`.

For each scale a shop is opened in new databases (not measured), then the real command runs twice as a process of its
own: the first run reads everything, the second what one day of trade has changed. Real work is what the report counts
as steps (reading, folding and checking, dbt, publishing, loading the metrics store); all else is overhead.
"""

import argparse
import datetime
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from services import postgres
from shop import retail

PROJECT = Path(__file__).resolve().parents[1]
HEADROOM = datetime.timedelta(days=14)
REPORT_LINE = re.compile(r"^(\S.*?) {2,}(\d+\.\d)\s*$")
# The scale of a shop does not change what is imported or parsed, so this is measured once.
IMPORTS = """
import json, time
began = time.perf_counter()
from orchestration import site
site.enter()
from orchestration import main_job
imported = time.perf_counter()
main_job.defs().resolve_job_def("changes")
print(json.dumps([imported - began, time.perf_counter() - imported]))
"""
PARSE = """
import json, sys, time
from orchestration import site
site.enter()
began = time.perf_counter()
from warehouse import build
build.parse(sys.argv[1])
print(json.dumps([time.perf_counter() - began]))
"""


@dataclass(frozen=True)
class Measured:
    """One process: seconds by the wall, CPU-seconds and peak bytes of it and its children, and its report's stages."""

    wall_s: float
    cpu_s: float
    peak_bytes: int
    stages_s: Mapping[str, float]

    @property
    def steps_s(self) -> float:
        """Seconds of real work."""
        return self.stages_s["whole job"] - self.stages_s["orchestration"]

    @property
    def overhead_s(self) -> float:
        """Seconds outside of the steps: start, imports, planning, bookkeeping, dbt parsing if it was due."""
        return self.wall_s - self.steps_s


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scales", default="1,10", help="sizes of the shop, separated by commas (default: 1,10)")
    scales = [float(text) for text in parser.parse_args().scales.split(",")]
    runs: dict[tuple[float, str], Measured] = {}
    for scale in scales:
        with _site(scale) as (environment, traded_s):
            runs[scale, "first"] = _run(environment)
            _say(f"scale {scale:g}: first run {runs[scale, 'first'].wall_s:.1f} s")
            seconds = traded_s()
            runs[scale, "second"] = _run(environment)
            _say(f"scale {scale:g}: second run {runs[scale, 'second'].wall_s:.1f} s (and {seconds:.1f} s of trade)")
            if scale == scales[-1]:
                starting = _starting(environment)
    print(_tables(runs, starting))
    print(_sentence(runs, scales))


@contextmanager
def _site(scale: float) -> Iterator[tuple[dict[str, str], "_Trade"]]:
    """A new home and new databases with an open shop; the environment to run in, and what lets a day happen."""
    name, home = f"bench_{secrets.token_hex(4)}", Path(tempfile.mkdtemp(prefix="watershed-bench-"))
    given = {key: value for key, value in os.environ.items() if not key.startswith(("LAKE_", "WAREHOUSE_", "DAGSTER_"))}
    servers = postgres.up(PROJECT, _say)
    names = {"SHOP_DSN": name, "METRICS_DSN": f"{name}_metrics"}
    try:
        dsns = {key: postgres.database(PROJECT, database) for key, database in names.items()}
        until = (datetime.datetime.now(datetime.UTC) - HEADROOM).date()
        shop = retail.create(dsns["SHOP_DSN"], scale=scale, until=until, say=lambda _: None)
        _say(f"scale {scale:g}: the shop holds {shop.rows['order_items']:,} order lines")
        first_day = {"WATERSHED_FIRST_DAY": shop.started_on.isoformat()} if shop.started_on else {}
        ours = {**dsns, **first_day, "WATERSHED_HOME": str(home), "SHOP": "retail"}
        yield {**given, **ours}, _Trade(dsns["SHOP_DSN"])
    finally:
        for key, database in names.items():
            _drop(servers[key], database)
        shutil.rmtree(home, ignore_errors=True)


@dataclass(frozen=True)
class _Trade:
    dsn: str

    def __call__(self) -> float:
        """Let a day of trade happen; the seconds it took."""
        began = time.perf_counter()
        retail.trade_day(self.dsn, now=datetime.datetime.now(datetime.UTC), say=lambda _: None)
        return time.perf_counter() - began


def _run(environment: Mapping[str, str]) -> Measured:
    """The real command, measured. Ends the program with its output if it fails."""
    command = [str(Path(sys.executable).with_name("watershed")), "run", "--no-trade"]
    with tempfile.TemporaryFile("w+") as output:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=dict(environment), cwd=PROJECT)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    if process.returncode:
        sys.exit(f"{text}\nwatershed run ended with {process.returncode}")
    found = (REPORT_LINE.match(line) for line in text.splitlines())
    stages = {match[1]: float(match[2]) for match in found if match}
    return Measured(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, stages)


def _starting(environment: Mapping[str, str]) -> dict[str, float]:
    """Seconds of what every run does before its first step, each in a new process."""
    with tempfile.TemporaryDirectory(prefix="watershed-bench-") as empty:
        imported, defined = _seconds(environment, IMPORTS)
        (parsed,) = _seconds(environment, PARSE, empty)
    return {
        "imports (Dagster, Delta, DuckDB, …)": imported,
        "definitions, dbt's manifest at hand": defined,
        "dbt parse from nothing (a first run, or a changed project)": parsed,
    }


def _seconds(environment: Mapping[str, str], code: str, *words: str) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *words],
        env=dict(environment), cwd=PROJECT, stdout=subprocess.PIPE, check=True, text=True,
    )  # fmt: skip
    return [float(value) for value in json.loads(done.stdout.splitlines()[-1])]


def _tables(runs: Mapping[tuple[float, str], Measured], starting: Mapping[str, float]) -> str:
    lines = [
        "",
        f"{'scale':>6} {'run':<7} {'wall s':>7} {'CPU s':>7} {'peak MB':>8} {'work s':>7} {'else s':>7} {'else':>5}",
    ]
    for (scale, name), it in runs.items():
        share = it.overhead_s / it.wall_s
        lines.append(
            f"{scale:>6g} {name:<7} {it.wall_s:>7.1f} {it.cpu_s:>7.1f} {it.peak_bytes / 1e6:>8,.0f}"
            f" {it.steps_s:>7.1f} {it.overhead_s:>7.1f} {share:>5.0%}"
        )
    stages = next(iter(runs.values())).stages_s
    lines += ["", f"{'seconds of a stage':<28}" + "".join(f"{f'{scale:g} {name}':>12}" for scale, name in runs)]
    lines += [f"{stage:<28}" + "".join(f"{it.stages_s[stage]:>12.1f}" for it in runs.values()) for stage in stages]
    lines += ["", *(f"{what:<60} {seconds:>5.1f} s" for what, seconds in starting.items())]
    return "\n".join(lines)


def _sentence(runs: Mapping[tuple[float, str], Measured], scales: list[float]) -> str:
    low, high = min(scales), max(scales)
    second = runs[low, "second"]
    said = [f"a second run takes {second.wall_s / runs[low, 'first'].wall_s:.2f} of the first run's time"]
    if low != high:
        grown = runs[high, "first"].wall_s / runs[low, "first"].wall_s
        said.append(f"{high / low:g} times the data take {grown:.1f} times the time")
    said.append(f"{second.overhead_s / second.wall_s:.0%} of a second run at scale {low:g} is no real work")
    return f"\nHere and now, {'; '.join(said)}."


def _drop(beside: str, name: str) -> None:
    # A plain role may end only its own sessions, so WITH (FORCE) would fail while a worker of the server is in there.
    ours = "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s and usename = current_user"
    for attempt in range(5):
        try:
            with psycopg.connect(beside, autocommit=True) as connection:
                connection.execute(ours, [name])
                connection.execute(sql.SQL("drop database if exists {}").format(sql.Identifier(name)))
            return
        except psycopg.errors.ObjectInUse:
            time.sleep(attempt + 1)
    _say(f"database {name} is still in use; drop it by hand")


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
