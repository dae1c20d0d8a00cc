"""A section of the benchmarks' page: written anew in place of the one that is there."""

import datetime
import os
import platform
import re
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
