"""A section of the benchmarks' page: written anew in place of the one that is there."""

import argparse
import datetime
import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path


def put(file: Path, heading: str, body: str) -> None:
    """Put a section (its heading as `## Name`) into a page, in place of the one that is there; else at its end."""
    known = file.read_text(encoding="utf-8")
    section = f"{heading}\n\n{body}\n"
    pattern = re.compile(rf"^{heading}$.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    if pattern.search(known):
        file.write_text(pattern.sub(lambda _: section + "\n", known).rstrip() + "\n", encoding="utf-8")
    else:
        file.write_text(f"{known.rstrip()}\n\n{section}", encoding="utf-8")


def options(parser: argparse.ArgumentParser, parts: Sequence[str]) -> argparse.Namespace:
    """The options given, with those that all benchmarks of several parts have; ends the program at an unknown part."""
    parser.add_argument("--rounds", type=int, default=3, help="how often each runs; medians count (default: 3)")
    parser.add_argument("--only", default="", help=f"of {', '.join(parts)}, separated by commas")
    parser.add_argument("--write", action="store_true", help="write the table into docs/benchmarks.md")
    given = parser.parse_args()
    if unknown := {word for word in given.only.split(",") if word} - set(parts):
        parser.error(f"nothing is called {sorted(unknown)[0]!r}; known are {', '.join(parts)}")
    return given


def stamp() -> str:
    """The day (UTC) and the machine, as a line above figures."""
    return f"{datetime.datetime.now(datetime.UTC).date()}, {_machine()}."


def _machine() -> str:
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = re.search(r"^model name\s*: (.*)$", info, re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    cores = len(os.sched_getaffinity(0))
    name = model[1] if model else platform.machine()
    return f"{cores} cores ({name}), {memory:.0f} GB of memory, Linux, Python {platform.python_version()}"
