"""Extraction measured beside other tools: `python -m benchmarks.extract --sf 1 --rounds 3 --only ours,duckdb`.

TPC-H `lineitem` is made in PostgreSQL and MariaDB. Each contestant brings all of it to Parquet, in a process of its
own, in turns; what counts is the CPU of client and server together, against the server's fastest way to give the rows
to nobody (the limit). Then ours alone: 1 % changed, a month by days, deletes found by their keys, a kill at 90 %.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import cpu, extract_report, extract_scenarios, lineitem
from benchmarks.race import child, contestants, race, say
from services import record


def main() -> None:
    """Make, measure, print; exit code 1 if a result of ours was wrong."""
    options = _options()
    scratch = Path(tempfile.mkdtemp(prefix="watershed-bench-"))
    report: list[str] = []
    wrong: list[str] = []
    try:
        for kind in options.databases.split(","):
            said, amiss = _on(kind, options, scratch)
            report += said
            wrong += amiss
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    text = "\n\n".join(report)
    say(f"\n{text}\n\n{extract_report.sentence(wrong)}")
    if options.write:
        extract_report.write(cpu.PROJECT / "docs" / "benchmarks.md", text)
    sys.exit(bool(wrong))


def _on(kind: str, options: argparse.Namespace, scratch: Path) -> tuple[list[str], list[str]]:
    """The report of one kind of server, and what was wrong with our results."""
    variable = lineitem.VARIABLES[kind]
    server = os.environ.get(variable) or record.environment(cpu.PROJECT).get(variable)
    if not server:
        said = f"{kind}: not measured, for no server is up ({variable} is not set); run `watershed up all`."
        say(said)
        return [said], []
    only = [word.strip() for word in options.only.split(",") if word.strip()]
    chosen = [one for one in contestants() if _is_wanted(one.name, only)]
    place = lineitem.place(kind, server, options.sf)
    say(f"{kind}: lineitem holds {place.rows:,} rows of {place.days:,} days")
    report, wrong = [], []
    try:
        if chosen:
            lines = race(place, chosen, options.rounds, scratch)
            report.append(extract_report.table(place, options.sf, lines))
            wrong += [f"{kind}, {line.label}: {line.failure}" for line in lines if line.is_ours and line.failure]
        for name, scenario in extract_scenarios.SCENARIOS.items() if kind == "postgres" else ():
            if _is_wanted(name, only):
                found = scenario(place, scratch, child, say)
                report.append("\n".join(found.lines))
                wrong += found.wrong
    finally:
        if not options.keep:
            lineitem.drop(kind, server, options.sf)
    return report, wrong


def _is_wanted(name: str, only: Sequence[str]) -> bool:
    return not only or any(name == word or name.startswith(word) for word in only)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sf", type=float, default=1, help="TPC-H scale factor (default: 1, 6 M rows)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each runs; medians count (default: 3)")
    names = ", ".join([*(one.name for one in contestants()), *extract_scenarios.SCENARIOS])
    parser.add_argument("--only", default="", help=f"beginnings of names, separated by commas, of: {names}")
    parser.add_argument("--databases", default="postgres,mariadb", help="default: postgres,mariadb")
    parser.add_argument("--keep", action="store_true", help="leave the databases with lineitem for the next time")
    parser.add_argument("--write", action="store_true", help="write the result into docs/benchmarks.md")
    options = parser.parse_args()
    if unknown := set(options.databases.split(",")) - set(lineitem.VARIABLES):
        parser.error(f"no database is called {sorted(unknown)[0]!r}; known are {', '.join(lineitem.VARIABLES)}")
    return options


if __name__ == "__main__":
    main()
